"""What the planner decides, case by case. What holds in any history is in test_planner_histories."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from support.planner_world import (
    FULL,
    NOON,
    World,
    as_request,
    as_sleep,
    at,
    fail,
    next_request_at,
    placement_of,
    planner_of,
    queued,
    requests_of,
    snapshot,
)

from ccactivity.polling.pacing import Pacing
from ccactivity.polling.pages import ShownPage
from ccactivity.polling.planner import FetchOne, FetchPage, Planner, SleepUntil
from ccactivity.polling.tuning import Tuning
from ccactivity.ratelimit.quota import Budget

# --- the first look -------------------------------------------------------------------------------------------------


def test_nothing_watched_costs_nothing() -> None:
    """Without watches the planner sleeps until something changes."""
    assert SleepUntil(math.inf) == Planner(Pacing()).next(0.0, FULL)


def test_a_single_new_id_is_looked_at_at_once() -> None:
    """Somebody waits: the first look at a lone id is a GET, now."""
    planner = Planner(Pacing())
    planner.watch("a", 5.0)

    assert FetchOne("a") == planner.next(5.0, FULL)


def test_many_new_ids_are_looked_at_by_one_sweep() -> None:
    """A burst of ids is swept at once, not asked for one by one."""
    world = World(f"a{i}" for i in range(200))
    world.watch(*world.listed)
    first = world.planner.next(0.0, FULL)
    world.run(0.0, 2.0)

    assert isinstance(first, FetchPage)
    assert isinstance(world.actions[0], FetchPage)
    assert not any(isinstance(action, FetchOne) for action in world.actions)


def test_the_first_look_waits_no_longer_than_its_forecast_says() -> None:
    """Several new ids whom no list shows are asked for by GET within seconds."""
    planner = Planner(Pacing())
    planner.disable_lists()
    planner.watch("a", 0.0)
    planner.watch("b", 0.0)

    assert as_sleep(planner.next(0.0, FULL)).when <= Tuning().unseen_median_s + 1.0


def test_next_changes_nothing() -> None:
    """Asking twice gives the same answer."""
    planner = planner_of("a", "b")

    assert planner.next(1.0, FULL) == planner.next(1.0, FULL)


# --- how soon the next look is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "began", "low", "high"),
    [
        (50, -60.0, 20.0, 60.0),
        (10, -60.0, 60.0, 61.0),  # far off: the ceiling
        (97, -60.0, 1.0, 8.0),
        (99, -600.0, 2.0, 15.0),
        (0, -1.0, 3.0, 20.0),
        (None, -1.0, 3.0, 20.0),
        (100, -600.0, 1.0, 8.0),
    ],
)
def test_progress_decides_the_next_look(percent: int | None, began: float, low: float, high: float) -> None:
    """The further along, the sooner the next look; without progress, about as long again as it has run."""
    planner = planner_of("a")
    planner.started(FetchOne("a"), 0.0)
    planner.on_activity(snapshot("a", "processing", percent, began), 0.0, NOON)

    assert low <= next_request_at(planner, 0.01) <= high


def interval_when_stalled(stalled: float, ends: list[float]) -> float:
    """Seconds to the next look at one that has stalled at 95 % for so long, where others ended after such stalls."""
    planner, now = Planner(Pacing()), 0.0
    for number, end in enumerate([*ends, stalled]):
        key, began = f"a{number}", now
        planner.watch(key, began)
        for moment in (began, began + 60.0, began + 60.0 + end):
            percent, now = 5 if moment == began else 95, moment
            planner.started(FetchOne(key), now)
            if moment > began + 60.0 and number < len(ends):
                planner.on_terminal(snapshot(key, "completed", 100, began, now), now)
            else:
                planner.on_activity(snapshot(key, "processing", percent, began, now), now, at(now))
    return next_request_at(planner, now + 0.01) - now


def test_what_has_stalled_is_expected_to_end_as_others_did() -> None:
    """Where all stalled for ten minutes before they ended, looks are rare before and frequent about then."""
    alike, mixed = [600.0, 590.0, 605.0, 610.0, 595.0, 600.0], [600.0, 2.0, 90.0, 1200.0, 30.0, 10.0]

    assert interval_when_stalled(300.0, alike) > 1.5 * interval_when_stalled(300.0, mixed)
    assert interval_when_stalled(595.0, alike) < 0.5 * interval_when_stalled(595.0, mixed)
    assert interval_when_stalled(900.0, alike) == pytest.approx(interval_when_stalled(900.0, mixed), rel=0.1)
    assert interval_when_stalled(300.0, alike[:4]) == pytest.approx(interval_when_stalled(300.0, mixed), rel=0.1)


def test_a_higher_price_means_fewer_looks() -> None:
    """Each doubling of the price makes fewer requests for the same activities."""
    spent = []
    for price in (0.5, 1.0, 2.0, 4.0, 8.0):
        world = World((f"a{i}" for i in range(30)), pacing=Pacing(price=price))
        world.watch(*world.listed)
        world.run(0.0, 600.0)
        spent.append(len(world.asked))

    assert sorted(spent, reverse=True) == spent
    assert spent[-1] < spent[0] / 2


def test_a_drained_budget_slows_everything_and_an_empty_one_stops_it() -> None:
    """With a tenth of the budget the looks become rare; below one request there are none."""
    counts = []
    for budget in (FULL, Budget(50.0, 0.0), Budget(0.5, 0.0)):
        world = World(f"a{i}" for i in range(30))
        world.watch(*world.listed)
        world.run(0.0, 600.0, budget)
        counts.append(len(world.asked))

    assert counts[0] > 2 * counts[1] > 0 == counts[2]


@pytest.mark.parametrize(("refill_rate", "sleeps"), [(0.5, 1.6), (10.0, 0.25), (0.001, 60.0), (0.0, 60.0)])
def test_an_empty_budget_is_waited_for(refill_rate: float, sleeps: float) -> None:
    """Below one request the planner sleeps until there is one, and looks again every minute at least."""
    action = as_sleep(planner_of("a").next(100.0, Budget(0.2, refill_rate)))

    assert pytest.approx(100.0 + sleeps) == action.when


def test_a_new_budget_wakes_what_waited_for_it() -> None:
    """After midnight a planner that had worked out late times offers a look again."""
    world = World(f"a{i}" for i in range(30))
    world.watch(*world.listed)
    now = world.run(0.0, 600.0, Budget(5.0, 0.0))
    slept = as_sleep(world.planner.next(now, Budget(5.0, 0.0)))
    woken = world.planner.next(now + 30.0, FULL)

    assert slept.when > now + 30.0
    assert isinstance(woken, FetchPage)


def test_a_stricter_max_staleness_holds_at_once() -> None:
    """Watching again with a stricter one brings the next look forward."""
    planner = Planner(Pacing())
    for limit in (30.0, 5.0):
        planner.watch("a", 0.0, max_staleness=limit)
    planner.on_activity(snapshot("a", percent=1, began=-600.0), 0.0, NOON)

    assert as_sleep(planner.next(0.0, FULL)).when <= 5.0
    assert FetchOne("a") == planner.next(5.0, FULL)


@pytest.mark.parametrize("percent", [0, 1, 50])
@pytest.mark.parametrize("keys", ["a", "abc"])
def test_a_max_staleness_that_is_taken_back_costs_nothing(keys: str, percent: int) -> None:
    """As soon as it does not hold any more, the next look is as far off as if it never had, by GET or by page."""
    plain, relaxed = World(keys), World(keys)
    for world in (plain, relaxed):
        world.watch(*keys)
        world.run(0.0, 1.0)
        for key in keys:
            seen = snapshot(key, percent=percent, began=-600.0) if percent else queued(key)
            world.planner.on_activity(seen, 2.0, at(2.0))
    relaxed.watch(*keys, now=2.0, max_staleness=5.0)
    as_sleep(relaxed.planner.next(2.0, FULL))
    relaxed.watch(*keys, now=3.0)

    assert 8.0 < next_request_at(plain.planner, 3.0) == pytest.approx(next_request_at(relaxed.planner, 3.0), abs=0.2)


def test_a_max_staleness_that_comes_and_goes_delays_no_look() -> None:
    """An id keeps its turn among the queued, however often somebody begins and ceases to look at it."""
    world = World([])
    world.planner.disable_lists()
    world.states = dict.fromkeys("bcdea", "initialized")
    world.watch(*"bcdea")
    for turn in range(100):
        world.watch("a", now=7.0 * turn, max_staleness=1000.0)
        world.watch("a", now=7.0 * turn)
        world.run(7.0 * turn, 7.0 * turn + 6.9)
    times = [when for when, action in world.asked if action == FetchOne("a")]

    assert max(later - earlier for earlier, later in pairwise(times)) <= 70.0
    assert times[-1] > 600.0


def test_what_was_seen_before_is_not_asked_again_at_once() -> None:
    """An id that is watched again goes on from its last snapshot: its next look is as far off as it was."""
    again, known = Planner(Pacing()), planner_of("a")
    known.on_activity(snapshot("a", percent=50), 0.0, NOON)
    again.watch("a", 5.0)
    for percent in (50, 1):  # the second time there is nothing that is not known
        again.restore("a", snapshot("a", percent=percent), 0.0, 0, -math.inf)

    assert next_request_at(known, 5.0) == pytest.approx(next_request_at(again, 5.0), abs=0.1)


# --- lists ----------------------------------------------------------------------------------------------------------


def test_absence_ends_nothing_and_is_asked_for() -> None:
    """An id which the list does not show is asked for by GET, again and again."""
    world = World(["b", "c"])
    world.watch("a", "b", "c")
    world.run(0.0, 300.0)

    assert world.actions.count(FetchOne("a")) > 1


def test_a_deep_list_is_walked_once() -> None:
    """Ids behind forty pages of history are found by one walk, then by their page's own link."""
    world = World([f"h{i}" for i in range(20_000)] + [f"a{i}" for i in range(100)])
    world.watch(*(f"a{i}" for i in range(100)))
    world.run(0.0, 60.0)
    walk = len(world.asked)
    world.run(60.0, 300.0)
    later = world.actions[walk:]

    assert walk < 100
    assert all(isinstance(action, FetchPage) for action in later)
    assert {"/v3/activities?None&at=20000"} == {action.start for action in later if isinstance(action, FetchPage)}


