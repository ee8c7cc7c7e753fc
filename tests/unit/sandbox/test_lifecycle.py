"""The lives of simulated jobs, and when they start."""

from __future__ import annotations

import math
from random import Random
from statistics import median
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.sandbox import Life, Workload
from ccactivity.sandbox.lifecycle import ENDINGS, Workers

seeds = st.integers(0, 2**32)


def draw(seed: int, **changes: Any) -> Life:
    """Return one life of the default workload, or of a changed one."""
    return evolve(Workload(), **changes).draw(Random(seed), rows=1000)


@pytest.mark.parametrize(
    ("elapsed", "state", "percent"),
    [
        (-math.inf, "initialized", 0),
        (-0.1, "initialized", 0),
        (0.0, "processing", 0),
        (9.9, "processing", 0),
        (10.0, "processing", 25),
        (25.0, "processing", 50),
        (39.9, "processing", 75),
        (40.0, "completed", 100),
        (1e9, "completed", 100),
    ],
)
def test_a_linear_life_reports_its_progress_at_fixed_intervals(elapsed: float, state: str, percent: int) -> None:
    """Between two reports a job shows the earlier one."""
    seen = Life(duration=40, update_every=10).at(elapsed)

    assert (state, percent) == (seen.state, seen.percent_done)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ("none", [0, 0, 0, 0]),
        ("late_tail", [16, 82, 99, 99]),
        ("stall", [16, 50, 50, 83]),
        (((0.0, 0.9), (0.5, 0.1), (1.0, 1.3)), [74, 10, 34, 106]),
    ],
)
def test_progress_follows_its_curve_wherever_that_goes(progress: object, expected: list[int]) -> None:
    """A curve may stand still, fall, or leave the range of percentages: it is reported as it is."""
    life = Life(duration=100, progress=progress, update_every=0.5)  # type: ignore[arg-type] # any of them

    assert expected == [life.at(elapsed).percent_done for elapsed in (10, 50, 60, 90)]


@pytest.mark.parametrize("end", ["failed", "cancelled", "timed_out"])
def test_a_job_that_does_not_complete_keeps_the_progress_it_had(end: str) -> None:
    """Only `completed` means 100 percent."""
    life = Life(duration=10, end=end, progress=((0.0, 0.0), (1.0, 0.4)))  # type: ignore[arg-type] # one of them

    seen = life.at(10.0)

    assert (end, 40, 0.4) == (seen.state, seen.percent_done, seen.done)


def test_a_life_may_have_no_end() -> None:
    """A stuck job is processing for ever."""
    seen = Life(duration=math.inf).at(1e9)

    assert ("processing", 0) == (seen.state, seen.percent_done)


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": 0},
        {"delay": -1},
        {"update_every": 0},
        {"end": "processing"},
        {"progress": "backwards"},
        {"progress": ()},
        {"progress": ((0.1, 0.0), (1.0, 1.0))},
        {"progress": ((0.0, 0.0), (0.9, 1.0))},
        {"progress": ((0.0, 0.0), (0.6, 0.1), (0.5, 0.2), (1.0, 1.0))},
        {"error_count": -1},
    ],
)
def test_an_impossible_life_is_refused(wrong: dict[str, object]) -> None:
    """A mistake in a script shows where it is made."""
    with pytest.raises(ValueError):
        Life(**wrong)  # type: ignore[arg-type] # wrong on purpose


@given(seeds, st.floats(0.0, 1.2), st.floats(0.0, 1.2))
def test_a_default_life_never_goes_back(seed: int, one: float, other: float) -> None:
    """Progress, items and the time of the last report only grow, and an end is final."""
    life = draw(seed)
    early, late = (life.at(share * life.duration) for share in sorted((one, other)))

    assert early.percent_done <= late.percent_done or late.state in ENDINGS
    assert early.updated <= late.updated
    assert 0 <= early.percent_done <= 100
    assert 0.0 <= early.done <= 1.0
    assert early.state in ("processing", late.state)


