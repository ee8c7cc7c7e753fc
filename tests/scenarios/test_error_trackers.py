"""What an error tracker records of an error: no variable of our frames shows a token or a client secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.canary import SECRETS, secrets_in
from support.logins import (
    CLIENT,
    RECORD,
    REDIRECT,
    expired,
    logged_in,
    session_of,
    tokens_of,
)
from support.logins import vendor as login_vendor
from support.tokens import TOKEN, shown
from support.vendor import UNKNOWN_ID, VendorFactory, connect

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.cli.exit_codes import UsageError
from ccactivity.cli.session import open_session
from ccactivity.oauth import FileStore, MemoryStore, OAuthClient, OAuthTokens, StoredTokens
from ccactivity.testing import utc_now

SPLIT = f"{TOKEN}\n{TOKEN}"
SECRET = "canary-secret-client"
BAD_URL = "http://not-this-machine.example"
BAD_RECORD = json.dumps(json.loads(RECORD.to_json()) | {"version": 0})


async def never() -> str:
    raise AssertionError


@pytest.mark.parametrize(
    "make",
    [
        lambda: cc.ActivitySession(TOKEN, timeout=-1),
        lambda: cc.ActivitySession(TOKEN, http=never),  # type: ignore[arg-type]
        lambda: cc.ActivitySession(TOKEN, base_url=BAD_URL),
        lambda: cc.ActivitySession(SPLIT),
        lambda: OAuthClient(CLIENT, SECRET, timeout=-1),
        lambda: OAuthClient(CLIENT, SECRET, scopes="one"),
        lambda: OAuthClient(CLIENT, SECRET, base_url=BAD_URL),
        lambda: OAuthClient(CLIENT, f"{SECRET}\n"),
        lambda: OAuthClient("an id", SECRET),
        lambda: StoredTokens.from_json(BAD_RECORD),
        lambda: StoredTokens.from_json(BAD_RECORD.encode()),
        lambda: StoredTokens.from_json(RECORD.to_json()[:-9]),
    ],
)
def test_what_cannot_be_made(make: Callable[[], object]) -> None:
    """Whatever is wrong, with the secret or beside it."""
    with pytest.raises((ValueError, TypeError, cc.TokenStoreError)) as caught:
        make()

    assert [] == secrets_in(shown(caught.value))


@pytest.mark.parametrize(
    ("variables", "make"),
    [
        ({"ACCESS_TOKEN": TOKEN}, lambda: cc.ActivitySession.from_env(timeout=-1)),
        ({"ACCESS_TOKEN": TOKEN, "BASE_URL": BAD_URL}, cc.ActivitySession.from_env),
        ({"ACCESS_TOKEN": SPLIT}, cc.ActivitySession.from_env),
        ({}, lambda: cc.ActivitySession.from_env(TOKEN, timeout=-1)),
        ({"CLIENT_SECRET": SECRET}, OAuthClient.from_env),
        ({"CLIENT_SECRET": SECRET, "CLIENT_ID": CLIENT, "OAUTH_URL": BAD_URL}, OAuthClient.from_env),
        ({"CLIENT_SECRET": f"{SECRET}\n{SECRET}", "CLIENT_ID": CLIENT}, OAuthClient.from_env),
    ],
)
def test_what_cannot_be_made_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], make: Callable[[], object]
) -> None:
    """Whatever is wrong with a variable, or beside it."""
    for name in ("ACCESS_TOKEN", "BASE_URL", "CLIENT_ID", "CLIENT_SECRET", "OAUTH_URL"):
        monkeypatch.delenv(f"CCACTIVITY_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"CCACTIVITY_{name}", value)
    with pytest.raises(ValueError) as caught:
        make()

    assert [] == secrets_in(shown(caught.value))


@pytest.mark.parametrize("text", [f"{TOKEN}\n", SPLIT, TOKEN[:20] + "\xff"])
@pytest.mark.parametrize("from_file", [True, False])
async def test_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, from_file: bool) -> None:
    """A token of a file or of the environment, with a URL that is refused, or that cannot be sent."""
    path = tmp_path / "token"
    path.write_bytes(text.encode("latin-1"))
    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", text)
    with pytest.raises(UsageError) as caught:
        async with open_session(token_file=path if from_file else None, base_url=BAD_URL):
            pass

    assert [] == secrets_in(shown(caught.value))


class PlainSource:
    """Gives strings that are no secrets of ours."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def access_token(self) -> str:
        return self.token

    async def refused(self, token: str) -> None:
        """Has no other one."""