def test_a_few_ids_are_not_worth_a_deep_walk() -> None:
    """Three ids behind forty pages are asked for one by one."""
    world = World([f"h{i}" for i in range(20_000)] + ["a", "b", "c"])
    world.watch("a", "b", "c")
    world.run(0.0, 60.0)

    assert {FetchOne("a"), FetchOne("b"), FetchOne("c")} <= set(world.actions)
    assert sum(isinstance(action, FetchPage) for action in world.actions) < 15


def test_a_loop_of_links_ends() -> None:
    """A list whose next link leads back is not walked for ever."""
    planner = planner_of("a", "b", "c")
    sweeps = 0
    for now, action in requests_of(planner, 900.0, took=0.3):
        if isinstance(action, FetchPage):
            sweeps += 1
            planner.on_page(action, ShownPage([], "/v3/loop"), now)
        else:
            planner.on_activity(snapshot(action.activity_id, updated=now), now, at(now))

    assert len(placement_of(planner).pages) <= 3
    assert sweeps < 60


def test_without_lists_there_are_only_gets() -> None:
    """Once lists are off, only GETs are offered, and each id is asked for."""
    world = World(f"a{i}" for i in range(50))
    world.planner.disable_lists()
    world.watch(*world.listed)
    world.run(0.0, 120.0)

    assert {FetchOne(key) for key in world.listed} == set(world.actions)


