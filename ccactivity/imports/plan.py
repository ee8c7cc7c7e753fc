"""What importing a file will do: its parts, its problems, and each part read again when it is sent.

One part at most is in memory. A part is the header and some records, each byte for byte and exactly once.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Final, Literal, ParamSpec, TypeVar, get_args

import attrs

from ..errors import ImportRefusedError
from ..jobs.uploads import MAX_LISTS, SmsPermission
from .columns import Columns, ImportProblem
from .linemap import LineMap, SentRow
from .records import RecordError, Records, drop_field, has_blank, is_blank, split_records, whole_lines
from .source import FileSource, Place

__all__ = [
    "MAX_KEPT",
    "Duplicates",
    "ImportOptions",
    "ImportPart",
    "ImportPlan",
    "PlannedPart",
    "Problems",
    "warn_of_duplicates",
    "without_frames",
]

P = ParamSpec("P")
T = TypeVar("T")
Duplicates = Literal["warn", "refuse", "keep-last"]
Problems = Literal["refuse", "send"]

MAX_KEPT: Final = 1_000
"""Problems, and pairs of duplicates, that are told one by one; all are counted."""
_WATCHING_REQUESTS: Final = 25  # that all parts together take until they have ended, about
_UUID: Final = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def _check_list_ids(list_ids: Iterable[str]) -> tuple[str, ...]:
    """Return 1 to 50 ids of lists; else TypeError or ValueError."""
    if isinstance(list_ids, str):
        raise TypeError("list_ids must be a list of ids, not a str")
    ids = tuple(list_ids)
    if not 1 <= len(ids) <= MAX_LISTS:
        raise ValueError(f"list_ids must have 1 to {MAX_LISTS} ids, not {len(ids)}")
    for one in ids:
        if not isinstance(one, str):
            raise TypeError(f"list_ids must be of str, not {type(one).__name__}")
        if not _UUID.fullmatch(one):
            raise ValueError(f"list_ids: {one!r} is no list id, which is a UUID")
    return ids


def _one_of(*choices: str | None) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise ValueError(f"{field.name} must be one of {', '.join(map(repr, choices))}, not {value!r}")

    return check


def without_frames(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function raise its errors without the frames below: error trackers record variables, which hold rows."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (ImportRefusedError, OSError) as error:
            raised = error.with_traceback(None)
            raised.__context__ = None
        raise raised

    return call


@attrs.frozen(kw_only=True)
class ImportOptions:
    """What an import is told beside its source; `ActivitySession.import_file` says what each is."""

    list_ids: tuple[str, ...] = attrs.field(converter=_check_list_ids)
    sms_permission_to_send: SmsPermission | None = attrs.field(
        default=None, validator=_one_of(*get_args(SmsPermission), None)
    )
    duplicates: Duplicates = attrs.field(default="warn", validator=_one_of(*get_args(Duplicates)))
    encoding: str = attrs.field(default="utf-8-sig", validator=lambda _, __, value: FileSource(b"", value))
    problems: Problems = attrs.field(default="refuse", validator=_one_of(*get_args(Problems)))


@attrs.frozen
class PlannedPart:
    """A part of a file, without its contents.

    `number`: from 1. `rows`: that are sent. `size`: bytes of what is sent, at most: it is less where rows are dropped
    or lines are blank. `start`, `end`: the bytes of its records in the file as UTF-8, without a byte order mark.
    `first_line`: of the file, from 1. `first_row`: the number of its first row, from 1.
    """

    number: int
    rows: int
    size: int
    start: int
    end: int
    first_line: int
    first_row: int
    _place: Place = attrs.field(repr=False)
    _digest: bytes = attrs.field(repr=False)
    _dropped: array[int] = attrs.field(repr=False, eq=False)


@attrs.frozen(eq=False)
class ImportPart:
    """A part of a file as it is sent.

    `number`: from 1. `rows`: how many there are. `content`: the header and the records, each byte for byte: those that
    take several lines come last. `line_map`: leads from the vendor's messages back to the file; it is small, so keep it
    and let the part go.
    """

    number: int
    rows: int
    content: bytes = attrs.field(repr=False)
    line_map: LineMap = attrs.field(repr=False)


@attrs.frozen(eq=False)
class ImportPlan:
    """What importing a file will do, before anything is sent.

    `parts`: one import each. `rows`: that are sent in all of them. `problems`: what the vendor would not take, by line;
    the first 1,000, and `problem_count` of them in all. `duplicates`: (line, line of the next row with the same
    address); the first 1,000, and `duplicate_count` in all. `dropped`: rows left out because a later one has their
    address (`keep-last`). `warnings`: what may not be what was meant, a sentence each. `sha256`: of the file, in
    hexadecimal.
    """

    parts: tuple[PlannedPart, ...]
    rows: int
    problems: tuple[ImportProblem, ...]
    problem_count: int
    duplicates: tuple[tuple[int, int], ...]
    duplicate_count: int
    dropped: int
    warnings: tuple[str, ...]
    sha256: str
    path: Path | None
    header: bytes = attrs.field(repr=False)
    _columns: Columns = attrs.field(repr=False)
    _source: FileSource = attrs.field(repr=False)

    @property
    def requests(self) -> int:
        """About how many requests the import takes: one for each part, and some to watch them to their end."""
        return len(self.parts) + _WATCHING_REQUESTS

    def raise_for_problems(self) -> None:
        """Raise ImportRefusedError if there are problems."""
        if self.problem_count:
            raise ImportRefusedError.of(self.problems, self.problem_count)

    @without_frames
    def read_part(self, number: int) -> ImportPart:
        """Read a part, from 1, from the file again; it blocks for some ten milliseconds.

        Raises ImportRefusedError if the file is not what it was when it was planned, and OSError.
        """
        runs: list[tuple[int, int, int]] = []
        spanning: list[SentRow] = []
        pieces, last = [self.header], []
        dropped = set(self._get_part(number)._dropped)
        for row, batch in self._read_batches(number):
            if batch.fields is None and self._can_pass(batch, dropped):
                runs.append((row, batch.first_line, len(batch.lines)))
                pieces.append(b"".join(batch.lines))
                continue
            for sent, record in self._split_batch(row, batch):
                if sent.line in dropped:
                    continue
                if sent.lines == sent.sent_lines == 1:
                    runs.append((sent.row, sent.line, 1))
                    pieces.append(record)
                else:
                    spanning.append(sent._replace(suspect=self._columns.find_suspect(batch.fields or ())))
                    last.append(record)
        if last and pieces[-1][-1:] not in {b"\n", b"\r"}:
            pieces[-1] += self.header[len(self.header.rstrip(b"\r\n")) :]
        content = b"".join(pieces + last)
        lone_cr = content.count(b"\r") != content.count(b"\r\n")
        line_map = LineMap(len(self.header.splitlines()), runs, spanning, lone_cr=lone_cr)
        return ImportPart(number, len(line_map), content, line_map)

    def read_rows(self, number: int) -> Iterator[tuple[SentRow, bytes]]:
        """Read the rows of a part as they are sent, but in the order of the file, and with those that are dropped."""
        for row, batch in self._read_batches(number):
            yield from self._split_batch(row, batch)

    def _read_batches(self, number: int) -> Iterator[tuple[int, Records]]:
        """Read a part again; with the number of the first row of each batch."""
        part = self._get_part(number)
        row = part.first_row
        digest = hashlib.sha256()

        def take(pieces: Iterable[bytes]) -> Iterator[bytes]:
            for piece in pieces:
                digest.update(piece)
                yield piece

        with closing(self._source.read_range(part._place, part.start, part.end)) as pieces, suppress(RecordError):
            lines, of_rows = whole_lines(take(pieces)), self._source.of_rows
            for batch in split_records(lines, first_line=part.first_line, by_record=of_rows):
                yield row, batch
                row += 1 if batch.fields is not None else _count_rows(batch.lines)
            if digest.digest() == part._digest:
                return
        raise ImportRefusedError(f"the file changed after it was planned: part {number} is another one now")

    def _can_pass(self, batch: Records, dropped: set[int]) -> bool:
        """Whether lines are sent as they are, all of them."""
        return (
            self._columns.error_column is None
            and (not dropped or dropped.isdisjoint(range(batch.first_line, batch.first_line + len(batch.lines))))
            and not has_blank(batch.lines)
        )

    def _split_batch(self, row: int, batch: Records) -> Iterator[tuple[SentRow, bytes]]:
        if batch.fields is not None:
            record = self._without_error(b"".join(batch.lines))
            lines = 1 if self._source.of_rows else len(batch.lines)
            yield SentRow(row, batch.first_line, lines, len(record.splitlines())), record
            return
        for line, record in enumerate(batch.lines, batch.first_line):
            if not is_blank(record):
                yield SentRow(row, line), self._without_error(record)
                row += 1

    def _get_part(self, number: int) -> PlannedPart:
        if not 1 <= number <= len(self.parts):
            raise ValueError(f"part {number} of {len(self.parts)}: parts are counted from 1")
        return self.parts[number - 1]

    def _without_error(self, record: bytes) -> bytes:
        column = self._columns.error_column
        return record if column is None else drop_field(record, column)


def warn_of_duplicates(count: int) -> str:
    """Say that so many rows have the address of a later one."""
    return (
        f"rows with the address of a later one: {count:,}; the vendor makes one contact of them, and which row wins is "
        "unknown"
    )


def _count_rows(lines: Sequence[bytes]) -> int:
    return sum(1 for line in lines if not is_blank(line)) if has_blank(lines) else len(lines)
