"""The state of a batch while it is watched: a function of the snapshots seen so far. Pure; time is an argument.

1. No step costs more because there are more activities: a snapshot replaces one, a frame looks at the rows that
   it shows. Ten thousand activities cannot be sorted eight times a second.
2. A row keeps its place, because a list that is sorted anew on every change cannot be read. An activity loses its row
   only to one of a better `_Rank`.
3. The rate counts observed progress only: an activity that is half done when it is first seen says nothing about speed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from ccactivity import Activity

__all__ = ["BatchState", "Problem"]

_JUST_ENDED_S: Final = 4.0
_STALLED_AFTER_S: Final = 30.0
_RATE_WINDOW_S: Final = 60.0
_RATE_MIN_SPAN_S: Final = 3.0
_SAMPLE_INTERVAL_S: Final = 1.0
_MAX_PROBLEMS: Final = 50


class _Rank(IntEnum):
    """How much an activity deserves a row; the best first."""

    MOVING = 0
    JUST_ENDED = 1
    STALLED = 2
    WAITING = 3
    ENDED = 4


@attrs.define
class _LastSnapshot:
    """The last snapshot of an activity, and when it came."""

    activity: Activity
    changed_at: float

    def rank(self, now: float) -> _Rank:
        age = now - self.changed_at
        if self.activity.done:
            return _Rank.JUST_ENDED if age < _JUST_ENDED_S else _Rank.ENDED
        if self.activity.state == "initialized":
            return _Rank.WAITING
        return _Rank.MOVING if age < _STALLED_AFTER_S else _Rank.STALLED


@attrs.frozen
class Problem:
    """An activity that did not complete: its end or why it could not be followed, and the vendor's reason."""

    activity_id: str
    outcome: str
    reason: str


def _progress(activity: Activity) -> float:
    return 1.0 if activity.done else activity.progress or 0.0


