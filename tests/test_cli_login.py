"""Logging in and out on the command line, and what the other commands make of a login."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from oauth_support import CLIENT, SCOPES, FileStore, stored_in, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.cli import main
from ccactivity.cli.commands import list_
from ccactivity.cli.connect import Connection
from ccactivity.cli.login import Application, login, whoami
from ccactivity.cli.output import Form
from ccactivity.cli.problems import complain
from ccactivity.cli.serving import Plan, serve
from ccactivity.oauth import StoredTokens
from ccactivity.sandbox import Life, OAuthRules, Sandbox
from ccactivity.secret import Secret

CAMPAIGN = "1ead98be-dfa0-4e04-81f7-5f1534d42e9c"
CODE = re.compile(r"[A-Z]{4}-[A-Z]{4}")
Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the login: every test begins without one, and with nothing else in the environment."""
    for name in ("ACCESS_TOKEN", "BASE_URL", "CLIENT_ID", "CLIENT_SECRET", "OAUTH_URL"):
        monkeypatch.delenv(f"CCACTIVITY_{name}", raising=False)
    path = tmp_path / "tokens.json"
    monkeypatch.setenv("CCACTIVITY_TOKEN_STORE", str(path))
    return path


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in a thread, at which the environment points, but for a token."""
    with Sandbox(oauth=OAuthRules(per_second=None)) as sandbox:
        sandbox.register_client()
        monkeypatch.setenv("CCACTIVITY_BASE_URL", sandbox.base_url)
        yield sandbox


def keep(sandbox: Sandbox, path: Path, scopes: tuple[str, ...] = SCOPES, **changes: Any) -> StoredTokens:
    """Store a login that the sandbox has just made."""
    answer = sandbox.log_in(CLIENT, scopes)
    now = datetime.now(UTC)
    record = StoredTokens(
        client_id=CLIENT,
        token_url=f"{sandbox.oauth_base_url}/token",
        access_token=Secret(answer["access_token"]),
        refresh_token=Secret(answer["refresh_token"]) if "refresh_token" in answer else None,
        scopes=scopes,
        obtained_at=now,
        expires_at=now + timedelta(days=1),
        version=1,
    )
    record = attrs.evolve(record, **changes)
    path.touch(mode=0o600)
    path.write_text(record.to_json())
    return record


def ran_out() -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"obtained_at": now - timedelta(days=2), "expires_at": now - timedelta(days=1)}


def application(sandbox: Sandbox, **options: Any) -> Application:
    return Application(client_id=CLIENT, oauth_url=sandbox.oauth_base_url, **options)


def complaint(printed: Printed) -> str:
    """The one line on stderr."""
    out, err = printed.readouterr()

    assert "" == out
    assert 1 == err.count("\n"), err
    return err.strip()


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
    assert re.search("^problem +the vendor accepts the refresh token no more", capsys.readouterr().out, re.MULTILINE)


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


# --- what the other commands make of a login ------------------------------------------------------------------------


def test_the_order_of_tokens(real: Sandbox, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    """An option counts first, then the environment, and then the login."""
    keep(real, store)

    assert 0 == main(["list"])

    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", "outdated")

    assert 3 == main(["list"])
    assert "run `ccactivity login`" in capsys.readouterr().err
    assert 0 == main(["list", "--store", str(store)])

    file = store.with_name("token")
    file.write_text(real.token)

    assert 0 == main(["list", "--token-file", str(file)])
    assert 2 == main(["list", "--token-file", str(file), "--store", str(store)])


def test_a_login_is_refreshed(real: Sandbox, store: Path, capsys: Printed) -> None:
    """A login whose access token has run out is refreshed and stored, without any variable but the store's."""
    keep(real, store, **ran_out())

    assert 0 == main(["list"])

    after = StoredTokens.from_json(store.read_text())

    assert {"token": 1, "list": 1} == real.requests
    assert after.left(datetime.now(UTC)) == pytest.approx(86_400, abs=60)
    assert 0 == main(["list"])
    assert {"token": 1, "list": 2} == real.requests


