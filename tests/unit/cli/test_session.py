"""Which token a command takes, how it stays fresh, and what is said when the API refuses it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.logins import FileStore, Printed, complaint, keep, ran_out, stored_in
from support.logins import vendor as login_vendor

from ccactivity import sandbox as sb
from ccactivity.cli import main
from ccactivity.cli.commands import list_
from ccactivity.cli.output import OutputFormat
from ccactivity.cli.session import open_session
from ccactivity.oauth import StoredTokens
from ccactivity.sandbox import Life, Sandbox

UNKNOWN = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
CAMPAIGN = "1ead98be-dfa0-4e04-81f7-5f1534d42e9c"


# --- a token ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["list"], ["get", UNKNOWN], ["watch", UNKNOWN], ["history", UNKNOWN]])
def test_without_a_token(command: list[str], capsys: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing token is wrong usage, and the complaint names the three ways to have one."""
    monkeypatch.delenv("CCACTIVITY_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("CCACTIVITY_TOKEN_STORE", str(tmp_path / "none"))

    assert 2 == main(command)

    said = complaint(capsys)

    assert all(way in said for way in ("`ccactivity login`", "CCACTIVITY_ACCESS_TOKEN", "--token-file"))
    assert 1 == len(said.splitlines())


def test_token_from_a_file(vendor: Sandbox, capsys: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--token-file` stands in for the environment, and so does `--base-url`."""
    file = tmp_path / "token"
    file.write_text(f"{vendor.token}\n")
    monkeypatch.delenv("CCACTIVITY_ACCESS_TOKEN")
    monkeypatch.delenv("CCACTIVITY_BASE_URL")

    assert 0 == main(["list", "--token-file", str(file), "--base-url", vendor.base_url])


@pytest.mark.parametrize(
    ("content", "complains"),
    [
        (b"", "is empty"),
        (b"canary-secret-a b", "other than printable ASCII"),
        (b"\xff\xfe", "not UTF-8 text"),
        (None, "No such"),
    ],
)
def test_a_token_file_that_cannot_be_used(
    vendor: Sandbox, capsys: Printed, tmp_path: Path, content: bytes | None, complains: str
) -> None:
    """A token that cannot be sent is wrong usage, and the complaint does not show it."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    assert 2 == main(["list", "--token-file", str(file)])
    assert complains in complaint(capsys)


def test_a_token_file_is_read_again_when_its_token_is_refused(vendor: Sandbox, tmp_path: Path, capsys: Printed) -> None:
    """A token that another program renews in its file is used."""
    file = tmp_path / "token"
    file.write_text(vendor.token)
    vendor.expire_token()

    assert 3 == main(["list", "--token-file", str(file)])
    assert complaint(capsys).startswith("error: GET /v3/activities: HTTP 401, Unauthorized (the access token is ")

    file.write_text(vendor.issue_token())

    assert 0 == main(["list", "--token-file", str(file)])


def test_the_order_of_tokens(
    oauth_vendor: Sandbox, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """An option counts first, then the environment, and then the login."""
    keep(oauth_vendor, store)

    assert 0 == main(["list"])

    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", "outdated")

    assert 3 == main(["list"])
    assert "run `ccactivity login`" in capsys.readouterr().err
    assert 0 == main(["list", "--store", str(store)])

    file = store.with_name("token")
    file.write_text(oauth_vendor.token)

    assert 0 == main(["list", "--token-file", str(file)])
    assert 2 == main(["list", "--token-file", str(file), "--store", str(store)])


# --- a login ----------------------------------------------------------------------------------------------------------


def test_a_login_is_refreshed(oauth_vendor: Sandbox, store: Path, capsys: Printed) -> None:
    """A login whose access token has run out is refreshed and stored, without any variable but the store's."""
    keep(oauth_vendor, store, **ran_out())

    assert 0 == main(["list"])

    after = StoredTokens.from_json(store.read_text())

    assert {"token": 1, "list": 1} == oauth_vendor.requests
    assert after.left(datetime.now(UTC)) == pytest.approx(86_400, abs=60)
    assert 0 == main(["list"])
    assert {"token": 1, "list": 2} == oauth_vendor.requests


async def test_a_refresh_outlives_an_interrupted_command(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a refresh waits for its answer and stores it: the refresh token serves once."""
    async with login_vendor(latency=6.0) as sandbox:
        keep(sandbox, store, **ran_out())
        opening = open_session(base_url=sandbox.base_url)
        job = asyncio.ensure_future(list_(opening, OutputFormat.TABLE, state=None, limit=None))
        await asyncio.sleep(3)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

        assert {"token": 1} == sandbox.requests

    after = await stored_in(FileStore(store))

    assert after.attempt is None
    assert after.left(datetime.now(UTC)) == pytest.approx(86_400, abs=60)


# --- advice -----------------------------------------------------------------------------------------------------------


def test_a_missing_scope(oauth_vendor: Sandbox, store: Path, capsys: Printed) -> None:
    """A 403 for want of a scope says which one, and that a login with it is needed."""
    keep(oauth_vendor, store, ("contact_data", "offline_access"))

    assert 0 == main(["list"])
    capsys.readouterr()
    assert 3 == main(["history", CAMPAIGN])

    said = complaint(capsys)

    assert "needs the scope campaign_data and the privilege campaign:read" in said
    assert "was not granted campaign_data: run `ccactivity login` without --scope, or add --scope campaign_data" in said


def test_a_missing_privilege(oauth_vendor: Sandbox, store: Path, capsys: Printed) -> None:
    """A 403 in spite of the scope says that the user lacks the privilege, also for single ids of a watch."""
    keep(oauth_vendor, store)
    job = oauth_vendor.submit(Life(duration=100))
    oauth_vendor.vendor.privileges.clear()

    assert 3 == main(["list"])
    assert "its user lacks contacts:write" in complaint(capsys)
    assert 3 == main(["watch", job, "--json"])
    assert "its user lacks contacts:write" in capsys.readouterr().err


def test_a_token_of_the_environment_without_a_privilege(
    oauth_vendor: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a bare token nobody knows the scopes, so a 403 names what the call needs and guesses nothing."""
    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", oauth_vendor.token)
    oauth_vendor.vendor.privileges.clear()

    assert 3 == main(["list"])
    assert complaint(capsys).endswith("(this call needs the scope contact_data and the privilege contacts:write)")


def test_a_login_for_another_place(oauth_vendor: Sandbox, store: Path, capsys: Printed) -> None:
    """An API that refuses what a refresh has just brought is perhaps not the one of the login."""
    keep(oauth_vendor, store)
    oauth_vendor.faults.add(sb.unauthorized(), where="list")

    assert 3 == main(["list"])
    assert "do CCACTIVITY_BASE_URL and the login belong to the same server?" in complaint(capsys)
