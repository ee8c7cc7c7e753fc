"""Whether a failed attempt is repeated, and after how long, as arithmetic; it sends nothing and waits for nothing, and
time and chance are arguments.

Each kind of trouble has its own patience. What may pass by itself is repeated after waits that double, with jitter
added upward only, within a budget that a whole session shares. What was throttled is repeated as soon as the gate
opens, and the gate stays shut longer from one throttle to the next. A refused token is worth two more attempts: one
because it had been replaced meanwhile, one because it was renewed.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import Final

import attrs

from .._validation import positive

__all__ = ["Patience", "Retry", "Trouble"]

_UNREADABLE_ATTEMPTS: Final = 3
_CROWDED_ATTEMPTS: Final = 3
_THROTTLED_ATTEMPTS: Final = 10
_TOKEN_RETRIES: Final = 2
_THROTTLED_PAUSE: Final = 1.0
_CROWDED_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 60.0
_TRICKLE: Final = 1 / 30
_PER_ANSWER: Final = 0.5


@attrs.frozen(kw_only=True)
class Retry:
    """How failed exchanges are repeated. A watch lives on after the last retry; a single call raises.

    It is about transport errors, 5xx, 408 and 425. A body that cannot be understood is asked for three times in all; a
    request that was throttled waits for its turn and is sent again, ten times at most.
    """

    attempts: int = attrs.field(default=5, validator=positive)
    """Requests for one question, the first included."""
    base: float = attrs.field(default=0.5, validator=positive)
    """Seconds before the first retry; doubled for each further one."""
    cap: float = attrs.field(default=20.0, validator=positive)
    """Seconds that a wait has at most, before up to half of it is added at random."""
    deadline: float = attrs.field(default=120.0, validator=positive)
    """Seconds from the first attempt after which no retry begins."""
    budget: float = attrs.field(default=10.0, validator=positive)
    """Retries that a session has in store; half a retry comes back with each answer, and one in 30 s."""


class Trouble(Enum):
    """Why an attempt is to be repeated."""

    FAILED = auto()
    UNREADABLE = auto()
    THROTTLED = auto()
    CROWDED = auto()
    TOKEN = auto()


class Patience:
    """What a session has left of it."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._budget = retry.budget
        self._budget_at = math.inf
        self._throttles = 0
        self._paused_until = -math.inf

    def answered(self) -> None:
        """Take note of an answer: the vendor is there, and the key is not throttled."""
        self._throttles = 0
        self._budget = min(self._retry.budget, self._budget + _PER_ANSWER)

    def delay(
        self, trouble: Trouble, count: int, *, began: float, now: float, after: float, chance: float
    ) -> float | None:
        """Seconds until the next attempt, None for none.

        `count`: how often a question that `began` then has met this trouble, this time included. `after`: seconds that
        the vendor asked for. `chance`: 0 to 1.
        """
        if trouble is Trouble.TOKEN:
            return 0.0 if count <= _TOKEN_RETRIES else None
        if trouble in (Trouble.THROTTLED, Trouble.CROWDED):
            return 0.0 if count < (_CROWDED_ATTEMPTS if trouble is Trouble.CROWDED else _THROTTLED_ATTEMPTS) else None
        if count >= (_UNREADABLE_ATTEMPTS if trouble is Trouble.UNREADABLE else self._retry.attempts):
            return None
        wait = min(self._retry.cap, self._retry.base * 2.0 ** (count - 1))
        wait = max(wait, min(after, _LONGEST_PAUSE)) + chance * wait / 2
        if now + wait > began + self._retry.deadline or not self._afford(now):
            return None
        return wait

    def pause(self, trouble: Trouble, *, now: float, after: float, chance: float) -> float:
        """Seconds for which everyone pauses after a 429: twice as long each time, until there is an answer."""
        if now >= self._paused_until:
            # What was under way when the pause began is no further sign.
            self._throttles += 1
        least = _CROWDED_PAUSE if trouble is Trouble.CROWDED else _THROTTLED_PAUSE
        pause = min(_LONGEST_PAUSE, least * 2.0 ** (self._throttles - 1))
        pause = max(pause, min(after, _LONGEST_PAUSE)) + (0.05 + chance / 2) * least
        self._paused_until = now + pause
        return pause

    def _afford(self, now: float) -> bool:
        """Take one retry out of the budget, if there is one."""
        self._budget = min(self._retry.budget, self._budget + max(0.0, now - self._budget_at) * _TRICKLE)
        self._budget_at = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True
