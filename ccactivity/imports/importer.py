"""The importer of a session: makes its imports, and watches their parts more thriftily than what a person looks at."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, BinaryIO, Final

import attrs

from .._tasks import run_in_thread
from .._validation import check_number
from ..jobs.submit import Submitter
from ..models import Activity
from ..polling.hub import Hub, SnapshotQueue
from ..watch import BatchWatch
from .contacts import Rows, contact_parts
from .parts import Parts, file_parts, stop_if_cancelled
from .plan import ImportOptions
from .run import Import, ImportRun, OpenParts
from .source import FileSource

__all__ = ["Importer"]

_MANY_PARTS: Final = 4
"""An import of more takes minutes, so that a few seconds of lag matter less than its requests."""
_GRACE_S: Final = 10.0  # in which a 404 may still become an activity


@attrs.define(eq=False)
class Importer:
    """Makes the imports of one session.

    `enter`: binds the session to its loop, or raises, and gives the hub of its watches; `enter_thriftily`: that of
    watches which may be late to save requests. `make_queue`: gives a queue for the hub of one of both.
    """

    _enter: Callable[[], Hub]
    _enter_thriftily: Callable[[], Hub]
    _submitter: Submitter
    _make_queue: Callable[..., SnapshotQueue]

    def import_file(
        self, source: str | os.PathLike[str] | bytes | BinaryIO, *, options: ImportOptions, **run: Any
    ) -> Import:
        """Make an import of a file; `run`: parts_at_once, journal and timeout of `ActivitySession.import_file`."""

        file = FileSource(source, options.encoding)

        async def open_parts(_: AsyncExitStack, thread: Executor) -> Parts:
            self._enter()
            return await run_in_thread(partial(file_parts, file, options, stop_if_cancelled()), thread)

        return self._make(open_parts, **run)

    def import_contacts(self, rows: Rows, *, options: ImportOptions, **run: Any) -> Import:
        """Make an import of rows; `run`: as of a file, without a journal."""

        # The list itself in a variable of a frame would be recorded by an error tracker.
        source = rows if isinstance(rows, AsyncIterable) else iter(rows)

        async def open_parts(stack: AsyncExitStack, thread: Executor) -> Parts:
            self._enter()
            return await contact_parts(source, options, stack, thread)

        return self._make(open_parts, **run)

    def _make(self, open_parts: OpenParts, *, timeout: float | None, **run: Any) -> Import:
        if timeout is not None:
            check_number("timeout", timeout)
        return Import(ImportRun(open_parts, self._submitter, partial(self._make_watch, timeout), **run))

    def _make_watch(self, timeout: float | None, parts: int) -> Callable[[Iterable[str | Activity]], BatchWatch]:
        """Return what watches some of so many parts."""
        enter = self._enter_thriftily if parts > _MANY_PARTS else self._enter
        return lambda activities: BatchWatch(activities, self._make_queue(enter, timeout=timeout, grace=_GRACE_S))
