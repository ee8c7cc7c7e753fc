"""Token sources for tests."""

from __future__ import annotations

import asyncio
import math

from ccactivity.sandbox import Sandbox


class RefreshingSource:
    """A token source that brings a new token of the sandbox each time one is refused.

    `refresh_time`: seconds that a refresh takes. `access_time`: seconds that each `access_token` takes; None: it does
    not even yield to the loop. `token`: the current one, which a test may replace. `issued_at`: the sandbox's time of
    the last refresh. `refused_tokens`: those reported.
    """

    def __init__(self, *, refresh_time: float = 0.1, access_time: float | None = None) -> None:
        self.refused_tokens: list[str] = []
        self.issued_at = -math.inf
        self._refresh_time = refresh_time
        self._access_time = access_time

    def attach(self, sandbox: Sandbox) -> None:
        """Begin with the token of this sandbox."""
        self._sandbox = sandbox
        self.token = sandbox.token

    async def access_token(self) -> str:
        """Return the current token."""
        if self._access_time is not None:
            await asyncio.sleep(self._access_time)
        return self.token

    async def refused(self, token: str) -> None:
        """Get a new one."""
        self.refused_tokens.append(token)
        await asyncio.sleep(self._refresh_time)
        self.token, self.issued_at = self._sandbox.issue_token(), self._sandbox.now
