"""The live view: draws frames with rich, eight per second; what is in a frame is decided in `render` and `state`.

`rich.progress` draws every task on every refresh, which a thousand activities cannot afford, so this draws the visible
lines and nothing else. Frames are drawn by the event loop, not by rich's thread, because the loop changes the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.segment import Segment, Segments
from rich.style import Style as RichStyle

from .render import Line, Style, Viewport

__all__ = ["drawable_console", "live_view", "viewport_of"]

# Only colours that can be read on white and on black; bars differ in form too, for NO_COLOR.
_RICH_STYLES: Final[dict[Style, RichStyle]] = {
    "": RichStyle(),
    "success": RichStyle(color="green"),
    "failure": RichStyle(color="red"),
    "warning": RichStyle(color="magenta"),
    "moving": RichStyle(color="cyan"),
    "dim": RichStyle(dim=True),
}
_FRAME_INTERVAL_S: Final = 0.125


def drawable_console() -> Console | None:
    """The terminal on stdout if it can be drawn on, else None."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal and not console.is_dumb_terminal else None


def viewport_of(console: Console) -> Viewport:
    """What the terminal can show now: its size may change at any time."""
    width, height = console.size
    # The last line stays free, or the terminal scrolls and every frame is drawn below the former one.
    return Viewport(width=width, height=max(1, height - 1), unicode=console.encoding.startswith("utf"))


def _segments(lines: list[Line]) -> Iterator[Segment]:
    """Lines as rich takes them: pieces with styles, never read as markup."""
    for number, line in enumerate(lines):
        if number:
            yield Segment.line()
        for text, style in line:
            yield Segment(text, _RICH_STYLES[style])


@contextmanager
def live_view(console: Console, render: Callable[[Viewport], list[Line]], *, redirect_stderr: bool) -> Iterator[None]:
    """Draw what `render` returns for a viewport, again and again until the block ends; the last frame stays."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def refresh() -> None:
        nonlocal timer
        live.refresh()
        timer = loop.call_later(_FRAME_INTERVAL_S, refresh)

    live = Live(
        console=console,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=redirect_stderr,
        vertical_overflow="crop",
        get_renderable=lambda: Segments(_segments(render(viewport_of(console)))),
    )
    with live:
        refresh()
        try:
            yield
        finally:
            timer.cancel()
