"""What the planner promises whatever happens, the laws of its forecasts, and what a decision costs."""

from __future__ import annotations

import math
import random
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccactivity.models import Activity
from ccactivity.polling.forecast import QUEUED, UNKNOWN, UNSEEN, WORKING, Forecast
from ccactivity.polling.pacing import Pacing
from ccactivity.polling.placement import Entry, KnownPage
from ccactivity.polling.planner import FetchOne, FetchPage, Planner, SleepUntil
from ccactivity.polling.statistics import AccountStatistics
from ccactivity.polling.tuning import Tuning
from ccactivity.ratelimit.quota import Budget

from .test_planner import FULL, NOON, World, acts_at, at, look, watching

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
    planner = watching("a")
    now = 0.0
    forecasts = []
    for row, dated in rows:
        planner.started(FetchOne("a"), now)
        planner.on_activity(row, now, at(now) if dated else None)
        forecasts.append(planner._placement.ids["a"].median_remaining)
        now += 7.0
    asked = planner.next(acts_at(planner, now), FULL)

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
        self.credit = FULL
        self.flying: list[str] = []
        self.sweeping: FetchPage | None = None

    def step(self, verb: str, key: str) -> None:
        self._happen(verb, key)
        self._act()
        self.now += self.rng.random()
        self._go_wrong(verb)
        self.answer(0.7)
        check_accounts(self.planner)

    def _happen(self, verb: str, key: str) -> None:
        match verb:
            case "watch":
                self.planner.watch(key, self.now)
                self.world.states.setdefault(key, "initialized")
            case "strict":
                self.planner.watch(key, self.now, max_staleness=5.0)
            case "forget":
                self.planner.forget(key)
                self._drop_unwatched()
            case "begin":
                self.world.states[key] = "processing"
            case "end":
                self.world.states[key] = "completed"
            case "hide" if key in self.world.listed:
                self.world.listed.remove(key)
            case "off" if key == KEYS[0]:
                self.planner.disable_lists()
                self.sweeping = None
            case "poor":
                self.credit = Budget(20.0, 0.01)

    def _act(self) -> None:
        for _ in range(4):
            action = self.planner.next(self.now, self.credit)
            if isinstance(action, SleepUntil):
                assert action.when > self.now
                return
            if isinstance(action, FetchOne):
                assert action.activity_id in self.planner._placement.ids
                assert action.activity_id not in self.flying
                self.flying.append(action.activity_id)
            else:
                assert self.sweeping is None
                self.sweeping = action
            self.planner.started(action, self.now)

    def _go_wrong(self, verb: str) -> None:
        if verb == "fail" and self.flying:
            self.planner.on_failure(FetchOne(self.flying.pop(0)), self.now)
        elif verb == "break" and self.sweeping:
            self.planner.on_page(self.sweeping, None, self.now, failed=True)
            self.sweeping = None
        elif verb == "release" and self.flying:
            self.planner.abandoned(FetchOne(self.flying.pop(0)))
        elif verb == "release" and self.sweeping:
            self.planner.abandoned(self.sweeping)
            self.sweeping = None

    def answer(self, chance: float) -> None:
        """Each request which is on its way is answered with this chance."""
        for key in tuple(self.flying):
            if self.rng.random() < chance:
                self.flying.remove(key)
                self.world.see(key, self.now, listed=False)
        if self.sweeping and self.rng.random() < chance:
            self.world.answer(self.sweeping, self.now)
            self.sweeping = None
        self._drop_unwatched()

    def _drop_unwatched(self) -> None:
        """Nobody waits for these answers any more."""
        self.flying = [key for key in self.flying if key in self.planner._placement.ids]

    def end(self) -> None:
        """All that was asked is answered, all that is watched ends, and an hour passes."""
        self.answer(1.1)
        check_accounts(self.planner)
        for key in self.planner._placement.ids:
            self.world.states[key] = "completed"
        self.world.run(self.now, self.now + 4000.0)


def check_accounts(planner: Planner) -> None:
    """The sums and memberships that are kept agree with the entries."""
    placement = planner._placement
    for page in placement.pages:
        entries = page.ids.values()
        assert all(entry.page is page for entry in entries)
        assert math.isclose(page.queued, sum(weight(entry) for entry in entries if entry.phase == QUEUED), abs_tol=1e-6)
        assert math.isclose(page.unseen, sum(weight(entry) for entry in entries if entry.phase == UNSEEN), abs_tol=1e-6)
        assert {entry.activity_id for entry in entries if entry.phase in (WORKING, UNKNOWN)} == set(page.working)
    working = {key for key, entry in placement.ids.items() if entry.phase == WORKING}
    assert working == set(placement.processing_page.working)
    assert sum(entry.in_flight for entry in placement.ids.values()) == planner._in_flight


