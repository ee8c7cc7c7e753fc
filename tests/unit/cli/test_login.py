"""Logging in and out on the command line, and `whoami`."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.logins import CLIENT, SCOPES, FileStore, Printed, complaint, keep, ran_out, stored_in, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.cli import main
from ccactivity.cli.exit_codes import print_error
from ccactivity.cli.login import whoami
from ccactivity.oauth import StoredTokens
from ccactivity.oauth.models import RefreshAttempt
from ccactivity.sandbox import Sandbox

from .logging_in import CODE, begun, kept_in, log_in

pytestmark = pytest.mark.usefixtures("store")


# --- login ------------------------------------------------------------------------------------------------------------


async def test_login(capsys: Printed, store: Path) -> None:
    """`login` shows an address and a code, waits, stores what comes of it, and says what was granted, and where."""
    async with vendor() as sandbox:
        job = asyncio.ensure_future(log_in(sandbox))
        async with begun(job, capsys) as (shown, code):
            await asyncio.sleep(40)
            assert not job.done()

            sandbox.approve_device(code)
            assert 0 == await job

        assert f"{sandbox.oauth.site}/activate?user_code={code}" in shown
        assert 0 == sandbox.violations.total

    out, err = capsys.readouterr()

    assert out.startswith("Logged in as person@example.com.\n")
    assert re.search(r"^scopes +contact_data campaign_data offline_access$", out, re.MULTILINE)
    assert re.search(r"^access token +valid until 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(24 h 00 min\)$", out, re.MULTILINE)
    assert re.search(r"^refresh +automatic, if the login is used before 20", out, re.MULTILINE)
    assert re.search(rf"^stored in +{re.escape(str(store))}$", out, re.MULTILINE)
    assert "" == err
    assert SCOPES == (await stored_in(FileStore(store))).scopes


async def test_login_at_a_page_that_asks_for_the_code(capsys: Printed) -> None:
    """Without an address that holds the code, a person is told to enter it."""
    async with vendor(approve_after=1) as sandbox:
        bare = sb.Edit(lambda body: {k: v for k, v in body.items() if k != "verification_uri_complete"})
        sandbox.faults.add(bare, where="device")

        assert 0 == await log_in(sandbox)

    err = capsys.readouterr().err

    assert re.search(
        rf"^    {sandbox.oauth.site}/activate\n\nand enter the code {CODE.pattern}, and", err, re.MULTILINE
    )


async def test_login_as_json(capsys: Printed, store: Path) -> None:
    """With `--json` stdout has one object, and what a person has to do is on stderr as ever."""
    async with vendor(approve_after=2) as sandbox:
        assert 0 == await log_in(sandbox, store, as_json=True)

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
        job = asyncio.ensure_future(log_in(sandbox))
        with pytest.raises(cc.LoginFailedError) as caught:
            async with begun(job, capsys) as (_, code):
                if verdict == "denied":
                    sandbox.deny_device(code)
                elif verdict == "lost":
                    sandbox.approve_device(code)
                    sandbox.faults.add(sb.Reset(), where="token", times=1)
                await job

    assert 3 == print_error(caught.value)

    said = complaint(capsys)

    assert complains in said
    assert ("begin a new one" if verdict == "lost" else "`ccactivity login`") in said
    assert [] == kept_in(store)


def test_a_server_that_refuses(oauth_vendor: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that the vendor does not know is 3, and one line says what to check."""
    monkeypatch.setenv("CCACTIVITY_OAUTH_URL", oauth_vendor.oauth_base_url)
    monkeypatch.setenv("CCACTIVITY_CLIENT_ID", "nobody")

    assert 3 == main(["login"])

    said = complaint(capsys)

    assert said.startswith("error: the login was refused (invalid_client: ")
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

        assert 0 == await log_in(scopes=["contact_data"], as_json=True)

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

        assert 0 == await log_in(sandbox)

    out, err = capsys.readouterr()

    assert re.search(r"^refresh +NONE: this login ends with its access token$", out, re.MULTILINE)
    assert "NOT GRANTED: campaign_data offline_access" in err


async def test_a_login_that_cannot_be_stored(capsys: Printed, store: Path) -> None:
    """A login is not said to be stored unless it is."""
    store.with_name(f".{store.name}.new").mkdir()  # what stands where a record is written
    async with vendor(approve_after=2) as sandbox:
        with pytest.raises(cc.TokenStoreError, match="could not be stored"):
            await log_in(sandbox)

    assert "" == capsys.readouterr().out


