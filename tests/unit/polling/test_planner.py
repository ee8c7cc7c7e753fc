"""What the planner decides, case by case. What holds in any history is in test_planner_histories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ccactivity.models import Activity
from ccactivity.polling.pacing import Pacing
from ccactivity.polling.placement import ShownPage
from ccactivity.polling.planner import FetchOne, FetchPage, Planner, SleepUntil
from ccactivity.polling.tuning import Tuning
from ccactivity.ratelimit.quota import Budget

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
FULL = Budget(500.0, 0.2)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def look(
    key: str,
    state: str = "processing",
    percent: int | None = 10,
    began: float = -60.0,
    updated: float = 0.0,
) -> Activity:
    return Activity(
        activity_id=key,
        state=state,
        percent_done=percent,
        created_at=at(began - 10),
        started_at=at(began),
        updated_at=at(updated),
    )


def queued(key: str) -> Activity:
    return Activity(activity_id=key, state="initialized", percent_done=0, created_at=NOON, updated_at=NOON)


class World:
    """Answers each action at once: the ids it lists (in pages of `per`), all of them at work, until told otherwise."""

    def __init__(self, ids: Iterable[str], *, per: int = 500, pacing: Pacing | None = None) -> None:
        self.planner = Planner(pacing or Pacing())
        self.listed = list(ids)
        self.per = per
        self.states: dict[str, str] = {}
        self.asked: list[tuple[float, FetchOne | FetchPage]] = []

    @property
    def actions(self) -> list[FetchOne | FetchPage]:
        return [action for _, action in self.asked]

    def watch_listed(self, *, max_staleness: float | None = None) -> None:
        for key in self.listed:
            self.planner.watch(key, 0.0, max_staleness=max_staleness)

    def snapshot(self, key: str, now: float) -> Activity:
        state = self.states.get(key, "processing")
        return queued(key) if state == "initialized" else look(key, state, 10, -60.0, now)

    def see(self, key: str, now: float, *, listed: bool) -> None:
        if self.states.get(key) == "completed":
            self.planner.on_terminal(self.snapshot(key, now), now)
        else:
            self.planner.on_activity(self.snapshot(key, now), now, at(now), listed=listed)

    def answer(self, action: FetchOne | FetchPage, now: float) -> None:
        if isinstance(action, FetchOne):
            self.see(action.activity_id, now, listed=False)
            return
        rows = [key for key in self.listed if action.state in (None, self.states.get(key, "processing"))]
        start = int(action.start.rsplit("=", 1)[1]) if action.start else 0
        size = min(self.per, action.limit)
        part = rows[start : start + size]
        watched = [key for key in part if key in self.planner._placement.ids]
        for key in watched:
            self.see(key, now, listed=True)
        href = f"/v3/activities?{action.state}&at={start + size}" if start + size < len(rows) else None
        self.planner.on_page(action, ShownPage(watched, href, len(part)), now)

    def run(self, now: float, until: float, credit: Budget = FULL) -> float:
        for _ in range(100_000):
            action = self.planner.next(now, credit)
            if isinstance(action, SleepUntil):
                assert action.when > now
                now = action.when
            else:
                self.planner.started(action, now)
                self.asked.append((now, action))
                self.answer(action, now)
                now += 0.3
            if now > until:
                return now
        raise AssertionError("busy loop")


def watching(*keys: str) -> Planner:
    planner = Planner(Pacing())
    for key in keys:
        planner.watch(key, 0.0)
    return planner


def asleep(action: FetchOne | FetchPage | SleepUntil) -> SleepUntil:
    assert isinstance(action, SleepUntil)
    return action


def awake(action: FetchOne | FetchPage | SleepUntil) -> FetchOne | FetchPage:
    assert not isinstance(action, SleepUntil)
    return action


def getting(action: FetchOne | FetchPage) -> str:
    assert isinstance(action, FetchOne)
    return action.activity_id


def acts_at(planner: Planner, now: float) -> float:
    """When something is asked next if nothing is heard, however often the planner wakes up before."""
    for _ in range(500):
        action = planner.next(now, FULL)
        if not isinstance(action, SleepUntil):
            return now
        assert now < action.when < math.inf
        now = action.when
    raise AssertionError("never asks again")


def ask(planner: Planner, until: float, *, took: float) -> Iterator[tuple[float, FetchOne | FetchPage]]:
    """What the planner asks, each with the time at which it is to be answered."""
    now = 0.0
    while now < until:
        action = planner.next(now, FULL)
        if isinstance(action, SleepUntil):
            now = action.when
        else:
            planner.started(action, now)
            now += took
            yield now, action


def fail(planner: Planner, action: FetchOne | FetchPage, now: float) -> None:
    if isinstance(action, FetchOne):
        planner.on_failure(action, now)
    else:
        planner.on_page(action, None, now, failed=True)


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
    world.watch_listed()
    first = world.planner.next(0.0, FULL)
    world.run(0.0, 2.0)

    assert isinstance(first, FetchPage)
    assert isinstance(world.actions[0], FetchPage)
    assert not any(isinstance(action, FetchOne) for action in world.actions)


def test_the_first_look_waits_no_longer_than_its_law() -> None:
    """Several new ids whom no list shows are asked for by GET within seconds."""
    planner = Planner(Pacing())
    planner.disable_lists()
    planner.watch("a", 0.0)
    planner.watch("b", 0.0)

    assert asleep(planner.next(0.0, FULL)).when <= Tuning().unseen_median_s + 1.0


def test_next_is_a_peek() -> None:
    """Asking twice gives the same answer."""
    planner = watching("a", "b")

    assert planner.next(1.0, FULL) == planner.next(1.0, FULL)


# --- the pace -------------------------------------------------------------------------------------------------------


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
def test_progress_paces_the_next_look(percent: int | None, began: float, low: float, high: float) -> None:
    """The further along, the sooner the next look; without progress, about as long again as it has run."""
    planner = watching("a")
    planner.started(FetchOne("a"), 0.0)
    planner.on_activity(look("a", "processing", percent, began), 0.0, NOON)

    assert low <= acts_at(planner, 0.01) <= high


def after_standing(still: float, ends: list[float]) -> float:
    """How long one waits for its next look that has stood still at 95 % for so long, where others ended like this."""
    planner, now = Planner(Pacing()), 0.0
    for number, end in enumerate([*ends, still]):
        key, began = f"a{number}", now
        planner.watch(key, began)
        for moment in (began, began + 60.0, began + 60.0 + end):
            percent, now = 5 if moment == began else 95, moment
            planner.started(FetchOne(key), now)
            if moment > began + 60.0 and number < len(ends):
                planner.on_terminal(look(key, "completed", 100, began, now), now)
            else:
                planner.on_activity(look(key, "processing", percent, began, now), now, at(now))
    return acts_at(planner, now + 0.01) - now


def test_what_stands_still_is_expected_to_end_as_others_did() -> None:
    """Where all stood still for ten minutes before they ended, looks are rare before and frequent about then."""
    alike, mixed = [600.0, 590.0, 605.0, 610.0, 595.0, 600.0], [600.0, 2.0, 90.0, 1200.0, 30.0, 10.0]

    assert after_standing(300.0, alike) > 1.5 * after_standing(300.0, mixed)
    assert after_standing(595.0, alike) < 0.5 * after_standing(595.0, mixed)
    assert after_standing(900.0, alike) == pytest.approx(after_standing(900.0, mixed), rel=0.1)
    assert after_standing(300.0, alike[:4]) == pytest.approx(after_standing(300.0, mixed), rel=0.1)


def test_a_higher_price_means_fewer_looks() -> None:
    """Each doubling of the price makes fewer requests for the same activities."""
    spent = []
    for price in (0.5, 1.0, 2.0, 4.0, 8.0):
        world = World((f"a{i}" for i in range(30)), pacing=Pacing(price=price))
        world.watch_listed()
        world.run(0.0, 600.0)
        spent.append(len(world.asked))

    assert sorted(spent, reverse=True) == spent
    assert spent[-1] < spent[0] / 2


def test_drained_credit_slows_everything_and_none_stops_it() -> None:
    """With a tenth of the credit the looks become rare; below one request there are none."""
    counts = []
    for credit in (FULL, Budget(50.0, 0.0), Budget(0.5, 0.0)):
        world = World(f"a{i}" for i in range(30))
        world.watch_listed()
        world.run(0.0, 600.0, credit)
        counts.append(len(world.asked))

    assert counts[0] > 2 * counts[1] > 0 == counts[2]


def test_new_credit_wakes_what_waited_for_it() -> None:
    """After midnight a planner that had worked out late times offers a look again."""
    world = World(f"a{i}" for i in range(30))
    world.watch_listed()
    now = world.run(0.0, 600.0, Budget(5.0, 0.0))
    slept = asleep(world.planner.next(now, Budget(5.0, 0.0)))
    woken = world.planner.next(now + 30.0, FULL)

    assert slept.when > now + 30.0
    assert isinstance(woken, FetchPage)


def test_of_two_staleness_limits_the_stricter_holds() -> None:
    """Watching again with a stricter limit tightens it; a looser one changes nothing."""
    planner = Planner(Pacing())
    for limit in (30.0, 5.0, 50.0):
        planner.watch("a", 0.0, max_staleness=limit)
    planner.on_activity(look("a", percent=1, began=-600.0), 0.0, NOON)

    assert asleep(planner.next(0.0, FULL)).when <= 5.0
    assert FetchOne("a") == planner.next(5.0, FULL)


# --- lists ----------------------------------------------------------------------------------------------------------


def test_absence_ends_nothing_and_is_asked_for() -> None:
    """An id which the list does not show is asked for by GET."""
    world = World(["b", "c"])
    for key in ("a", "b", "c"):
        world.planner.watch(key, 0.0)
    world.run(0.0, 30.0)

    assert FetchOne("a") in world.actions
    assert "a" in world.planner._placement.ids


def test_a_deep_list_is_walked_once() -> None:
    """Ids behind forty pages of history are found by one walk, then by their page's own link."""
    world = World([f"h{i}" for i in range(20_000)] + [f"a{i}" for i in range(100)])
    for i in range(100):
        world.planner.watch(f"a{i}", 0.0)
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
    for key in ("a", "b", "c"):
        world.planner.watch(key, 0.0)
    world.run(0.0, 60.0)

    assert {FetchOne("a"), FetchOne("b"), FetchOne("c")} <= set(world.actions)
    assert sum(isinstance(action, FetchPage) for action in world.actions) < 15


