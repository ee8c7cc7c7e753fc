"""Secrets: a string that does not show itself, and what a token must look like. Pure.

Error trackers record the variables of every frame that an error has passed. So a token is a `Secret` from the first
line of the function that it enters, and a function that rejects one forgets it before it raises.
"""

from __future__ import annotations

from typing import Final, TypeVar, overload

__all__ = ["Secret", "check_token", "hide"]

T = TypeVar("T")
_MAX_TOKEN_LENGTH: Final = 16_384


class Secret(str):
    """A string that does not show itself when something prints it: a frame's variables, a header, a log record."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"


@overload
def hide(value: str) -> Secret: ...


@overload
def hide(value: T) -> T | Secret: ...


def hide(value: object) -> object:
    """Return a string as a Secret, and anything else as it is."""
    return Secret(value) if isinstance(value, str) else value


def check_token(token: object) -> Secret:
    """Return the token if it can stand in a header; the error never shows it."""
    kind, secret = type(token).__name__, Secret(token) if isinstance(token, str) else None
    del token
    problem = ""
    if secret is None:
        raise TypeError(f"an access token must be a str, not {kind}")
    if not secret:
        problem = "is empty"
    elif len(secret) > _MAX_TOKEN_LENGTH:
        problem = f"is longer than {_MAX_TOKEN_LENGTH} characters"
    elif "bearer" in secret.lower().split()[:-1]:
        problem = "must come alone: leave out the word Bearer"
    elif not secret.isascii() or not secret.isprintable() or " " in secret:
        problem = "holds characters other than printable ASCII without spaces; was a line break copied with it?"
    if problem:
        raise ValueError(f"the access token {problem}")
    return secret
