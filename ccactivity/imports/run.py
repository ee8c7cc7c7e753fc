"""An import under way: its parts are sent one after the other and watched, and refused rows are brought back to lines.

1. One part is in memory at a time: it is read in a thread, sent and forgotten before the next one is read. Reading
   ahead would save some tenths of a second for each part, and double the memory.
2. At most `parts_at_once` parts are at the vendor and have not ended.
3. A journal has each step before it is taken: the name of a part before it is sent, its activity, its end. An import
   that goes on watches the parts that have an activity, looks for the one that was being sent, and sends the rest.
4. What one part meets is kept until all others have ended. In an outage, or if the file changes, no more parts are
   sent, and those that were are watched to their end. What concerns all, such as a dead token, ends the import at once.
5. The vendor's counters say how many rows were refused, its messages which ones; the two may differ.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, Self

import attrs

from .._tasks import run_in_thread, spawn
from .._validation import check_number
from ..api.outcome import is_ambiguous
from ..errors import (
    AuthenticationError,
    BatchError,
    CCActivityError,
    FleetUnavailableError,
    ImportRefusedError,
    JournalError,
    PermissionDeniedError,
    QuotaExceededError,
    SessionClosedError,
    SubmissionUnknownError,
    TokenError,
    UntrustedServerError,
)
from ..jobs import make_file_name
from ..jobs.submit import Submitter, is_of_one_job
from ..models import Activity, ActivityFailedError
from ..watch import BatchWatch
from .journal import Journal
from .journal_file import JournalFile
from .linemap import LineMap, RowError
from .parts import Parts
from .result import ImportFailedError, ImportProgress, ImportResult

__all__ = ["Import", "ImportRun", "OpenParts"]

OpenParts = Callable[[AsyncExitStack, Executor], Awaitable[Parts]]
"""Reads the source of an import in a thread; what it opens is closed by the stack."""
_log: Final = logging.getLogger("ccactivity")
# What was being sent when its process died is looked for twice: the vendor may be late to list it.
_LOOK_AGAIN_AFTER_S: Final = 40.0
_CONCERN_ALL: Final = (
    AuthenticationError,
    FleetUnavailableError,
    JournalError,
    PermissionDeniedError,
    QuotaExceededError,
    SessionClosedError,
    TokenError,
    UntrustedServerError,
)


@attrs.define(eq=False)
class _Part:
    """A part and what is known of it. `activities`: its newest snapshots, by id; two if it was queued twice."""

    number: int
    rows: int
    activities: dict[str, Activity] = attrs.field(factory=dict)
    repeated: bool = False
    error: CCActivityError | None = None
    row_errors: tuple[RowError, ...] = ()

    @property
    def completed(self) -> bool:
        """Whether the vendor has imported it."""
        return any(activity.succeeded for activity in self.activities.values())

    @property
    def refused(self) -> int:
        """How many of its rows were refused."""
        return max((one.status.refused_count for one in self.activities.values() if one.succeeded), default=0)

    @property
    def progress(self) -> float:
        """How much of it is done, 0.0 to 1.0."""
        if self.error is not None:
            return 1.0
        return max(map(_progress, self.activities.values()), default=0.0)


def _progress(activity: Activity) -> float:
    """How much of an activity is done: all of it not before it has ended, whatever the vendor says."""
    return 1.0 if activity.done else min(activity.progress or 0.0, 0.99)


class ImportRun:
    """The work of one import. `changed`: set when `progress` is another one.

    `make_watch`: gives, for so many parts, what watches some of them.
    """

    def __init__(
        self,
        open_parts: OpenParts,
        submitter: Submitter,
        make_watch: Callable[[int], Callable[[Iterable[Activity | str]], BatchWatch]],
        *,
        parts_at_once: int,
        journal: str | os.PathLike[str] | None = None,
    ) -> None:
        check_number("parts_at_once", parts_at_once, least=1)
        self.progress: ImportProgress | None = None
        self.changed: asyncio.Event = asyncio.Event()
        self._open_parts = open_parts
        self._submitter = submitter
        self._make_watch = make_watch
        self._watch: Callable[[Iterable[Activity | str]], BatchWatch]
        self._slots = asyncio.Semaphore(parts_at_once)
        self._journal_path = journal
        self._journal = Journal({})
        self._journal_file: JournalFile | None = None
        self._parts: list[_Part] = []
        self._source: Parts
        self._thread: ThreadPoolExecutor
        self._refused: Exception | None = None
        self._stopped_by: CCActivityError | None = None

    async def work(self) -> ImportResult:
        """Import everything, and return how it ended."""
        try:
            async with AsyncExitStack() as stack:
                await self._open(stack)
                async with asyncio.TaskGroup() as group:
                    await self._send_all(group)
        except asyncio.CancelledError:
            if self._parts:
                _log.warning("%s", self._outlook())
            raise
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
        else:
            first = self._refused
        if first is not None:  # raised out here, so that it carries no trace of the group
            first.add_note(self._outlook())
            raise first
        return self._conclude()

    async def _open(self, stack: AsyncExitStack) -> None:
        """Read the source and the journal."""
        # One thread for all: each would keep memory of its own for the parts that it has read.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ccactivity-import")
        stack.callback(self._thread.shutdown, wait=False)
        self._source = await self._open_parts(stack, self._thread)
        self._journal = Journal(self._source.identity)
        if self._journal_path is not None:
            self._journal_file = JournalFile(self._journal_path)
            stack.callback(self._journal_file.close)  # also if it is cancelled while a thread opens it
            await run_in_thread(partial(self._journal_file.open, self._journal), self._thread)
        self._parts = [_Part(number, rows) for number, rows in enumerate(self._source.rows, 1)]
        self._watch = self._make_watch(len(self._parts))
        self._show()

    # --- sending ----------------------------------------------------------------------------------------------------

    async def _send_all(self, group: asyncio.TaskGroup) -> None:
        """Send each part that is not at the vendor yet, and have a task follow each that is."""
        # What is there already comes first: it takes up places, and what has ended takes none.
        for part in sorted(self._parts, key=lambda part: not self._journal.part(part.number).activity_ids):
            record = self._journal.part(part.number)
            ended = record.ended.keys() >= set(record.activity_ids) != set()
            if not ended:
                await self._slots.acquire()
            line_map = None
            if not record.activity_ids:
                try:
                    line_map = await self._send(part)
                except (OSError, ValueError) as error:  # the file is another one now, or gone
                    self._refused = error
                    return
                except CCActivityError as error:
                    if isinstance(error, _CONCERN_ALL):
                        raise
                    part.error = error
                    self._slots.release()
                    self._show()
                    if is_of_one_job(error):
                        continue
                    self._stopped_by = error  # an outage that outlived the retries
                    return
            group.create_task(self._follow(part, line_map, holds_slot=not ended))

    async def _send(self, part: _Part) -> LineMap | None:
        """Have a part at the vendor; return where its rows are, if it was read for that."""
        file_name = self._journal.part(part.number).file_name
        if file_name is not None and await self._find(part, file_name):
            return None
        part.repeated = file_name is not None
        file_name = file_name or make_file_name(self._source.stem, part=part.number, parts=len(self._parts))
        job, line_map = await run_in_thread(partial(self._source.read, part.number, file_name), self._thread)
        await self._note(self._journal.sending(part.number, file_name))
        try:
            submission = await self._submitter.submit(job)
        except CCActivityError as error:
            if not (is_ambiguous(error) or isinstance(error, SessionClosedError | SubmissionUnknownError)):
                await self._note(self._journal.not_sent(part.number))
            raise
        part.repeated |= submission.outcome == "repeated"
        await self._accept(part, submission.activity, *submission.others)
        return line_map

    async def _find(self, part: _Part, file_name: str) -> bool:
        """Look for a part that was being sent when its process died."""
        for delay in (0.0, _LOOK_AGAIN_AFTER_S):
            await asyncio.sleep(delay)
            if found := await self._submitter.find(file_name):
                await self._accept(part, *found)
                return True
        return False

    async def _accept(self, part: _Part, *activities: Activity) -> None:
        part.repeated |= len(activities) > 1
        for activity in activities:
            part.activities[activity.activity_id] = activity
            await self._note(self._journal.accepted(part.number, activity.activity_id))
        self._show()

    async def _note(self, line: bytes) -> None:
        if self._journal_file is not None:
            await run_in_thread(partial(self._journal_file.write, line), self._thread)

    # --- watching ---------------------------------------------------------------------------------------------------

    async def _follow(self, part: _Part, line_map: LineMap | None, *, holds_slot: bool) -> None:
        """Watch a part to its end."""
        record = self._journal.part(part.number)
        try:
            async with self._watch([part.activities.get(each, each) for each in record.activity_ids]) as watch:
                async for activity in watch:
                    part.activities[activity.activity_id] = activity
                    if activity.done and activity.activity_id not in record.ended:
                        await self._note(self._journal.ended(part.number, activity))
                    self._show()
        except BatchError as errors:
            for activity_id, error in errors.errors.items():
                if activity_id in record.ended:  # the vendor keeps it for ten days, and the journal for ever
                    part.activities[activity_id] = record.ended[activity_id]
                else:
                    part.error = error
        finally:
            if holds_slot:
                self._slots.release()
        if not part.completed and part.error is None:
            part.error = ActivityFailedError(next(iter(part.activities.values())))
        await self._locate(part, line_map)
        self._show()

    async def _locate(self, part: _Part, line_map: LineMap | None) -> None:
        """Bring the vendor's messages back to the lines of the file."""
        told = [activity for activity in part.activities.values() if activity.activity_errors]
        if not told:
            return
        line_map = line_map or await self._read_line_map(part)
        found: dict[tuple[int | None, str], RowError] = {}
        for activity in told:
            for error in line_map.locate(activity.activity_errors, part.number, activity.activity_id):
                exact = error.exact and self._source.exact
                found.setdefault((error.line, error.message), attrs.evolve(error, exact=exact))
        part.row_errors = tuple(found.values())

    async def _read_line_map(self, part: _Part) -> LineMap:
        try:
            _, line_map = await run_in_thread(partial(self._source.read, part.number, "contacts.csv"), self._thread)
        except (ImportRefusedError, OSError):
            return LineMap(1, (), ())  # it has changed by now: the messages stay, without their lines
        return line_map

    # --- telling ----------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        rows = sum(part.rows for part in self._parts)
        progress = ImportProgress(
            rows=rows,
            sent=sum(part.rows for part in self._parts if part.activities),
            parts=len(self._parts),
            activities=self._activities(),
            percent=100.0 * sum(part.rows * part.progress for part in self._parts) / rows,
        )
        if progress != self.progress:
            self.progress = progress
            self.changed.set()

    def _activities(self) -> tuple[Activity, ...]:
        return tuple(activity for part in self._parts for activity in part.activities.values())

    def _outlook(self) -> str:
        """Say what becomes of an import that does not go on."""
        at_vendor = sum(not activity.done for activity in self._activities())
        records = [self._journal.part(part.number) for part in self._parts]
        being_sent = sum(record.file_name is not None and not record.activity_ids for record in records)
        unsent = sum(record.file_name is None for record in records)
        text = f"the import stopped; parts that go on at the vendor: {at_vendor}, not sent: {unsent}"
        text += f", perhaps sent: {being_sent}" if being_sent else ""
        if self._journal_path is None:
            return text
        return f"{text}; the same call with the journal {os.fspath(self._journal_path)!r} goes on from there"

    def _conclude(self) -> ImportResult:
        result = ImportResult(
            activities=self._activities(),
            rows=sum(part.rows for part in self._parts),
            refused=sum(part.refused for part in self._parts),
            errors=tuple(error for part in self._parts for error in part.row_errors),
            duplicates=self._source.duplicates,
            lost=sum(part.rows for part in self._parts if not part.completed),
            repeated=tuple(part.number for part in self._parts if part.repeated),
            plan=self._source.plan,
        )
        failed = [part for part in self._parts if not part.completed]
        if failed:
            errors = {f"part {part.number}": part.error or self._stopped_by for part in failed}
            raise ImportFailedError.of_parts({part: error for part, error in errors.items() if error}, result)
        return result


