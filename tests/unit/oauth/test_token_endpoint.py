"""Requests to the authorization server: how fast, how often, and what an error quotes."""

from __future__ import annotations

import json

import pytest
from support.logins import client_of, expired, logged_in, stored_in, tokens_of, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import MemoryStore
from ccactivity.oauth.forms import basic_authorization


@pytest.mark.parametrize("fault", [sb.throttled(), sb.throttled({"Retry-After": "7"})])
async def test_a_throttled_refresh_is_sent_again(fault: sb.Answer) -> None:
    """After a 429 the same refresh token is sent again, after a pause; callers only wait."""
    async with vendor() as sandbox:
        sandbox.faults.add(fault, where="token", times=3)
        async with tokens_of(sandbox, await logged_in(sandbox, **expired())) as tokens:
            await tokens.access_token()

    assert {0: 1} == sandbox.oauth.families[0].posts
    assert 4 == sandbox.requests["token"]
    assert 0 == sandbox.violations.oauth_over_per_second


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
    assert "canary" not in str(caught.value) + repr(tokens) + repr(MemoryStore())
