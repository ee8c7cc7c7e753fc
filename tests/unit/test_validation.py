"""What is wrong with an argument, in words."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity._validation import check_number, positive


@pytest.mark.parametrize(
    ("value", "least", "above"),
    [
        (0, 0.0, False),
        (5, 5.0, False),
        (5.1, 5.0, True),
        (math.inf, 0.0, True),
        (-1, -2.0, False),
        (10**400, 0.0, True),
    ],
)
def test_a_good_number(value: float, least: float, above: bool) -> None:
    """A number at the limit, or above it where that is asked for, is returned as it is."""
    checked = check_number("timeout", value, least=least, above=above)

    assert (value, type(value)) == (checked, type(checked))


@pytest.mark.parametrize(
    ("value", "least", "above", "problem"),
    [
        (-1, 0.0, False, "timeout must be at least 0, not -1"),
        (0, 0.0, True, "timeout must be above 0, not 0"),
        (4.9, 5.0, False, "timeout must be at least 5, not 4.9"),
        (5, 5.0, True, "timeout must be above 5, not 5"),
        (math.nan, 0.0, False, "timeout must be at least 0, not nan"),
        (math.nan, 0.0, True, "timeout must be above 0, not nan"),
        (-math.inf, 0.0, False, "timeout must be at least 0, not -inf"),
    ],
)
def test_a_number_out_of_range(value: float, least: float, above: bool, problem: str) -> None:
    """A number that is too small, or none at all, is a ValueError that names the argument and the limit."""
    with pytest.raises(ValueError) as caught:
        check_number("timeout", value, least=least, above=above)

    assert problem == str(caught.value)


@pytest.mark.parametrize("value", [None, True, False, "5", b"5", [5], 5j])
def test_no_number(value: object) -> None:
    """What is no number is a TypeError that names the argument and the type; a bool is no number."""
    with pytest.raises(TypeError, match=f"^timeout must be a number, not {type(value).__name__}$"):
        check_number("timeout", value)


@given(value=st.integers() | st.floats(), least=st.floats(allow_nan=False), above=st.booleans())
def test_any_number(value: float, least: float, above: bool) -> None:
    """Whatever passes is within the limit."""
    try:
        checked = check_number("timeout", value, least=least, above=above)
    except ValueError:
        assert not (value > least if above else value >= least)
        return

    assert checked > least if above else checked >= least


def test_positive_names_the_field() -> None:
    """A field of a value that is not above 0 is refused by its name."""

    @attrs.frozen
    class Value:
        seconds: float = attrs.field(validator=positive)

    assert 0.5 == Value(0.5).seconds
    with pytest.raises(ValueError, match="seconds must be above 0, not 0"):
        Value(0)
