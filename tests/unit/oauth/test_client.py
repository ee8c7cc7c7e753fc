"""Logging in: on another device and by redirect; what a login tells of itself, and logging out."""

from __future__ import annotations

import asyncio
import pickle
import re
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from support.canary import SECRETS
from support.logins import REDIRECT, SCOPES, client_of, logged_in, record_of, stored_in, tokens_of, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import Account, AuthorizationRequest, MemoryStore, OAuthTokens
from ccactivity.sandbox import Sandbox
from ccactivity.testing import utc_now

SECRET = "canary-secret-client"


async def visit(request: AuthorizationRequest) -> str:
    """Be the browser: go where the login begins, and return where the vendor sends it back to."""
    if request.code_verifier:
        SECRETS.add(request.code_verifier)
    async with aiohttp.ClientSession() as http, http.get(request.url, allow_redirects=False) as response:
        SECRETS.update(re.findall("code=([0-9a-f]+)", response.headers["Location"]))
        return response.headers["Location"]


# --- on another device ----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({}, cc.DecodeError),
        ({"device_code": "d", "user_code": "", "verification_uri": "https://x"}, cc.DecodeError),
        ({"device_code": "d", "user_code": "c", "verification_uri": "javascript:alert(1)"}, cc.DecodeError),
        ({"device_code": "d", "user_code": "c", "verification_uri": "https://x\n"}, cc.DecodeError),
        ([], cc.DecodeError),
        (None, cc.DecodeError),
    ],
)
async def test_a_device_code_that_nobody_could_use_is_no_login(answer: Any, error: type[Exception]) -> None:
    """Without a code, or an address that a person can open, there is nothing to show."""
    async with vendor() as sandbox:
        sandbox.faults.add(sb.ok(answer if answer is not None else "<html>"), where="device")
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            with pytest.raises(error):
                await tokens.start_device_login()


@pytest.mark.parametrize("junk", [None, 0, -1, "soon", 1e300, True])
async def test_junk_durations_of_a_device_code_become_sensible_ones(junk: object) -> None:
    """Five seconds between polls and ten minutes in all, unless the vendor says something sensible."""
    async with vendor(approve_after=2) as sandbox:
        sandbox.faults.add(sb.Edit(lambda body: {**body, "interval": junk, "expires_in": junk}), where="device")
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            login = await tokens.start_device_login()
            await login

        assert login.expires_in in (600, 3600)
        assert sandbox.now <= 200


async def test_an_unknown_client_cannot_begin() -> None:
    """The vendor's refusal is quoted, and the fix named."""
    async with vendor() as sandbox:
        sandbox.register_client(secret="canary-secret-other")
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            with pytest.raises(cc.LoginFailedError, match="invalid_client") as caught:
                await tokens.start_device_login()

    assert "refused" == caught.value.reason


# --- by redirect ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [None, SECRET])
@pytest.mark.parametrize("pkce", [True, False])
async def test_a_login_by_redirect_ends_with_stored_tokens(secret: str | None, pkce: bool) -> None:
    """Public and confidential clients, with PKCE or without."""
    async with vendor() as sandbox:
        sandbox.register_client(secret=secret, redirect_uris=[REDIRECT])
        store = MemoryStore()
        client = client_of(sandbox, client_secret=secret, pkce=pkce)
        async with OAuthTokens(client, store, now=utc_now) as tokens:
            request = tokens.start_code_login(REDIRECT)
            account = await tokens.finish_code_login(request, await visit(request))
            refreshed = await tokens.refresh()

    assert (account.user, True) == ("person@example.com", refreshed.refreshable)
    assert {"authorize": 1, "token": 2} == sandbox.requests
    assert 0 == sandbox.violations.total


async def test_a_person_who_declines_is_no_lost_login() -> None:
    """The vendor sends her back with an error; nothing is asked for, nothing stored."""
    async with vendor() as sandbox:
        sandbox.oauth.deny = True
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            request = tokens.start_code_login(REDIRECT)
            with pytest.raises(cc.LoginFailedError, match="declined") as caught:
                await tokens.finish_code_login(request, await visit(request))
            assert await tokens.account() is None

    assert "denied" == caught.value.reason
    assert 0 == sandbox.requests["token"]


async def test_a_redirect_of_another_login_is_refused() -> None:
    """A code that came with another state, or for another verifier, brings no tokens."""
    async with vendor() as sandbox, tokens_of(sandbox, MemoryStore()) as tokens:
        mine, others = tokens.start_code_login(REDIRECT), tokens.start_code_login(REDIRECT)
        with pytest.raises(cc.LoginFailedError, match="another login"):
            await tokens.finish_code_login(mine, await visit(others))
        assert 0 == sandbox.requests["token"]

        back = (await visit(others)).replace(others.state, mine.state)
        with pytest.raises(cc.LoginFailedError, match="invalid_grant"):
            await tokens.finish_code_login(mine, back)