def test_a_loop_of_links_ends() -> None:
    """A list whose next link leads back is not walked for ever."""
    planner = watching("a", "b", "c")
    sweeps = 0
    for now, action in ask(planner, 900.0, took=0.3):
        if isinstance(action, FetchPage):
            sweeps += 1
            planner.on_page(action, ShownPage([], "/v3/loop"), now)
        else:
            planner.on_activity(look(action.activity_id, updated=now), now, at(now))

    assert len(planner._placement.pages) <= 3
    assert sweeps < 60


def test_refused_lists_leave_gets() -> None:
    """Once lists are off, only GETs are offered, and each id is asked for."""
    world = World(f"a{i}" for i in range(50))
    world.planner.disable_lists()
    world.watch_listed()
    world.run(0.0, 120.0)

    assert {FetchOne(key) for key in world.listed} == set(world.actions)


def test_an_older_row_moves_nothing_backward() -> None:
    """A list row older than the last GET is no look: the id is asked for, and its forecast stays."""
    planner = watching("a", "b")
    planner.on_activity(look("a", percent=90, updated=10.0), 10.0, at(10.0))
    entry = planner._placement.ids["a"]
    before = entry.median_remaining, entry.looked_at, entry.percent
    planner.on_activity(look("a", percent=20, updated=-20.0), 12.0, at(12.0), listed=True)
    planner.on_page(FetchPage(500), ShownPage(["a", "b"], None), 12.0)

    assert before == (entry.median_remaining, entry.looked_at, entry.percent)
    assert not entry.located


