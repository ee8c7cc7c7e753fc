"""What a request costs: the user's pacing, and the price as the budget drains."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.polling.pacing import Pacing, RequestPrice
from ccactivity.polling.tuning import Tuning
from ccactivity.ratelimit.quota import Budget

TUNING = Tuning()
levels = st.floats(0.0, 500.0)


def price_of(available: float, *, rate: float = 0.0, now: float = 0.0, price: float = 1.0) -> RequestPrice:
    found = RequestPrice(Pacing(price=price), TUNING)
    found.update(Budget(available, rate), now)
    return found


# --- what users give ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["price", "floor", "ceiling"])
@pytest.mark.parametrize("value", [0, -1, math.nan, "1", None, True])
def test_a_pacing_that_makes_no_sense(name: str, value: Any) -> None:
    """A pacing is made of numbers above 0; anything else is an error that names the field."""
    with pytest.raises((TypeError, ValueError), match=name):
        Pacing(**{name: value})


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"price": math.inf}, "price must be finite"),
        ({"floor": math.inf, "ceiling": math.inf}, "floor must be finite"),
        ({"floor": 61}, "ceiling must be at least floor, 61, not 60"),
        ({"ceiling": 0.5}, "ceiling must be at least floor, 1, not 0.5"),
    ],
)
def test_a_pacing_that_never_looks(values: dict[str, Any], problem: str) -> None:
    """Nobody can wait for ever, nor have a ceiling below the floor."""
    with pytest.raises(ValueError, match=problem):
        Pacing(**values)


def test_there_may_be_no_ceiling() -> None:
    """A ceiling of infinity is none, and one that is the floor is a fixed interval."""
    assert (math.inf, 5.0) == (Pacing(ceiling=math.inf).ceiling, Pacing(floor=5.0, ceiling=5.0).ceiling)


def test_a_pacing_is_a_value() -> None:
    """A pacing cannot be changed, so that one may be shared by sessions."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Pacing().price = 2.0  # type: ignore[misc]


# --- the price ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "level", "price"),
    [(500.0, 1.0, 2.0), (250.0, 0.5, 8.0), (50.0, 0.1, 200.0), (0.0, 1e-3, 2e6), (900.0, 1.0, 2.0)],
)
def test_the_price_rises_as_the_budget_drains(available: float, level: float, price: float) -> None:
    """It is the user's price divided by the square of the budget's level, up to a million times."""
    found = price_of(available, price=2.0)

    assert pytest.approx((level, price)) == (found.budget_level(0.0), found.current)


def test_the_price_falls_as_the_budget_refills() -> None:
    """What flows in until then is counted, up to a full budget; a time before the update has what it had."""
    found = price_of(250.0, rate=1.0, now=100.0)

    assert pytest.approx([4.0, (500 / 375) ** 2, 1.0, 4.0]) == [found.at(now) for now in (100.0, 225.0, 1e6, 0.0)]


@pytest.mark.parametrize(
    ("before", "after", "cheaper"),
    [(500.0, 500.0, False), (250.0, 500.0, True), (250.0, 250.5, False), (250.0, 100.0, False)],
)
def test_an_update_tells_of_a_cheaper_price(before: float, after: float, cheaper: bool) -> None:
    """It is told when requests are at least 2 % cheaper than was to be expected: due times are too late then."""
    assert cheaper is price_of(before).update(Budget(after, 0.0), 10.0)


def test_a_refill_that_was_expected_is_no_news() -> None:
    """A budget that has refilled as it was said to makes nothing cheaper than was expected."""
    assert not price_of(250.0, rate=1.0).update(Budget(350.0, 1.0), 100.0)


@given(levels, levels)
def test_a_fuller_budget_never_costs_more(one: float, other: float) -> None:
    """The fuller the budget, the lower the price, and never below the user's own."""
    poorer, richer = sorted([one, other])

    assert price_of(poorer).current >= price_of(richer).current >= 1.0


# --- how long something may go unseen -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "price", "pages", "age", "ceiling"),
    [
        (500.0, 1.0, 1, 0.0, 60.0),
        (500.0, 1.0, 6, 0.0, 60.0),
        (500.0, 1.0, 12, 0.0, 120.0),  # ten seconds for each page
        (500.0, 1.0, 1, 3600.0, 600.0),  # a sixth of the time at work
        (500.0, 0.1, 1, 0.0, 60.0),
        (500.0, 4.0, 1, 0.0, 240.0),  # stretched by a price above 1
        (50.0, 1.0, 1, 0.0, 600.0),  # and as the budget drains
    ],
)
def test_ceiling(available: float, price: float, pages: int, age: float, ceiling: float) -> None:
    """Nothing goes unseen longer than the ceiling, raised by the number of pages, the age, and the price."""
    assert pytest.approx(ceiling) == price_of(available, price=price).ceiling(0.0, pages, age)


@pytest.mark.parametrize(
    ("available", "rate", "deadline"),
    [
        (500.0, 0.0, 13.0),
        (50.0, 0.0, 13.0),
        (40.0, 0.5, 120.0),  # ten requests are lacking, two seconds each
        (49.0, 10.0, 100.1),
        (40.0, 0.0, math.inf),
    ],
)
def test_max_staleness_waits_for_a_tenth_of_the_budget(available: float, rate: float, deadline: float) -> None:
    """A max_staleness is honoured while a tenth of the budget remains, else when it will have flowed in."""
    assert pytest.approx(deadline) == price_of(available, rate=rate, now=100.0).staleness_deadline(10.0, 3.0)


def test_a_late_max_staleness_is_not_hurried() -> None:
    """A max_staleness of minutes is kept where the budget has refilled before."""
    assert 310.0 == price_of(40.0, rate=0.5, now=100.0).staleness_deadline(10.0, 300.0)
