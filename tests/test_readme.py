"""README.md is true: its programs run, and its commands are those that CI runs.

Each ```python block is a program of its own, run from top to bottom in an empty namespace, as by an import: what
is under `if __name__ == "__main__":` is not run.

- What it gives to `asyncio.run` runs in virtual time, and beside it a sandbox at which the environment variables
  of `ActivitySession.from_env()` point. In it are ten activities that have ended, one that has just begun, and
  a send history for every id that the block mentions.
- A block that defines `test_...` functions has them called, with the fixture `ccactivity_sandbox` and in real time.
- A block that defines `make_app()` has the app served, and the events of an import read to their end.
- A block that defines `make_login_app(database)` has the app served, and a person log in and look at their imports.

The sandboxes know an application with the client id of the environment; a device code is approved by the third poll.

No block may break a rule of the vendor's: the sandboxes count. `<!-- skip: next "why" -->` before a block leaves it
out.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from ccactivity.cli.app import app
from ccactivity.sandbox import OAuthRules, Sandbox
from ccactivity.testing import run

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def run_block(example: Example) -> None:
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    block: dict[str, Any] = {"__name__": f"readme_line_{example.line}"}
    exec(compile(source, str(README), "exec"), block)
    example.namespace["block"] = block


def examples() -> list[Any]:
    sybil = Sybil(parsers=[CodeBlockParser("python", run_block), SkipParser()])
    return [
        pytest.param(one, id=f"line {one.line}", marks=[pytest.mark.slow] if "\ndef test_" in one.parsed else [])
        for one in sybil.parse(README).examples()
    ]


def beside_a_sandbox(main: Callable[[Sandbox], Awaitable[Any]], patch: pytest.MonkeyPatch, campaigns: list[str]) -> Any:
    """Run `main`, told the sandbox, in virtual time."""

    async def both() -> Any:
        async with Sandbox(history=10, latency=0.1, oauth=OAuthRules(approve_after=3)) as sandbox:
            sandbox.register_client()
            patch.setenv("CCACTIVITY_CLIENT_ID", "ccactivity-sandbox")
            patch.setenv("CCACTIVITY_OAUTH_URL", sandbox.oauth_base_url)
            for campaign in campaigns:
                sandbox.add_history(campaign, {})
            for name, value in sandbox.env.items():
                patch.setenv(name, value)
            result = await main(sandbox)

            assert 0 == sandbox.violations.total
            return result

    return run(both())


def beginning(main: Awaitable[Any]) -> Callable[[Sandbox], Awaitable[Any]]:
    """Run a program beside an import that has just begun."""

    def begin(sandbox: Sandbox) -> Awaitable[Any]:
        sandbox.submit()
        return main

    return begin


async def read_events(app: web.Application, activity_id: str) -> str:
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        url = f"http://{host}:{port}/imports/{activity_id}/events"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return await response.text()
    finally:
        await runner.cleanup()


async def log_in(app: web.Application, registered: Sandbox) -> tuple[str, str]:
    """Be the person who logs in, and looks at their imports."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        registered.register_client(redirect_uris=[f"{origin}/callback"])
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            async with http.get(f"{origin}/log-in") as response:
                welcome = await response.text()
            async with http.get(f"{origin}/imports") as response:
                return welcome, await response.text()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("example", examples())
def test_block(
    example: Example, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A block of README.md runs as it stands, and keeps the vendor's rules."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    campaigns = UUID.findall(example.parsed)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run", lambda main: beside_a_sandbox(beginning(main), patch, campaigns))
        example.evaluate()
    block = example.namespace.pop("block", {})
    for name in filter(re.compile("test_").match, block):
        needs = inspect.signature(block[name]).parameters
        block[name](**{fixture: request.getfixturevalue(fixture) for fixture in needs})
    if make_app := block.get("make_app"):
        events = beside_a_sandbox(lambda sandbox: read_events(make_app(), sandbox.submit()), monkeypatch, campaigns)
        *_, last, end = events.split("\n\n")

        assert re.match(r'data: \{"activity_id": ".*"state": "(completed|failed|timed_out|cancelled)"', last)
        assert "" == end
    if make_login_app := block.get("make_login_app"):
        app = make_login_app(str(tmp_path / "app.db"))
        welcome, imports = beside_a_sandbox(lambda sandbox: log_in(app, sandbox), monkeypatch, campaigns)

        assert "person@example.com has logged in" == welcome
        assert 10 == imports.count('"activity_id"')


@pytest.mark.parametrize(
    "command",
    ["python3 -m venv .venv && .venv/bin/pip install 'nox[uv]' && .venv/bin/nox", ".venv/bin/nox -t all"],
    ids=["the tests", "what takes longer"],
)
def test_ci_runs_the_commands_of_the_readme(command: str) -> None:
    """The lines that README.md gives for the tests are those that CI runs, character by character."""
    assert f"\n{command}\n" in README.read_text(encoding="utf-8")
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_commands_are_those_of_the_readme() -> None:
    """README.md names every command, and says of it what its help says."""
    rows = re.findall(r"^\| `(\w+)` \| (.+\.) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)

    assert {name: app[name].help for name in app if not name.startswith("-")} == dict(rows)


def test_the_exit_codes_are_those_of_the_readme() -> None:
    """README.md has the codes that the help has."""
    codes = re.findall(r"^\| (\d+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)

    assert re.findall(r"\d+", app.help_epilogue or "") == codes
