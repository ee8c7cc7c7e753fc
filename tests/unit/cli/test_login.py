"""Logging in and out on the command line, `whoami`, and the whole walk against the sandbox."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.logins import CLIENT, SCOPES, FileStore, Printed, complaint, keep, only_a_store, ran_out, stored_in, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.cli import main
from ccactivity.cli.commands import list_
from ccactivity.cli.exit_codes import complain
from ccactivity.cli.login import Application, login, whoami
from ccactivity.cli.output import Form
from ccactivity.cli.sandbox_command import Plan, serve
from ccactivity.cli.session import Connection
from ccactivity.oauth import StoredTokens
from ccactivity.sandbox import OAuthRules, Sandbox

CODE = re.compile(r"[A-Z]{4}-[A-Z]{4}")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the login: every test begins without one, and with nothing else in the environment."""
    return only_a_store(monkeypatch, tmp_path)


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in a thread, at which the environment points, but for a token."""
    with Sandbox(oauth=OAuthRules(per_second=None)) as sandbox:
        sandbox.register_client()
        monkeypatch.setenv("CCACTIVITY_BASE_URL", sandbox.base_url)
        yield sandbox


def application(sandbox: Sandbox, **options: Any) -> Application:
    return Application(client_id=CLIENT, oauth_url=sandbox.oauth_base_url, **options)


def kept_in(path: Path) -> list[str]:
    """The names of what is beside a store, and of itself, but for its lock."""
    return [] if not path.parent.exists() else [one.name for one in path.parent.iterdir() if one.suffix != ".lock"]


@asynccontextmanager
async def begun(job: asyncio.Task[int], printed: Printed) -> AsyncIterator[tuple[str, str]]:
    """Wait until a login shows its code; give what it showed and the code, and have the login end in the block."""
    shown = ""
    while not CODE.search(shown):
        await asyncio.sleep(0.1)
        shown += printed.readouterr().err
    (code,) = set(CODE.findall(shown))
    yield shown, code
    assert job.done()


# --- login ----------------------------------------------------------------------------------------------------------


async def test_login(capsys: Printed, store: Path) -> None:
    """`login` shows an address and a code, waits, stores what comes of it, and says what was granted, and where."""
    async with vendor() as sandbox:
        job = asyncio.ensure_future(login(application(sandbox), None, as_json=False))
        async with begun(job, capsys) as (shown, code):
            await asyncio.sleep(40)
            assert not job.done()

            sandbox.approve_device(code)
            assert 0 == await job

        assert f"{sandbox.oauth.site}/activate?user_code={code}" in shown
        assert 0 == sandbox.violations.total

    out, err = capsys.readouterr()

    assert out.startswith("person@example.com has logged in.\n")
    assert re.search(r"^scopes +contact_data campaign_data offline_access$", out, re.MULTILINE)
    assert re.search(r"^access token +good until 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(24 h 0 min\)$", out, re.MULTILINE)
    assert re.search(r"^refresh +by itself, if the login is used before 20", out, re.MULTILINE)
    assert re.search(rf"^stored in +{re.escape(str(store))}$", out, re.MULTILINE)
    assert "" == err
    assert SCOPES == (await stored_in(FileStore(store))).scopes


async def test_login_as_json(capsys: Printed, store: Path) -> None:
    """With `--json` stdout has one object, and what a person has to do is on stderr as ever."""
    async with vendor(approve_after=2) as sandbox:
        assert 0 == await login(application(sandbox), store, as_json=True)

    out, err = capsys.readouterr()
    told = json.loads(out)

    assert CODE.search(err)
    assert (CLIENT, list(SCOPES), True, None) == tuple(
        told[name] for name in ("client_id", "scopes", "refreshable", "problem")
    )
    assert timedelta(days=1) == datetime.fromisoformat(told["expires_at"]) - datetime.fromisoformat(told["obtained_at"])
    assert str(store) == told["stored_in"]


@pytest.mark.parametrize(
    ("verdict", "complains"), [("denied", "declined"), ("expired", "in time"), ("lost", "begin a new one")]
)
async def test_a_login_that_comes_to_nothing(verdict: str, complains: str, capsys: Printed, store: Path) -> None:
    """Declined, too late or lost is 3, and one line says what to do; nothing is stored."""
    async with vendor(device_life=120) as sandbox:
        job = asyncio.ensure_future(login(application(sandbox), None, as_json=False))
        with pytest.raises(cc.LoginFailedError) as caught:
            async with begun(job, capsys) as (_, code):
                if verdict == "denied":
                    sandbox.deny_device(code)
                elif verdict == "lost":
                    sandbox.approve_device(code)
                    sandbox.faults.add(sb.Reset(), where="token", times=1)
                await job

    assert 3 == complain(caught.value)

    said = complaint(capsys)

    assert complains in said
    assert ("begin a new one" if verdict == "lost" else "`ccactivity login`") in said
    assert [] == kept_in(store)


def test_a_server_that_refuses(real: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that the vendor does not know is 3, and one line says what to check."""
    monkeypatch.setenv("CCACTIVITY_OAUTH_URL", real.oauth_base_url)
    monkeypatch.setenv("CCACTIVITY_CLIENT_ID", "nobody")

    assert 3 == main(["login"])

    said = complaint(capsys)

    assert said.startswith("LoginFailedError: the login was refused (invalid_client: ")
    assert "check the client id" in said
    assert "CCACTIVITY_CLIENT_SECRET" in said


