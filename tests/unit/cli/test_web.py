"""The command `serve`, and the page beside `watch` and `demo`."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import stat
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.logins import Printed
from support.vendor import connect

from ccactivity.cli.commands import watch
from ccactivity.cli.demo import demo
from ccactivity.cli.exit_codes import UsageError
from ccactivity.cli.session import open_session
from ccactivity.cli.web import serve
from ccactivity.sandbox import Life, Sandbox

from .processes import run, started

OPTIONS: dict[str, Any] = {"everything": False, "host": "127.0.0.1", "port": 0, "page_token": None}


async def address(printed: Printed) -> str:
    """Wait until the address of the page is printed."""
    text = ""
    while not (found := re.search(r"The page is at (http://\S+/)", text)):
        await asyncio.sleep(0.01)
        out, err = printed.readouterr()
        text += out + err
    return found[1]


@asynccontextmanager
async def serving(printed: Printed, *ids: str, **options: Any) -> AsyncIterator[str]:
    """Run the command until the block ends; give the address of the page."""
    task = asyncio.ensure_future(serve(open_session(), ids, **{**OPTIONS, **options}))
    try:
        yield await address(printed)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_serve(offline: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints an address with a path that cannot be guessed, and serves until it is cancelled."""
    async with offline, aiohttp.ClientSession() as http:
        monkeypatch.setenv("CCACTIVITY_BASE_URL", offline.base_url)
        activity_id = offline.submit(Life(duration=10))
        async with serving(capsys, activity_id) as url:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{12}/", url)
            async with http.get(url) as answer:
                assert "<h1>Activities</h1>" in await answer.text()
            async with http.get(f"{url}/../../") as answer:
                assert 404 == answer.status
            async with http.get(url, headers={"Host": "evil.example"}) as answer:
                assert 403 == answer.status
            async with http.get(f"{url}activities.json") as answer:
                assert [activity_id] == [row["key"] for row in (await answer.json())["rows"]]
            async with http.get(f"{url}events") as answer:
                assert b"retry: 2000\n" == await answer.content.readline()
                await asyncio.sleep(60)
            async with http.get(f"{url}activities.json") as answer:
                assert ["completed"] == [row["state"] for row in (await answer.json())["rows"]]


async def test_serve_the_whole_account(offline: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --all the page has what is in the account's list."""
    async with offline, aiohttp.ClientSession() as http:
        monkeypatch.setenv("CCACTIVITY_BASE_URL", offline.base_url)
        ids = {offline.submit() for _ in range(3)}
        async with serving(capsys, everything=True) as url:
            async with http.get(f"{url}events") as answer:
                await asyncio.sleep(5)
                answer.close()
            async with http.get(f"{url}activities.json") as answer:
                assert ids == {row["key"] for row in (await answer.json())["rows"]}


async def test_others_need_the_password(
    offline: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For other machines the browser is asked for the password in a file; any name does, and no other password."""
    path = tmp_path / "password"
    path.write_text("CANARY-long-enough\n")
    async with offline, aiohttp.ClientSession() as http:
        monkeypatch.setenv("CCACTIVITY_BASE_URL", offline.base_url)
        async with serving(capsys, offline.submit(), host="0.0.0.0", page_token=path) as url:
            assert url.startswith("http://0.0.0.0:")
            for given, status in (
                ("Basic " + b64encode(b"ada:CANARY-long-enough").decode(), 200),
                ("basic " + b64encode(b":CANARY-long-enough").decode(), 200),
                ("Basic " + b64encode(b"ada:CANARY-long-enougH").decode(), 401),
                ("Bearer " + b64encode(b"ada:CANARY-long-enough").decode(), 401),
                ("Basic !", 401),
                ("", 401),
            ):
                for name in ("", "page.js", "activities.json"):
                    async with http.get(f"{url}{name}", headers={"Authorization": given}) as answer:
                        assert status == answer.status
                        assert ("WWW-Authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "nothing to show: give ids or --all"),
        ({"everything": True, "host": "0.0.0.0"}, "whoever reaches 0.0.0.0 could see the page: .*--page-token-file"),
        ({"everything": True, "host": "some.example"}, "whoever reaches some.example"),
    ],
)
async def test_wrong_usage(offline: Sandbox, options: dict[str, Any], problem: str) -> None:
    """It is said before anything is served."""
    with pytest.raises(UsageError, match=problem):
        await serve(open_session(), [], **{**OPTIONS, **options})


async def test_a_port_that_is_taken(offline: Sandbox) -> None:
    """It is wrong usage, told in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1, port {port}: "):
            await serve(open_session(), ["one"], **{**OPTIONS, "port": port})


async def test_a_host_that_cannot_be(offline: Sandbox, tmp_path: Path) -> None:
    """The same, also where the name cannot be put into the form of the name service."""
    password = tmp_path / "password"
    password.write_text("a" * 16)
    options = {**OPTIONS, "host": "a..example", "page_token": password}
    with pytest.raises(UsageError, match=r"cannot listen on a\.\.example, port \d+: no name"):
        await serve(open_session(), ["one"], **options)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        (b"\xff", "not UTF-8 text"),
        (b"CANARY-short", "at least 16 characters"),
        (b"a" * 4_097, "at most 4096"),
    ],
)
async def test_a_password_that_cannot_be_used(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """The error names the file and not the password."""
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=problem):
        await serve(open_session(), ["one"], **{**OPTIONS, "page_token": path})