@pytest.mark.parametrize("fault", [sb.unauthorized(), sb.forbidden(), sb.server_error(503), sb.Reset(), sb.html()])
@pytest.mark.parametrize("kind", ["str", "callable", "source"])
async def test_calls_that_fail(vendor: VendorFactory, fault: Any, kind: str) -> None:
    """Whatever a call or a watch ends with."""
    async with vendor() as (sandbox, _):
        token = sandbox.token

        async def call() -> str:
            return token

        job = sandbox.submit()
        sandbox.faults.add(fault)
        given: dict[str, Any] = {"str": token, "callable": call, "source": PlainSource(token)}
        async with connect(sandbox, given[kind], retry=cc.Retry(attempts=1)) as session:
            for ask in (session.get_activity(job), session.wait(job, timeout=30)):
                with pytest.raises(cc.CCActivityError) as caught:
                    await ask
                assert [] == secrets_in(shown(caught.value))


@pytest.mark.parametrize("kind", ["callable", "source"])
async def test_a_source_whose_token_cannot_be_sent(vendor: VendorFactory, kind: str) -> None:
    """Most of such a token may be one."""

    async def call() -> str:
        return SPLIT

    async with vendor(token=call if kind == "callable" else PlainSource(SPLIT)) as (_, session):
        for ask in (session.get_activity(UNKNOWN_ID), session.wait(UNKNOWN_ID)):
            with pytest.raises(cc.TokenError) as caught:
                await ask
            assert [] == secrets_in(shown(caught.value))


OAUTH_FAULTS = [
    sb.message(400, "invalid_grant"),
    sb.server_error(503),
    sb.Reset(),
    sb.html(),
    sb.ok([{"access_token": TOKEN, "device_code": TOKEN}]),
    sb.ok({"access_token": SPLIT, "device_code": SPLIT}),
]


@pytest.mark.parametrize("fault", OAUTH_FAULTS)
async def test_logins_that_fail(fault: sb.Effect) -> None:
    """A refresh, a login by redirect, one on another device, with a client secret and without."""
    for secret in (SECRET, None):
        async with login_vendor() as sandbox:
            sandbox.register_client("confidential", secret=SECRET, redirect_uris=[REDIRECT])
            client = OAuthClient("confidential", secret, base_url=sandbox.oauth_base_url)
            async with OAuthTokens(client, MemoryStore(), now=utc_now) as tokens:
                sandbox.faults.add(fault)
                request = tokens.start_code_login(REDIRECT)
                assert request.code_verifier
                SECRETS.update((request.code_verifier, "a-code-of-a-redirect"))
                back = f"{REDIRECT}?code=a-code-of-a-redirect&state="
                outcomes = await asyncio.gather(
                    tokens.finish_code_login(request, back + request.state),
                    tokens.finish_code_login(request, back + "another"),
                    tokens.start_device_login(),
                    client.refresh(TOKEN, now=utc_now()),  # which tells its caller of a token that cannot be sent
                    return_exceptions=True,
                )
                errors = [outcome for outcome in outcomes if isinstance(outcome, cc.CCActivityError)]
                assert len(errors) >= 3
                assert [] == secrets_in(*map(shown, errors))


@pytest.mark.parametrize("fault", OAUTH_FAULTS)
async def test_refreshes_that_fail(fault: sb.Effect) -> None:
    """Whoever waits for a token gets an error that shows none."""
    async with login_vendor() as sandbox:
        store = await logged_in(sandbox, **expired())
        sandbox.faults.add(fault, where="token")
        async with tokens_of(sandbox, store) as tokens, session_of(sandbox, tokens) as session:
            for ask in (tokens.access_token(), tokens.refresh(), session.get_activity(UNKNOWN_ID)):
                with pytest.raises(cc.CCActivityError) as caught:
                    await ask
                assert [] == secrets_in(shown(caught.value))


def test_a_file_of_tokens_that_cannot_be_read(tmp_path: Path) -> None:
    """It is whole but for its version, and holds the tokens."""
    path = tmp_path / "tokens.json"
    path.touch(mode=0o600)
    path.write_text(BAD_RECORD)
    tmp_path.chmod(0o700)
    with pytest.raises(cc.TokenStoreError, match="no readable tokens") as caught:
        asyncio.run(FileStore(path).load())

    assert [] == secrets_in(shown(caught.value))
