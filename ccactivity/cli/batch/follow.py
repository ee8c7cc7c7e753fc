"""Watching a batch to its end while it is shown: as JSON lines, as plain lines, or in the live view."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final

import attrs

from ccactivity import Activity, BatchError, BatchWatch, CCActivityError, NotFoundError, Quota

from ..exit_codes import ExitCode, describe_error, exit_code, print_error
from ..output import print_json, print_note
from .plain import LineFormatter
from .render import Line, Viewport, render_frame, summary
from .state import BatchState

__all__ = ["BatchOutcome", "UnseenCheck", "follow"]

Label = Callable[[str], str]
Errors = Mapping[str, CCActivityError]
_SILENCE_NOTICE_S: Final = 12.0  # longer than it takes to find out that an id does not exist


@attrs.frozen
class BatchOutcome:
    """How a batch ended: its last state, and the errors of the ids that could not be followed."""

    batch: BatchState
    errors: Errors

    @property
    def exit_code(self) -> ExitCode:
        """The exit code: an id that could not be followed outweighs an activity that failed."""
        if self.errors:
            return max(map(exit_code, self.errors.values()))
        return ExitCode.OK if self.batch.ended == self.batch.completed else ExitCode.FAILED


@attrs.frozen
class UnseenCheck:
    """Asks with `look` for each of the `ids` that has not been seen after `delay` seconds, whether it exists.

    Lists do not tell that; without this, what does not exist is late where the timeout is short.
    """

    ids: Sequence[str]
    look: Callable[[str], Awaitable[Activity]]
    delay: float

    async def run(self, batch: BatchState, missing: dict[str, CCActivityError]) -> None:
        """Put into `missing` the errors of the ids that do not exist."""
        await asyncio.sleep(self.delay)
        with suppress(CCActivityError):  # whatever else is wrong is told by the watch
            for activity_id in self.ids:
                if not batch.has_seen(activity_id):
                    try:
                        await self.look(activity_id)
                    except NotFoundError as error:
                        missing[activity_id] = error


async def follow(
    watch: BatchWatch,
    quota: Quota,
    *,
    expected: int,
    as_json: bool = False,
    label: Label | None = None,
    unseen_check: UnseenCheck | None = None,
) -> BatchOutcome:
    """Follow `expected` activities to their end, and show them and the `quota` meanwhile; single errors are kept.

    `label`: gives what plain lines show instead of an id.
    """
    loop = asyncio.get_running_loop()
    batch = BatchState(loop.time(), expected)
    missing: dict[str, CCActivityError] = {}

    def errors() -> Errors:
        return {activity_id: missing.get(activity_id, error) for activity_id, error in watch.errors.items()}

    notice = loop.call_later(_SILENCE_NOTICE_S, _note_silence, batch)
    check = loop.create_task(unseen_check.run(batch, missing)) if unseen_check else None
    try:
        async with watch:
            # The errors of a BatchError are in `watch.errors` too.
            with _display(batch, errors, quota, as_json=as_json, label=label) as show, suppress(BatchError):
                async for activity in watch:
                    batch.update(activity, loop.time())
                    show(activity)
    finally:
        notice.cancel()
        if check is not None:
            check.cancel()
            await asyncio.wait([check])
    return BatchOutcome(batch, errors())


def _note_silence(batch: BatchState) -> None:
    if not batch.seen and not batch.unfollowed:
        print_note("no answer from the API so far, still trying (-v shows why)")


@contextmanager
def _display(
    batch: BatchState, errors: Callable[[], Errors], quota: Quota, *, as_json: bool, label: Label | None
) -> Iterator[Callable[[Activity], None]]:
    """Show a batch while the block lasts, and its last state however it ends; yield what shows a snapshot."""
    loop = asyncio.get_running_loop()

    def note_errors() -> None:
        if batch.unfollowed < len(known := errors()):
            for activity_id, error in known.items():
                batch.stop_following(activity_id, describe_error(error, activity_id))

    def render(viewport: Viewport) -> list[Line]:
        note_errors()
        return render_frame(batch, viewport, spent=quota.spent, remaining=quota.remaining, now=loop.time())

    if not as_json and (view := _live_view(render)) is not None:
        with view:
            yield lambda _: None
        return

    lines = LineFormatter(batch.began)

    def show(activity: Activity) -> None:
        if as_json:
            print_json(activity.as_dict())
        elif line := lines.format(activity, loop.time(), label and label(activity.activity_id)):
            print(line, flush=True)

    try:
        yield show
    finally:
        note_errors()
        for activity_id, error in errors().items():
            print_error(error, activity_id)
        last = f"{loop.time() - batch.began:7.1f} s  {summary(batch)}"
        print(last, file=sys.stderr if as_json else sys.stdout, flush=True)


def _live_view(render: Callable[[Viewport], list[Line]]) -> AbstractContextManager[None] | None:
    """The live view, None if stdout is no terminal that it can be drawn on, or rich is not installed."""
    if not sys.stdout.isatty():
        return None
    try:
        from .live import drawable_console, live_view  # noqa: PLC0415 -- the demo works without the extra
    except ImportError:
        return None
    console = drawable_console()
    return None if console is None else live_view(console, render, redirect_stderr=sys.stderr.isatty())
