"""Where a batch is shown while it is watched: JSON lines, plain lines, or the live view."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from ccactivity import Activity, ActivitySession, BatchError, BatchWatch, CCActivityError, Quota

from ..exit_codes import FAILED, OK, arguments, code_of, complain
from ..output import emit, say
from .plain import Lines
from .render import Line, Look, draw, summary
from .state import Board

__all__ = ["Followed", "follow"]

Label = Callable[[str], str]
# Seconds after which somebody who has heard nothing is told so.
_PATIENCE = 10.0


class Followed:
    """How a batch ended: its board, and why single ids could not be followed."""

    def __init__(self, board: Board, errors: Mapping[str, CCActivityError]) -> None:
        self.board = board
        self.errors = errors

    @property
    def code(self) -> int:
        """The exit code: that nothing is known of an activity outweighs that one has failed."""
        codes = [code_of(error) for error in self.errors.values()]
        return max(codes, default=OK) or (OK if self.board.ended == self.board.completed else FAILED)


async def follow(
    session: ActivitySession,
    ids: Iterable[str] | AsyncIterable[str],
    *,
    expected: int | None = None,
    timeout: float | None = None,
    max_staleness: float | None = None,
    as_json: bool = False,
    label: Label | None = None,
) -> Followed:
    """Watch activities to their end, and show them meanwhile. `label`: what plain lines say instead of an id."""
    loop = asyncio.get_running_loop()
    with arguments():
        watch = session.watch_many(ids, timeout=timeout, max_staleness=max_staleness)
    board = Board(loop.time(), expected)
    errors: Mapping[str, CCActivityError] = {}
    notice = loop.call_later(_PATIENCE, _remark, board)
    try:
        async with watch:
            with _screen(board, watch, session.quota, as_json=as_json, label=label) as show:
                try:
                    async for activity in watch:
                        board.saw(activity, loop.time())
                        show(activity)
                except BatchError as error:
                    errors = error.errors
                    for activity_id, reason in errors.items():
                        board.lose(activity_id, str(reason))
    finally:
        notice.cancel()
    return Followed(board, errors)


def _remark(board: Board) -> None:
    if not board.seen and not board.lost:
        say("no answer from the API so far, still trying (-v says more)")


@contextmanager
def _screen(
    board: Board, watch: BatchWatch, quota: Quota, *, as_json: bool, label: Label | None
) -> Iterator[Callable[[Activity], None]]:
    """Show a batch while the block lasts, and its last state however it ends. It gives what shows one snapshot."""
    loop = asyncio.get_running_loop()

    def frame(look: Look) -> list[Line]:
        for activity_id, reason in watch.errors.items():
            board.lose(activity_id, str(reason))
        return draw(board, look, spent=quota.spent, remaining=quota.remaining, now=loop.time())

    if not as_json and (live := _live(frame)) is not None:
        with live:
            yield lambda _: None
        return

    lines = Lines(board.began)

    def show(activity: Activity) -> None:
        if as_json:
            emit(activity.as_dict())
        elif line := lines.line(activity, loop.time(), label and label(activity.activity_id)):
            print(line, flush=True)

    try:
        yield show
    finally:
        for error in watch.errors.values():
            complain(error)
        last = f"{loop.time() - board.began:7.1f} s  {summary(board)}"
        print(last, file=sys.stderr if as_json else sys.stdout, flush=True)


def _live(frame: Callable[[Look], list[Line]]) -> AbstractContextManager[object] | None:
    if not sys.stdout.isatty():
        return None
    try:
        from .live import LiveView, console_of  # noqa: PLC0415 -- the demo works without the extra
    except ImportError:
        return None
    console = console_of()
    return None if console is None else LiveView(console, frame, redirect_stderr=sys.stderr.isatty())