class Import:
    """An import; made by `ActivitySession.import_file` and `import_contacts`. Nothing happens before the first await.

    Await it for the `ImportResult`. Iterate it for an `ImportProgress` at the start and after each change, and await it
    then. To stop it early, cancel whoever awaits or iterates it, use it as an async context manager, or `aclose` it:
    parts that were sent go on at the vendor, which knows no way to cancel them, and a warning in the log says how many.
    """

    def __init__(self, run: ImportRun) -> None:
        self._run = run
        self._task: asyncio.Task[ImportResult] | None = None
        self._told: ImportProgress | None = None

    def __repr__(self) -> str:
        progress = self._run.progress
        return "<Import, not begun>" if progress is None else f"<Import of {progress.rows:,} rows>"

    def __await__(self) -> Generator[Any, None, ImportResult]:
        return self._result().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImportProgress:
        run, task = self._run, self._begin()
        try:
            while run.progress is self._told and not task.done():
                run.changed.clear()
                await run.changed.wait()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if run.progress is self._told or run.progress is None:
            await self._result()
            raise StopAsyncIteration
        self._told = run.progress
        return run.progress

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop sending and watching, and free the journal."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def __del__(self) -> None:
        task = self._task
        if task is not None and not task.done() and not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    def _begin(self) -> asyncio.Task[ImportResult]:
        if self._task is None:
            self._task = spawn(self._run.work(), contextvars.copy_context())
            self._task.add_done_callback(partial(_ended, self._run.changed))
        return self._task

    async def _result(self) -> ImportResult:
        try:
            return await asyncio.shield(self._begin())
        except asyncio.CancelledError:
            await self.aclose()
            raise


def _ended(changed: asyncio.Event, task: asyncio.Task[ImportResult]) -> None:
    changed.set()
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not report it if nobody awaits the import