def test_without_lists_the_queued_are_asked_for_in_turn() -> None:
    """Without lists the oldest of the queued is asked for, and those behind it wait: while it waits, so do they."""
    world = World([])
    world.planner.disable_lists()
    world.watch(*"abcd")
    for age, key in enumerate("dbca"):
        world.states[key] = "initialized"
        world.planner.on_activity(queued(key, created=age - 100.0), 0.0, NOON)
    action = as_request(world.planner.next(next_request_at(world.planner, 0.1), FULL))

    assert FetchOne("d") == action


def test_an_older_row_moves_nothing_backward() -> None:
    """A list row older than the last GET is no look: the id is asked for, and its forecast stays."""
    planner = planner_of("a", "b")
    planner.on_activity(snapshot("a", percent=90, updated=10.0), 10.0, at(10.0))
    entry = placement_of(planner).ids["a"]
    before = entry.median_remaining, entry.looked_at, entry.percent
    planner.on_activity(snapshot("a", percent=20, updated=-20.0), 12.0, at(12.0), listed=True)
    planner.on_page(FetchPage(500), ShownPage(["a", "b"], None), 12.0)

    assert before == (entry.median_remaining, entry.looked_at, entry.percent)
    assert entry.cohort is not placement_of(planner).pages[0].located


def suspect_and_find(planner: Planner, now: float) -> bool:
    """A sweep of those in work misses "a", and a GET shows it still there: whether it was suspected meanwhile."""
    for key in ("a", "b", "c"):
        planner.on_activity(snapshot(key, percent=5, began=-600.0, updated=now), now, at(now))
    sweep = FetchPage(500, "processing")
    planner.started(sweep, now + 20.0)
    planner.on_page(sweep, ShownPage(["b", "c"], None), now + 20.1)
    suspected = placement_of(planner).ids["a"].suspect_ended
    as_request(planner.next(now + 20.1, FULL))
    planner.started(FetchOne("a"), now + 20.1)
    planner.on_activity(snapshot("a", percent=6, began=-600.0, updated=now + 20.0), now + 20.2, at(now + 20.2))
    return suspected


