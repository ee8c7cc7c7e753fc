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

from ccactivity.polling import prediction
from ccactivity.polling.planner import Budget, Get, Pacing, Planner, SleepUntil, Sweep
from ccactivity.polling.prediction import Page, Watched

from .test_planner import FULL, NOON, Row, World, acts_at, at, look, watching

KEYS = [f"k{i}" for i in range(8)]

# --- any snapshot ---------------------------------------------------------------------------------------------------

GARBAGE: st.SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.datetimes(),
    st.datetimes(timezones=st.just(NOON.tzinfo)),
    st.just(object()),
)
ROWS = st.builds(Row, st.just("a"), GARBAGE, GARBAGE, GARBAGE, GARBAGE, GARBAGE)


@given(st.lists(st.tuples(ROWS, st.booleans()), max_size=12))
def test_garbage_never_raises_and_never_silences(rows: list[tuple[Row, bool]]) -> None:
    """Whatever a snapshot holds, each forecast is finite, and the planner asks for the id again."""
    planner = watching("a")
    now = 0.0
    forecasts = []
    for row, dated in rows:
        planner.asked(Get("a"), now)
        planner.saw(row, now, at(now) if dated else None)
        forecasts.append(planner._where.ids["a"].remaining)
        now += 7.0
    asked = planner.next(acts_at(planner, now), FULL)

    assert all(0.0 < remaining < math.inf for remaining in forecasts)
    assert Get("a") == asked


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
        self.sweeping: Sweep | None = None

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
                self.planner.sweeps_off()
                self.sweeping = None
            case "poor":
                self.credit = Budget(20.0, 0.01)

    def _act(self) -> None:
        for _ in range(4):
            action = self.planner.next(self.now, self.credit)
            if isinstance(action, SleepUntil):
                assert action.when > self.now
                return
            if isinstance(action, Get):
                assert action.activity_id in self.planner._where.ids
                assert action.activity_id not in self.flying
                self.flying.append(action.activity_id)
            else:
                assert self.sweeping is None
                assert 1 == action.pages
                self.sweeping = action
            self.planner.asked(action, self.now)

    def _go_wrong(self, verb: str) -> None:
        if verb == "fail" and self.flying:
            self.planner.failed(self.flying.pop(0), self.now)
        elif verb == "break" and self.sweeping:
            self.planner.swept(self.sweeping, [], self.now, failed=True)
            self.sweeping = None
        elif verb == "release" and self.flying:
            self.planner.released(Get(self.flying.pop(0)))
        elif verb == "release" and self.sweeping:
            self.planner.released(self.sweeping)
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
        self.flying = [key for key in self.flying if key in self.planner._where.ids]

    def end(self) -> None:
        """All that was asked is answered, all that is watched ends, and an hour passes."""
        self.answer(1.1)
        check_accounts(self.planner)
        for key in self.planner._where.ids:
            self.world.states[key] = "completed"
        self.world.run(self.now, self.now + 4000.0)


def check_accounts(planner: Planner) -> None:
    """The sums and memberships which are kept agree with the records."""
    where = planner._where
    for page in where.pages:
        recs = page.ids.values()
        assert all(rec.page is page for rec in recs)
        assert math.isclose(page.queued, sum(rec.weight for rec in recs if rec.kind == "queued"), abs_tol=1e-6)
        assert math.isclose(page.unseen, sum(rec.weight for rec in recs if rec.kind == "unseen"), abs_tol=1e-6)
        assert {rec.activity_id for rec in recs if rec.kind in ("working", "strange")} == set(page.working)
    assert {key for key, rec in where.ids.items() if rec.kind == "working"} == set(where.busy.working)
    assert sum(rec.flying for rec in where.ids.values()) == planner._flying


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

    assert not history.planner._where.ids


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
        self.planner.saw(look(key, percent=self.percent, began=-100.0, updated=now), now, at(now), listed=listed)


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


@given(st.floats(0.5, 5000.0), st.booleans(), st.floats(0.1, 1000.0))
def test_ripe_inverts_the_pile(remaining: float, square: bool, price: float) -> None:
    """The pile reaches the price exactly when it is said to."""
    rec = Watched("a", 0.0, 100.0, remaining=remaining, square=square)

    assert math.isclose(price, rec.pile(rec.ripe(price)), rel_tol=1e-6)


@given(
    st.lists(st.tuples(st.floats(0.5, 500.0), st.booleans(), st.integers(0, 3)), max_size=20),
    st.floats(0, 300),
)
def test_a_pages_pile_is_the_sum_and_its_slope_the_ends(rows: list[tuple[float, bool, int]], tau: float) -> None:
    """A page harvests what its ids have piled up, each by how sure it is to be shown."""
    page = Page(0, 0.0)
    for i, (remaining, square, misses) in enumerate(rows):
        page.add(Watched(f"a{i}", 0.0, 0.0, kind="working", remaining=remaining, square=square, misses=misses))
    total = sum(rec.weight * rec.pile(tau) for rec in page.ids.values())
    value, ends = page.pile(tau, 0.0)
    after, _ = page.pile(tau + 1e-4, 0.0)

    assert math.isclose(total, value, rel_tol=1e-5, abs_tol=1e-6)
    assert math.isclose((after - value) / 1e-4, ends, rel_tol=0.02, abs_tol=0.05)


@pytest.mark.parametrize("value", [None, True, "75", math.nan, math.inf, -1, 101, {}, [1]])
def test_what_is_no_percentage_is_none(value: object) -> None:
    """Only a number from 0 to 100 is progress."""
    assert prediction.share(value) is None


def test_stamps_need_a_zone() -> None:
    """A naive datetime is no moment."""
    assert prediction.seconds(NOON.replace(tzinfo=None)) is None
    assert prediction.seconds("completed") is None
    assert NOON.timestamp() == prediction.seconds(NOON)


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
