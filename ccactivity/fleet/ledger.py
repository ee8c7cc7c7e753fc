"""The ledger: what this process was told of the key's day. Pure: loop time is an argument.

`granted` and `refunded` only rise within a day, so of two tellings the one with more is the newer one. That is what
lets any process alive give an engine its memory back.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final, Self

import attrs

from ..ratelimit.quota import Budget, Quota

__all__ = ["MICROSECONDS", "KeyState", "Ledger", "Limits"]

MICROSECONDS: Final = 1_000_000
_ANY_DAY: Final = -1  # of what the user said before the engine told which day it is
_MAX_RESERVE: Final = 1e12


@attrs.frozen
class Limits:
    """Requests that the vendor allows a second and a UTC day, and those that watches leave to single calls."""

    per_second: float
    per_day: float
    reserve: float

    @classmethod
    def of(cls, quota: Quota) -> Self:
        """Return the limits of a quota."""
        return cls(quota.per_second, quota.per_day, min(quota.reserve, _MAX_RESERVE))

    def to_arguments(self) -> list[float]:
        """Return them as a script reads them, where -1 means that there is none."""
        return [-1.0 if math.isinf(each) else each for each in (self.per_second, self.per_day, self.reserve)]

    @classmethod
    def from_reply(cls, *numbers: float) -> Self:
        """Read what `to_arguments` wrote."""
        return cls(*(math.inf if each < 0 else each for each in numbers))


@attrs.frozen
class KeyState:
    """The key as of one answer: times in microseconds of the engine's clock, `day` in days since 1970.

    `granted` permits of the day, of which `refunded` sent nothing. `shut`: when the vendor's quota reopens, 0 if it is
    open. `other_day`, `other_granted`, `other_refunded`: of the day before, for a clock that is set back. `epoch`: when
    the engine began to count. `bank`: requests that watching may spend at once; `rate`: how many more a second.
    """

    now: int
    day: int
    granted: int
    refunded: int
    shut: int
    other_day: int
    other_granted: int
    other_refunded: int
    epoch: int
    bank: float
    rate: float


class Ledger:
    """What this process tells the engine, and was told. `limits`: those of this process. `state`: None before a first
    answer.
    """

    def __init__(self, limits: Limits, *, spent: float = 0) -> None:
        self.limits = limits
        self.state: KeyState | None = None
        self._spent_before = math.ceil(spent)
        self._told_at = 0.0

    def learn(self, state: KeyState, now: float) -> None:
        """Take an answer that came at this loop time."""
        self.state, self._told_at = state, now

    def seen(self) -> list[int]:
        """Return what this process knows and the engine may have forgotten, as the scripts read it."""
        state = self.state
        if state is None:
            return [_ANY_DAY, self._spent_before, 0, 0, _ANY_DAY, 0, 0]
        today = [state.day, state.granted, state.refunded, state.shut]
        return [*today, state.other_day, state.other_granted, state.other_refunded]

    @property
    def spent(self) -> float:
        """Requests of this UTC day."""
        return self._spent_before if self.state is None else self.state.granted - self.state.refunded

    def budget(self, now: float) -> Budget:
        """What watching may spend at this loop time."""
        if self.state is None:
            return Budget(0.0, 0.0)
        state, full = self.state, Budget(0.0, 0.0).capacity
        return Budget(min(full, state.bank + state.rate * max(0.0, now - self._told_at)), state.rate)

    def engine_time(self, now: float) -> int:
        """The engine's time at this loop time, in microseconds; 0 before a first answer."""
        return 0 if self.state is None else self.state.now + round((now - self._told_at) * MICROSECONDS)

    def time_in(self, seconds: float) -> datetime:
        """The UTC instant so many seconds after the last answer, by the engine's clock."""
        now = 0 if self.state is None else self.state.now
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=now, seconds=seconds)