def suspect_and_find(planner: Planner, now: float) -> bool:
    """A sweep of those in work misses "a", and a GET shows it still there: whether it was suspected meanwhile."""
    for key in ("a", "b", "c"):
        planner.on_activity(look(key, percent=5, began=-600.0, updated=now), now, at(now))
    sweep = FetchPage(500, "processing")
    planner.started(sweep, now + 20.0)
    planner.on_page(sweep, ShownPage(["b", "c"], None), now + 20.1)
    suspect = planner._placement.ids["a"].suspect_ended
    awake(planner.next(now + 20.1, FULL))
    planner.started(FetchOne("a"), now + 20.1)
    planner.on_activity(look("a", percent=6, began=-600.0, updated=now + 20.0), now + 20.2, at(now + 20.2))
    return suspect


def test_a_missing_worker_is_suspected_and_a_lying_list_is_dropped() -> None:
    """Who is missing among those in work is looked for at once; three false alarms in succession end such sweeps."""
    planner = watching("a", "b", "c")
    planner.on_page(FetchPage(500), ShownPage(["a", "b", "c"], None), 0.0)
    suspected = []
    for now in (0.0, 100.0, 200.0):
        suspected.append((suspect_and_find(planner, now), planner._states_enabled))

    assert [(True, True), (True, True), (True, False)] == suspected


