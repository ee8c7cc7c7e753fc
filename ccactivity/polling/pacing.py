"""What a request costs, in seconds of lag: the user's `Pacing`, and the price as the budget drains. Pure."""

from __future__ import annotations

import math
from typing import Any

import attrs

from .._validation import positive
from ..ratelimit.quota import Budget
from .tuning import Tuning

__all__ = ["Pacing", "RequestPrice"]


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
    """Seconds that an activity goes unseen at most, or a sixth of the time for which it was seen in work, if that is
    longer; or ten seconds for each that no list shows. Stretched by a price above 1, and as the day's budget drains."""

    def __attrs_post_init__(self) -> None:
        if self.ceiling < self.floor:
            raise ValueError(f"ceiling must be at least floor, {self.floor:g}, not {self.ceiling!r}")


class RequestPrice:
    """The price of a request at any time (rule 8 of `planner`), by the budget of the last `update`; `current`: then."""

    def __init__(self, pacing: Pacing, tuning: Tuning) -> None:
        self._pacing = pacing
        self._tuning = tuning
        self._budget = Budget(500.0, 0.0)
        self._updated_at = 0.0
        self.current: float = pacing.price

    def update(self, budget: Budget, now: float) -> bool:
        """Take the budget of now; True if requests are cheaper than was to be expected."""
        expected = self.at(now)
        self._budget, self._updated_at = budget, now
        self.current = self.at(now)
        return self.current < self._tuning.revalue_below * expected

    def budget_level(self, at: float) -> float:
        """How full the budget is then, up to 1."""
        available = self._budget.available + self._budget.refill_rate * max(0.0, at - self._updated_at)
        return min(1.0, max(self._tuning.min_budget_level, available / self._budget.capacity))

    def at(self, at: float) -> float:
        """Seconds of lag that a request is worth then."""
        return self._pacing.price / self.budget_level(at) ** 2

    def ceiling(self, at: float, pages: int, age: float = 0.0) -> float:
        """Seconds for which one of so many pages may go unseen, or an id that has been at work for so long."""
        tuning = self._tuning
        stretch = max(1.0, self._pacing.price) / self.budget_level(at)
        return max(self._pacing.ceiling, age / tuning.age_to_ceiling, tuning.ceiling_per_page_s * pages) * stretch

    def staleness_deadline(self, looked_at: float, max_staleness: float) -> float:
        """When to look at what was looked at then, because somebody wants it no staler than so many seconds.

        It is honoured only while at least a tenth of the budget remains. Else one watch with a short max_staleness
        would take each request that flows in, and whoever else is watched would never be looked at.
        """
        lacking = self._tuning.reserved_share * self._budget.capacity - self._budget.available
        if lacking <= 0.0:
            return looked_at + max_staleness
        rate = self._budget.refill_rate
        return max(looked_at + max_staleness, self._updated_at + lacking / rate if rate > 0.0 else math.inf)
