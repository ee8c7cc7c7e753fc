"""The demo, in virtual time."""

from __future__ import annotations

import asyncio
import io
import re
import sys
from itertools import groupby

import pytest
from support.logins import Printed

from ccactivity.cli.demo import demo

SECONDS_LEFT = re.compile(r"about (\d+) s left")


class Screen(io.StringIO):
    """A terminal of 80 columns and 24 lines, which keeps with the time what is written to it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.frames: list[tuple[float, str]] = []
        for name, value in {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdout", self)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.frames.append((asyncio.get_running_loop().time(), text))
        return len(text)


async def test_demo(capsys: Printed) -> None:
    """The demo submits imports, watches all to their end, of which one fails, and keeps the vendor's rules."""
    code = await demo(30)
    out = capsys.readouterr().out

    assert 0 == code
    assert "1 failed" in out
    assert "All 30 imports ended within" in out
    assert re.search(r"^refused by the vendor +0$", out, re.MULTILINE)
    assert "import  30" in out


async def test_the_demo_tells_what_watching_costs_in_requests_and_in_lag(capsys: Printed) -> None:
    """Beside a loop for each import, which is late by half its interval on average, and by all of it at most."""
    await demo(30)
    out = capsys.readouterr().out
    ours = re.search(r"^this watch +(\d+) +(\d+\.\d) s +(\d+\.\d) s$", out, re.MULTILINE)
    loops = re.search(r"^a 5 s loop for each +(\d+) +(\d+\.\d) s +(\d+\.\d) s$", out, re.MULTILINE)
    assert ours
    assert loops

    assert 30 <= 2 * int(ours[1]) <= int(loops[1])
    assert 0 < float(ours[2]) <= float(ours[3])
    assert 2 < float(loops[2]) < 3 < float(loops[3]) <= 5


async def test_the_demo_takes_half_a_minute_and_can_tell_how_much_of_it_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last seconds count down like the others: no estimate is shown for three seconds on end."""
    screen = Screen(monkeypatch)
    await demo(30)

    shown = [(when, left[1]) for when, text in screen.frames if (left := SECONDS_LEFT.search(text))]
    spans = [[when for when, _ in same] for _, same in groupby(shown, key=lambda frame: frame[1])]
    assert 28 < shown[-1][0] < 32
    assert len(shown) > 100
    assert max(times[-1] - times[0] for times in spans) < 3
    assert int(shown[-1][1]) <= 1