def test_a_missing_worker_is_suspected_and_a_wrong_list_is_given_up() -> None:
    """Who is missing among those in work is looked for at once; three false alarms in succession end such sweeps."""
    planner = planner_of("a", "b", "c")
    planner.on_page(FetchPage(500), ShownPage(["a", "b", "c"], None), 0.0)
    suspected = []
    for now in (0.0, 100.0, 200.0):
        suspected.append((suspect_and_find(planner, now), planner._states_enabled))

    assert [(True, True), (True, True), (True, False)] == suspected
    assert "a" in placement_of(planner).working.ids


def test_a_right_suspicion_clears_the_list_of_those_at_work() -> None:
    """Two false alarms are forgotten when one that was suspected has ended indeed."""
    planner = planner_of("a", "b", "c", "d")
    planner.on_page(FetchPage(500), ShownPage(["a", "b", "c", "d"], None), 0.0)
    for now in (0.0, 100.0):
        suspect_and_find(planner, now)
    planner.on_activity(snapshot("d", percent=5, began=-600.0, updated=200.0), 200.0, at(200.0))
    planner.started(FetchPage(500, "processing"), 220.0)
    planner.on_page(FetchPage(500, "processing"), ShownPage(["a", "b", "c"], None), 220.1)
    planner.on_terminal(snapshot("d", "completed", updated=219.0), 220.2)

    assert [True, True] == [suspect_and_find(planner, now) for now in (300.0, 400.0)]
    assert planner._states_enabled


def test_a_page_may_show_what_is_not_watched_any_more() -> None:
    """A row of an id that was forgotten while the page was on its way, running or ended, changes nothing."""
    planner = planner_of("a", "b", "c")
    planner.started(FetchPage(500), 0.0)
    planner.forget("a")
    planner.forget("b")
    planner.on_activity(snapshot("a"), 0.3, NOON, listed=True)
    planner.on_terminal(snapshot("b", "completed"), 0.3)
    planner.on_page(FetchPage(500), ShownPage(["a", "b"], None), 0.3)

    assert {"c"} == set(placement_of(planner).ids)


def test_the_last_id_of_a_page_on_its_way_is_not_asked_for_twice() -> None:
    """A lone id that nobody has looked at waits for the page that may show it, but not for one that was abandoned."""
    planner = planner_of("a", "b")
    planner.started(FetchPage(500), 0.0)
    planner.forget("b")
    meanwhile = planner.next(0.1, FULL)
    planner.abandoned(FetchPage(500))

    assert isinstance(meanwhile, SleepUntil)
    assert FetchOne("a") == planner.next(0.1, FULL)


