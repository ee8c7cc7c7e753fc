"""The script of faults: when they act, in which order, and on what."""

from __future__ import annotations

from typing import Any

import pytest

from ccactivity.sandbox import (
    Delay,
    Disconnect,
    Fault,
    Hang,
    Life,
    Patch,
    Reset,
    Vendor,
    html,
    lost_request,
    ok,
    quota_exceeded,
    server_error,
)

from .helpers import START, ask, make, post, read


def statuses(vendor: Vendor, count: int, target: str = "/v3/activities") -> list[int]:
    """Return the answers to so many requests, one a second."""
    return [ask(vendor, target, float(now)).status for now in range(count)]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, [503, 503, 503, 503, 503]),
        ({"times": 2}, [503, 503, 200, 200, 200]),
        ({"skip": 3}, [200, 200, 200, 503, 503]),
        ({"skip": 1, "times": 1}, [200, 503, 200, 200, 200]),
        ({"after": 1.0, "until": 3.0}, [200, 503, 503, 200, 200]),
        ({"probability": 0.0}, [200, 200, 200, 200, 200]),
        ({"where": "list"}, [503, 503, 503, 503, 503]),
        ({"where": "get"}, [200, 200, 200, 200, 200]),
        ({"activity_id": "x"}, [200, 200, 200, 200, 200]),
    ],
)
def test_a_fault_acts_when_it_is_told_to(when: dict[str, Any], expected: list[int]) -> None:
    """And counts how often it has."""
    vendor = make()
    fault = vendor.faults.add(server_error(503), **when)

    assert expected == statuses(vendor, 5)
    assert expected.count(503) == fault.hits


def test_chance_is_seeded() -> None:
    """The same script gives the same run, and about the asked share of hits."""
    hits = []
    for _ in range(2):
        vendor = make(seed=7)
        vendor.faults.add(server_error(), probability=0.3)
        hits.append(statuses(vendor, 300))

    assert hits[0] == hits[1]
    assert 60 < hits[0].count(500) < 120


@pytest.mark.parametrize(
    ("where", "target", "method"),
    [
        ("list", "/v3/activities?limit=5", "GET"),
        ("get", "/v3/activities/x", "GET"),
        ("history", "/v3/emails/activities/x/send_history", "GET"),
        ("export", "/v3/contact_exports/x", "GET"),
        ("post", "/v3/activities/contact_exports", "POST"),
        ("other", "/v3/nowhere", "GET"),
    ],
)
def test_a_fault_is_about_one_kind_of_request(where: str, target: str, method: str) -> None:
    """Or about any."""
    vendor = make()
    here = vendor.faults.add(Delay(1.0), where=where)
    anywhere = vendor.faults.add(Delay(2.0))
    reply = ask(vendor, target, method=method)
    ask(vendor, "/v3/activities" if where != "list" else "/v3/activities/x")

    assert (Delay(1.0), Delay(2.0)) == reply.wire
    assert (1, 2) == (here.hits, anywhere.hits)


def test_a_fault_may_be_about_one_activity() -> None:
    """Asked for by its id, or shown on a page; others are left alone."""
    vendor = make()
    one, other = vendor.submit(0.0, Life()), vendor.submit(0.0, Life())
    vendor.faults.add(Patch({"percent_done": 200}), activity_id=one)
    late = vendor.faults.add(Delay(5.0), activity_id=one)
    rows = {row["activity_id"]: row["percent_done"] for row in read(ask(vendor))["activities"]}

    assert {one: 200, other: 0} == rows
    assert 200 == read(ask(vendor, f"/v3/activities/{one}"))["percent_done"]
    assert 0 == read(ask(vendor, f"/v3/activities/{other}"))["percent_done"]
    assert () == ask(vendor, "/v3/activities?limit=1").wire  # the newest is the other one
    assert 2 == late.hits


def test_a_fault_about_one_activity_lets_failed_lists_be() -> None:
    """A failed list shows no activity."""
    vendor = make()
    fault = vendor.faults.add(Delay(5.0), activity_id=vendor.submit(0.0, Life()))
    vendor.faults.add(html(200), times=1)

    assert ((), ()) == (ask(vendor).wire, ask(vendor, "/v3/activities?limit=x").wire)
    assert 0 == fault.hits


