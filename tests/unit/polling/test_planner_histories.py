"""What the planner promises whatever happens, and what a decision costs."""

from __future__ import annotations

import math
import random
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.planner_world import FULL, NOON, World, at, next_request_at, placement_of, planner_of, snapshot

from ccactivity.models import Activity
from ccactivity.polling.forecast import QUEUED, UNKNOWN, UNSEEN, WORKING
from ccactivity.polling.pacing import Pacing
from ccactivity.polling.planner import FetchOne, FetchPage, Planner, SleepUntil
from ccactivity.ratelimit.quota import Budget

KEYS = [f"k{i}" for i in range(8)]

# --- any snapshot ---------------------------------------------------------------------------------------------------

STAMPS = st.none() | st.datetimes(timezones=st.just(NOON.tzinfo))
ROWS = st.builds(
    Activity,
    activity_id=st.just("a"),
    state=st.none() | st.sampled_from(["initialized", "processing"]) | st.text(max_size=5),
    percent_done=st.none() | st.integers(-10, 110) | st.integers(),
    created_at=STAMPS,
    started_at=STAMPS,
    updated_at=STAMPS,
)


@given(st.lists(st.tuples(ROWS, st.booleans()), max_size=12))
def test_no_snapshot_raises_or_silences(rows: list[tuple[Activity, bool]]) -> None:
    """Whatever a snapshot holds, each forecast is finite, and the planner asks for the id again."""
    planner = planner_of("a")
    now = 0.0
    forecasts = []
    for row, dated in rows:
        planner.started(FetchOne("a"), now)
        planner.on_activity(row, now, at(now) if dated else None)
        forecasts.append(placement_of(planner).ids["a"].median_remaining)
        now += 7.0
    asked = planner.next(next_request_at(planner, now), FULL)

    assert all(0.0 < remaining < math.inf for remaining in forecasts)
    assert FetchOne("a") == asked


# --- any history ----------------------------------------------------------------------------------------------------


class History:
    """Lets things happen while answers are on their way, and checks whatever the planner offers."""

    def __init__(self, per: int, rng: random.Random) -> None:
        self.world = World(KEYS, per=per)
        self.planner = self.world.planner
        self.rng = rng
        self.now = 0.0
        self.budget = FULL
        self.getting: list[str] = []
        self.fetching: FetchPage | None = None

    def step(self, verb: str, key: str) -> None:
        self._happen(verb, key)
        self._act()
        self.now += self.rng.random()
        self._go_wrong(verb)
        self.answer(0.7)
        check_sums(self.planner)

    def _happen(self, verb: str, key: str) -> None:
        match verb:
            case "watch":
                self.world.watch(key, now=self.now)
                self.world.states.setdefault(key, "initialized")
            case "watch closely":
                self.world.watch(key, now=self.now, max_staleness=5.0)
            case "forget":
                self.world.forget(key)
                self._drop_unwatched()
            case "begin":
                self.world.states[key] = "processing"
            case "end":
                self.world.states[key] = "completed"
            case "hide" if key in self.world.listed:
                self.world.listed.remove(key)
            case "disable lists" if key == KEYS[0]:
                self.planner.disable_lists()
                self.fetching = None
            case "drain":
                self.budget = Budget(20.0, 0.01)

    def _act(self) -> None:
        for _ in range(4):
            action = self.planner.next(self.now, self.budget)
            if isinstance(action, SleepUntil):
                assert action.when > self.now
                return
            if isinstance(action, FetchOne):
                assert action.activity_id in self.world.watched
                assert action.activity_id not in self.getting
                self.getting.append(action.activity_id)
            else:
                assert self.fetching is None
                self.fetching = action
            self.planner.started(action, self.now)

    def _go_wrong(self, verb: str) -> None:
        if verb == "fail a get" and self.getting:
            self.planner.on_failure(FetchOne(self.getting.pop(0)), self.now)
        elif verb == "fail a page" and self.fetching:
            self.planner.on_page(self.fetching, None, self.now, failed=True)
            self.fetching = None
        elif verb == "abandon" and self.getting:
            self.planner.abandoned(FetchOne(self.getting.pop(0)))
        elif verb == "abandon" and self.fetching:
            self.planner.abandoned(self.fetching)
            self.fetching = None

    def answer(self, chance: float) -> None:
        """Each request which is on its way is answered with this chance."""
        for key in tuple(self.getting):
            if self.rng.random() < chance:
                self.getting.remove(key)
                self.world.see(key, self.now, listed=False)
        if self.fetching and self.rng.random() < chance:
            self.world.answer(self.fetching, self.now)
            self.fetching = None
        self._drop_unwatched()

    def _drop_unwatched(self) -> None:
        """Nobody waits for these answers any more."""
        self.getting = [key for key in self.getting if key in self.world.watched]

    def end(self) -> None:
        """All that was asked is answered, all that is watched ends, and an hour passes."""
        self.answer(1.1)
        check_sums(self.planner)
        for key in self.world.watched:
            self.world.states[key] = "completed"
        self.world.run(self.now, self.now + 4000.0)


