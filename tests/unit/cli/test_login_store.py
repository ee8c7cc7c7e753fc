"""The stored login: which application it is of, whether it can be trusted, and life without the extra."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.logins import CLIENT, Printed, complaint, keep, ran_out

from ccactivity.cli import main
from ccactivity.sandbox import Sandbox


def test_an_application_with_a_secret(
    oauth_vendor: Sandbox, store: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret is not stored: a refresh takes it from the environment, and says so when it is not there."""
    oauth_vendor.register_client(secret="canary-secret-application")
    keep(oauth_vendor, store, **ran_out())

    assert 2 == main(["list"])
    assert "set CCACTIVITY_CLIENT_SECRET" in complaint(capsys)
    assert 2 == main(["whoami", "--refresh"])
    assert "set CCACTIVITY_CLIENT_SECRET" in complaint(capsys)

    monkeypatch.setenv("CCACTIVITY_CLIENT_SECRET", "canary-secret-application")

    assert 0 == main(["list"])


def test_a_login_of_another_application(
    oauth_vendor: Sandbox, store: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login is not used while the environment names another application, whose secret is not for its server."""
    keep(oauth_vendor, store, **ran_out())
    monkeypatch.setenv("CCACTIVITY_CLIENT_ID", "another")
    monkeypatch.setenv("CCACTIVITY_CLIENT_SECRET", "canary-secret-of-another")

    assert 2 == main(["list"])
    assert f"belongs to the application {CLIENT}" in complaint(capsys)
    assert 2 == main(["whoami", "--refresh"])
    assert 0 == oauth_vendor.requests.total()


def test_a_store_that_cannot_be_trusted(oauth_vendor: Sandbox, store: Path, capsys: Printed) -> None:
    """Loose permissions are refused, as is a login that would be refreshed in clear text; nothing is sent."""
    keep(oauth_vendor, store, token_url="http://vendor.example/token", **ran_out())
    for command in ("list", "whoami"):
        assert 2 == main([command])
        assert "token_url must be https" in complaint(capsys)

    store.chmod(0o644)
    for command in ("list", "whoami", "logout"):
        assert 2 == main([command])
        assert f"chmod 600 {store}" in complaint(capsys)

    assert store.exists()
    assert 0 == oauth_vendor.requests.total()


def test_without_the_extra(
    oauth_vendor: Sandbox, store: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra a login says what to install, and the other commands go on as if there were none."""
    monkeypatch.setitem(sys.modules, "filelock", None)
    keep(oauth_vendor, store)
    for command in (["login", "--client-id", CLIENT], ["logout"], ["whoami"], ["list"], ["list", "--store", "x"]):
        assert 2 == main(command)
        assert 'pip install "ccactivity[cli,oauth]"' in complaint(capsys)

    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", oauth_vendor.token)

    assert 0 == main(["list"])


@pytest.mark.parametrize("command", ["list", "whoami", "logout"])
def test_a_store_that_cannot_be_read(
    command: str, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that the system refuses is wrong usage, and the reason is the system's."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.delenv("CCACTIVITY_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("CCACTIVITY_TOKEN_STORE", str(file / "folder" / "tokens.json"))

    assert 2 == main([command])
    assert complaint(capsys).endswith("tokens.json: Not a directory")
