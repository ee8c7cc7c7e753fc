"""Plan the import of a file: check it, and cut it between records into parts that the vendor takes. Nothing is sent.

The file is read once, in little memory whatever its size. A part keeps within both readings of the vendor's limit: its
bytes, and its lines, of which a record may take several.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from heapq import nsmallest
from typing import Any, BinaryIO, Final

import attrs

from .._text import escape
from ..errors import ImportRefusedError
from ..jobs.uploads import MAX_CONTENT_BYTES, MAX_FILE_LINES, SmsPermission
from .columns import Columns, ImportProblem, find_header_problems, looks_like_address, spell_names
from .duplicates import AddressIndex
from .plan import MAX_KEPT, Duplicates, ImportOptions, ImportPlan, PlannedPart, warn_of_duplicates, without_frames
from .records import RecordError, Records, drop_field, has_blank, is_blank, read_fields, split_records, whole_lines
from .source import FileSource, Place

__all__ = ["plan_import", "plan_source"]

_MAX_PART_BYTES: Final = MAX_CONTENT_BYTES - 2  # a last line without its end may get one
_MAX_PART_LINES: Final = MAX_FILE_LINES


def plan_import(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    list_ids: Iterable[str],
    encoding: str = "utf-8-sig",
    sms_permission_to_send: SmsPermission | None = None,
    duplicates: Duplicates = "warn",
    progress: Callable[[int], object] | None = None,
) -> ImportPlan:
    """Check a file of contacts, and plan its import: offline, and without a session.

    `source`: a CSV file with a header, as a path, bytes, or a binary file that can seek, which is read from where it
    stands. `list_ids`: 1 to 50 lists that the contacts are added to. `encoding`: of the file; what is sent is UTF-8
    without a byte order mark, with the columns in the vendor's spelling. `sms_permission_to_send`: the vendor's word
    about all rows. `duplicates`: what rows with the address of another row are: "warn" sends them, and it is unknown
    which of them wins; "refuse" makes each a problem; "keep-last" drops all but the last. `progress`: called with the
    bytes read so far after every 128 KiB; what it raises ends the planning.

    It blocks, for some two seconds a million rows, so in a coroutine run it by `asyncio.to_thread`. It needs some 10
    MB, whatever the size of the file; above a quarter of a million rows it keeps 16 bytes for each in a temporary file,
    to find duplicates: a hash of the address, and the line.

    Raises ImportRefusedError, which is a ValueError, for what is no CSV, an unusable header, a byte of another
    encoding, and a file without rows; ValueError and TypeError for the other arguments; OSError.
    """
    options = ImportOptions(
        list_ids=list_ids,
        encoding=encoding,
        sms_permission_to_send=sms_permission_to_send,
        duplicates=duplicates,
    )
    file = FileSource(source, encoding)
    del source  # error trackers record the variables of frames, and it may be bytes
    return plan_source(file, options, progress)


@without_frames
def plan_source(
    source: FileSource, options: ImportOptions, progress: Callable[[int], object] | None = None
) -> ImportPlan:
    """Do what `plan_import` does."""
    return _Planner(source, options, progress).plan()


@attrs.define(eq=False)
class _OpenPart:
    """A part to which rows are added."""

    first_line: int
    first_row: int
    start: int
    place: Place
    size: int  # with the header, and with the blank lines that are not sent
    lines: int  # with the header
    rows: int = 0
    digest: Any = attrs.field(factory=hashlib.sha256)
    dropped: array[int] = attrs.field(factory=lambda: array("q"))

    def has_room(self, size: int, lines: int) -> bool:
        """Whether records of so many bytes and lines can be added."""
        return self.size + size <= _MAX_PART_BYTES and self.lines + lines <= _MAX_PART_LINES


class _Planner:
    """Reads a file once, from its header to its end."""

    def __init__(self, file: FileSource, options: ImportOptions, progress: Callable[[int], object] | None) -> None:
        self._file = file
        self._options = options
        self._explicit = options.sms_permission_to_send == "explicit"
        self._progress = progress
        self._digest = hashlib.sha256()
        self._bytes_read = 0
        self._places: deque[Place] = deque()  # at which a part may begin
        self._offset = 0  # in the stream, of the next line
        self._row = 1  # the number of the next row
        self._parts: list[_OpenPart] = []
        self._problems: list[ImportProblem] = []
        self._problem_count = 0
        self._strange_count = 0
        self._first_strange: int | None = None
        self._addresses = AddressIndex()
        self._header = b""
        self._respelled: list[tuple[str, str]] = []
        self._columns = Columns(())

    def plan(self) -> ImportPlan:
        of_rows = self._file.of_rows
        try:
            records = split_records(whole_lines(self._read()), first_line=0 if of_rows else 1, by_record=of_rows)
            self._read_header(records)
            for batch in records:
                if batch.fields is None:
                    self._add_lines(batch.first_line, batch.lines)
                else:
                    self._add_record(batch)
            duplicates, count = self._find_duplicates()
        except RecordError as error:
            problem = ImportProblem(error.line, None, error.problem)
            raise ImportRefusedError.of([problem, *self._problems], self._problem_count + 1) from None
        finally:
            self._addresses.close()
        dropped = sum(len(part.dropped) for part in self._parts)
        kept = [part for part in self._parts if part.rows > len(part.dropped)]
        if not kept:
            raise ImportRefusedError("the file has a header and no rows: there is nothing to import")
        return ImportPlan(
            parts=tuple(self._close(part, number) for number, part in enumerate(kept, 1)),
            rows=self._row - 1 - dropped,
            problems=tuple(self._problems),
            problem_count=self._problem_count,
            duplicates=duplicates,
            duplicate_count=count,
            dropped=dropped,
            warnings=tuple(self._warn(count)),
            sha256=self._digest.hexdigest(),
            path=self._file.path,
            columns=self._columns,
            header=self._header,
            source=self._file,
        )

    def _read(self) -> Iterator[bytes]:
        with closing(self._file.read()) as pieces:
            for piece in pieces:
                self._digest.update(piece.raw)
                self._bytes_read += len(piece.raw)
                self._places.append(piece.place)
                yield piece.text
                if self._progress is not None:
                    self._progress(self._bytes_read)

    def _read_header(self, records: Iterator[Records]) -> None:
        """Read the first record; blank lines may precede it."""
        for batch in records:
            lines = list(batch.lines)
            line = batch.first_line
            while lines and is_blank(lines[0]):
                self._offset += len(lines.pop(0))
                line += 1
            if not lines:
                continue
            record = lines.pop(0) if batch.fields is None else b"".join(lines)
            fields = read_fields(record) if batch.fields is None else batch.fields
            found = find_header_problems(fields, sms_explicit=self._explicit)
            if found:
                raise ImportRefusedError.of([ImportProblem(line, column, message) for column, message in found])
            self._columns = Columns(fields, sms_explicit=self._explicit)
            self._offset += len(record)
            self._header = self._spell_header(record, fields)
            if batch.fields is None and lines:
                self._add_lines(line + 1, lines)
            return
        raise ImportRefusedError("the file is empty: there is nothing to import")

    def _spell_header(self, record: bytes, fields: list[str]) -> bytes:
        """Return the header as it is sent: byte for byte, unless the vendor spells a name differently."""
        spelled = spell_names(fields)
        self._respelled = [(old, new) for old, new in zip(fields, spelled, strict=True) if old != new]
        if self._respelled:
            text = io.StringIO()
            csv.writer(text).writerow(spelled)  # with \r\n, of which neither may stand unquoted in a name
            record = text.getvalue().removesuffix("\r\n").encode() + record[len(record.rstrip(b"\r\n")) :]
        column = self._columns.error_column
        return record if column is None else drop_field(record, column)

    def _add_record(self, batch: Records) -> None:
        """Add a record that `csv.reader` has read."""
        assert batch.fields is not None
        self._check(batch.first_line, batch.fields)
        record = b"".join(batch.lines)
        self._place(batch.first_line, record, len(batch.lines), 1)

    def _add_lines(self, first_line: int, lines: list[bytes]) -> None:
        """Add lines that are a record each, or blank."""
        joined = b"".join(lines)
        addresses = self._columns.match(joined, len(lines))
        if addresses is None:
            self._check_lines(first_line, lines)
            blank = has_blank(lines)
        else:
            self._addresses.add(map(bytes.lower, addresses), range(first_line, first_line + len(lines)))
            blank = False
        if not blank and self._parts and self._parts[-1].has_room(len(joined), len(lines)):
            self._place(first_line, joined, len(lines), len(lines))
            return
        for line, record in enumerate(lines, first_line):
            rows = 0 if is_blank(record) else 1
            self._place(line, record, rows, rows)

    def _check_lines(self, first_line: int, lines: list[bytes]) -> None:
        """Check lines one by one."""
        for line, record in enumerate(lines, first_line):
            if addresses := self._columns.match(record, 1):
                self._addresses.add([addresses[0].lower()], [line])
            elif not is_blank(record):
                self._check(line, read_fields(record))

    def _check(self, line: int, fields: list[str]) -> None:
        for column, message in self._columns.check(fields):
            self._add_problem(line, column, message)
        address = self._columns.get(fields, "email")
        if key := address.strip().casefold():
            self._addresses.add([key.encode()], [line])
            if not looks_like_address(address):
                self._strange_count += 1
                self._first_strange = self._first_strange or line

    def _place(self, line: int, records: bytes, lines: int, rows: int) -> None:
        """Put records into the part that is open, or into a new one. Blank lines take no line: they are not sent."""
        part = self._parts[-1] if self._parts else None
        if part is None or not part.has_room(len(records), lines):
            part = self._open(line)
            if not part.has_room(len(records), lines):
                raise RecordError(line, f"a record of {len(records):,} bytes on {lines:,} lines fits no upload")
            self._parts.append(part)
        part.size += len(records)
        part.lines += lines
        part.rows += rows
        part.digest.update(records)
        self._offset += len(records)
        self._row += rows

    def _open(self, line: int) -> _OpenPart:
        while len(self._places) > 1 and self._places[1].stream_offset <= self._offset:
            self._places.popleft()
        return _OpenPart(
            first_line=line,
            first_row=self._row,
            start=self._offset,
            place=self._places[0],
            size=len(self._header),
            lines=len(self._header.splitlines()),
        )

    def _close(self, part: _OpenPart, number: int) -> PlannedPart:
        return PlannedPart(
            number=number,
            rows=part.rows - len(part.dropped),
            size=part.size,
            start=part.start,
            end=part.start + part.size - len(self._header),
            first_line=part.first_line,
            first_row=part.first_row,
            place=part.place,
            digest=part.digest.digest(),
            dropped=part.dropped,
        )

    def _find_duplicates(self) -> tuple[tuple[tuple[int, int], ...], int]:
        """Return the first pairs, and how many there are; drop rows, or add problems, if that was asked for."""
        count = 0

        def each() -> Iterator[tuple[int, int]]:
            nonlocal count
            firsts = [part.first_line for part in self._parts]
            for earlier, later in self._addresses.find():
                count += 1
                if self._options.duplicates == "keep-last":
                    self._parts[bisect_right(firsts, earlier) - 1].dropped.append(earlier)
                yield earlier, later

        pairs = tuple(nsmallest(MAX_KEPT, each()))
        if self._options.duplicates == "refuse":
            for earlier, later in pairs:
                self._add_problem(later, "email", f"the same address as in line {earlier}")
            self._problem_count += count - len(pairs)
        return pairs, count

    def _add_problem(self, line: int, column: str | None, message: str) -> None:
        self._problem_count += 1
        if len(self._problems) < MAX_KEPT:
            self._problems.append(ImportProblem(line, column, message))

    def _warn(self, duplicates: int) -> Iterator[str]:
        if self._file.had_bom:
            yield "the byte order mark is not sent: it would be read as a part of the first column's name"
        if self._respelled:
            shown = ", ".join(f"{escape(repr(old), 50)} as {escape(new, 50)}" for old, new in self._respelled[:20])
            yield f"columns are sent as the vendor spells them: {shown}"
        yield from self._columns.warnings
        if self._strange_count:
            yield (
                f"addresses that do not look like one or have space around them: {self._strange_count:,}, the first in "
                f"line {self._first_strange}; the vendor may refuse these rows"
            )
        if duplicates and self._options.duplicates == "warn":
            yield warn_of_duplicates(duplicates)
