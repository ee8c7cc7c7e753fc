"""The command `sandbox`: what it serves, what it prints, and a login with what it prints."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from support.logins import Printed

from ccactivity import ActivitySession
from ccactivity.cli.commands import list_
from ccactivity.cli.exit_codes import UsageError
from ccactivity.cli.login import whoami
from ccactivity.cli.output import OutputFormat
from ccactivity.cli.sandbox_command import FAULTS, parse_faults, serve
from ccactivity.cli.session import open_session
from ccactivity.sandbox import Sandbox

from .logging_in import begun, kept_in, log_in
from .processes import environment, run, started

OPTIONS: Final[dict[str, Any]] = {
    "port": 0,
    "speed": 1.0,
    "jobs": 3,
    "workers": 8,
    "seed": 0,
    "token_life": 60.0,
    "redirect_uris": [],
    "faults": [],
    "log_requests": False,
}


async def greeting_of(printed: Printed) -> str:
    greeting = ""
    while "A web login" not in greeting:
        await asyncio.sleep(0.1)
        greeting += printed.readouterr().out
    return greeting


async def cancelled(server: asyncio.Task[None]) -> None:
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server


def test_faults() -> None:
    """Every fault has a name, and strikes always unless it has a chance."""
    script = parse_faults([*FAULTS, "503:0.25"])

    assert len(FAULTS) + 1 == len(script)
    assert {1.0, 0.25} == {fault.probability for fault in script}


@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_sandbox(ended_by: signal.Signals, code: int) -> None:
    """`sandbox` says where it listens and with which token, serves, and leaves nothing behind however it is ended."""
    with started("sandbox", "--jobs", "3", "--speed", "100", "--fault", "slow:0", "--fault", "503:0") as process:
        assert process.stdout is not None
        text = ""
        while "A web login" not in text:
            text += process.stdout.readline()
        env = dict(re.findall(r"export (\w+)=(\S+)", text))
        folder = Path(env.pop("CCACTIVITY_TOKEN_STORE")).parent
        assert folder.is_dir()
        assert "3 imports have been submitted, of which 8 at most run at once." in text
        assert env["CCACTIVITY_ACCESS_TOKEN"].startswith("sandbox-token-")
        command = [sys.executable, "-m", "ccactivity", "list", "--json"]
        listed = subprocess.run(
            command, env=environment() | env, capture_output=True, text=True, check=True, timeout=20
        )
        process.send_signal(ended_by)
        _, err = process.communicate(timeout=10)

    assert 3 == listed.stdout.count("\n")
    assert code == process.returncode
    assert "\n1 request, 0 violations of the vendor's rules\n" == err
    assert not folder.exists()


def test_a_port_that_is_taken(vendor: Sandbox) -> None:
    """A port that another program has is wrong usage."""
    port = vendor.base_url.split(":")[2].removesuffix("/v3")
    done = run("sandbox", "--port", port)

    assert 2 == done.returncode
    assert f"error: cannot listen on port {port}" in done.stderr


async def test_a_seed(capsys: Printed) -> None:
    """What is drawn is the same again for the same seed."""
    tokens = []
    for seed in (1, 1, 2):
        server = asyncio.ensure_future(serve(**OPTIONS | {"seed": seed}))
        tokens += re.findall(r"Its token is (\S+)", await greeting_of(capsys))
        await cancelled(server)

    assert tokens[0] == tokens[1] != tokens[2]


async def test_a_line_for_each_request(capsys: Printed) -> None:
    """With `-v`: what was asked and answered, and which rules it broke, but no token."""
    server = asyncio.ensure_future(serve(**OPTIONS | {"log_requests": True, "faults": ["hang:0"]}))
    greeting = await greeting_of(capsys)
    (base_url,) = re.findall(r"listens at (\S+) until", greeting)
    (token,) = re.findall(r"Its token is (\S+)", greeting)
    headers = {"Accept": "application/json", "Cache-Control": "no-cache", "User-Agent": "test"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for authorization, query in ((token, ""), ("wrong", "?limit=5"), (token, f"?access_token={token}")):
            bearer = {"Authorization": f"Bearer {authorization}"}
            await (await http.get(f"{base_url}/activities{query}", headers=bearer)).read()
    await cancelled(server)
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in capsys.readouterr().err.splitlines()]

    assert lines == [
        "GET /v3/activities 200",
        "GET /v3/activities?limit=5 401, against the rules: bad_token",
        "GET /v3/activities?... 200, against the rules: token_in_url",
        "",
        "3 requests, 2 violations of the vendor's rules: bad_token 1, token_in_url 1",
    ]


async def test_a_web_login(capsys: Printed) -> None:
    """A program on this machine may pick its port; any other address has to be named. The greeting tells both."""
    server = asyncio.ensure_future(serve(**OPTIONS | {"redirect_uris": ["https://app.example/callback"]}))
    greeting = await greeting_of(capsys)
    (url,) = re.findall(r"CCACTIVITY_OAUTH_URL=(\S+)", greeting)
    query = {"client_id": "ccactivity-sandbox", "response_type": "code", "scope": "contact_data"}
    answers, texts = [], []
    async with aiohttp.ClientSession() as http:
        for redirect in ("http://127.0.0.1:50123/callback", "https://app.example/callback", "https://other.example/"):
            fields = query | {"redirect_uri": redirect}
            async with http.get(f"{url}/authorize", params=fields, allow_redirects=False) as answer:
                answers.append((answer.status, answer.headers.get("Location", "").partition("?")[0]))
                texts.append(await answer.text())
    await cancelled(server)

    assert "come back to https://app.example/callback or any http:// address of this machine." in greeting
    assert answers == [(302, "http://127.0.0.1:50123/callback"), (302, "https://app.example/callback"), (400, "")]
    assert "https://other.example/&#x27; is not registered" in texts[2]


@pytest.mark.parametrize("uri", ["callback", "localhost:8000/callback", "https://app.example/#x", "http://[::1/"])
async def test_a_redirect_uri_that_is_none(uri: str) -> None:
    """It is wrong usage, before anything is served."""
    with pytest.raises(UsageError, match="is a whole URL, as in "):
        await serve(**OPTIONS | {"redirect_uris": [uri]})


async def test_more_workers_run_more_imports_at_once(capsys: Printed) -> None:
    """As many as there are workers; the others wait."""
    server = asyncio.ensure_future(serve(**OPTIONS | {"jobs": 1_200, "workers": 300}))
    greeting = await greeting_of(capsys)
    (base_url,) = re.findall(r"listens at (\S+) until", greeting)
    (token,) = re.findall(r"Its token is (\S+)", greeting)
    await asyncio.sleep(4.1)  # the longest time between a worker getting free and the start of a job
    async with ActivitySession(token, base_url=base_url) as session:
        states = Counter([activity.state async for activity in session.list_activities()])
    await cancelled(server)

    assert "1,200 imports have been submitted, of which 300 at most run at once." in greeting
    assert 250 < states["processing"] <= 300
    assert 850 < states["initialized"] <= 900


async def test_the_walkthrough(capsys: Printed, monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """What `sandbox` prints is enough to log in, by its page; its logins are kept apart, and end with it."""
    serving = asyncio.ensure_future(serve(**OPTIONS))
    greeting = await greeting_of(capsys)
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

    await cancelled(serving)

    assert " 0 violations of the vendor's rules\n" in capsys.readouterr().err
    assert [] == kept_in(kept)
