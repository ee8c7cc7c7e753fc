"""The importer of a session: makes its imports, and watches their parts more thriftily than what a person looks at."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, BinaryIO, Final
from weakref import WeakSet

import attrs

from .._tasks import run_in_thread
from .._validation import check_number
from ..jobs.submit import Submitter
from ..models import Activity
from ..polling.hub import Hub, SnapshotQueue
from ..polling.pacing import Pacing
from ..watch import BatchWatch
from .contacts import Rows, contact_parts
from .parts import Parts, file_parts, stop_if_cancelled
from .plan import ImportOptions
from .run import Import, ImportRun, OpenParts
from .source import FileSource

__all__ = ["Importer"]

# The more parts an import has, the longer it takes, and the less a second of lag matters: so that watching all of them
# takes about 25 requests. In `Pacing.price`.
_PRICE_PER_PART_S: Final = 2.5
_MAX_PRICE_S: Final = 30.0
_GRACE_S: Final = 10.0  # in which a 404 may still become an activity


@attrs.define(eq=False)
class Importer:
    """Makes the imports of one session. `hubs`: of those under way.

    `enter`: binds the session to its loop, or raises. `make_poller`: polls for a hub at a pacing. `make_queue`: gives a
    queue that is attached to what the function it is given returns.
    """

    _enter: Callable[[], object]
    _submitter: Submitter
    _pacing: Pacing
    _make_poller: Callable[[Hub, Pacing], object]
    _make_queue: Callable[..., SnapshotQueue]
    hubs: WeakSet[Hub] = attrs.field(factory=WeakSet)

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
        price = min(_MAX_PRICE_S, _PRICE_PER_PART_S * (parts - 1))
        hub = Hub()
        self.hubs.add(hub)
        self._make_poller(hub, attrs.evolve(self._pacing, price=max(self._pacing.price, price)))

        def enter() -> Hub:
            self._enter()
            return hub

        return lambda activities: BatchWatch(activities, self._make_queue(enter, timeout=timeout, grace=_GRACE_S))
