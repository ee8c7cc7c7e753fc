"""Secrets: a string that does not show itself, and what a token must look like. Pure."""

from typing import Final

__all__ = ["Secret", "check_token"]

_MAX_TOKEN_LENGTH: Final = 16_384


class Secret(str):
    """A string that does not show itself when something prints it: a frame's variables, a header, a log record."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"


def check_token(token: object) -> str:
    """Return the token if it can stand in a header; the error never shows it."""
    problem = ""
    if not isinstance(token, str):
        raise TypeError(f"an access token must be a str, not {type(token).__name__}")
    if not token:
        problem = "is empty"
    elif len(token) > _MAX_TOKEN_LENGTH:
        problem = f"is longer than {_MAX_TOKEN_LENGTH} characters"
    elif not token.isascii() or not token.isprintable() or " " in token:
        problem = "holds characters other than printable ASCII without spaces; was a line break copied with it?"
    if problem:
        raise ValueError(f"the access token {problem}")
    return token
