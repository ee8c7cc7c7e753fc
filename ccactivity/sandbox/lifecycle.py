"""The lives of simulated jobs, as functions of time.

Theory of operation:

1. A `Life` is all that will ever happen to one job, fixed beforehand: how long it takes, how it ends, and a curve of
   progress. `Life.at(elapsed)` tells what the job shows at any time; asking twice gives the same.
2. A job reports only every `update_every` seconds: between two reports it shows the earlier one.
3. An account works on a few jobs at once, in creation order: `Workers` gives each job to the first worker that gets
   free. Only the times at which they get free are kept: O(log n) for each job.
4. A `Workload` draws lives from distributions. Its numbers model an account under a bulk load; the vendor publishes
   none.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from random import Random
from typing import Literal

from attrs import Attribute, evolve, field, frozen, validators

__all__ = ["ENDINGS", "Life", "Snapshot", "Workers", "Workload"]

Curve = tuple[tuple[float, float], ...]
Ending = Literal["completed", "failed", "cancelled", "timed_out"]

ENDINGS: tuple[Ending, ...] = ("completed", "failed", "cancelled", "timed_out")

_ROUNDING_PERCENT = 1e-9  # added before rounding down: a share of 0.29 is 28.999999999999996 %
_MAX_ROW_ERRORS = 25
_ROW_ERRORS = ("Invalid email address", "Invalid birthday", "Invalid anniversary", "No name or email address")

_NAMED_CURVES: dict[str, Curve] = {
    "linear": ((0.0, 0.0), (1.0, 1.0)),
    "none": ((0.0, 0.0), (1.0, 0.0)),
    "late_tail": ((0.0, 0.0), (0.6, 0.99), (1.0, 0.99)),
    "stall": ((0.0, 0.0), (0.3, 0.5), (0.7, 0.5), (1.0, 1.0)),
}


def _curve_of(progress: str | Sequence[tuple[float, float]]) -> Curve:
    if not isinstance(progress, str):
        return tuple(progress)
    try:
        return _NAMED_CURVES[progress]
    except KeyError:
        raise ValueError(f"progress is one of {', '.join(_NAMED_CURVES)} or a sequence of points") from None


def _to_tuple(errors: Iterable[str]) -> tuple[str, ...]:
    return tuple(errors)


def _runs_from_zero_to_one(_: object, __: Attribute[Curve], curve: Curve) -> None:
    times = [when for when, _ in curve]
    if len(times) < 2 or times[0] != 0.0 or times[-1] != 1.0 or times != sorted(times):
        raise ValueError("the points of progress must go from time 0.0 to time 1.0, in order")


@frozen
class Snapshot:
    """What a job shows at one moment.

    `done` is the share of its items reported as processed, 0.0 to 1.0. `updated` is when it last reported and
    `until` when it will next change, both in seconds since the job started.
    """

    state: str
    percent_done: int
    done: float
    updated: float
    until: float


@frozen(kw_only=True)
class Life:
    """All that will happen to one job.

    - `duration`: seconds from its start to its end; `math.inf` never ends.
    - `end`: "completed", "failed", "cancelled" or "timed_out".
    - `delay`: seconds between a worker getting free and the job's start; `math.inf` stays in the queue for ever.
    - `progress`: "linear"; "none", nothing until the end; "late_tail", 99 % long before the end; "stall", half-way
      for four tenths of its time; or points (share of the duration, share of the work). Progress may fall, or leave
      0.0 to 1.0: it is reported as it is.
    - `update_every`: seconds between two reports; `math.inf` reports nothing until the end.
    - `errors`: the vendor's `activity_errors`, appearing as the job goes on; all of them at the end.
    - `error_count`, `correctable_count`, `cannot_add_to_list_count`: rows of an import; they grow like `errors`.
    """

    duration: float = field(default=30.0, converter=float, validator=validators.gt(0))
    end: Ending = field(default="completed", validator=validators.in_(ENDINGS))
    delay: float = field(default=0.0, converter=float, validator=validators.ge(0))
    progress: Curve = field(default=_NAMED_CURVES["linear"], converter=_curve_of, validator=_runs_from_zero_to_one)
    update_every: float = field(default=1.0, converter=float, validator=validators.gt(0))
    errors: tuple[str, ...] = field(default=(), converter=_to_tuple)
    error_count: int = field(default=0, validator=validators.ge(0))
    correctable_count: int = field(default=0, validator=validators.ge(0))
    cannot_add_to_list_count: int = field(default=0, validator=validators.ge(0))

    def at(self, elapsed: float) -> Snapshot:
        """Return what the job shows `elapsed` seconds after its start; before it, when negative."""
        if elapsed < 0:
            return Snapshot("initialized", 0, 0.0, -math.inf, 0.0)
        if elapsed >= self.duration:
            percent = 100 if self.end == "completed" else self._percent(1.0)
            done = 1.0 if self.end == "completed" else self._done(1.0)
            return Snapshot(self.end, percent, done, self.duration, math.inf)

        reports = elapsed // self.update_every
        updated = min(reports * self.update_every, elapsed) if reports else 0.0  # 0 * inf is not a number
        until = min((reports + 1) * self.update_every, self.duration)
        share = updated / self.duration
        return Snapshot("processing", self._percent(share), self._done(share), updated, until)

    def faster(self, speed: float) -> Life:
        """Return the same life with every duration divided by `speed`."""
        return evolve(
            self,
            duration=self.duration / speed,
            delay=self.delay / speed,
            update_every=self.update_every / speed,
        )

    def _progress_at(self, share: float) -> float:
        right = bisect_right(self.progress, share, key=lambda point: point[0])
        if right == len(self.progress):
            return self.progress[-1][1]
        (x0, y0), (x1, y1) = self.progress[right - 1], self.progress[right]
        return y0 + (y1 - y0) * (share - x0) / (x1 - x0)

    def _percent(self, share: float) -> int:
        return math.floor(100 * self._progress_at(share) + _ROUNDING_PERCENT)

    def _done(self, share: float) -> float:
        return min(max(self._progress_at(share), 0.0), 1.0)


class Workers:
    """The workers of an account: one for each of its `Workload.lanes`, which take jobs in creation order."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError("an account has at least one lane")
        self._free_at = [-math.inf] * count

    def start(self, created: float, life: Life) -> float:
        """Return when the job of this life starts; `created` must not be earlier than that of the job before."""
        if math.isinf(life.delay):
            return math.inf
        started = max(self._free_at[0], created) + life.delay
        heapq.heapreplace(self._free_at, started + life.duration)
        return started