def test_an_application_with_a_secret(
    real: Sandbox, store: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret is not stored: a refresh takes it from the environment, and says so when it is not there."""
    real.register_client(secret="canary-secret-application")
    keep(real, store, **ran_out())

    assert 2 == main(["list"])
    assert "set CCACTIVITY_CLIENT_SECRET" in complaint(capsys)
    assert 2 == main(["whoami", "--refresh"])
    assert "set CCACTIVITY_CLIENT_SECRET" in complaint(capsys)

    monkeypatch.setenv("CCACTIVITY_CLIENT_SECRET", "canary-secret-application")

    assert 0 == main(["list"])


def test_a_login_of_another_application(
    real: Sandbox, store: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login is not used while the environment names another application, whose secret is not for its server."""
    keep(real, store, **ran_out())
    monkeypatch.setenv("CCACTIVITY_CLIENT_ID", "another")
    monkeypatch.setenv("CCACTIVITY_CLIENT_SECRET", "canary-secret-of-another")

    assert 2 == main(["list"])
    assert f"is of the application {CLIENT}" in complaint(capsys)
    assert 2 == main(["whoami", "--refresh"])
    assert 0 == real.requests.total()


def test_a_store_that_cannot_be_trusted(real: Sandbox, store: Path, capsys: Printed) -> None:
    """Loose permissions are refused, as is a login that would be refreshed in clear text; nothing is sent."""
    keep(real, store, token_url="http://vendor.example/token", **ran_out())
    for command in ("list", "whoami"):
        assert 2 == main([command])
        assert "token_url must be https" in complaint(capsys)

    store.chmod(0o644)
    for command in ("list", "whoami", "logout"):
        assert 2 == main([command])
        assert f"chmod 600 {store}" in complaint(capsys)

    assert store.exists()
    assert 0 == real.requests.total()


def test_a_missing_scope(real: Sandbox, store: Path, capsys: Printed) -> None:
    """A 403 for want of a scope says which one, and that a login with it is needed."""
    keep(real, store, ("contact_data", "offline_access"))

    assert 0 == main(["list"])
    capsys.readouterr()
    assert 3 == main(["history", CAMPAIGN])

    said = complaint(capsys)

    assert "needs the scope campaign_data and the privilege campaign:read" in said
    assert (
        "was not granted campaign_data: run `ccactivity login` without --scope, or with --scope campaign_data" in said
    )


def test_a_missing_privilege(real: Sandbox, store: Path, capsys: Printed) -> None:
    """A 403 in spite of the scope says that the user lacks the privilege, also for single ids of a watch."""
    keep(real, store)
    job = real.submit(Life(duration=100))
    real.vendor.privileges.clear()

    assert 3 == main(["list"])
    assert "its user lacks contacts:write" in complaint(capsys)
    assert 3 == main(["watch", job, "--json"])
    assert "its user lacks contacts:write" in capsys.readouterr().err


def test_a_token_of_the_environment_without_a_privilege(
    real: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a bare token nobody knows the scopes, so a 403 names what the call needs and guesses nothing."""
    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", real.token)
    real.vendor.privileges.clear()

    assert 3 == main(["list"])
    assert complaint(capsys).endswith("(this call needs the scope contact_data and the privilege contacts:write)")


def test_a_login_for_another_place(real: Sandbox, store: Path, capsys: Printed) -> None:
    """An API that refuses what a refresh has just brought is perhaps not the one of the login."""
    keep(real, store)
    real.faults.add(sb.unauthorized(), where="list")

    assert 3 == main(["list"])
    assert "do CCACTIVITY_BASE_URL and the login belong together?" in complaint(capsys)


async def test_a_refresh_outlives_an_interrupted_command(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a refresh waits for its answer and stores it: the refresh token serves once."""
    async with vendor(latency=6.0) as sandbox:
        keep(sandbox, store, **ran_out())
        connection = Connection(base_url=sandbox.base_url)
        job = asyncio.ensure_future(list_(connection, Form.TABLE, state=None, limit=None))
        await asyncio.sleep(3)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

        assert {"token": 1} == sandbox.requests

    after = await stored_in(FileStore(store))

    assert after.attempt is None
    assert after.left(datetime.now(UTC)) == pytest.approx(86_400, abs=60)


def test_without_the_extra(real: Sandbox, store: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra a login says what to install, and the other commands go on as if there were none."""
    monkeypatch.setitem(sys.modules, "filelock", None)
    keep(real, store)
    for command in (["login", "--client-id", CLIENT], ["logout"], ["whoami"], ["list"], ["list", "--store", "x"]):
        assert 2 == main(command)
        assert 'pip install "ccactivity[cli,oauth]"' in complaint(capsys)

    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", real.token)

    assert 0 == main(["list"])


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
