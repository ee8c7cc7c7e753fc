"""A login on another device: polling, and how it can end."""

from __future__ import annotations

import asyncio
import pickle
import re
from itertools import pairwise

import pytest
from support.logins import SCOPES, logged_in, stored_in, tokens_of, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import MemoryStore
from ccactivity.sandbox import Sandbox


async def test_a_login_on_another_device_ends_with_stored_tokens() -> None:
    """A code is shown, somebody types it in elsewhere, and the login is stored with all its scopes."""
    async with vendor() as sandbox:
        store = MemoryStore()
        async with tokens_of(sandbox, store) as tokens:
            login = await tokens.start_device_login()
            asyncio.get_running_loop().call_later(32, sandbox.approve_device, login.user_code)
            account = await login
            token = await tokens.access_token()

        assert re.fullmatch("[A-Z]{4}-[A-Z]{4}", login.user_code)
        assert login.user_code in str(login.verification_uri_complete)
        assert (600.0, f"{sandbox.oauth.site}/activate") == (login.expires_in, login.verification_uri)
        assert (SCOPES, True, "person@example.com") == (account.scopes, account.refreshable, account.user)
        assert token == (await stored_in(store)).access_token
        assert {"device": 1, "token": 7} == sandbox.requests
        assert 0 == sandbox.violations.total


async def test_slow_down_means_five_seconds_more() -> None:
    """Each `slow_down` makes the polls slower, for good (RFC 8628, section 3.5)."""
    async with vendor(approve_after=4) as sandbox:
        answer = sb.Answer(sb.Reply(status=400, body=b'{"error": "slow_down"}'))
        sandbox.faults.add(answer, where="token", times=2)
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            await (await tokens.start_device_login())

    times = [line.time for line in sandbox.log if line.kind == "token"]
    assert [10, 15, 15, 15, 15] == [round(later - earlier) for earlier, later in pairwise(times)]


async def test_a_poll_that_fails_is_followed_by_a_slower_one() -> None:
    """Outages, throttles and pages of HTML end no login."""
    async with vendor(approve_after=3) as sandbox:
        for fault in (sb.server_error(503), sb.html(), sb.Reset(), sb.throttled()):
            sandbox.faults.add(fault, where="token", times=1)
        sandbox.faults.add(sb.server_error(), where="device", times=2)
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            account = await (await tokens.start_device_login())

    assert account.refreshable
    assert 0 == sandbox.violations.total


@pytest.mark.parametrize(
    ("verdict", "reason", "words"),
    [("denied", "denied", "declined"), (None, "expired", "in time"), ("lost", "lost", "begin a new one")],
)
async def test_a_login_that_comes_to_nothing_says_why(verdict: str | None, reason: str, words: str) -> None:
    """Declined, too late, or its answer lost: a LoginFailedError; what was stored before stays."""
    async with vendor(device_life=120) as sandbox:
        store = await logged_in(sandbox)
        before = await stored_in(store)
        async with tokens_of(sandbox, store) as tokens:
            login = await tokens.start_device_login()
            if verdict == "lost":
                sandbox.approve_device(login.user_code)
                sandbox.faults.add(sb.Reset(), where="token", times=1)
            elif verdict:
                sandbox.deny_device(login.user_code)
            with pytest.raises(cc.LoginFailedError, match=words) as caught:
                await login

        assert reason == caught.value.reason
        assert before == await stored_in(store)
        assert reason == pickle.loads(pickle.dumps(caught.value)).reason


async def test_an_unknown_client_cannot_log_in() -> None:
    """The vendor's refusal is quoted, and the fix named."""
    async with vendor() as sandbox:
        sandbox.register_client(secret="canary-secret-other")
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            with pytest.raises(cc.LoginFailedError, match="invalid_client") as caught:
                await tokens.start_device_login()

    assert "refused" == caught.value.reason


def test_a_sandbox_in_a_thread_serves_logins_too(ccactivity_sandbox: Sandbox) -> None:
    """The fixture for other people's tests has an authorization server."""
    ccactivity_sandbox.register_client()
    answer = ccactivity_sandbox.log_in()

    assert ccactivity_sandbox.oauth_base_url.endswith("/oauth2/default/v1")
    assert {"access_token", "refresh_token", "expires_in", "scope", "token_type"} == answer.keys()


async def test_a_login_shows_what_a_person_needs() -> None:
    """Its repr has the code and the address, and nothing secret."""
    async with vendor() as sandbox, tokens_of(sandbox, MemoryStore()) as tokens:
        login = await tokens.start_device_login()

    assert f"<DeviceLogin {login.user_code} at {login.verification_uri}>" == repr(login)


async def test_a_device_code_is_asked_for_again_after_a_lost_answer() -> None:
    """Nothing is spent by it: three lost answers end the login, two do not, nor do three refused connections."""
    async with vendor() as sandbox, tokens_of(sandbox, MemoryStore()) as tokens:
        sandbox.faults.add(sb.Reset(), where="device", times=2)
        await tokens.start_device_login()
        assert 3 == sandbox.requests["device"]

        sandbox.faults.add(sb.Reset(), where="device", times=3)
        with pytest.raises(cc.TransportError):
            await tokens.start_device_login()
        assert 6 == sandbox.requests["device"]
