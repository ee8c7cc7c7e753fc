"""The command `sandbox`: what it serves, what it prints, and a login with what it prints."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from support.logins import Printed

from ccactivity.cli.commands import list_
from ccactivity.cli.login import whoami
from ccactivity.cli.output import OutputFormat
from ccactivity.cli.sandbox_command import FAULTS, parse_faults, serve
from ccactivity.cli.session import open_session
from ccactivity.sandbox import Sandbox

from .logging_in import begun, kept_in, log_in
from .processes import environment, run, started


def test_faults() -> None:
    """Every fault has a name, and strikes always unless it has a chance."""
    script = parse_faults([*FAULTS, "503:0.25"])

    assert len(FAULTS) + 1 == len(script)
    assert {1.0, 0.25} == {fault.probability for fault in script}


def test_sandbox() -> None:
    """`sandbox` says where it listens and with which token, serves, and ends with Ctrl-C."""
    with started("sandbox", "--jobs", "3", "--speed", "100", "--fault", "slow:0", "--fault", "503:0") as process:
        assert process.stdout is not None
        text = ""
        while "watch --all" not in text:
            text += process.stdout.readline()
        env = dict(re.findall(r"export (\w+)=(\S+)", text))
        command = [sys.executable, "-m", "ccactivity", "list", "--json"]
        listed = subprocess.run(
            command, env=environment() | env, capture_output=True, text=True, check=True, timeout=20
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)

    assert 3 == listed.stdout.count("\n")
    assert 130 == process.returncode
    assert "1 requests, 0 of them against the vendor's rules" in err
    assert "Traceback" not in err


def test_a_port_that_is_taken(vendor: Sandbox) -> None:
    """A port that another program has is wrong usage."""
    port = vendor.base_url.split(":")[2].removesuffix("/v3")
    done = run("sandbox", "--port", port)

    assert 2 == done.returncode
    assert f"error: cannot listen on port {port}" in done.stderr


async def test_the_walkthrough(capsys: Printed, monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """What `sandbox` prints is enough to log in, by its page; its logins are kept apart, and end with it."""
    serving = asyncio.ensure_future(serve(port=0, speed=1.0, jobs=3, token_life=60.0, faults=[]))
    greeting = ""
    while "ccactivity login" not in greeting:
        await asyncio.sleep(0.1)
        greeting += capsys.readouterr().out
    env = dict(
        re.findall(r"^export (\w+)=(\S+)$", greeting.partition("unset CCACTIVITY_ACCESS_TOKEN")[2], re.MULTILINE)
    )
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    job = asyncio.ensure_future(log_in())
    async with begun(job, capsys) as (shown, code), aiohttp.ClientSession() as http:
        (page,) = re.findall(rf"http://127\.0\.0\.1:\d+/activate\?user_code={code}", shown)
        async with http.get(page) as answer:
            assert f'value="{code}"' in await answer.text()
        async with http.post(page.partition("?")[0], data={"user_code": code, "verdict": "approved"}) as answer:
            assert 200 == answer.status
        assert 0 == await job

    assert "valid until" in capsys.readouterr().out
    assert 0 == await list_(open_session(), OutputFormat.JSON, state=None, limit=None)
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