@pytest.mark.parametrize(
    ("words", "complains"),
    [
        ([], "CCACTIVITY_CLIENT_ID or --client-id"),
        (["--client-id", "a b"], "client_id must be printable"),
        (["--client-id", "a", "--oauth-url", "http://vendor.example"], "the OAuth URL must be https"),
        (["--client-id", "a", "--scope", ""], "scopes must be printable"),
        (["--client-id", "a", "--client-secret", "b"], "--client-secret"),
    ],
)
def test_wrong_usage_of_login(words: list[str], complains: str, capsys: Printed) -> None:
    """What cannot work is wrong usage; a client secret on the command line is no option at all."""
    assert 2 == main(["login", *words])
    assert complains in complaint(capsys)


async def test_a_later_login_needs_no_client_id(capsys: Printed, store: Path) -> None:
    """Who logs in again does so as the same application, at the same server, and replaces the earlier login."""
    async with vendor(approve_after=1) as sandbox:
        before = keep(sandbox, store, **ran_out())

        assert 0 == await login(Application(scopes=["contact_data"]), None, as_json=True)

    after = await stored_in(FileStore(store))

    assert (CLIENT, before.token_url) == (after.client_id, after.token_url)
    assert ("contact_data", "offline_access") == after.scopes
    assert before.refresh_token != after.refresh_token
    assert f"logging in again as the application {CLIENT}" in capsys.readouterr().err


async def test_a_login_without_a_refresh_token(capsys: Printed, store: Path) -> None:
    """A login that will end with its access token says so in capitals, and what was not granted."""
    async with vendor(approve_after=1) as sandbox:
        cut = sb.Edit(lambda body: {**{k: v for k, v in body.items() if k != "refresh_token"}, "scope": "contact_data"})
        sandbox.faults.add(cut, where="token")

        assert 0 == await login(application(sandbox), None, as_json=False)

    out, err = capsys.readouterr()

    assert re.search(r"^refresh +NONE: this login ends with its access token$", out, re.MULTILINE)
    assert "NOT GRANTED: campaign_data offline_access" in err


async def test_a_login_that_cannot_be_stored(capsys: Printed, store: Path) -> None:
    """A login is not said to be stored unless it is."""
    store.with_name(f".{store.name}.new").mkdir()  # what stands where a record is written
    async with vendor(approve_after=2) as sandbox:
        with pytest.raises(cc.TokenStoreError, match="could not be stored"):
            await login(application(sandbox), None, as_json=False)

    assert "" == capsys.readouterr().out


# --- whoami, logout -------------------------------------------------------------------------------------------------


