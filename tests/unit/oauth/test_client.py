"""An application: its arguments, and what it makes of responses, junk included."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.logins import ANYTHING, expired, logged_in, stored_in, tokens_of, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import MemoryStore, OAuthClient


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"client_id": ""}, ValueError),
        ({"client_id": 5}, TypeError),
        ({"client_secret": "canary-secret-\n"}, ValueError),
        ({"scopes": "contact_data"}, TypeError),
        ({"scopes": ["two words"]}, ValueError),
        ({"base_url": "http://vendor.example"}, ValueError),
        ({"token_url": "http://vendor.example/token"}, ValueError),
        ({"authorize_url": "https://user@vendor.example"}, ValueError),
        ({"device_url": "ftp://vendor.example"}, ValueError),
        ({"timeout": 0}, ValueError),
    ],
)
def test_arguments_that_cannot_work_are_refused_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    """They are named, and a secret is not shown."""
    with pytest.raises(error, match=next(iter(options))) as caught:
        OAuthClient(**{"client_id": "me", **options})

    assert "canary" not in str(caught.value)


def test_a_client_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that is missing is named; its repr shows no secret."""
    monkeypatch.delenv("CCACTIVITY_CLIENT_ID", raising=False)
    with pytest.raises(ValueError, match="CCACTIVITY_CLIENT_ID"):
        OAuthClient.from_env()
    monkeypatch.setenv("CCACTIVITY_CLIENT_ID", "me")
    monkeypatch.setenv("CCACTIVITY_CLIENT_SECRET", "canary-secret-client")
    monkeypatch.setenv("CCACTIVITY_OAUTH_URL", "https://vendor.example/v1/")
    client = OAuthClient.from_env(scopes=["contact_data"])

    assert ("https://vendor.example/v1/token", ("contact_data", "offline_access")) == (client.token_url, client.scopes)
    assert "<OAuthClient me of https://vendor.example>" == repr(client)


JUNK = st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.none()
        | st.integers()
        | st.sampled_from(["", "two words", "canary-secret-good", "x" * 20_000]),
        "refresh_token": st.none() | st.integers() | st.sampled_from(["", "line\nbreak", "canary-secret-newer"]),
        "expires_in": ANYTHING,
        "scope": st.none() | st.integers() | st.text(max_size=20),
        "token_type": st.text(max_size=9),
        "error": st.none() | st.text(max_size=9),
    },
)


@given(answer=JUNK | st.lists(st.integers(), max_size=2) | st.none() | st.text(max_size=30))
@pytest.mark.slow
async def test_a_junk_answer_loses_nothing(answer: Any) -> None:
    """Whatever a 200 brings, the refresh token stays or is replaced by a usable one; errors are of the family."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox, **expired())
        before = (await stored_in(store)).refresh_token
        sandbox.faults.add(sb.ok(json.dumps(answer)), where="token")
        async with tokens_of(sandbox, store) as tokens:
            try:
                token = await tokens.access_token()
            except cc.CCActivityError:
                token = ""
        record = await stored_in(store)

    assert token in ("", "canary-secret-good")
    assert record.refresh_token in (before, "canary-secret-newer")
    if token:
        assert token == record.access_token
        assert record.attempt is None


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


def test_without_a_url_in_the_environment_the_vendors_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables beside the client id may be unset, and an attempt may last as long as it likes."""
    monkeypatch.setenv("CCACTIVITY_CLIENT_ID", "me")
    for name in ("CLIENT_SECRET", "OAUTH_URL"):
        monkeypatch.delenv(f"CCACTIVITY_{name}", raising=False)

    url = OAuthClient.from_env(timeout=None).token_url

    assert "https://authz.constantcontact.com/oauth2/default/v1/token" == url