def test_a_refused_state_is_fetched_no_more() -> None:
    """A vendor who refuses the list of those at work is not asked for it again; the whole list is fetched on."""
    world = World([f"{page}{i}" for page in "abcdefgh" for i in range(3)] + ["x"], per=3)
    world.watch(*world.listed)
    refused = World(world.listed, per=3)
    refused.watch(*world.listed)
    refused.planner.disable_lists(FetchPage(500, "processing"))
    for each in (world, refused):
        each.run(0.0, 300.0)
    pages = [{action.state for action in each.actions if isinstance(action, FetchPage)} for each in (world, refused)]

    assert [{None, "processing"}, {None}] == pages


def test_a_refused_link_is_walked_to_again() -> None:
    """A remembered link that the vendor refuses is dropped: the list is walked from its first page again."""
    world = World([f"a{i}" for i in range(20)], per=10)
    world.watch(*world.listed)
    world.run(0.0, 5.0)
    link = placement_of(world.planner).pages[1].href
    world.planner.disable_lists(FetchPage(500, start=link))
    on_pages = [(page.href, page.count) for page in placement_of(world.planner).pages]
    world.run(5.0, 200.0)

    assert "/v3/activities?None&at=10" == link
    assert [(None, 20)] == on_pages
    assert [(None, 10), (link, 10)] == [(page.href, page.count) for page in placement_of(world.planner).pages]


def test_a_due_time_is_found_from_however_far_off() -> None:
    """A page that was worth a fetch once in minutes, and is now in seconds, is fetched in seconds: the search for its
    due time ends after a few steps, near enough.
    """
    planner = Planner(Pacing(price=0.001, floor=0.1))
    keys = [f"a{i}" for i in range(400)]
    for key in keys:
        planner.watch(key, 0.0)
    for now, percent, began in ((0.0, 1, -800_000.0), (60.0, 98, -10_000.0)):
        planner.started(FetchPage(500), now)
        for key in keys:
            planner.on_activity(snapshot(key, percent=percent, began=began, updated=now), now, at(now), listed=True)
        planner.on_page(FetchPage(500), ShownPage(keys, None, 400), now)
        as_sleep(planner.next(now + 0.2, FULL))

    assert 60.7 <= next_request_at(planner, 60.2) <= 61.5


# --- in flight, failed, abandoned ----------------------------------------------------------------------------------


def test_an_id_which_is_on_its_way_is_not_offered() -> None:
    """Neither a GET nor a sweep in flight is offered again."""
    planner = planner_of("a")
    planner.started(FetchOne("a"), 0.0)
    alone = planner.next(100.0, FULL)
    planner.watch("b", 100.0)
    planner.watch("c", 100.0)
    planner.started(FetchPage(500), 100.0)

    assert SleepUntil(math.inf) == alone
    assert not isinstance(planner.next(101.0, FULL), FetchPage)


ONE_AND_MANY = pytest.mark.parametrize(("keys", "kind"), [("a", FetchOne), ("abcdefgh", FetchPage)])


@ONE_AND_MANY
def test_what_was_abandoned_is_offered_again(keys: str, kind: type[FetchOne | FetchPage]) -> None:
    """A request which came to nothing without the vendor's fault is not held against anybody: it is offered again."""
    planner = planner_of(*keys)
    action = as_request(planner.next(0.0, FULL))
    planner.started(action, 0.0)
    meanwhile = planner.next(0.0, FULL)
    planner.abandoned(action)

    assert isinstance(action, kind)
    assert action != meanwhile
    assert action == planner.next(0.0, FULL)


