"""Token sources: what gives a session its access tokens, and is told of refused ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol, runtime_checkable

from ._secret import Secret, check_token, hide
from ._tasks import SingleFlight
from .errors import TokenError

__all__ = ["CallableSource", "TokenSource", "check_given", "source_of"]


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


class CallableSource:
    """The tokens of an async callable, called again only when one was refused: it may well be a refresh.

    `token`: what it would give first, where that is known. `fetching`: the call that is under way, if any.
    """

    def __init__(self, call: Callable[[], Awaitable[str]], token: Secret | None = None) -> None:
        self._call = call
        self._token = token
        self.fetching: SingleFlight[Secret] = SingleFlight()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token source cannot be pickled: it holds a secret")

    async def access_token(self) -> str:
        """Return the token that the callable gave last; call it first if there is none."""
        return await self.fetching.run(self._fetch) if self._token is None else self._token

    async def refused(self, token: str) -> None:
        """Call it again, unless it has given another token meanwhile."""
        if token == self._token:
            await self.fetching.run(self._fetch)

    async def _fetch(self) -> Secret:
        self._token = hide(await self._call())
        return self._token


def source_of(token: str | Callable[[], Awaitable[str]] | TokenSource) -> TokenSource:
    """Make a source of whatever a user may pass as `token`."""
    token = hide(token)
    if isinstance(token, str):
        return _source_of_one(check_token(token))
    if isinstance(token, TokenSource):
        return token
    if callable(token):
        return CallableSource(token)
    kind = type(token).__name__  # type: ignore[unreachable]  # for callers without a type checker
    del token
    raise TypeError(f"token must be a str, an async callable that gives one, or a TokenSource, not {kind}")


def _source_of_one(token: Secret) -> TokenSource:
    async def same_token() -> str:
        return token

    return CallableSource(same_token, token)


def check_given(token: object) -> Secret:
    """Return a token that a source gave; TokenError if it cannot be sent."""
    try:
        return check_token(token)
    except (TypeError, ValueError) as error:
        problem = str(error)
    del token
    raise TokenError(f"the token source gave something that cannot be sent: {problem}")
