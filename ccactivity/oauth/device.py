"""A login on another device, from the code to the tokens (RFC 8628); it shows nothing to anyone by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from datetime import datetime
from typing import Any, Final

from ..errors import DecodeError, LoginFailedError, ServerError, ThrottledError, TransportError
from .client import DeviceCode, OAuthClient, Tokens
from .forms import refused
from .models import Account
from .token_endpoint import Refused

__all__ = ["DeviceLogin"]

_SLOWER: Final = 5.0
_LONGEST: Final = 60.0


class DeviceLogin:
    """A login that has begun: show the person `user_code` and `verification_uri`, and await it.

    `verification_uri_complete`: an address that holds the code already, for a link or a QR code; None if there is none.
    `expires_in`: seconds that the person has, from the start. `await login` gives the Account once she has agreed, and
    the tokens are stored; LoginFailedError says why it did not come to that.
    """

    def __init__(
        self,
        client: OAuthClient,
        code: DeviceCode,
        keep: Callable[[Tokens], Awaitable[Account]],
        now: Callable[[], datetime],
    ) -> None:
        self.user_code: str = code.user_code
        self.verification_uri: str = code.verification_uri
        self.verification_uri_complete: str | None = code.verification_uri_complete
        self.expires_in: float = code.life
        self._client = client
        self._code = code
        self._keep = keep
        self._now = now
        self._ends = asyncio.get_running_loop().time() + code.life
        self._lost = False

    def __repr__(self) -> str:
        return f"<DeviceLogin {self.user_code} at {self.verification_uri}>"

    def __await__(self) -> Generator[Any, None, Account]:
        return self._wait().__await__()

    async def _wait(self) -> Account:
        loop = asyncio.get_running_loop()
        interval = self._code.interval
        pause = interval
        while loop.time() + pause < self._ends:
            await asyncio.sleep(pause)
            problem = None
            try:
                tokens = await self._client.poll(self._code.device_code, now=self._now())
            except Refused as refusal:
                if refusal.error == "slow_down":
                    interval = min(interval + _SLOWER, _LONGEST)  # section 3.5: five seconds more, from then on
                elif refusal.error != "authorization_pending":
                    problem = self._failed(refusal)
                pause = interval
            except (TransportError, ServerError, ThrottledError, DecodeError):
                # The answer may have been the one with the tokens; asking again shows it.
                self._lost = True
                pause = min(2 * pause, _LONGEST)
            else:
                return await self._keep(tokens)
            if problem is not None:
                raise problem
        raise LoginFailedError("nobody approved the login in time", reason="expired")

    def _failed(self, refusal: Refused) -> LoginFailedError:
        if self._lost and refusal.error == "invalid_grant":
            return LoginFailedError(
                "the login may have been approved, but the answer that brought the tokens was lost: begin a new one",
                reason="lost",
            )
        return refused(refusal.error, refusal.description)