@frozen(kw_only=True)
class Workload:
    """The numbers that default lives are drawn from. Times in seconds, shares from 0.0 to 1.0.

    - `median`, `sigma`, `shortest`, `longest`: log-normal durations, and where they are clipped.
    - `delay`: range of the time between a worker getting free and the next job's start.
    - `lanes`: how many jobs an account works on at once.
    - `segments`, `evenness`: progress runs at as many speeds, one after the other, drawn from a gamma distribution of
      this shape (larger is more even).
    - `stall_share`: jobs that stall once. `idle_share`: jobs that show 100 % long before their end. Each for a part
      of its duration drawn from the range `pause`.
    - `silent_share`: jobs that report nothing until the end.
    - `update_every`: range of the time between two reports of a job.
    - `failed_share`, `cancelled_share`, `timed_out_share`: endings; the others complete, `partial_share` of them
      with some rows refused, unless it is seen from an upload which rows are.
    """

    median: float = 60.0
    sigma: float = 1.5
    shortest: float = 2.0
    longest: float = 7200.0
    delay: tuple[float, float] = (1.0, 4.0)
    lanes: int = 8
    segments: int = 10
    evenness: float = 2.0
    stall_share: float = 0.25
    idle_share: float = 0.1
    pause: tuple[float, float] = (0.1, 0.4)
    silent_share: float = 0.1
    update_every: tuple[float, float] = (0.5, 15.0)
    partial_share: float = 0.1
    failed_share: float = 0.03
    cancelled_share: float = 0.01
    timed_out_share: float = 0.01

    def draw(self, random: Random, *, rows: int) -> Life:
        """Return a life for a job of `rows` rows; the same for the same state of `random`."""
        drawn = self.median * math.exp(self.sigma * random.gauss(0.0, 1.0))
        end = self._ending(random)
        curve = self._uneven_curve(random)
        if end != "completed":
            reached = random.uniform(0.0, 0.95)
            curve = tuple((when, reached * height) for when, height in curve)
        partial = end == "completed" and random.random() < self.partial_share
        refused = [random.randint(0, max(rows // 20, rows > 2)) if partial else 0 for _ in range(3)]
        return Life(
            duration=min(max(drawn, self.shortest), self.longest),
            end=end,
            delay=random.uniform(*self.delay),
            progress=curve,
            update_every=math.inf if random.random() < self.silent_share else random.uniform(*self.update_every),
            errors=_draw_errors(random, end, refused[0] + refused[1], rows),
            error_count=refused[0],
            correctable_count=refused[1],
            cannot_add_to_list_count=refused[2],
        )

    def _ending(self, random: Random) -> Ending:
        shares = (self.failed_share, self.cancelled_share, self.timed_out_share)
        weights = (max(0.0, 1.0 - sum(shares)), *shares)
        return random.choices(ENDINGS, weights)[0]

    def _uneven_curve(self, random: Random) -> Curve:
        speeds = [random.gammavariate(self.evenness, 1.0) for _ in range(self.segments)]
        total, height = sum(speeds), 0.0
        points = [(0.0, 0.0)]
        for number, speed in enumerate(speeds, 1):
            height += speed / total
            points.append((number / self.segments, height))
        points[-1] = (1.0, 1.0)

        if random.random() < self.stall_share:
            at, pause = random.randrange(1, self.segments), random.uniform(*self.pause)
            squeezed = [(when * (1.0 - pause), height) for when, height in points]
            stalled = [(when + pause, height) for when, height in squeezed[at:]]
            points = squeezed[: at + 1] + stalled
        if random.random() < self.idle_share:
            pause = random.uniform(*self.pause)
            points = [(when * (1.0 - pause), height) for when, height in points]
            points.append((1.0, 1.0))
        points[-1] = (1.0, 1.0)
        return tuple(points)


def _draw_errors(random: Random, end: Ending, refused: int, rows: int) -> tuple[str, ...]:
    if end == "failed":
        return ("The file could not be processed.",)
    if end == "timed_out":
        return ("The activity ran out of time.",)
    lines = sorted(random.randint(2, rows + 1) for _ in range(min(refused, _MAX_ROW_ERRORS)))
    return tuple(f"Line {line}: {random.choice(_ROW_ERRORS)}" for line in lines)
