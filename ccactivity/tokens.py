"""Where access tokens come from; it sends nothing itself and never shows one."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol, runtime_checkable

from ._secret import check_token
from .errors import TokenError

__all__ = ["TokenSource", "check_given", "source_of"]


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


class _Hidden:
    """What holds a token is not to be pickled into a queue or a cache."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token source cannot be pickled: it holds a secret")


class _Static(_Hidden):
    """One token for ever."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def access_token(self) -> str:
        return self._token

    async def refused(self, token: str) -> None:
        """A refused token stays what it is; the session raises `AuthenticationError`."""


class _Called(_Hidden):
    """The tokens of an async callable, asked again only when one was refused: it may well be a refresh.

    However many ask at once, it is called once, by a task of its own, so that no one who is cancelled takes it down.
    """

    def __init__(self, call: Callable[[], Awaitable[str]]) -> None:
        self._call = call
        self._token: str | None = None
        self._calling: asyncio.Task[str] | None = None

    async def access_token(self) -> str:
        return await self._ask() if self._token is None else self._token

    async def refused(self, token: str) -> None:
        if token == self._token:
            await self._ask()

    async def _ask(self) -> str:
        if self._calling is None:
            self._calling = asyncio.get_running_loop().create_task(self._called(), context=contextvars.Context())
            self._calling.add_done_callback(self._done)
        return await asyncio.shield(self._calling)

    async def _called(self) -> str:
        self._token = await self._call()
        return self._token

    def _done(self, calling: asyncio.Task[str]) -> None:
        self._calling = None
        if not calling.cancelled():
            calling.exception()


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
