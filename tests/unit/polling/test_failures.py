"""How long what has failed is left alone: one thing by itself, and all together in an outage."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.polling.failures import Failures, retry_at


@attrs.define(eq=False)
class Thing:
    """Something that can be asked for."""

    failures: int = 0
    failed_at: float = -math.inf


def outage_of(things: int) -> Failures:
    """So many different things failed at loop time 100, and nothing was answered."""
    failures = Failures()
    for _ in range(things):
        failures.failed(Thing(), 100.0)
    return failures


def test_what_fails_waits_by_itself() -> None:
    """After each failure in a row the wait of one thing is twice as long, up to the longest."""
    failures, thing, waits = Failures(), Thing(), []
    for _ in range(8):
        failures.failed(thing, 100.0)
        waits.append(retry_at(thing, 60.0) - 100.0)

    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] == waits
    assert not failures.outage


def test_how_long_it_waits_is_worked_out_anew() -> None:
    """A wait that a drained budget made long ends when the budget is full again."""
    failures, thing = Failures(), Thing()
    for _ in range(14):
        failures.failed(thing, 100.0)

    assert (8292.0, 160.0) == (retry_at(thing, 10_000.0), retry_at(thing, 60.0))


@pytest.mark.parametrize(("things", "outage"), [(0, False), (1, False), (2, False), (3, True), (30, True)])
def test_an_outage_is_when_different_things_fail(things: int, outage: bool) -> None:
    """Three different things without an answer between are an outage."""
    assert outage == outage_of(things).outage


def test_what_fails_while_others_do_not_makes_no_outage() -> None:
    """However many things keep failing, they are known to, once something else was answered."""
    failures, things, outages = Failures(), [Thing() for _ in range(20)], []
    for _ in range(2):
        for thing in things:
            failures.failed(thing, 100.0)
        outages.append(failures.answered())

    assert [True, False] == outages


def test_an_answer_ends_an_outage() -> None:
    """The answer that ends an outage is known as such; the next failure is a first one."""
    failures = outage_of(5)
    ended = failures.answered(), failures.answered()
    failures.failed(Thing(), 200.0)

    assert (True, False) == ended
    assert not failures.outage


def test_an_outage_is_probed_ever_more_rarely() -> None:
    """24 things are tried a second apart, then the interval doubles up to a minute."""
    intervals = [outage_of(things).next_probe - 100.0 for things in (3, 24, 25, 26, 30, 31, 1000)]

    assert [1.0, 1.0, 2.0, 4.0, 60.0, 60.0, 60.0] == intervals


def test_a_probe_that_hangs_keeps_no_other_waiting() -> None:
    """The interval counts from when something was asked, answered or not."""
    failures = outage_of(3)
    failures.probed(500.0)

    assert 501.0 == failures.next_probe


@given(moments=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=50).map(sorted), longest=st.floats(1.0, 600.0))
def test_no_wait_is_longer_than_the_longest(moments: list[float], longest: float) -> None:
    """However long it has failed, neither the vendor nor a thing is left alone for longer than it should be."""
    failures, thing = Failures(), Thing()
    for now in moments:
        failures.failed(thing, now)
        assert now + 1.0 <= failures.next_probe <= now + 60.0
        assert now + 1.0 <= retry_at(thing, longest) <= now + longest