@given(seeds, st.floats(0.0, 1.2))
def test_a_snapshot_lasts_until_it_says(seed: int, share: float) -> None:
    """`until` is the moment of the next change: just before it nothing is different."""
    life = draw(seed)
    seen = life.at(share * life.duration)
    last = math.nextafter(seen.until, 0.0) if seen.until < math.inf else 1e12

    assert last < share * life.duration or evolve(life.at(last), until=seen.until) == seen


@given(seeds, st.floats(0.1, 100.0))
def test_a_faster_life_is_the_same_life(seed: int, speed: float) -> None:
    """Speed divides durations and changes nothing else."""
    life = draw(seed)
    faster = life.faster(speed)

    assert life.duration / speed == faster.duration
    assert (life.progress, life.end, life.errors) == (faster.progress, faster.end, faster.errors)


def test_the_default_workload_has_the_documented_shape() -> None:
    """Durations around a minute within their bounds, a tenth silent, a quarter stalled, most completed."""
    lives = [draw(seed) for seed in range(4000)]
    durations = [life.duration for life in lives]
    completed = [life for life in lives if life.end == "completed"]
    partial = [life for life in completed if life.error_count + life.correctable_count]

    assert 55 < median(durations) < 65
    assert (2.0, 7200.0) == (min(durations), max(durations))
    assert set(ENDINGS) == {life.end for life in lives}
    assert 0.93 < len(completed) / len(lives) < 0.97
    assert 0.07 < len(partial) / len(completed) < 0.13
    assert 0.08 < sum(math.isinf(life.update_every) for life in lives) / len(lives) < 0.12
    assert all(1.0 <= life.delay <= 4.0 for life in lives)


def test_errors_of_rows_name_their_lines() -> None:
    """The messages of a partial import begin with the line of its file, the header being line 1."""
    life = draw(1, partial_share=1.0, failed_share=0.0, cancelled_share=0.0, timed_out_share=0.0)

    assert life.errors
    assert all(message.startswith("Line ") for message in life.errors)
    assert all(2 <= int(message[5 : message.index(":")]) <= 1001 for message in life.errors)


@pytest.mark.parametrize(("share", "end"), [("failed_share", "failed"), ("timed_out_share", "timed_out")])
def test_a_job_that_broke_says_why(share: str, end: str) -> None:
    """Failing and running out of time leave a message."""
    life = draw(3, **{"failed_share": 0.0, "timed_out_share": 0.0, "cancelled_share": 0.0, share: 1.0})

    assert end == life.end
    assert 1 == len(life.errors)


def test_workers_take_jobs_in_creation_order() -> None:
    """Each job starts when a worker gets free, after its delay."""
    workers = Workers(2)
    lives = [
        Life(duration=10, delay=1),
        Life(duration=100, delay=1),
        Life(duration=5, delay=2),
        Life(delay=0),
    ]

    assert [1.0, 1.0, 13.0, 18.0] == [workers.start(0.0, life) for life in lives]


def test_a_job_that_never_starts_takes_no_worker() -> None:
    """It stays in the queue, and those behind it pass."""
    workers = Workers(1)

    assert math.inf == workers.start(0.0, Life(delay=math.inf))
    assert 5.0 == workers.start(5.0, Life())


@given(st.integers(1, 5), st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 50), st.floats(0, 5)), max_size=30))
def test_no_more_jobs_run_at_once_than_there_are_workers(count: int, plans: list[tuple[float, float, float]]) -> None:
    """Whenever a job starts, at most one fewer than the workers are under way."""
    workers, spans, created = Workers(count), [], 0.0
    for pause, duration, delay in plans:
        created += pause
        started = workers.start(created, Life(duration=duration, delay=delay))
        assert started >= created + delay
        spans.append((started, started + duration))

    assert all(sum(begin <= start < end for begin, end in spans) <= count for start, _ in spans)


def test_an_account_without_lanes_is_refused() -> None:
    """Nothing would ever happen in it."""
    with pytest.raises(ValueError, match="lane"):
        Workers(0)
