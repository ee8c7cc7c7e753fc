"""The live view: what rich is made to draw."""

from __future__ import annotations

import asyncio
import io

import pytest
from rich.console import Console

from ccactivity.cli.batch.live import live_view, viewport_of

from .activities import activity, batch_of, lines


@pytest.mark.parametrize("no_color", [False, True])
async def test_live_view(no_color: bool) -> None:
    """The live view draws in place, with colours unless they are unwanted, and leaves its last frame."""
    drawn = io.StringIO()
    console = Console(
        file=drawn, force_terminal=True, width=80, height=24, color_system="standard", no_color=no_color, _environ={}
    )
    batch = batch_of(activity(1, percent=50))
    with live_view(console, lambda viewport: lines(batch, viewport), redirect_stderr=False):
        await asyncio.sleep(0.3)
        batch.update(activity(1, "completed", 100), 1.0)

    assert 80 == viewport_of(console).width
    assert 23 == viewport_of(console).height
    assert drawn.getvalue().count("0 of 1 ended") >= 2
    assert "1 of 1 ended" in drawn.getvalue()[drawn.getvalue().rindex("0 of 1 ended") :]
    assert (not no_color) == ("\x1b[36m" in drawn.getvalue())
    assert drawn.getvalue().endswith("\x1b[?25h")
