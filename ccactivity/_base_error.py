"""The root of the library's errors, apart from them, so that values may have errors of their own. Pure."""

from __future__ import annotations

from typing import Any

__all__ = ["CCActivityError", "rebuild"]


def rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Make a pickled error again, without its `__init__`."""
    error = cls.__new__(cls, *args)
    # OSError, a base of TimeoutError, leaves this to an __init__ that is not run here.
    error.args = args
    error.__dict__.update(state)
    return error


class CCActivityError(Exception):
    """Root of everything this library raises about the world."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with `args`, which only fits an __init__ that takes a message alone.
        return rebuild, (type(self), self.args, dict(self.__dict__))
