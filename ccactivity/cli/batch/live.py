"""The live view: draws frames with rich, a few a second; what is in a frame is decided in `frame` and `board`.

`rich.progress` draws every task on every refresh, which a thousand activities cannot afford, so this draws the visible
lines and nothing else. Frames are drawn by the loop, not by rich's thread, because the board is changed by the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.segment import Segment
from rich.style import Style

from .render import Line, Look

__all__ = ["LiveView", "console_of", "look_of"]

# Only the colours that can be read on white and on black; the bars differ in form too, for NO_COLOR.
_STYLES: Final = {
    "": Style(),
    "good": Style(color="green"),
    "bad": Style(color="red"),
    "odd": Style(color="magenta"),
    "moving": Style(color="cyan"),
    "quiet": Style(dim=True),
}
_EVERY: Final = 0.125


def console_of() -> Console | None:
    """The terminal on stdout if it can be drawn on, else None."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal and not console.is_dumb_terminal else None


def look_of(console: Console) -> Look:
    """What the terminal can show now: its size may change at any time."""
    width, height = console.size
    # The last line stays free, or the terminal scrolls and every frame is drawn below the former one.
    return Look(width=width, height=max(1, height - 1), unicode=console.encoding.startswith("utf"))


class _Frame:
    """Lines as rich takes them: pieces with styles, and no markup to be found in them."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for number, line in enumerate(self._lines):
            if number:
                yield Segment.line()
            for text, style in line:
                yield Segment(text, _STYLES[style])


class LiveView:
    """Draws what `frame` gives for a look, until the block ends; the last frame stays."""

    def __init__(self, console: Console, frame: Callable[[Look], list[Line]], *, redirect_stderr: bool) -> None:
        self._console = console
        self._frame = frame
        self._timer: asyncio.TimerHandle | None = None
        self._live = Live(
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=redirect_stderr,
            vertical_overflow="crop",
            get_renderable=lambda: _Frame(self._frame(look_of(self._console))),
        )

    def __enter__(self) -> Self:
        self._live.start()
        self._tick()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._live.stop()

    def _tick(self) -> None:
        self._live.refresh()
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._tick)
