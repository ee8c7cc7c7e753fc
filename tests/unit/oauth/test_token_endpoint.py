"""Requests to the authorization server: how fast, how often, and what an error quotes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from itertools import pairwise

import aiohttp
import pytest
from support.canary import secrets_in
from support.logins import REDIRECT, client_of, expired, logged_in, stored_in, tokens_of, vendor
from yarl import URL

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import MemoryStore, OAuthClient, OAuthTokens
from ccactivity.oauth.forms import basic_authorization
from ccactivity.testing import utc_now


@pytest.mark.parametrize(("headers", "pauses"), [({}, [1, 2, 4]), ({"Retry-After": "7"}, [7, 7, 7])])
async def test_a_throttled_refresh_is_sent_again(headers: dict[str, str], pauses: list[float]) -> None:
    """After a 429 the same refresh token is sent again, after a growing pause or the vendor's; callers only wait."""
    async with vendor() as sandbox:
        sandbox.faults.add(sb.throttled(headers), where="token", times=3)
        async with tokens_of(sandbox, await logged_in(sandbox, **expired())) as tokens:
            await tokens.access_token()

    times = [line.time for line in sandbox.log if line.kind == "token"]
    assert all(
        pause <= later - earlier < pause + 1 for pause, (earlier, later) in zip(pauses, pairwise(times), strict=True)
    )
    assert {0: 1} == sandbox.oauth.families[0].posts
    assert 0 == sandbox.violations.oauth_over_per_second


async def test_without_a_connection_a_form_is_sent_once_more() -> None:
    """The server knows nothing of it, so a second attempt is safe; there is no third."""
    tokens = OAuthTokens(OAuthClient("me", base_url="http://127.0.0.1:9"), MemoryStore(), now=utc_now)
    async with tokens:
        request = tokens.start_code_login(REDIRECT)
        began = asyncio.get_running_loop().time()
        with pytest.raises(cc.LoginFailedError, match="Connect"):
            await tokens.finish_code_login(request, f"?state={request.state}&code=c")
        took = asyncio.get_running_loop().time() - began

    assert 1 <= took < 2


async def test_a_form_that_would_go_elsewhere_is_not_repeated() -> None:
    """A session that leads to another server will do so again: the request fails at once, and nothing is sent."""
    seen = []

    async def astray(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(request.method)
        request.url = URL("http://elsewhere.example/")
        return await handler(request)

    async with vendor() as sandbox, aiohttp.ClientSession(middlewares=[astray]) as http:
        tokens = OAuthTokens(client_of(sandbox, http=http), MemoryStore(), now=utc_now)
        async with tokens:
            with pytest.raises(cc.TransportError, match="to another host"):
                await tokens.start_device_login()

    assert ["POST"] == seen
    assert 0 == sandbox.requests["device"]


async def test_what_the_vendor_says_is_quoted_without_what_was_sent() -> None:
    """An answer that echoes the form or the header does not bring a secret into an error."""
    async with vendor() as sandbox:
        sandbox.register_client(secret="canary-secret-client")
        store = await logged_in(sandbox, **expired())
        refresh = (await stored_in(store)).refresh_token
        header = basic_authorization("ccactivity-sandbox", "canary-secret-client")
        body = json.dumps({"error": "invalid_scope", "error_description": f"saw {refresh} of {header}"})
        sandbox.faults.add(sb.Answer(sb.Reply(status=400, body=body.encode())), where="token")
        tokens = cc.oauth.OAuthTokens(client_of(sandbox, client_secret="canary-secret-client"), store)
        async with tokens:
            with pytest.raises(cc.TokenError) as caught:
                await tokens.access_token()

    assert "saw (secret) of (secret)" in str(caught.value)
    assert [] == secrets_in(str(caught.value), repr(tokens), repr(MemoryStore()))


async def test_requests_are_a_second_apart() -> None:
    """One request a second is what the vendor allows, whichever login or flow it is for."""
    async with vendor() as sandbox:
        client = client_of(sandbox)
        stores = [await logged_in(sandbox, **expired()) for _ in range(5)]
        async with contextlib.AsyncExitStack() as stack:
            sources = [OAuthTokens(client, store, now=utc_now) for store in stores]
            for source in sources:
                await stack.enter_async_context(source)
            await asyncio.gather(*(source.access_token() for source in sources), sources[0].start_device_login())

    times = [line.time for line in sandbox.log if line.kind in ("device", "token")]
    assert 6 == len(times)
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))
    assert 0 == sandbox.violations.oauth_over_per_second


async def test_a_session_that_sends_again_by_itself_sends_a_token_once() -> None:
    """A retrying middleware of the caller's HTTP session is stopped at its second request."""

    async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        (await handler(request)).close()
        return await handler(request)

    async with vendor() as sandbox, aiohttp.ClientSession(middlewares=[twice]) as http:
        store = await logged_in(sandbox, **expired())
        tokens = OAuthTokens(client_of(sandbox, http=http), store, now=utc_now, pause=60)
        async with tokens:
            with pytest.raises(cc.TransportError, match="got no answer"):
                await tokens.access_token()

    assert {0: 1} == sandbox.oauth.families[0].posts


async def test_a_429_that_does_not_end_leaves_the_login_as_it_was() -> None:
    """After five of them callers get ThrottledError; the next attempt needs no care."""
    async with vendor() as sandbox:
        sandbox.faults.add(sb.throttled(), where="token", times=5)
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.ThrottledError):
                await tokens.access_token()
            assert (await stored_in(store)).attempt is None
            await asyncio.sleep(20)
            await tokens.access_token()

    assert 6 == sandbox.requests["token"]
    assert {0: 1} == sandbox.oauth.families[0].posts


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "server_error"}),
        (408, {"error": "invalid_request"}),
        (302, {"error": "invalid_grant"}),
        (403, {"message": "Forbidden"}),
        (403, {"error_key": "unauthorized", "error_message": "Unauthorized"}),
        (404, [{"error_key": "not_found", "error_message": "none"}]),
        (400, {"error": ["invalid_grant"]}),
    ],
)
async def test_only_an_oauth_error_is_a_definite_answer(status: int, body: object) -> None:
    """Whatever a gateway or an overloaded server says, the attempt stays stored, and the login is not given up."""
    async with vendor() as sandbox:
        sandbox.faults.add(sb.Answer(sb.Reply(status=status, body=json.dumps(body).encode())), where="token")
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store, pause=60) as tokens:
            with pytest.raises(cc.TransportError, match="got no answer"):
                await tokens.access_token()

        record = await stored_in(store)
        assert record.refused is None
        assert record.attempt is not None