async def test_a_code_whose_answer_was_lost_is_not_shown_again() -> None:
    """A code is good once (RFC 6749, section 4.1.2): the person has to begin anew, and is told so."""
    async with vendor() as sandbox:
        sandbox.faults.add(sb.Reset(), where="token")
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            request = tokens.start_code_login(REDIRECT)
            with pytest.raises(cc.LoginFailedError, match="begin anew") as caught:
                await tokens.finish_code_login(request, await visit(request))

    assert ("lost", 1) == (caught.value.reason, sandbox.requests["token"])


async def test_a_caller_who_is_cancelled_while_tokens_are_stored_has_logged_in() -> None:
    """The tokens of a login exist nowhere else, so they are stored whoever leaves."""

    class Slow(MemoryStore):
        async def save(self, record: Any, *, replaces: int) -> bool:
            await asyncio.sleep(5)
            return await super().save(record, replaces=replaces)

    async with vendor() as sandbox:
        store = Slow()
        async with tokens_of(sandbox, store) as tokens:
            request = tokens.start_code_login(REDIRECT)
            caller = asyncio.ensure_future(tokens.finish_code_login(request, await visit(request)))
            await asyncio.sleep(2)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller

        assert await store.load() is not None


# --- what it tells --------------------------------------------------------------------------------------------------


async def test_a_login_tells_of_itself_without_a_secret() -> None:
    """Who, which scopes, until when, where it is: all but the tokens."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox)
        async with tokens_of(sandbox, store) as tokens:
            account = await tokens.account()
            shown = repr(tokens) + repr(account)

    assert isinstance(account, Account)
    assert ("person@example.com", SCOPES, "memory") == (account.user, account.scopes, account.stored_in)
    assert (True, None, None) == (account.refreshable, account.interrupted_at, account.problem)
    assert "canary" not in shown
    assert 0 == sandbox.requests["token"]


async def test_a_login_without_a_refresh_token_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """It serves until its access token ends, after a warning at the login; then the error names the scope."""
    async with vendor(access_life=3600, approve_after=1) as sandbox:
        edit = sb.Edit(lambda body: {key: value for key, value in body.items() if key != "refresh_token"})
        sandbox.faults.add(edit, where="token")
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            account = await (await tokens.start_device_login())
            await tokens.access_token()
            assert "no refresh token" in caplog.text
            assert not account.refreshable

            await asyncio.sleep(3601)
            with pytest.raises(cc.ReauthorizationRequiredError, match="offline_access") as caught:
                await tokens.access_token()

    assert "no_refresh_token" == caught.value.reason


async def test_an_answer_without_an_access_token_is_no_login() -> None:
    """Nothing is stored that could not be used."""
    async with vendor(approve_after=1) as sandbox:
        sandbox.faults.add(sb.ok({"refresh_token": "canary-secret-r"}), where="token")
        store = MemoryStore()
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.LoginFailedError, match="no access token"):
                await (await tokens.start_device_login())

        assert await store.load() is None


async def test_logging_in_again_mends_what_was_lost() -> None:
    """A new login replaces a dead one, also one of another client, and the same OAuthTokens goes on with it."""
    async with vendor(approve_after=1) as sandbox:
        store = await logged_in(sandbox)
        sandbox.revoke_logins()
        async with tokens_of(sandbox, store) as tokens:
            token = await tokens.access_token()
            with pytest.raises(cc.ReauthorizationRequiredError):
                await tokens.refused(token)
            await (await tokens.start_device_login())

            assert token != await tokens.access_token()
            assert record_of(sandbox).scopes == (await stored_in(store)).scopes
            assert 4 == (await stored_in(store)).version


async def test_logging_out_removes_the_login() -> None:
    """Nothing is left in the store, and the next request says that nobody has logged in."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox)
        async with tokens_of(sandbox, store) as tokens:
            await tokens.access_token()

            assert [True, False] == [await tokens.log_out(), await tokens.log_out()]
            assert await store.load() is None
            with pytest.raises(cc.ReauthorizationRequiredError, match="nobody has logged in"):
                await tokens.access_token()


def test_a_sandbox_in_a_thread_serves_logins_too(ccactivity_sandbox: Sandbox) -> None:
    """The fixture for other people's tests has an authorization server."""
    ccactivity_sandbox.register_client()
    answer = ccactivity_sandbox.log_in()

    assert ccactivity_sandbox.oauth_base_url.endswith("/oauth2/default/v1")
    assert {"access_token", "refresh_token", "expires_in", "scope", "token_type"} == answer.keys()
