"""What the commands that ask the API make of a login: which token they take, how it stays fresh, what ends it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.logins import CLIENT, FileStore, Printed, complaint, keep, only_a_store, ran_out, stored_in, vendor

from ccactivity import sandbox as sb
from ccactivity.cli import main
from ccactivity.cli.commands import list_
from ccactivity.cli.output import OutputFormat
from ccactivity.cli.session import open_session
from ccactivity.oauth import StoredTokens
from ccactivity.sandbox import Life, OAuthRules, Sandbox

CAMPAIGN = "1ead98be-dfa0-4e04-81f7-5f1534d42e9c"


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
    assert f"belongs to the application {CLIENT}" in complaint(capsys)
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
    assert "was not granted campaign_data: run `ccactivity login` without --scope, or add --scope campaign_data" in said


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
    assert "do CCACTIVITY_BASE_URL and the login belong to the same server?" in complaint(capsys)


async def test_a_refresh_outlives_an_interrupted_command(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a refresh waits for its answer and stores it: the refresh token serves once."""
    async with vendor(latency=6.0) as sandbox:
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


def test_without_the_extra(real: Sandbox, store: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra a login says what to install, and the other commands go on as if there were none."""
    monkeypatch.setitem(sys.modules, "filelock", None)
    keep(real, store)
    for command in (["login", "--client-id", CLIENT], ["logout"], ["whoami"], ["list"], ["list", "--store", "x"]):
        assert 2 == main(command)
        assert 'pip install "ccactivity[cli,oauth]"' in complaint(capsys)

    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", real.token)

    assert 0 == main(["list"])