def check_sums(planner: Planner) -> None:
    """The sums and memberships that are kept agree with the entries."""
    placement = placement_of(planner)
    for cohort in [cohort for page in placement.pages for cohort in page.cohorts]:
        entries = list(cohort.ids.values())
        assert all(entry.cohort is cohort for entry in entries)
        assert cohort.queued == sum(entry.phase == QUEUED for entry in entries)
        unseen = [entry.watched_since for entry in entries if entry.phase == UNSEEN]
        assert cohort.unseen == len(unseen)
        assert math.isclose(cohort.unseen_since, sum(unseen), abs_tol=1e-6)
        assert {entry.activity_id for entry in entries if entry.phase in (WORKING, UNKNOWN)} == set(cohort.working)
    assert all(page.count == len(page.entries) for page in placement.pages)
    expected = [entry for page in placement.pages for entry in page.entries]
    assert {id(entry) for entry in expected} == {id(entry) for entry in placement.ids.values() if entry.cohort}
    working = {key for key, entry in placement.ids.items() if entry.phase == WORKING and not entry.suspect_ended}
    assert working == set(placement.working.ids)
    assert planner._failing_in_flight <= {key for key, entry in placement.ids.items() if entry.asked_at is not None}


VERBS = ["watch", "watch closely", "forget", "end", "begin", "hide", "run", "disable lists", "drain"]
VERBS += ["fail a get", "fail a page", "abandon"]
STEPS = st.lists(st.tuples(st.sampled_from(VERBS), st.sampled_from(KEYS)), max_size=60)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_in_any_history_the_promises_hold(steps: list[tuple[str, str]], per: int, rng: random.Random) -> None:
    """Never an id that is forgotten or in flight, one sweep at a time, no sleep without time passing; in the end the
    end of each is known.
    """
    history = History(per, rng)
    for verb, key in steps:
        history.step(verb, key)
    history.end()

    assert set() == history.world.watched


class IntervalWorld(World):
    """Everyone stays at this percentage, and the time between two looks at one id is taken."""

    def __init__(self, ids: list[str], *, per: int, percent: int) -> None:
        super().__init__(ids, per=per)
        self.percent = percent
        self.seen: dict[str, float] = {}
        self.intervals: list[float] = []

    def see(self, key: str, now: float, *, listed: bool) -> None:
        self.intervals.append(now - self.seen.get(key, 0.0))
        self.seen[key] = now
        self.planner.on_activity(
            snapshot(key, percent=self.percent, began=-100.0, updated=now), now, at(now), listed=listed
        )


@settings(max_examples=40)
@given(st.integers(1, 12), st.sampled_from([None, 3.0, 10.0]), st.integers(1, 99), st.sampled_from([4, 500]))
def test_no_one_goes_unseen_beyond_the_limit(n: int, max_staleness: float | None, percent: int, per: int) -> None:
    """While the budget lasts, nobody goes unseen longer than max_staleness or the ceiling, and a wait for permits."""
    world = IntervalWorld([f"a{i}" for i in range(n)], per=per, percent=percent)
    world.watch(*world.listed, max_staleness=max_staleness)
    world.run(0.0, 260.0)  # six minutes of work, after which the ceiling begins to rise with the age

    assert set(world.listed) == set(world.seen)
    assert max(world.intervals) <= (max_staleness or 60.0) + 0.31 * (n + 2)


# --- costs ----------------------------------------------------------------------------------------------------------


def count_lines(call: Callable[[], object]) -> int:
    """How many lines of Python a call executes: time without noise."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(old)
    return lines


def costs_among(n: int) -> list[int]:
    """Lines executed for twenty decisions, watches and forgets among so many ids, all but 40 of them queued."""
    world = World(f"a{i}" for i in range(n))
    world.states = {f"a{i}": "initialized" for i in range(40, n)}
    world.watch(*world.listed)
    now = world.run(0.0, 60.0)

    def decide() -> None:
        for i in range(20):
            world.planner.next(now + 0.1 * i, FULL)

    def watch() -> None:
        for i in range(20):
            world.planner.watch(f"new{i}", now)

    def forget() -> None:
        for i in range(500, 520):
            world.planner.forget(f"a{i}")

    return [count_lines(decide), count_lines(watch), count_lines(forget)]


def test_a_decision_does_not_rescan_the_queue() -> None:
    """With 10,000 ids, nearly all queued, a decision, a watch and a forget take no more steps than with 1,000."""
    few, many = costs_among(1_000), costs_among(10_000)

    assert all(large < 4 * small + 500 for small, large in zip(few, many, strict=True)), (few, many)


def test_memory_is_small() -> None:
    """A watched id costs no more than a few hundred bytes."""
    ids = [f"{random.Random(i).getrandbits(128):032x}" for i in range(10_000)]
    planner = Planner(Pacing())
    tracemalloc.start()
    for key in ids:
        planner.watch(key, 0.0)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert size / 10_000 < 600
