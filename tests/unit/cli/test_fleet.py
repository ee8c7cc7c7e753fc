"""Commands that are part of a fleet, and the one that shows it."""

from __future__ import annotations

import json

import pytest
from support.logins import Printed, complaint
from support.redis_server import RedisServer

from ccactivity.cli import main
from ccactivity.sandbox import Sandbox


def test_a_command_is_part_of_a_fleet(vendor: Sandbox, engine: RedisServer, capsys: Printed) -> None:
    """Its requests are counted by the server, which shows them afterwards."""
    assert 0 == main(["list", "--fleet", engine.url])
    capsys.readouterr()
    assert 0 == main(["fleet", "status", engine.url])
    shown = capsys.readouterr().out.splitlines()
    assert 0 == main(["fleet", "status", "--json", engine.url])

    assert ["1 of 10000 requests spent today (UTC)", "no process is part of the fleet"] == shown
    assert {"members": {}, "poller": None, "spent": 1.0, "per_day": 10_000.0} == json.loads(capsys.readouterr().out)


def test_the_environment_names_a_fleet(
    vendor: Sandbox, engine: RedisServer, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its key, so that one server has room for many."""
    monkeypatch.setenv("CCACTIVITY_FLEET_URL", engine.url)
    monkeypatch.setenv("CCACTIVITY_FLEET_KEY", "partner")

    assert 0 == main(["list"])
    with engine.client() as client:
        assert all(key.startswith(b"ccactivity:1:{partner}:") for key in client.scan_iter())
    capsys.readouterr()
    assert 0 == main(["fleet", "status"])
    assert "1 of 10000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["fleet", "status"], 2, "set CCACTIVITY_FLEET_URL"),
        (["fleet", "status", "http://cache"], 2, "redis://"),
        (["fleet", "status", "unix:///nowhere/canary"], 3, "unix:///nowhere/canary cannot be used"),
    ],
)
def test_what_is_no_fleet(arguments: list[str], code: int, says: str, capsys: Printed) -> None:
    assert code == main(arguments)
    assert says in complaint(capsys)


def test_a_password_is_never_shown(engine: RedisServer, capsys: Printed) -> None:
    """Neither a wrong one, nor that of a server that is not there."""
    for url in (engine.url.replace("unix://", "unix://:CANARY-password@"), "redis://:CANARY-password@127.0.0.1:1"):
        assert 3 == main(["fleet", "status", url])
        assert "CANARY" not in complaint(capsys)
