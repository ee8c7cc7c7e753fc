"""What to ask the vendor next, and when; sends nothing, and is told the time.

1. `next` is a question and changes nothing; `asked` says that its answer was acted upon. What is asked for is not
   offered again until a report comes: `saw`, `failed`, `released` for one activity, `swept` for a list.
2. An activity is looked at again after a tenth of the time that it has been watched, between `floor` and `ceiling`.
3. When several are due, one page of the list shows them all for the price of one.
4. Nothing is concluded from absence: what a sweep does not show is asked for by its id.
5. While nothing is answered, everything waits, twice as long each time up to a minute: an outage must not be met with
   a look for each activity. A list that keeps breaking off rests alone, for up to ten minutes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import attrs

from .checks import positive
from .models import Activity

__all__ = ["Credit", "Get", "Pacing", "Planner", "SleepUntil", "Sweep", "SweptPage"]

_SWEEP_FROM: Final = 3
_PAGE: Final = 500
_DEEPEST: Final = 4
_LONGEST_OUTAGE: Final = 60.0
_LONGEST_SPOILT: Final = 600.0
_NEVER: Final = math.inf


@attrs.frozen(kw_only=True)
class Pacing:
    """How eagerly watches look."""

    floor: float = attrs.field(default=1.0, validator=positive)
    """Seconds between two looks at one activity, at least."""
    ceiling: float = attrs.field(default=60.0, validator=positive)
    """Seconds between two looks at one activity, at most."""


@attrs.frozen
class Credit:
    """What watching may spend: requests banked, and requests a second that flow in."""

    banked: float
    rate: float


@attrs.frozen
class Get:
    """Ask for one activity."""

    activity_id: str


@attrs.frozen
class Sweep:
    """Read the list: at most so many pages of so many rows, of one state or of all, from `start` or the beginning."""

    pages: int
    limit: int
    state: str | None = None
    start: str | None = None


@attrs.frozen
class SleepUntil:
    """Nothing is worth a request before `when`, on the loop's clock; infinity: until something changes."""

    when: float


@attrs.frozen
class SweptPage:
    """What one page of a sweep showed: the watched ids on it, its rows, the link that gave it and the one it gave."""

    found: Sequence[str]
    rows: int
    href: str | None
    next_href: str | None


@attrs.define(eq=False)
class _Watched:
    since: float
    due: float
    most: float
    missed: bool = False
    asked: bool = False


class Planner:
    """Decides for all watched activities of a session together."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._watched: dict[str, _Watched] = {}
        self._sweeping = False
        self._sweeps_from = -_NEVER
        self._spoilt = 0
        self._failures = 0
        self._resumes = -_NEVER

    def watch(self, activity_id: str, now: float, *, max_staleness: float | None = None) -> None:
        """Begin to look at an activity; once more with a stricter `max_staleness` (seconds) makes it stricter."""
        most = self._pacing.ceiling if max_staleness is None else max_staleness
        known = self._watched.get(activity_id)
        if known is None:
            self._watched[activity_id] = _Watched(now, now, most)
        elif most < known.most:
            known.most = most
            known.due = min(known.due, now + most)

    def forget(self, activity_id: str) -> None:
        """Look at it no more; an id that is not watched is no error."""
        self._watched.pop(activity_id, None)

    def next(self, now: float, credit: Credit) -> Get | Sweep | SleepUntil:
        """Say what is worth most now. Changes nothing."""
        if now < self._resumes:
            return SleepUntil(self._resumes)
        due = [(watched.due, key) for key, watched in self._watched.items() if not watched.asked]
        ready = [(when, key) for when, key in due if when <= now]
        plain = [key for _, key in ready if not self._watched[key].missed]
        if now >= self._sweeps_from and not self._sweeping and len(plain) >= _SWEEP_FROM:
            return Sweep(_DEEPEST, _PAGE)
        if self._sweeping and len(plain) == len(ready):
            ready = []
        if ready:
            return Get(min(ready)[1])
        later = [when for when, _ in due if when > now]
        return SleepUntil(min(later, default=_NEVER))

    def asked(self, action: Get | Sweep, now: float) -> None:
        """Take note that the action is under way."""
        if isinstance(action, Sweep):
            self._sweeping = True
        elif action.activity_id in self._watched:
            self._watched[action.activity_id].asked = True

    def released(self, action: Get | Sweep) -> None:
        """Take note that the action ended without an answer through no fault of the vendor's: offer it again."""
        if isinstance(action, Sweep):
            self._sweeping = False
        elif action.activity_id in self._watched:
            self._watched[action.activity_id].asked = False

    def saw(self, activity: Activity, now: float, server_now: datetime | None = None) -> None:
        """Take note of a look at a watched activity that has not ended."""
        self._answered()
        watched = self._watched.get(activity.activity_id)
        if watched is None:
            return
        pace = max(self._pacing.floor, (now - watched.since) / 10)
        watched.due = now + min(pace, self._pacing.ceiling, watched.most)
        watched.asked = watched.missed = False

    def ended(self, activity: Activity, now: float) -> None:
        """Take note that an activity has ended, and forget it."""
        self._answered()
        self.forget(activity.activity_id)

    def failed(self, activity_id: str, now: float) -> None:
        """Take note that a look at one activity got no answer, after all retries."""
        self._stumbled(now)
        watched = self._watched.get(activity_id)
        if watched is not None:
            watched.asked = False
            watched.due = now + self._pacing.floor

    def swept(self, sweep: Sweep, pages: Sequence[SweptPage], now: float, *, failed: bool = False) -> None:
        """Take note that a sweep is over, after `saw` and `ended` for its rows; `failed`: a page did not come."""
        self._sweeping = False
        self._spoilt = self._spoilt + 1 if failed else 0
        if failed:
            self._sweeps_from = max(self._sweeps_from, now + min(_LONGEST_SPOILT, 5.0 * 2**self._spoilt))
            if not pages:
                self._stumbled(now)
                return
        shown = {key for page in pages for key in page.found}
        for key, watched in self._watched.items():
            if key not in shown and watched.due <= now:
                watched.missed = True

    def sweeps_off(self) -> None:
        """Take note that the vendor refuses to list: only single activities are asked for from now on."""
        self._sweeps_from = _NEVER

    def _answered(self) -> None:
        self._failures = 0
        self._resumes = -_NEVER

    def _stumbled(self, now: float) -> None:
        self._failures += 1
        self._resumes = now + min(_LONGEST_OUTAGE, 2.0 ** (self._failures - 1))
