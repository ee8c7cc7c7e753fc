"""Rows of a program as parts of an import: a CSV file of mode 0600, or JSON where a row holds what no file can.

The rows are read once, into a temporary file, as not before the last one is it known which columns there are.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from array import array
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from datetime import date, datetime
from functools import partial
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Final, cast

import attrs

from .._tasks import closing_iterator, run_in_thread
from .._text import escape
from ..errors import ImportRefusedError
from ..jobs import ImportContacts, Job
from ..jobs.rows import find_problem
from ..jobs.uploads import MAX_CONTENT_BYTES, MAX_ROWS
from .columns import FILE_COLUMNS, ImportProblem, spell_names
from .duplicates import AddressIndex
from .linemap import LineMap
from .parts import Parts, file_parts, stop_if_cancelled
from .plan import MAX_KEPT, ImportOptions, warn_of_duplicates, without_frames
from .source import FileSource

__all__ = ["Rows", "contact_parts"]

_log: Final = logging.getLogger("ccactivity")
_MEMORY_BYTES: Final = 1 << 20  # what is longer goes to the disk
_BATCH_ROWS: Final = 1_000
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]


async def contact_parts(rows: Rows, options: ImportOptions, stack: AsyncExitStack, thread: Executor) -> Parts:
    """Read rows, and plan their import. TypeError, ValueError and ImportRefusedError name a row by its number, from 1.

    The temporary files are closed by `stack`.
    """
    spool = _RowSpool(stack, thread)
    try:
        await spool.read(rows)
    except _BadRowError as error:
        bad = error.args[0]
    else:
        bad = None
    if bad is not None:  # raised out here: the variables of the frames below hold rows, and error trackers record them
        raise bad
    if not spool.fit_file:
        return await run_in_thread(partial(_json_parts, spool, options, stop_if_cancelled()), thread)
    progress = stop_if_cancelled()
    parts = await run_in_thread(
        lambda: file_parts(FileSource(spool.write_csv(progress), "utf-8", of_rows=True), options, progress), thread
    )
    return attrs.evolve(parts, plan=None)  # of a file that will be gone


class _BadRowError(Exception):
    """Its one argument is the error to raise."""


class _RowSpool:
    """Rows in a temporary file that has no name, one JSON object a line. `columns`: the keys of all rows, in order."""

    def __init__(self, stack: AsyncExitStack, thread: Executor) -> None:
        self.columns: dict[str, None] = {}
        self._stack = stack
        self._thread = thread
        self._file = self._make_file()
        self._count = 0

    async def read(self, rows: Rows) -> None:
        """Take all rows of a source. TypeError or ValueError for what is no row."""
        batch: list[bytes] = []

        async def add(row: Mapping[str, Any]) -> None:
            batch.append(self._encode(row))
            if len(batch) == _BATCH_ROWS:
                await run_in_thread(partial(self._file.write, b"".join(batch)), self._thread)
                batch.clear()

        if isinstance(rows, AsyncIterable):
            async with closing_iterator(rows) as source:
                async for row in source:
                    await add(row)
        else:
            for row in rows:
                await add(row)
        if not self._count:
            raise ValueError("there are no rows to import")
        await run_in_thread(partial(self._file.write, b"".join(batch)), self._thread)

    @property
    def fit_file(self) -> bool:
        """Whether a CSV file can hold what the rows hold."""
        return all(name in FILE_COLUMNS or name.startswith("cf:") for name in spell_names(list(self.columns)))

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """Read the rows again, each as the line that it is, from an offset on."""
        self._file.seek(offset)
        while line := self._file.readline():
            yield line

    def write_csv(self, progress: Callable[[int], object]) -> BinaryIO:
        """Return the rows as a CSV file; a key that a row lacks is an empty cell. It blocks.

        `progress`: called with the bytes written before each MiB; what it raises ends the writing.
        """
        file = self._make_file()
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns)  # it quotes \n and \r, because it ends lines with both
        writer.writeheader()
        for line in self.lines():
            writer.writerow(json.loads(line))
            if text.tell() > _MEMORY_BYTES:
                progress(file.tell())
                file.write(text.getvalue().encode())
                text.seek(0)
                text.truncate()
        file.write(text.getvalue().encode())
        file.seek(0)
        return file

    def _make_file(self) -> BinaryIO:
        file = SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 -- closed by the stack
        self._stack.callback(file.close)
        return cast("BinaryIO", file)

    def _encode(self, row: Mapping[str, Any]) -> bytes:
        self._count += 1
        if not isinstance(row, Mapping):
            raise _BadRowError(TypeError(f"row {self._count} is no mapping, but {type(row).__name__}"))
        plain = {key: self._plain(key, value) for key, value in row.items()}
        self.columns.update(dict.fromkeys(plain))
        return json.dumps(plain, separators=(",", ":")).encode() + b"\n"

    def _plain(self, key: str, value: Any) -> str | int | None:
        if not isinstance(key, str):
            raise _BadRowError(TypeError(f"row {self._count} has a key that is no str, but {type(key).__name__}"))
        if isinstance(value, date) and not isinstance(value, datetime):
            return value.isoformat()
        if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
            if isinstance(value, str) and _SURROGATE.search(value):
                problem = f"row {self._count}: {escape(key, 60)} holds a lone surrogate, which is no text"
                raise _BadRowError(ValueError(problem))
            return value
        kinds = "a str, an int, a date or None"
        problem = f"row {self._count}: {escape(key, 60)} must be {kinds}, not {type(value).__name__}"
        raise _BadRowError(TypeError(problem))


@attrs.define
class _JsonPart:
    """A part of rows as JSON. `offset`: of its first row in the spool. `numbers`: of its rows, from 1."""

    offset: int
    numbers: array[int] = attrs.field(factory=lambda: array("q"))
    size: int = 0


@without_frames
def _json_parts(spool: _RowSpool, options: ImportOptions, progress: Callable[[int], object]) -> Parts:
    explicit = options.sms_permission_to_send == "explicit"
    problems: list[ImportProblem] = []
    count = 0
    addresses = AddressIndex()
    try:
        for number, line in enumerate(spool.lines(), 1):
            if number % _BATCH_ROWS == 0:
                progress(number)
            row = json.loads(line)
            if problem := find_problem(row, explicit=explicit):
                count += 1
                problems += [ImportProblem(number, None, problem)] if count <= MAX_KEPT else []
            addresses.add([str(row.get("email") or row.get("sms_number")).strip().casefold().encode()], [number])
        duplicates = sorted(addresses.find())
    finally:
        addresses.close()
    if options.duplicates == "refuse":
        count += len(duplicates)
        problems += [ImportProblem(last, "email", f"the same address as in line {one}") for one, last in duplicates]
    if problems:
        raise ImportRefusedError.of(problems[:MAX_KEPT], count)
    if duplicates and options.duplicates == "warn":
        _log.warning("%s", warn_of_duplicates(len(duplicates)))
    dropped = {first for first, _ in duplicates} if options.duplicates == "keep-last" else set()
    parts: list[_JsonPart] = []
    offset = 0
    for number, line in enumerate(spool.lines(), 1):
        part = parts[-1] if parts else None
        if number not in dropped:
            if part is None or len(part.numbers) == MAX_ROWS or part.size + len(line) > MAX_CONTENT_BYTES:
                parts.append(part := _JsonPart(offset))
            part.numbers.append(number)
            part.size += len(line)
        offset += len(line)

    def read(number: int, _: str) -> tuple[Job, LineMap]:
        part = parts[number - 1]
        wanted = set(part.numbers)
        lines = islice(spool.lines(part.offset), part.numbers[-1] - part.numbers[0] + 1)
        rows = [json.loads(line) for place, line in enumerate(lines, part.numbers[0]) if place in wanted]
        permission = options.sms_permission_to_send
        job = ImportContacts(import_data=rows, list_ids=options.list_ids, sms_permission_to_send=permission)
        return job, LineMap(1, ((number, number, 1) for number in part.numbers), ())

    return Parts(
        rows=[len(part.numbers) for part in parts], read=read, duplicates=tuple(duplicates[:MAX_KEPT]), exact=False
    )
