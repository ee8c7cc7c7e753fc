"""The token of each attempt: given by a source, which is told of a refused one once."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from .._emitter import Emitter
from .._secret import Secret
from .._tasks import SingleFlight
from ..events import TokenRefreshed
from ..tokens import CallableSource, TokenSource, check_given

__all__ = ["Authenticator"]

# A refresh gets this time when the session is closed: the token it brings may be the only one that is still good.
_REPORT_CLOSE_TIMEOUT_S: Final = 10.0


class Authenticator:
    """Asks a source for tokens. A refused one is reported to it once, however many requests carried it.

    `refresh`: the report that is under way, if any; the current token is then on its way out. Whether it went well is
    for those whose token was refused.
    """

    def __init__(self, source: TokenSource, emitter: Emitter | None = None) -> None:
        self._emitter = emitter or Emitter()
        self._reported_at: float | None = None  # loop time, until what came of it is told
        self.refresh: SingleFlight[None] = SingleFlight()
        self._source = source
        self._token: Secret | None = None

    async def token(self) -> Secret:
        """Return the token to send now, after a refresh that is under way; TokenError for one that cannot be sent."""
        if self.refresh.running:
            await self.refresh.wait()
        given: object = await self._source.access_token()
        if isinstance(given, str):
            given = Secret(given)
        if self._token is None or given != self._token:
            known, self._token = self._token is not None, check_given(given)
            if known:
                self._tell("refreshed")
        return self._token

    async def is_current(self, token: str) -> bool:
        """Whether the source would give this very token again."""
        return await self._source.access_token() == token

    async def replace(self, refused: str) -> bool:
        """Report a refused token, in a task that no caller can cancel; tell whether there is another one now."""
        await self.refresh.run(lambda: self._report(refused))
        replaced = not await self.is_current(refused)
        if self._reported_at is not None and not replaced:
            self._tell("unchanged")
        return replaced

    async def _report(self, refused: str) -> None:
        self._reported_at = asyncio.get_running_loop().time()
        try:
            await self._source.refused(refused)
        except BaseException as error:
            self._tell(type(error).__name__)
            raise

    def _tell(self, outcome: str) -> None:
        now = asyncio.get_running_loop().time()
        reported_at, self._reported_at = self._reported_at, None
        if self._emitter.hooks:
            seconds = 0.0 if reported_at is None else now - reported_at
            self._emitter.emit(TokenRefreshed(at=now, seconds=seconds, outcome=outcome))

    async def aclose(self) -> None:
        """Let a refresh that is under way end, and a callable that is asked for a token; then cancel them."""
        flights: list[SingleFlight[Any]] = [self.refresh]
        if isinstance(self._source, CallableSource):
            flights.append(self._source.fetching)
        await asyncio.gather(*(flight.aclose(_REPORT_CLOSE_TIMEOUT_S) for flight in flights))