def test_faults_can_be_taken_away() -> None:
    """One by one, or all."""
    vendor = make()
    first = vendor.faults.append(Fault(server_error(500)))
    second = vendor.faults.add(Fault(server_error(500)))
    vendor.faults.remove(first)

    assert ([second], 1) == (list(vendor.faults), len(vendor.faults))

    vendor.faults.clear()

    assert [200] == statuses(vendor, 1)


def test_a_fault_in_an_unknown_place_is_refused() -> None:
    """A mistake in a script shows where it is made."""
    with pytest.raises(ValueError, match="where"):
        Fault(Hang(), where="everywhere")  # type: ignore[arg-type] # wrong on purpose


def test_a_scripted_answer_replaces_the_vendors() -> None:
    """A POST that is answered so creates nothing; one whose answer is lost does."""
    vendor = make()
    vendor.faults.add(server_error(), times=1)
    vendor.faults.add(Reset(), skip=1)
    for _ in range(2):
        ask(vendor, "/v3/activities/contact_exports", method="POST", body=b"{}")

    assert 1 == len(vendor.jobs)
    assert [500, 0] == [line.status for line in vendor.log]


def test_a_share_of_posts_can_be_lost_before_and_after_they_are_carried_out() -> None:
    """Of one kind of job alone, if the script says so."""
    vendor = make()
    before = vendor.faults.add(lost_request(), where="post", activity_id="contact_exports", probability=0.3)
    after = vendor.faults.add(Reset(hard=False), where="post", activity_id="contact_exports", probability=0.3)
    for _ in range(200):
        ask(vendor, "/v3/activities/contact_exports", method="POST", body=b"{}")

    assert 40 < before.hits < 80
    assert 40 < after.hits < 80
    assert 200 == before.hits + len(vendor.jobs)
    assert 201 == post(vendor, "contact_delete", {"contact_ids": ["c"]}).status == vendor.log[-1].status


@pytest.mark.parametrize("fault", [Delay(1.0), Reset(after=0.5), Hang(after=0.0)])
def test_a_lost_request_cannot_have_an_answer(fault: Delay | Reset | Hang) -> None:
    """A mistake in a script shows where it is made."""
    with pytest.raises(ValueError, match="no answer"):
        lost_request(fault)


def test_the_first_answer_wins() -> None:
    """The next one has its turn when the first is used up."""
    vendor = make()
    vendor.faults.add(server_error(502), times=1)
    vendor.faults.add(server_error(503), times=1)

    assert [502, 503, 200] == statuses(vendor, 3)


def test_the_vendors_own_refusals_come_first() -> None:
    """A script cannot let a request through that the limits refuse, but it can lose the refusal."""
    vendor = Vendor(start=START, per_second=0)
    answer, way = vendor.faults.add(ok({})), vendor.faults.add(Delay(1.0))
    reply = ask(vendor)

    assert (429, (Delay(1.0),)) == (reply.status, reply.wire)
    assert (0, 1) == (answer.hits, way.hits)


def test_a_scripted_quota_binds_too() -> None:
    """After being told so, any request of that UTC day is stubborn; not when the answer was lost."""
    vendor = make()
    vendor.faults.add(quota_exceeded(), times=2)
    vendor.faults.add(Reset(), times=1)
    after = []
    for now in (0.0, 1.0, 2.0, 43_199.0, 43_200.0):
        ask(vendor, now=now)
        after.append(vendor.violations.after_quota_exceeded)

    assert [0, 0, 1, 2, 2] == after
    assert 2 == vendor.violations.total


def test_only_a_reused_connection_can_be_closed_under_a_request() -> None:
    """The first request of each connection is spared, and not counted as a hit."""
    vendor = make()
    fault = vendor.faults.add(Disconnect())
    replies = [ask(vendor, reused=reused) for reused in (False, True, False)]

    assert [(), (Disconnect(),), ()] == [reply.wire for reply in replies]
    assert ([200, 0, 200], 1) == ([line.status for line in vendor.log], fault.hits)