# --- in flight, failed, abandoned ----------------------------------------------------------------------------------


def test_an_id_which_is_on_its_way_is_not_offered() -> None:
    """Neither a GET nor a sweep in flight is offered again."""
    planner = watching("a")
    planner.started(FetchOne("a"), 0.0)
    alone = planner.next(100.0, FULL)
    planner.watch("b", 100.0)
    planner.watch("c", 100.0)
    planner.started(FetchPage(500), 100.0)

    assert SleepUntil(math.inf) == alone
    assert not isinstance(planner.next(101.0, FULL), FetchPage)


ONE_AND_MANY = pytest.mark.parametrize(("keys", "kind"), [("a", FetchOne), ("abcdefgh", FetchPage)])


@ONE_AND_MANY
def test_what_was_released_is_offered_again(keys: str, kind: type[FetchOne | FetchPage]) -> None:
    """A request which came to nothing without the vendor's fault is not held against anybody: it is offered again."""
    planner = watching(*keys)
    action = awake(planner.next(0.0, FULL))
    planner.started(action, 0.0)
    meanwhile = planner.next(0.0, FULL)
    planner.abandoned(action)

    assert isinstance(action, kind)
    assert action != meanwhile
    assert action == planner.next(0.0, FULL)


@ONE_AND_MANY
def test_a_released_probe_does_not_end_the_probing_of_an_outage(keys: str, kind: type[FetchOne | FetchPage]) -> None:
    """In an outage all wait for the one probe, however long, but not for one which was released."""
    planner = watching(*keys)
    first = awake(planner.next(0.0, FULL))
    planner.started(first, 0.0)
    fail(planner, first, 0.1)
    now = acts_at(planner, 0.1)
    probe = awake(planner.next(now, FULL))
    planner.started(probe, now)
    meanwhile = planner.next(now + 3600.0, FULL)
    planner.abandoned(probe)

    assert isinstance(probe, kind)
    assert SleepUntil(math.inf) == meanwhile
    assert probe == planner.next(now, FULL)


def test_a_release_is_no_answer() -> None:
    """A released probe says nothing about the vendor: an outage's next wait is as long as if it had not been asked."""
    planner = watching("a")
    for now in (0.0, 10.0, 30.0):
        planner.started(FetchOne("a"), now)
        planner.on_failure(FetchOne("a"), now)
    before = asleep(planner.next(30.0, FULL))
    planner.started(FetchOne("a"), 30.0)
    planner.abandoned(FetchOne("a"))

    assert before == planner.next(30.0, FULL)


def test_what_is_not_watched_may_be_released() -> None:
    """The release of a GET for an id which was forgotten meanwhile changes nothing."""
    planner = watching("a")
    planner.started(FetchOne("a"), 0.0)
    planner.forget("a")
    planner.abandoned(FetchOne("a"))

    assert 0 == planner._in_flight
    assert SleepUntil(math.inf) == planner.next(0.0, FULL)


def test_an_hour_of_outage_costs_less_than_a_hundred_looks() -> None:
    """A thousand watches and an hour without an answer: fewer than 100 requests, and a success resets the waits."""
    planner = watching(*(f"a{i}" for i in range(1000)))
    now, asked = 0.0, 0
    for now, action in ask(planner, 3600.0, took=0.1):
        asked += 1
        fail(planner, action, now)
    waited = asleep(planner.next(now + 3.0, FULL))
    planner.on_activity(look("a0", updated=now), now, at(now))

    assert asked < 100
    assert now + 60.0 == waited.when
    assert acts_at(planner, now + 3.0) < now + 60.0


def test_one_poisoned_id_does_not_stop_the_others() -> None:
    """An id whose GET always fails waits alone, ever longer; the others are looked at."""
    planner = Planner(Pacing())
    planner.disable_lists()
    counts = {"bad": 0, "a": 0, "b": 0}
    for key in counts:
        planner.watch(key, 0.0)
    for now, action in ask(planner, 600.0, took=0.0):
        key = getting(action)
        counts[key] += 1
        if key == "bad":
            planner.on_failure(FetchOne(key), now)
        else:
            planner.on_activity(look(key, percent=95, began=-600, updated=now), now, at(now))

    assert counts["bad"] < 20
    assert counts["a"] > 10 and counts["b"] > 10