@ONE_AND_MANY
def test_an_abandoned_probe_does_not_end_the_probing(keys: str, kind: type[FetchOne | FetchPage]) -> None:
    """In an outage all wait for the one probe, however long, but not for one which was abandoned."""
    planner = planner_of(*keys)
    first = as_request(planner.next(0.0, FULL))
    planner.started(first, 0.0)
    fail(planner, first, 0.1)
    now = next_request_at(planner, 0.1)
    probe = as_request(planner.next(now, FULL))
    planner.started(probe, now)
    meanwhile = planner.next(now + 3600.0, FULL)
    planner.abandoned(probe)

    assert isinstance(probe, kind)
    assert SleepUntil(math.inf) == meanwhile
    assert probe == planner.next(now, FULL)


def test_what_was_abandoned_is_not_an_answer() -> None:
    """An abandoned probe says nothing about the vendor: the next wait is as long as if it had not been asked."""
    planner = planner_of("a")
    for now in (0.0, 10.0, 30.0):
        planner.started(FetchOne("a"), now)
        planner.on_failure(FetchOne("a"), now)
    before = as_sleep(planner.next(30.0, FULL))
    planner.started(FetchOne("a"), 30.0)
    planner.abandoned(FetchOne("a"))

    assert before == planner.next(30.0, FULL)


def test_what_is_not_watched_changes_nothing() -> None:
    """An id that nobody watches, or a page that is not remembered, is not taken in by whatever is said of it."""
    planner = planner_of("a")
    planner.started(FetchOne("x"), 0.0)
    planner.abandoned(FetchOne("x"))
    planner.started(FetchPage(500, start="/v3/unknown"), 0.0)
    planner.on_page(FetchPage(500, start="/v3/unknown"), ShownPage(["a"], None), 0.3)
    planner.disable_lists(FetchPage(500, start="/v3/unknown"))
    first = planner.next(0.3, FULL)
    planner.on_failure(FetchOne("x"), 0.3)

    assert FetchOne("a") == first == planner.next(0.3, FULL)
    assert (0, -math.inf) == planner.failures_of("x")


def test_what_is_not_watched_may_be_abandoned() -> None:
    """Abandoning a GET for an id which was forgotten meanwhile changes nothing: another one is looked at at once."""
    planner = planner_of("a")
    planner.started(FetchOne("a"), 0.0)
    planner.forget("a")
    planner.abandoned(FetchOne("a"))
    forgotten = planner.next(0.0, FULL)
    planner.watch("b", 0.0)

    assert SleepUntil(math.inf) == forgotten
    assert FetchOne("b") == planner.next(0.0, FULL)


def test_an_hour_of_outage_costs_less_than_a_hundred_looks() -> None:
    """A thousand watches and an hour without an answer: fewer than 100 requests, and a success resets the waits."""
    planner = planner_of(*(f"a{i}" for i in range(1000)))
    now, asked = 0.0, 0
    for now, action in requests_of(planner, 3600.0, took=0.1):
        asked += 1
        fail(planner, action, now)
    waited = as_sleep(planner.next(now + 3.0, FULL))
    planner.on_activity(snapshot("a0", updated=now), now, at(now))

    assert asked < 100
    assert now + 60.0 == waited.when
    assert next_request_at(planner, now + 3.0) < now + 60.0


def test_one_id_that_always_fails_does_not_stop_the_others() -> None:
    """An id whose GET always fails waits alone, ever longer; the others are looked at."""
    planner = Planner(Pacing())
    planner.disable_lists()
    counts = {"bad": 0, "a": 0, "b": 0}
    for key in counts:
        planner.watch(key, 0.0)
    for now, action in requests_of(planner, 600.0, took=0.0):
        assert isinstance(action, FetchOne)
        key = action.activity_id
        counts[key] += 1
        if key == "bad":
            planner.on_failure(FetchOne(key), now)
        else:
            planner.on_activity(snapshot(key, percent=95, began=-600, updated=now), now, at(now))

    assert counts["bad"] < 20
    assert counts["a"] > 10 and counts["b"] > 10


