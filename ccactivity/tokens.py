"""Where access tokens come from; it sends nothing itself and never shows one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, runtime_checkable

from .errors import TokenError

__all__ = ["Secret", "TokenSource", "check_given", "check_token", "source_of"]

_MOST: Final = 16_384


class Secret(str):
    """A string that does not show itself when something prints it: a frame's variables, a header, a log record."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"


@runtime_checkable
class TokenSource(Protocol):
    """Gives access tokens, and is told when one is refused.

    A session asks for a token before each attempt, so `access_token` should answer from memory. When the API answers
    401 to the token that is still current, `refused` is awaited, once however many requests were under way; if
    `access_token` gives another token afterwards, the requests are sent again with it, else they raise
    `AuthenticationError`. Errors that either method raises reach the caller; raise `TokenError` and its like.
    """

    async def access_token(self) -> str:
        """Return the token to send now."""
        ...

    async def refused(self, token: str) -> None:
        """Take note that the API does not accept `token` any more."""
        ...


class _Static:
    """One token for ever."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def access_token(self) -> str:
        return self._token

    async def refused(self, token: str) -> None:
        """A refused token stays what it is; the session raises `AuthenticationError`."""


class _Called:
    """The tokens of an async callable, asked again only when one was refused: it may well be a refresh."""

    def __init__(self, call: Callable[[], Awaitable[str]]) -> None:
        self._call = call
        self._token: str | None = None

    async def access_token(self) -> str:
        if self._token is None:
            self._token = await self._call()
        return self._token

    async def refused(self, token: str) -> None:
        if token == self._token:
            self._token = await self._call()


def check_token(token: object) -> str:
    """Return the token if it can stand in a header; the error never shows it."""
    problem = ""
    if not isinstance(token, str):
        raise TypeError(f"an access token must be a str, not {type(token).__name__}")
    if not token:
        problem = "is empty"
    elif len(token) > _MOST:
        problem = f"is longer than {_MOST} characters"
    elif not token.isascii() or not token.isprintable() or " " in token:
        problem = "holds characters other than printable ASCII without spaces; was a line break copied with it?"
    if problem:
        raise ValueError(f"the access token {problem}")
    return token


def source_of(token: str | Callable[[], Awaitable[str]] | TokenSource) -> TokenSource:
    """Make a source of whatever a user may pass as `token`."""
    if isinstance(token, str):
        return _Static(check_token(token))
    if isinstance(token, TokenSource):
        return token
    if callable(token):
        return _Called(token)
    raise TypeError(
        f"token must be a str, an async callable that gives one, or a TokenSource, not {type(token).__name__}"
    )


def check_given(token: object) -> str:
    """Return a token that a source gave; TokenError if it cannot be sent."""
    try:
        return check_token(token)
    except (TypeError, ValueError) as error:
        problem = str(error)
    raise TokenError(f"the token source gave something that cannot be sent: {problem}")
