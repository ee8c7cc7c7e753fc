"""What a request costs at this moment, in seconds of lag. Performs no I/O, reads no clock."""

from __future__ import annotations

import math
from typing import Any

import attrs

from .._validation import positive
from ..ratelimit.quota import Budget

__all__ = ["Pacing", "Tariff"]

_SPARED = 0.1  # of a full purse: what is kept from wishes


def _finite(_: object, field: attrs.Attribute[Any], value: float) -> None:
    if value == math.inf:
        raise ValueError(f"{field.name} must be finite")


@attrs.frozen(kw_only=True)
class Pacing:
    """How eagerly watches look. The one knob is `price`; the others are guard rails."""

    price: float = attrs.field(default=1.0, validator=[positive, _finite])
    """Seconds of lag that a request is worth; lag is the time from the end of an activity to your learning of it.
    Higher is thriftier: at 4 about half as many requests are made as at 1, and the news comes about twice as late."""
    floor: float = attrs.field(default=1.0, validator=[positive, _finite])
    """Seconds between two looks at the same activity, at least."""
    ceiling: float = attrs.field(default=60.0, validator=positive)
    """Seconds that an activity goes unseen at most, or a sixth of the time that it has been in work, if that is longer.
    Stretched by a price above 1, and as the day's credit drains."""

    def __attrs_post_init__(self) -> None:
        if self.ceiling < self.floor:
            raise ValueError(f"ceiling must be at least floor, {self.floor:g}, not {self.ceiling!r}")


@attrs.define(eq=False)
class Tariff:
    """The price at any time, as the credit counted last will flow in."""

    pacing: Pacing
    credit: Budget = attrs.field(factory=lambda: Budget(500.0, 0.0))
    counted: float = 0.0

    def count(self, credit: Budget, now: float) -> bool:
        """Take the credit of now; True if there is more than was to be expected."""
        before = self.price(now)
        self.credit, self.counted = credit, now
        return self.price(now) < 0.98 * before

    def fill(self, at: float) -> float:
        """How full the purse is, up to 1."""
        banked = self.credit.available + self.credit.refill_rate * max(0.0, at - self.counted)
        return min(1.0, max(1e-3, banked / self.credit.capacity))

    def price(self, at: float) -> float:
        """Seconds of lag which a request is worth."""
        return self.pacing.price / self.fill(at) ** 2

    def ceiling(self, at: float, rounds: int, age: float = 0.0) -> float:
        """Seconds for which one of so many may go unseen which has been at work for so long."""
        stretch = max(1.0, self.pacing.price) / self.fill(at)
        return max(self.pacing.ceiling, age / 6, 10.0 * rounds) * stretch

    def wish(self, seen: float, strict: float) -> float:
        """When to look at what was seen then, because somebody wants it no staler than so many seconds.

        A wish is served from what others leave: not while the purse holds less than a tenth. Else one watch with a
        short max_staleness would take each request that flows in, and who else is watched would never be looked at.
        """
        lack = _SPARED * self.credit.capacity - self.credit.available
        if lack <= 0.0:
            return seen + strict
        return max(
            seen + strict, self.counted + lack / self.credit.refill_rate if self.credit.refill_rate > 0.0 else math.inf
        )
