"""What a batch looks like at a moment, as a function of the snapshots seen; draws nothing and is told the time.

1. Everything costs the same however many activities there are: a snapshot moves one entry, a frame looks at the rows
   that it shows. Ten thousand activities cannot be sorted eight times a second.
2. A row keeps its place while it is worth it: a list that is sorted anew on every change cannot be read. A row gives
   way to one that is worth more: moving, just ended, standing still, waiting, ended long ago.
3. The rate counts only what was seen to happen: an activity that is half done when it is first seen tells nothing of
   the speed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from ccactivity import Activity

__all__ = ["Board", "Trouble"]

# Seconds.
_LINGER: Final = 4.0
_STILL: Final = 30.0
_WINDOW: Final = 60.0
_LEAST: Final = 3.0
# What a row is worth, the best first.
_MOVING, _JUST_ENDED, _STANDING, _WAITING, _ENDED = range(5)
_KEPT: Final = 50


@attrs.define
class _Entry:
    activity: Activity
    changed: float

    def worth(self, now: float) -> int:
        age = now - self.changed
        if self.activity.done:
            return _JUST_ENDED if age < _LINGER else _ENDED
        if self.activity.state == "initialized":
            return _WAITING
        return _MOVING if age < _STILL else _STANDING


@attrs.frozen
class Trouble:
    """An activity that did not complete. `ended`: the word for how; `why`: in the words of the vendor or an error."""

    activity_id: str
    ended: str
    why: str


def _share(activity: Activity) -> float:
    return 1.0 if activity.done else activity.progress or 0.0


class Board:
    """The state of a batch. `expected`: how many activities there will be, or None for those that were seen."""

    def __init__(self, began: float, expected: int | None = None) -> None:
        self.began: float = began
        self.outcome: Counter[str] = Counter()
        self.partial: int = 0
        self.lost: int = 0
        self.troubles: deque[Trouble] = deque(maxlen=_KEPT)
        self._expected = expected or 0
        self._entries: dict[str, _Entry] = {}
        self._lost: set[str] = set()
        self._unseen = 0
        self._work = 0.0
        self._earned = 0.0
        self._samples: deque[tuple[float, float]] = deque([(began, 0.0)])
        self._slots: list[str] = []
        # Those without a row, the one to show next at the end.
        self._moving: OrderedDict[str, None] = OrderedDict()
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._over: OrderedDict[str, None] = OrderedDict()
        self._shown: set[str] = set()

    # --- what happened ----------------------------------------------------------------------------------------------

    def saw(self, activity: Activity, now: float) -> None:
        """Take note of a snapshot."""
        before = self._entries.get(activity.activity_id)
        gained = _share(activity) - (_share(before.activity) if before else 0.0)
        self._work += gained
        if before is not None:
            self._earned += gained
        self._entries[activity.activity_id] = entry = _Entry(activity, now)
        if activity.activity_id not in self._shown:
            self._queue(activity.activity_id, entry)
        if activity.done and not (before and before.activity.done):
            self._ended(activity)
        self._sample(now)

    def lose(self, activity_id: str, why: str) -> None:
        """Take note that an activity cannot be followed; once is enough."""
        if activity_id not in self._lost:
            self._lost.add(activity_id)
            self.lost += 1
            self._unseen += activity_id not in self._entries
            self.troubles.append(Trouble(activity_id, "lost sight of", why))

    def _ended(self, activity: Activity) -> None:
        self.outcome[str(activity.state)] += 1
        self.partial += activity.partial
        if not activity.succeeded:
            why = activity.activity_errors[0] if activity.activity_errors else ""
            self.troubles.append(Trouble(activity.activity_id, str(activity.state), why))

    def _sample(self, now: float) -> None:
        if now - self._samples[-1][0] >= 1.0:
            self._samples.append((now, self._earned))
            while self._samples[0][0] < now - _WINDOW:
                self._samples.popleft()

    # --- what is known ----------------------------------------------------------------------------------------------

    @property
    def seen(self) -> int:
        """Activities of which there was a snapshot."""
        return len(self._entries)

    @property
    def total(self) -> int:
        """All activities, also those not seen yet."""
        return max(self._expected, len(self._entries) + self._unseen)

    @property
    def ended(self) -> int:
        """Activities that have ended."""
        return self.outcome.total()

    @property
    def completed(self) -> int:
        """Activities that have completed."""
        return self.outcome["completed"]

    @property
    def share(self) -> float:
        """How much of everything is done, 0.0 to 1.0."""
        over = min(1.0, self._work / self.total) if self.total else 0.0
        return 1.0 if self.total and self.ended == self.total else over

    def rate(self, now: float) -> float | None:
        """Activities a second over the last minute, counting parts of them; None while that cannot be told."""
        since, earned = self._samples[0]
        if now - since < _LEAST or self._earned <= earned:
            return None
        return (self._earned - earned) / (now - since)

    def left(self, now: float) -> float | None:
        """Seconds until everything has ended if it goes on like this; None while that cannot be told."""
        rate = self.rate(now)
        return None if rate is None else max(0.0, self.total - self.lost - self._work) / rate

    # --- what to show -----------------------------------------------------------------------------------------------

    def rows(self, count: int, now: float) -> list[Activity]:
        """Return the `count` activities to show, each in the place that it had before, if it is still worth it."""
        while len(self._slots) > max(count, 0):
            self._hide(self._slots.pop(), now)
        while len(self._slots) < count and (best := self._best(now)) is not None:
            self._show(best)
            self._slots.append(best)
        worst_first = sorted(range(len(self._slots)), key=lambda place: -self._worth(self._slots[place], now))
        for place in worst_first:
            best = self._best(now)
            if best is None or self._worth(best, now) >= self._worth(self._slots[place], now):
                break
            self._show(best)
            self._hide(self._slots[place], now)
            self._slots[place] = best
        return [self._entries[activity_id].activity for activity_id in self._slots]

    def _worth(self, activity_id: str, now: float) -> int:
        return self._entries[activity_id].worth(now)

    def _best(self, now: float) -> str | None:
        heads = (next(reversed(queue), None) for queue in (self._moving, self._over, self._waiting))
        return min(filter(None, heads), key=lambda head: self._worth(head, now), default=None)

    def _queue(self, activity_id: str, entry: _Entry) -> None:
        """Put it where it is found next, among its kind."""
        for queue in (self._moving, self._waiting, self._over):
            queue.pop(activity_id, None)
        if entry.activity.done:
            self._over[activity_id] = None
        elif entry.activity.state == "initialized":
            self._waiting[activity_id] = None
            self._waiting.move_to_end(activity_id, last=False)  # the first to come is the first to go
        else:
            self._moving[activity_id] = None

    def _show(self, activity_id: str) -> None:
        for queue in (self._moving, self._waiting, self._over):
            queue.pop(activity_id, None)
        self._shown.add(activity_id)

    def _hide(self, activity_id: str, now: float) -> None:
        self._shown.discard(activity_id)
        entry = self._entries[activity_id]
        self._queue(activity_id, entry)
        if entry.worth(now) == _ENDED:
            self._over.move_to_end(activity_id, last=False)