class BatchState:
    """What is known of a batch that began at `began`, of which `expected` activities are to come (None: unknown).

    `end_states`: how many activities ended in each state. `partial`: how many completed with rows refused.
    `unfollowed`: how many the watch gave up before their end; `late`: those of them whose time was over.
    `problems`: the latest of those that did not complete.
    """

    def __init__(self, began: float, expected: int | None = None) -> None:
        self.began: float = began
        self.end_states: Counter[str] = Counter()
        self.partial: int = 0
        self.unfollowed: int = 0
        self.late: int = 0
        self.problems: deque[Problem] = deque(maxlen=_MAX_PROBLEMS)
        self._expected = expected or 0
        self._snapshots: dict[str, _LastSnapshot] = {}
        self._unfollowed_ids: set[str] = set()
        self._never_seen = 0
        # Counted in activities: an activity that is half done is 0.5.
        self._work_done = 0.0
        self._work_observed = 0.0
        self._samples: deque[tuple[float, float]] = deque([(began, 0.0)])
        self._rows: list[str] = []
        # Ids without a row; the one to show next is the last.
        self._moving: OrderedDict[str, None] = OrderedDict()
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()

    # --- what happened ----------------------------------------------------------------------------------------------

    def update(self, activity: Activity, now: float) -> None:
        """Record a snapshot."""
        before = self._snapshots.get(activity.activity_id)
        gained = _progress(activity) - (_progress(before.activity) if before else 0.0)
        self._work_done += gained
        if before is not None:
            self._work_observed += gained
        self._snapshots[activity.activity_id] = snapshot = _LastSnapshot(activity, now)
        if activity.activity_id not in self._rows:
            self._enqueue(activity.activity_id, snapshot)
        if activity.done and not (before and before.activity.done):
            self._record_end(activity)
        self._sample(now)

    def stop_following(self, activity_id: str, outcome: str, *, late: bool = False) -> bool:
        """Record that the watch gave up an activity, and why; a repetition changes nothing, and returns False."""
        if activity_id in self._unfollowed_ids:
            return False
        self._unfollowed_ids.add(activity_id)
        self.unfollowed += 1
        self.late += late
        self._never_seen += activity_id not in self._snapshots
        self.problems.append(Problem(activity_id, outcome, ""))
        return True

    def _record_end(self, activity: Activity) -> None:
        self.end_states[str(activity.state)] += 1
        self.partial += activity.partial
        if not activity.succeeded:
            reason = activity.activity_errors[0] if activity.activity_errors else ""
            self.problems.append(Problem(activity.activity_id, str(activity.state), reason))

    def _sample(self, now: float) -> None:
        if now - self._samples[-1][0] >= _SAMPLE_INTERVAL_S:
            self._samples.append((now, self._work_observed))
            while self._samples[0][0] < now - _RATE_WINDOW_S:
                self._samples.popleft()

    # --- what is known ----------------------------------------------------------------------------------------------

    @property
    def seen(self) -> int:
        """Activities of which there was a snapshot."""
        return len(self._snapshots)

    def has_seen(self, activity_id: str) -> bool:
        """Whether there was a snapshot of it."""
        return activity_id in self._snapshots

    @property
    def total(self) -> int:
        """All activities, also those not seen yet."""
        return max(self._expected, len(self._snapshots) + self._never_seen)

    @property
    def ended(self) -> int:
        """Activities that have ended."""
        return self.end_states.total()

    @property
    def completed(self) -> int:
        """Activities that have completed."""
        return self.end_states["completed"]

    @property
    def progress(self) -> float:
        """How much of the whole batch is done, 0.0 to 1.0."""
        if not self.total:
            return 0.0
        return 1.0 if self.ended == self.total else min(1.0, self._work_done / self.total)

    def rate(self, now: float) -> float | None:
        """Activities per second over the last minute, counting parts of them; None while unknown."""
        since, observed = self._samples[0]
        if now - since < _RATE_MIN_SPAN_S or self._work_observed <= observed:
            return None
        return (self._work_observed - observed) / (now - since)

    def seconds_left(self, now: float) -> float | None:
        """Seconds until everything has ended at the present rate; None while unknown."""
        rate = self.rate(now)
        return None if rate is None else max(0.0, self.total - self.unfollowed - self._work_done) / rate

    # --- what to show -----------------------------------------------------------------------------------------------

    def rows(self, count: int, now: float) -> list[Activity]:
        """Return the `count` activities most worth showing; those shown before keep their places."""
        while len(self._rows) > max(count, 0):
            self._hide(self._rows.pop(), now)
        while len(self._rows) < count and (best := self._next_to_show(now)) is not None:
            self._dequeue(best)
            self._rows.append(best)
        worst_first = sorted(range(len(self._rows)), key=lambda row: -self._rank(self._rows[row], now))
        for row in worst_first:
            best = self._next_to_show(now)
            if best is None or self._rank(best, now) >= self._rank(self._rows[row], now):
                break
            self._dequeue(best)
            self._hide(self._rows[row], now)
            self._rows[row] = best
        return [self._snapshots[activity_id].activity for activity_id in self._rows]

    def _rank(self, activity_id: str, now: float) -> _Rank:
        return self._snapshots[activity_id].rank(now)

    def _next_to_show(self, now: float) -> str | None:
        heads = (next(reversed(queue), None) for queue in (self._moving, self._ended, self._waiting))
        return min(filter(None, heads), key=lambda head: self._rank(head, now), default=None)

    def _hide(self, activity_id: str, now: float) -> None:
        snapshot = self._snapshots[activity_id]
        self._enqueue(activity_id, snapshot, last=snapshot.rank(now) is _Rank.ENDED)

    def _enqueue(self, activity_id: str, snapshot: _LastSnapshot, *, last: bool = False) -> None:
        """Put an activity without a row into the queue of its kind, as the next to show or as the `last`."""
        self._dequeue(activity_id)
        if snapshot.activity.done:
            queue = self._ended
        elif snapshot.activity.state == "initialized":
            queue, last = self._waiting, True  # first come, first shown
        else:
            queue = self._moving
        queue[activity_id] = None
        queue.move_to_end(activity_id, last=not last)

    def _dequeue(self, activity_id: str) -> None:
        for queue in (self._moving, self._waiting, self._ended):
            queue.pop(activity_id, None)
