"""A login on another device, from the code to the stored tokens (RFC 8628). What a person sees is up to the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from datetime import datetime
from typing import Any, Final

from ..errors import LoginFailedError
from .client import MAX_POLL_INTERVAL_S, DeviceCode, GrantedTokens, OAuthClient
from .forms import login_error
from .models import Account
from .token_endpoint import REQUEST_FAILURES, OAuthError

__all__ = ["DeviceLogin"]

_SLOW_DOWN_STEP_S: Final = 5.0  # RFC 8628, section 3.5: for this poll and all later ones


class DeviceLogin:
    """A login that has been started: show the person `user_code` and `verification_uri`, and await it.

    `verification_uri_complete`: a URL that has the code in it, for a link or a QR code; None if there is none.
    `expires_in`: seconds that the person has, from the start. `await login` returns the Account once they have agreed
    and the tokens are stored; LoginFailedError says why the login was not completed.
    """

    def __init__(
        self,
        client: OAuthClient,
        code: DeviceCode,
        keep: Callable[[GrantedTokens], Awaitable[Account]],
        now: Callable[[], datetime],
    ) -> None:
        self.user_code: str = code.user_code
        self.verification_uri: str = code.verification_uri
        self.verification_uri_complete: str | None = code.verification_uri_complete
        self.expires_in: float = code.lifetime
        self._client = client
        self._code = code
        self._keep = keep
        self._now = now
        self._deadline = asyncio.get_running_loop().time() + code.lifetime
        self._response_lost = False

    def __repr__(self) -> str:
        return f"<DeviceLogin {self.user_code} at {self.verification_uri}>"

    def __await__(self) -> Generator[Any, None, Account]:
        return self._poll().__await__()

    async def _poll(self) -> Account:
        loop = asyncio.get_running_loop()
        delay = interval = self._code.interval
        while loop.time() + delay < self._deadline:
            await asyncio.sleep(delay)
            try:
                tokens = await self._client.poll(self._code.device_code, now=self._now())
            except OAuthError as error:
                answer = error
            except REQUEST_FAILURES:
                # The lost response may have been the one with the tokens: the next poll will tell.
                self._response_lost = True
                delay = min(2 * delay, MAX_POLL_INTERVAL_S)
                continue
            else:
                return await self._keep(tokens)
            if answer.error == "slow_down":
                interval = min(interval + _SLOW_DOWN_STEP_S, MAX_POLL_INTERVAL_S)
            elif answer.error == "invalid_grant" and self._response_lost:
                raise LoginFailedError(
                    "the login may have been approved, but the response with the tokens was lost: begin a new one",
                    reason="lost",
                )
            elif answer.error != "authorization_pending":
                raise login_error(answer.error, answer.description)
            delay = interval
        raise LoginFailedError("nobody approved the login in time", reason="expired")