def test_whoami(real: Sandbox, capsys: Printed, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`whoami` tells of a login without asking anyone, and that a token in the environment wins over it."""
    keep(real, store)

    assert 0 == main(["whoami"])

    out, err = capsys.readouterr()

    assert {"user", "client", "scopes", "access", "refresh", "stored"} == {row.split()[0] for row in out.splitlines()}
    assert "" == err

    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", real.token)

    assert 0 == main(["whoami", "--json"])

    out, err = capsys.readouterr()
    told = json.loads(out)

    assert "CCACTIVITY_ACCESS_TOKEN" == told["overridden_by"]
    assert "CCACTIVITY_ACCESS_TOKEN is set" in err
    assert timedelta(days=180) == datetime.fromisoformat(told["refreshable_until"]) - datetime.fromisoformat(
        told["obtained_at"]
    )
    assert 0 == real.requests.total()


def test_whoami_refreshes_when_told_to(real: Sandbox, capsys: Printed, store: Path) -> None:
    """`whoami --refresh` keeps an idle login alive: a job can run it now and then."""
    keep(real, store)

    assert 0 == main(["whoami", "--refresh"])
    assert {"token": 1} == real.requests
    assert 2 < StoredTokens.from_json(store.read_text()).version


def test_a_login_that_is_over(real: Sandbox, capsys: Printed, store: Path) -> None:
    """A revoked login is 3 for whatever needs it and for `whoami`, and both say how to log in again."""
    keep(real, store, **ran_out())

    assert 0 == main(["whoami"])
    assert "ran out on" in capsys.readouterr().out

    real.revoke_logins()

    assert 3 == main(["list"])

    said = complaint(capsys)

    assert said.startswith("ReauthorizationRequiredError: ")
    assert said.endswith("run `ccactivity login`")

    assert 3 == main(["whoami"])
    assert re.search("^problem +the vendor no longer accepts the refresh token", capsys.readouterr().out, re.MULTILINE)


def test_nobody_has_logged_in(capsys: Printed) -> None:
    """Without a login `whoami` is wrong usage, as is any command without a token, and `logout` is content."""
    assert 2 == main(["whoami"])
    assert "run `ccactivity login`" in complaint(capsys)
    assert 0 == main(["logout"])
    assert capsys.readouterr().out.startswith("nobody was logged in: ")


def test_logout(real: Sandbox, capsys: Printed, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`logout` removes the login, and says what goes on without it."""
    keep(real, store)
    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", real.token)

    assert 0 == main(["logout"])

    out, err = capsys.readouterr()

    assert f"logged out: the login of {CLIENT} was removed from {store}\n" == out
    assert "stays good until" in err
    assert "CCACTIVITY_ACCESS_TOKEN is set" in err
    assert not store.exists()
    assert 0 == real.requests.total()


# --- the sandbox ----------------------------------------------------------------------------------------------------


async def test_the_walkthrough(capsys: Printed, monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """What `sandbox` prints is enough to log in, by its page; its logins are kept apart, and end with it."""
    serving = asyncio.ensure_future(serve(Plan(jobs=3, token_life=60.0)))
    greeting = ""
    while "ccactivity login" not in greeting:
        await asyncio.sleep(0.1)
        greeting += capsys.readouterr().out
    env = dict(
        re.findall(r"^export (\w+)=(\S+)$", greeting.partition("unset CCACTIVITY_ACCESS_TOKEN")[2], re.MULTILINE)
    )
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    job = asyncio.ensure_future(login(Application(), None, as_json=False))
    async with begun(job, capsys) as (shown, code), aiohttp.ClientSession() as http:
        (page,) = re.findall(rf"http://127\.0\.0\.1:\d+/activate\?user_code={code}", shown)
        async with http.get(page) as answer:
            assert f'value="{code}"' in await answer.text()
        async with http.post(page.partition("?")[0], data={"user_code": code, "verdict": "approved"}) as answer:
            assert 200 == answer.status
        assert 0 == await job

    assert "good until" in capsys.readouterr().out
    assert 0 == await list_(Connection(), Form.JSON, state=None, limit=None)
    assert 3 == capsys.readouterr().out.count("\n")
    assert 0 == await whoami(None, refresh=False, as_json=True)

    told = json.loads(capsys.readouterr().out)
    kept = Path(told["stored_in"])

    assert timedelta(seconds=60) == datetime.fromisoformat(told["expires_at"]) - datetime.fromisoformat(
        told["obtained_at"]
    )
    assert str(kept) == env["CCACTIVITY_TOKEN_STORE"]
    assert [] == kept_in(store)

    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    assert " 0 of them against the vendor's rules" in capsys.readouterr().err
    assert [] == kept_in(kept)