def weight(entry: Entry) -> float:
    """How likely its page is to show it."""
    return 1 / (1 + entry.pages_missed)


VERBS = ["watch", "strict", "forget", "end", "begin", "hide", "fail", "break", "release", "run", "off", "poor"]
STEPS = st.lists(st.tuples(st.sampled_from(VERBS), st.sampled_from(KEYS)), max_size=60)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_in_any_history_the_promises_hold(steps: list[tuple[str, str]], per: int, rng: random.Random) -> None:
    """Never a forgotten or flying id, at most one sweep, no sleep without time passing, all asked for in the end."""
    history = History(per, rng)
    for verb, key in steps:
        history.step(verb, key)
    history.end()

    assert not history.planner._placement.ids


class Stopwatch(World):
    """Everyone stays at this percentage, and the time between two looks at one id is taken."""

    def __init__(self, ids: list[str], *, per: int, percent: int) -> None:
        super().__init__(ids, per=per)
        self.percent = percent
        self.seen: dict[str, float] = {}
        self.gaps: list[float] = []

    def see(self, key: str, now: float, *, listed: bool) -> None:
        self.gaps.append(now - self.seen.get(key, 0.0))
        self.seen[key] = now
        self.planner.on_activity(
            look(key, percent=self.percent, began=-100.0, updated=now), now, at(now), listed=listed
        )


@settings(max_examples=40)
@given(st.integers(1, 12), st.sampled_from([None, 3.0, 10.0]), st.integers(1, 99), st.sampled_from([4, 500]))
def test_no_one_goes_unseen_beyond_the_limit(n: int, strict: float | None, percent: int, per: int) -> None:
    """While credit lasts, nobody goes unseen longer than max_staleness, else the ceiling (and the gate's queue)."""
    world = Stopwatch([f"a{i}" for i in range(n)], per=per, percent=percent)
    world.watch_listed(max_staleness=strict)
    world.run(0.0, 260.0)  # six minutes of work, after which the ceiling begins to rise with the age

    assert set(world.listed) == set(world.seen)
    assert max(world.gaps) <= (strict or 60.0) + 0.31 * (n + 2)


# --- forecasts ------------------------------------------------------------------------------------------------------


def forecast(remaining: float, quadratic: bool, *, looked_at: float = 0.0) -> Forecast:
    return Forecast(looked_at=looked_at, median_remaining=remaining, quadratic=quadratic)


@given(st.floats(0.5, 5000.0), st.booleans(), st.floats(0.1, 1000.0))
def test_lag_reaches_inverts_the_expected_lag(remaining: float, quadratic: bool, price: float) -> None:
    """The expected lag reaches the price exactly when it is said to."""
    known = forecast(remaining, quadratic, looked_at=100.0)

    assert math.isclose(price, known.expected_lag(known.lag_reaches(price)), rel_tol=1e-6)


@given(
    st.lists(st.tuples(st.floats(0.5, 500.0), st.booleans(), st.integers(0, 3)), max_size=20),
    st.floats(0, 300),
)
def test_a_pages_lag_is_the_sum_and_its_slope_the_ends(rows: list[tuple[float, bool, int]], now: float) -> None:
    """A page removes the expected lag of all its ids, each by how certain it is to be shown."""
    page = KnownPage(0, 0.0)
    for i, (remaining, quadratic, misses) in enumerate(rows):
        page.add(
            Entry(
                activity_id=f"a{i}",
                watched_since=0.0,
                sequence=i,
                looked_at=0.0,
                phase=WORKING,
                median_remaining=remaining,
                quadratic=quadratic,
                pages_missed=misses,
            )
        )
    total = sum(weight(entry) * entry.expected_lag(now) for entry in page.ids.values())
    lag, ends = page.expected_lag(now, 0.0, Tuning())
    after, _ = page.expected_lag(now + 1e-4, 0.0, Tuning())

    assert math.isclose(total, lag, rel_tol=1e-5, abs_tol=1e-6)
    assert math.isclose((after - lag) / 1e-4, ends, rel_tol=0.02, abs_tol=0.05)


@pytest.mark.parametrize("percent", [None, -1, 101, 10**30])
def test_what_is_not_a_percentage_is_not_progress(percent: int | None) -> None:
    """Only a number from 0 to 100 is progress."""
    known = forecast(4.0, quadratic=False)
    known.observe(look("a", percent=percent), 0.0, NOON, AccountStatistics(Tuning()), Tuning())

    assert known.percent is None
    assert not known.quadratic


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
    world.watch_listed()
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