# --- whoami, logout ---------------------------------------------------------------------------------------------------


def test_whoami(oauth_vendor: Sandbox, capsys: Printed, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`whoami` tells of a login without asking anyone, and that a token in the environment wins over it."""
    keep(oauth_vendor, store)

    assert 0 == main(["whoami"])

    out, err = capsys.readouterr()

    assert {"user", "client", "scopes", "access", "refresh", "stored"} == {row.split()[0] for row in out.splitlines()}
    assert "" == err

    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", oauth_vendor.token)

    assert 0 == main(["whoami", "--json"])

    out, err = capsys.readouterr()
    told = json.loads(out)

    assert "CCACTIVITY_ACCESS_TOKEN" == told["overridden_by"]
    assert "CCACTIVITY_ACCESS_TOKEN is set" in err
    assert timedelta(days=180) == datetime.fromisoformat(told["refreshable_until"]) - datetime.fromisoformat(
        told["obtained_at"]
    )
    assert 0 == oauth_vendor.requests.total()


def test_a_login_without_a_known_end(oauth_vendor: Sandbox, capsys: Printed, store: Path) -> None:
    """An access token of which nobody knows when it expires is shown as that."""
    keep(oauth_vendor, store, expires_at=None)

    assert 0 == main(["whoami"])
    assert re.search("^access token +valid until an unknown time$", capsys.readouterr().out, re.MULTILINE)

    assert 0 == main(["logout"])
    assert "stay valid until it expires" in capsys.readouterr().err


async def test_whoami_after_a_refresh_without_an_answer(capsys: Printed, store: Path) -> None:
    """A refresh that had no answer, also when it was repeated, may have spent the token: `whoami` tells of it."""
    sent = datetime.now(UTC) - timedelta(seconds=20)  # the next attempt is due
    async with vendor() as sandbox:
        keep(sandbox, store, attempt=RefreshAttempt(sent, sent, 1))
        sandbox.faults.add(sb.Reset(), where="token")
        with pytest.raises(cc.TransportError) as caught:
            await whoami(None, refresh=True, as_json=False)

        assert 3 == print_error(caught.value)
        assert 0 == await whoami(None, refresh=False, as_json=False)

    shown = capsys.readouterr().out

    assert re.search(r"^interrupted +the refresh of 20[-\d]+ [\d:]+ UTC has had no answer yet$", shown, re.MULTILINE)


def test_whoami_refreshes_when_told_to(oauth_vendor: Sandbox, capsys: Printed, store: Path) -> None:
    """`whoami --refresh` keeps an idle login alive: a job can run it now and then."""
    keep(oauth_vendor, store)

    assert 0 == main(["whoami", "--refresh"])
    assert {"token": 1} == oauth_vendor.requests
    assert 2 < StoredTokens.from_json(store.read_text()).version


def test_a_login_that_is_over(oauth_vendor: Sandbox, capsys: Printed, store: Path) -> None:
    """A revoked login is 3 for whatever needs it and for `whoami`, and both say how to log in again."""
    keep(oauth_vendor, store, **ran_out())

    assert 0 == main(["whoami"])
    assert "expired on" in capsys.readouterr().out

    oauth_vendor.revoke_logins()

    assert 3 == main(["list"])

    said = complaint(capsys)

    assert said.startswith("error: ")
    assert said.endswith("run `ccactivity login`")

    assert 3 == main(["whoami"])
    assert re.search("^problem +the vendor no longer accepts the refresh token", capsys.readouterr().out, re.MULTILINE)


def test_nobody_has_logged_in(capsys: Printed) -> None:
    """Without a login `whoami` is wrong usage, as is any command without a token, and `logout` is content."""
    assert 2 == main(["whoami"])
    assert "run `ccactivity login`" in complaint(capsys)
    assert 0 == main(["logout"])
    assert capsys.readouterr().out.startswith("not logged in: ")


def test_logout(oauth_vendor: Sandbox, capsys: Printed, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`logout` removes the login, and says what goes on without it."""
    keep(oauth_vendor, store)
    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", oauth_vendor.token)

    assert 0 == main(["logout"])

    out, err = capsys.readouterr()

    assert f"logged out: the login of {CLIENT} was removed from {store}\n" == out
    assert "stay valid until" in err
    assert "CCACTIVITY_ACCESS_TOKEN is set" in err
    assert not store.exists()
    assert 0 == oauth_vendor.requests.total()
