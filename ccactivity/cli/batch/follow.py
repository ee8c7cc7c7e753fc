"""Watching a batch to its end while it is shown: as JSON lines, as plain lines, or in the live view."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final, Protocol, Self

import attrs

from ccactivity import (
    Activity,
    BatchError,
    CCActivityError,
    NotFoundError,
    PermissionDeniedError,
    Quota,
    WatchTimeoutError,
)

from ..exit_codes import ExitCode, describe_error, exit_code, print_error
from ..output import print_json, print_note
from .plain import LineFormatter
from .render import Line, Viewport, render_frame, summary
from .state import BatchState

__all__ = ["BatchOutcome", "Followed", "UnseenCheck", "follow"]

Label = Callable[[str], str]
Errors = Mapping[str, CCActivityError]
_ERRORS_INTERVAL_S: Final = 1.0  # between two looks for errors, which no snapshot tells of
_SILENCE_NOTICE_S: Final = 12.0  # longer than it takes to find out that an id does not exist


class Followed(Protocol):
    """What can be followed: a `BatchWatch`, or whatever else gives snapshots and the errors of those that failed."""

    @property
    def errors(self) -> Errors:
        """Why single ids cannot be followed, by id."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Activity: ...


@attrs.frozen
class BatchOutcome:
    """How a batch ended: its last state, and the errors of the ids that were not followed to their end."""

    batch: BatchState
    errors: Errors

    @property
    def exit_code(self) -> ExitCode:
        """The exit code: an error that concerns the session, or is all that came of the ids, outweighs one of an id."""
        errors, batch = self.errors.values(), self.batch
        denied = [error for error in errors if isinstance(error, PermissionDeniedError)]
        if denied or (errors and not batch.seen and not batch.late):
            return max(map(exit_code, denied or errors))
        return ExitCode.OK if not errors and batch.ended == batch.completed else ExitCode.FAILED


@attrs.frozen
class UnseenCheck:
    """Asks with `look` for each of the `ids` that has not been seen after `delay` seconds, whether it exists.

    Lists do not tell that; without this, what does not exist is late where the timeout is short.
    """

    ids: Sequence[str]
    look: Callable[[str], Awaitable[Activity]]
    delay: float

    async def run(self, batch: BatchState, watch: Followed, missing: dict[str, CCActivityError]) -> None:
        """Put into `missing` the errors of the ids that do not exist, as far as the watch does not know."""
        await asyncio.sleep(self.delay)
        with suppress(CCActivityError):  # whatever else is wrong is told by the watch
            for activity_id in dict.fromkeys(self.ids):
                if not batch.has_seen(activity_id) and activity_id not in watch.errors:
                    try:
                        await self.look(activity_id)
                    except NotFoundError as error:
                        missing[activity_id] = error


async def follow(
    watch: Followed,
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
    check = loop.create_task(unseen_check.run(batch, watch, missing)) if unseen_check else None
    try:
        async with watch:
            # The errors of a BatchError are in `watch.errors` too.
            with _display(batch, errors, quota, as_json=as_json, label=label) as show, suppress(BatchError):
                while activity := await _next(watch, lambda: show(None)):
                    batch.update(activity, loop.time())
                    show(activity)
    finally:
        notice.cancel()
        if check is not None:
            check.cancel()
            await asyncio.wait([check])
    return BatchOutcome(batch, errors())


async def _next(watch: Followed, meanwhile: Callable[[], None]) -> Activity | None:
    """Return the next snapshot, None after the last one; call `meanwhile` each second until it comes."""
    step = asyncio.ensure_future(anext(watch, None))
    try:
        while not (await asyncio.wait([step], timeout=_ERRORS_INTERVAL_S))[0]:
            meanwhile()
    finally:
        step.cancel()
    return step.result()


def _note_silence(batch: BatchState) -> None:
    if not batch.seen and not batch.unfollowed:
        print_note("no answer from the API so far, still trying (-v shows why)")


@contextmanager
def _display(
    batch: BatchState, errors: Callable[[], Errors], quota: Quota, *, as_json: bool, label: Label | None
) -> Iterator[Callable[[Activity | None], None]]:
    """Show a batch while the block lasts, and its last state however it ends; yield what shows a snapshot or errors."""
    loop = asyncio.get_running_loop()

    def note_errors() -> list[tuple[str, str, CCActivityError]]:
        """Record the errors that are new; return them, each with its id and in words."""
        if batch.unfollowed == len(known := errors()):
            return []
        told = [(activity_id, describe_error(error, activity_id), error) for activity_id, error in known.items()]
        return [new for new in told if batch.stop_following(*new[:2], late=isinstance(new[2], WatchTimeoutError))]

    def render(viewport: Viewport) -> list[Line]:
        note_errors()
        return render_frame(batch, viewport, spent=quota.spent, remaining=quota.remaining, now=loop.time())

    if not as_json and (view := _live_view(render)) is not None:
        with view:
            yield lambda _: None
        return

    lines = LineFormatter(batch.began)

    def show(activity: Activity | None) -> None:
        for activity_id, words, error in note_errors():
            print_error(error, activity_id)
            if as_json:
                print_json({"activity_id": activity_id, "error": words})
        if activity and as_json:
            print_json(activity.as_dict())
        elif activity and (line := lines.format(activity, loop.time(), label and label(activity.activity_id))):
            print(line, flush=True)

    try:
        yield show
    finally:
        show(None)
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
