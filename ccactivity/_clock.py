"""The wall clock, for `now=` where a user gives none."""

from datetime import UTC, datetime

__all__ = ["utc_now"]


def utc_now() -> datetime:
    """Return the aware UTC time."""
    return datetime.now(UTC)