async def test_a_malformed_id(offline: Sandbox) -> None:
    """It is named, and nothing is served."""
    with pytest.raises(UsageError, match="malformed activity_id 'a/b'"):
        await serve(open_session(), ["a/b"], **OPTIONS)


async def test_watch_on_a_page(offline: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page shows the same watch for no request more, to its end, and is told that this was the end."""
    alone, _, _ = await watch_five(web=False)
    with_page, ids, events = await watch_five(capsys, web=True)
    rows = {}
    for line in events.split(b"\n"):
        if line.startswith(b'data: {"rows"'):
            rows.update({row["key"]: row for row in json.loads(line.removeprefix(b"data: "))["rows"]})

    assert events.endswith(b"event: end\ndata: {}\n\n")
    assert ["completed"] * 5 == [row["state"] for row in rows.values()]
    assert ids == rows.keys()
    assert alone == with_page


async def watch_five(printed: Printed | None = None, *, web: bool) -> tuple[int, set[str], bytes]:
    """Run the command to its end; return how many requests it made, the ids, and what a page was told."""
    events = b""
    async with Sandbox(seed=3) as sandbox, aiohttp.ClientSession() as http:
        ids = [sandbox.submit(Life(duration=20)) for _ in range(5)]
        options: dict[str, Any] = {"source": None, "everything": False, "timeout": None, "as_json": True}
        task = asyncio.ensure_future(watch(_opening(sandbox), ids, max_staleness=5.0, web=web, **options))
        if printed is not None:
            async with http.get(f"{await address(printed)}events") as answer:
                events = await answer.read()
        assert 0 == await task
        return sandbox.requests.total(), set(ids), events


@asynccontextmanager
async def _opening(sandbox: Sandbox) -> AsyncIterator[Any]:
    async with connect(sandbox) as session:
        yield session, lambda _: None


async def test_demo_on_a_page(capsys: Printed) -> None:
    """The page has each import from its submission on."""
    async with aiohttp.ClientSession() as http:
        task = asyncio.ensure_future(demo(3, web=True))
        url = await address(capsys)
        async with http.get(url) as answer:
            assert "Demo: simulated imports" in await answer.text()
        async with http.get(f"{url}events") as answer:
            text = await answer.text()

    assert 0 == await task
    assert 3 == len(set(re.findall(r'"key":"([^"]+)"', text)))
    assert text.endswith("event: end\ndata: {}\n\n")


@pytest.mark.slow
def test_serve_as_a_process(vendor: Sandbox, tmp_path: Path) -> None:
    """Its address is the only thing on stdout; Ctrl-C ends it, also while somebody looks."""
    password = tmp_path / "password"
    password.write_text("CANARY-long-enough")
    password.chmod(stat.S_IRUSR)
    with started("serve", "--all", "--page-token-file", str(password), sandbox=vendor) as process:
        assert process.stdout is not None
        assert re.fullmatch(r"The page is at http://127\.0\.0\.1:\d+/page/ until Ctrl-C\.\n", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert (130, "", "") == (process.returncode, out, err)


def test_serve_elsewhere_without_a_password() -> None:
    """It is wrong usage, told in one line."""
    done = run("serve", "--all", "--host", "0.0.0.0", CCACTIVITY_ACCESS_TOKEN="x")

    assert (2, "") == (done.returncode, done.stdout)
    assert 1 == len(done.stderr.splitlines())
    assert "--page-token-file" in done.stderr
