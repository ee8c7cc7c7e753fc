"""A batch that is followed: its exit code, what is shown of it, and where."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from typing import Any

import pytest
from support.logins import Printed

from ccactivity import ActivitySession
from ccactivity.cli.batch.follow import BatchOutcome, follow
from ccactivity.sandbox import Fault, Life, Sandbox, drop_rows, forbidden, server_error

UNKNOWN = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"


class Terminal(io.StringIO):
    """Stands in for a stdout that can be drawn on."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal of 80 columns in the place of stdout."""
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    return terminal


async def run(sandbox: Sandbox, *ids: str, **limits: Any) -> BatchOutcome:
    """Follow activities of a sandbox."""
    async with ActivitySession(sandbox.token, base_url=sandbox.base_url) as session:
        return await follow(session.watch_many(ids, **limits), session.quota, expected=len(ids))


@pytest.mark.parametrize(
    ("end", "code", "last"),
    [
        ("failed", 1, "1 completed, 1 failed"),
        ("cancelled", 1, "1 completed, 1 cancelled"),
        ("completed", 0, "2 completed"),
    ],
)
async def test_exit_code(offline: Sandbox, capsys: Printed, end: Any, code: int, last: str) -> None:
    """1 says that an activity has not completed."""
    async with offline:
        ids = [offline.submit(Life(duration=10)), offline.submit(Life(duration=20, end=end))]

        outcome = await run(offline, *ids)

    assert code == outcome.exit_code
    assert capsys.readouterr().out.endswith(f" s  {last}\n")


async def test_ids_that_cannot_be_followed(offline: Sandbox, capsys: Printed) -> None:
    """An id that does not exist is 1 beside others, whatever became of them; each has its error on stderr."""
    async with offline:
        good, bad = offline.submit(Life(duration=30)), offline.submit(Life(duration=30, end="failed"))

        outcome = await run(offline, good, UNKNOWN, bad)

    assert 1 == outcome.exit_code
    assert {UNKNOWN} == set(outcome.errors)

    out, err = capsys.readouterr()

    assert out.endswith(" s  1 completed, 1 failed, 1 could not be followed\n")
    assert f"error: {UNKNOWN}: not found (404)\n" == err


async def test_an_activity_that_takes_too_long(offline: Sandbox, capsys: Printed) -> None:
    """An activity that has not ended by its timeout has not completed."""
    async with offline:
        job = offline.submit(Life(duration=3600))
        outcome = await run(offline, job, timeout=60.0)

    assert 1 == outcome.exit_code

    out, err = capsys.readouterr()

    assert out.endswith(" s  1 did not end in time\n")
    assert f"error: {job}: did not end within 60 s, last seen as 'processing'\n" == err


async def test_ids_of_which_none_can_be_followed(offline: Sandbox) -> None:
    """It is 3 if nothing exists of what is watched, and 1 if something of it was only late."""
    async with offline:
        assert 3 == (await run(offline, UNKNOWN, "another")).exit_code

        job = offline.submit(Life(duration=3600))

        assert 1 == (await run(offline, UNKNOWN, job, timeout=60.0)).exit_code


async def test_an_id_that_may_not_be_read(offline: Sandbox) -> None:
    """A permission that is lacking concerns the session, so it is 3 beside others too."""
    async with offline:
        good, denied = offline.submit(Life(duration=30)), offline.submit(Life(delay=1e6))
        offline.faults.add(drop_rows(denied), where="list")
        offline.faults.add(forbidden(), where="get", times=1)
        outcome = await run(offline, good, denied)

    assert 3 == outcome.exit_code
    assert 1 == outcome.batch.completed


async def test_an_error_is_told_when_it_is_known(offline: Sandbox, capsys: Printed) -> None:
    """With JSON it is an object on stdout too, though no snapshot comes for a long time."""
    async with offline, ActivitySession(offline.token, base_url=offline.base_url) as session:
        ids = (UNKNOWN, offline.submit(Life(delay=3600)))
        following = asyncio.ensure_future(follow(session.watch_many(ids), session.quota, expected=2, as_json=True))
        await asyncio.sleep(60)

        out, err = capsys.readouterr()
        following.cancel()
        await asyncio.wait([following])

    assert {"activity_id": UNKNOWN, "error": "not found (404)"} == json.loads(out.splitlines()[-1])
    assert f"error: {UNKNOWN}: not found (404)\n" == err
    assert "error" not in capsys.readouterr().err


async def test_a_silent_api_is_remarked_on(offline: Sandbox, capsys: Printed) -> None:
    """People are told when nothing has been heard for twelve seconds: a watch itself is patient."""
    offline.faults.add(Fault(server_error(503), until=60.0))
    async with offline:
        assert 0 == (await run(offline, offline.submit(Life(duration=90)))).exit_code

    assert 1 == capsys.readouterr().err.count("no answer from the API so far")


async def test_an_interrupted_watch_shows_its_last_state(offline: Sandbox, capsys: Printed) -> None:
    """A watch that is cut short says how things stood."""
    async with offline:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await run(offline, offline.submit(Life(duration=3600)), UNKNOWN)

    assert capsys.readouterr().out.endswith("30.0 s  1 in progress, 1 could not be followed\n")


async def test_a_terminal_gets_the_live_view(offline: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the view is drawn in place, with the ids that cannot be followed among its problems."""
    terminal = on_a_terminal(monkeypatch)
    async with offline:
        outcome = await run(offline, offline.submit(Life(duration=30)), UNKNOWN)

    drawn = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())

    assert 1 == outcome.exit_code
    assert "\x1b[1A" in drawn
    assert "1 completed · 1 could not be followed" in drawn[drawn.rindex("2 ended") :]
    assert f"{UNKNOWN}  not found (404)" in drawn


@pytest.mark.parametrize("reason", ["dumb", "no rich"])
async def test_a_terminal_without_the_live_view(reason: str, offline: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot be drawn on gets plain lines, and so does any terminal without the extra."""
    terminal = on_a_terminal(monkeypatch)
    if reason == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    else:
        monkeypatch.setitem(sys.modules, "ccactivity.cli.batch.live", None)
    async with offline:
        assert 0 == (await run(offline, offline.submit(Life(duration=1)))).exit_code

    assert terminal.getvalue().endswith(" s  1 completed\n")
    assert "\x1b" not in terminal.getvalue()