def test_an_outage_is_probed_where_it_failed_least() -> None:
    """When all fails, the list is probed as well as the ids, in turn; one answer, and each may be asked at once."""
    planner = planner_of(*(f"a{i}" for i in range(5)))
    probes: list[FetchOne | FetchPage] = []
    for now, action in requests_of(planner, 60.0, took=0.1):
        probes.append(action)
        fail(planner, action, now)
    pages = [action for action in probes if isinstance(action, FetchPage)]
    planner.on_activity(snapshot("a0", updated=60.0), 60.0, at(60.0))

    assert {FetchOne(f"a{i}") for i in range(5)} <= set(probes)
    assert 2 <= len(pages) <= len(probes) / 3
    assert as_request(planner.next(60.1, FULL)) in (FetchPage(500), *(FetchOne(f"a{i}") for i in range(1, 5)))


def test_few_of_those_that_fail_are_asked_at_once() -> None:
    """Ids whose GET failed may hang: two are on their way at most, and the others wait for them."""
    planner, asked = planner_of(*"abcdefg"), []
    planner.disable_lists()
    for key in "abcdef":
        planner.started(FetchOne(key), 0.0)
        planner.on_failure(FetchOne(key), 0.1)
    planner.on_activity(snapshot("g", percent=1, began=-600.0), 0.2, NOON)
    while isinstance(action := planner.next(10.0, FULL), FetchOne):
        planner.started(action, 10.0)
        asked.append(action.activity_id)
    planner.on_failure(FetchOne(asked[0]), 40.0)
    freed = as_request(planner.next(40.0, FULL))

    assert len(set(asked) & set("abcdef")) == len(asked) == 2
    assert isinstance(freed, FetchOne)
    assert freed.activity_id not in asked


def test_a_look_that_was_overtaken_may_be_older() -> None:
    """A GET that was on its way when a page showed the id later is compared with it: it may be from before."""
    planner = planner_of("a", "b")
    planner.started(FetchOne("a"), 0.0)
    fresh = planner.on_activity(snapshot("a", percent=50, updated=5.0), 5.0, at(5.0), listed=True)
    overtaken = planner.on_activity(snapshot("a", percent=40, updated=0.0), 6.0, at(6.0))

    assert (True, False) == (fresh, overtaken)
    assert 50 == placement_of(planner).ids["a"].percent


# --- words for a log ------------------------------------------------------------------------------------------------


def test_an_action_is_described() -> None:
    """Each offer says in words what it is about, where that stands, when it was looked at, and what lag is expected.

    What is not known any more says so.
    """
    planner = planner_of("a", "b")
    planner.on_activity(snapshot("a", percent=50), 0.0, NOON)
    looks: list[FetchOne | FetchPage] = [FetchOne("a"), FetchOne("b"), FetchOne("x")]
    actions = [*looks, FetchPage(500), FetchPage(500, start="/x")]

    assert [
        "working, not seen for 2.0 s, expected lag 0.00 s",
        "unseen, not seen for 2.0 s, expected lag 0.25 s",
        "unknown",
        "page with 2 watched (0 queued), expected lag 0.25 s",
        "unknown",
    ] == [planner.describe(action, 2.0) for action in actions]


# --- going on elsewhere ---------------------------------------------------------------------------------------------


def test_a_memo_spares_the_next_planner_what_this_one_has_found_out() -> None:
    """Lists that cannot be used are not tried again, and durations are known; in less than 4 KB of JSON."""
    world = World(f"a{i}" for i in range(50))
    world.watch(*world.listed)
    world.run(0.0, 600.0)
    world.planner.disable_lists()
    memo = json.dumps(world.planner.to_memo(600.0))
    other = Planner(Pacing())
    other.resume(json.loads(memo), 10_000.0)
    for each in world.listed:
        other.watch(each, 10_000.0)

    assert isinstance(other.next(10_060.0, FULL), FetchOne)
    assert json.loads(memo) == other.to_memo(10_000.0) | {"statistics": json.loads(memo)["statistics"]}
    assert len(memo) < 4_096


def test_a_memo_of_lists_that_work_leaves_them_in_use() -> None:
    planner, other = Planner(Pacing()), Planner(Pacing())
    other.resume(planner.to_memo(0.0), 0.0)
    for each in ("a", "b", "c"):
        other.watch(each, 0.0)

    assert isinstance(other.next(0.0, FULL), FetchPage)
