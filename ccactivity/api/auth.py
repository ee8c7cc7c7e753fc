"""The token of each attempt: given by a source, which is told of a refused one once."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from .._secret import Secret
from .._tasks import SingleFlight
from ..tokens import CallableSource, TokenSource, check_given

__all__ = ["Authenticator"]

# A refresh gets this time when the session is closed: the token it brings may be the only one that is still good.
_REPORT_CLOSE_TIMEOUT_S: Final = 10.0


class Authenticator:
    """Asks a source for tokens. A refused one is reported to it once, however many requests carried it.

    `refresh`: the report that is under way, if any; the current token is then on its way out. Whether it went well is
    for those whose token was refused.
    """

    def __init__(self, source: TokenSource) -> None:
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
            self._token = check_given(given)
        return self._token

    async def is_current(self, token: str) -> bool:
        """Whether the source would give this very token again."""
        return await self._source.access_token() == token

    async def replace(self, refused: str) -> bool:
        """Report a refused token, in a task that no caller can cancel; tell whether there is another one now."""
        await self.refresh.run(lambda: self._source.refused(refused))
        return not await self.is_current(refused)

    async def aclose(self) -> None:
        """Let a refresh that is under way end, and a callable that is asked for a token; then cancel them."""
        flights: list[SingleFlight[Any]] = [self.refresh]
        if isinstance(self._source, CallableSource):
            flights.append(self._source.fetching)
        await asyncio.gather(*(flight.aclose(_REPORT_CLOSE_TIMEOUT_S) for flight in flights))
