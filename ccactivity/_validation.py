"""Checks of numbers that users give, with errors that say what is wrong. Pure."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["check_number", "not_negative", "positive"]


def check_number(name: str, value: object, *, least: float = 0.0, above: bool = False) -> float:
    """Return a number of at least `least`, or above it; else TypeError or ValueError. A bool or NaN is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not (value > least if above else value >= least):
        raise ValueError(f"{name} must be {'above' if above else 'at least'} {least:g}, not {value!r}")
    return value


def positive(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Validate a field of a frozen value: a number above 0."""
    check_number(field.name, value, above=True)


def not_negative(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Validate a field: a number of at least 0."""
    check_number(field.name, value)
