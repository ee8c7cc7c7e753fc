r"""The records of a CSV file as bytes: which physical lines each takes. Pure.

A physical line ends in \n, \r\n or a lone \r. A record takes several of them when a quoted field holds a line end,
so a file must be cut between records and not between lines. Every line is given exactly once, in order, byte for byte.

Most lines are a record each, and can be told by a search for a quote or by one regular expression. What is left
(doubled quotes, quoted line ends, mistakes) is read by `csv.reader(strict=True)`, which has the last word: the records
are those that it would find in the whole file.
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

__all__ = [
    "RecordError",
    "Records",
    "drop_field",
    "has_blank",
    "is_blank",
    "read_fields",
    "split_records",
    "whole_lines",
]

_MAX_FIELD_CHARACTERS: Final = 131_072  # what csv.reader takes
_MAX_RECORD_BYTES: Final = 4_000_000  # none that is longer fits an upload, and a quote that is never closed ends here
_QUOTE: Final = ord('"')  # a number is found six times as fast as bytes
_LINE_ENDS: Final = frozenset({b"\n", b"\r\n", b"\r"})

_FIELD = rb'(?:"[^"\r\n\0]{0,131072}+"|[^",\r\n\0]{0,131072}+)'
_ONE_LINE_RECORD: Final = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*+(?:\r\n|\n|\r)?")
_ANY_FIELD: Final = re.compile(rb'"(?:[^"]++|"")*+"?|[^,\r\n]*+')


class RecordError(Exception):
    """Bytes that are no CSV. `line`: the physical line, from 1; `problem`: what is wrong with it."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


class Records(NamedTuple):
    """Lines that follow each other in the file.

    `first_line`: the number of the first, from 1. `lines`: with their line ends. `fields`: those of the one record that
    all of the lines are; None if each line is a record of its own, or blank.
    """

    first_line: int
    lines: list[bytes]
    fields: list[str] | None


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream anew, where lines end.

    A line longer than any record may be is given in pieces: whoever reads on refuses it.
    """
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        # A \r at the very end may be the half of a \r\n.
        end = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1
        if not end and len(data) > _MAX_RECORD_BYTES:
            end = len(data)
        if end:
            yield data[:end]
        rest = data[end:]
    if rest:
        yield rest


def split_records(blocks: Iterable[bytes], *, first_line: int = 1, by_record: bool = False) -> Iterator[Records]:
    """Split blocks of whole lines, in UTF-8 that was checked, into records. RecordError where they are no CSV.

    `by_record`: each record counts as one line, for a file that nobody has seen.
    """
    lines = _Lines(blocks, first_line)
    while lines.fill():
        records = lines.take_simple() or lines.take_record()
        if by_record and records.fields is not None:
            lines.number = records.first_line + 1
        yield records


def read_fields(line: bytes) -> list[str]:
    """Return the fields of a record that takes one line."""
    if _QUOTE in line:
        return next(csv.reader([line.decode()], strict=True))
    return line.rstrip(b"\r\n").decode().split(",")


def is_blank(line: bytes) -> bool:
    """Whether a line is a line end alone: `csv` makes no record of it."""
    return line in _LINE_ENDS


def has_blank(lines: Sequence[bytes]) -> bool:
    """Whether there is a blank line among them."""
    return not _LINE_ENDS.isdisjoint(lines)


def drop_field(record: bytes, index: int) -> bytes:
    """Return the bytes of a record without one field, counted from 0; as it is if it has no such field."""
    spans = list(_spans(record))
    if index >= len(spans):
        return record
    if len(spans) == 1:
        return b'""' + record[spans[0][1] :]  # an empty line would be no record
    if index == 0:
        return record[spans[1][0] :]
    return record[: spans[index - 1][1]] + record[spans[index][1] :]


def _spans(record: bytes) -> Iterator[tuple[int, int]]:
    """Where each field begins and ends; one that is quoted and never closed ends with the record."""
    start = 0
    while True:
        found = _ANY_FIELD.match(record, start)  # there always is one, which may be empty
        assert found is not None
        yield found.span()
        if record[found.end() : found.end() + 1] != b",":
            return
        start = found.end() + 1


class _Lines:
    """Physical lines, read one block ahead, and the number of the next one."""

    def __init__(self, blocks: Iterable[bytes], first_line: int) -> None:
        self._blocks = iter(blocks)
        self._lines: list[bytes] = []
        self._next = 0  # index of the next line
        self._complex: list[int] = []  # indices of the lines that csv.reader has to read
        self.number = first_line

    def fill(self) -> bool:
        """Read a block if there is no line left; False at the end of the file."""
        while self._next == len(self._lines):
            block = next(self._blocks, None)
            if block is None:
                return False
            self._lines = block.splitlines(keepends=True)
            self._next = 0
            self._complex = _find_complex(block, self._lines)
        return True

    def take_simple(self) -> Records | None:
        """Take the lines that are a record each; None if the next one is not."""
        at = bisect_left(self._complex, self._next)
        end = self._complex[at] if at < len(self._complex) else len(self._lines)
        if end == self._next:
            return None
        records = Records(self.number, self._lines[self._next : end], None)
        self.number += end - self._next
        self._next = end
        return records

    def take_record(self) -> Records:
        """Take the lines of one record."""
        taken: list[bytes] = []
        first = self.number
        try:
            fields = next(csv.reader(self._take(taken), strict=True))
            if max(map(len, fields)) > _MAX_FIELD_CHARACTERS:  # the limit of the csv module is another in this process
                raise csv.Error("field larger than field limit")
        except csv.Error as error:
            problem = str(error)
        else:
            return Records(first, taken, fields)
        if "end of data" in problem or "field limit" in problem:
            *_, (start, _) = _spans(b"".join(taken))
            line = first + len(b"".join(taken)[: start + 1].splitlines()) - 1
            if "end of data" in problem:
                raise RecordError(line, "a quote opens here and is never closed")
            raise RecordError(line, "a field longer than 131,072 characters; is there a quote that is never closed?")
        raise RecordError(self.number - 1, f"text after the quote that closes a field ({problem})")

    def _take(self, taken: list[bytes]) -> Iterator[str]:
        size = 0
        while self.fill():
            line = self._lines[self._next]
            self._next += 1
            self.number += 1
            taken.append(line)
            size += len(line)
            if b"\0" in line:
                raise RecordError(self.number - 1, "a NUL byte: not text, or UTF-16, which needs encoding=")
            if size > _MAX_RECORD_BYTES:
                raise RecordError(self.number - len(taken), "a record of more than 4,000,000 bytes")
            yield line.decode()


def _find_complex(block: bytes, lines: list[bytes]) -> list[int]:
    """Return the indices of the lines that may not be a record of their own."""
    if b"\0" in block or (len(block) > _MAX_FIELD_CHARACTERS and max(map(len, lines)) > _MAX_FIELD_CHARACTERS):
        doubtful = list(enumerate(lines))
    elif _QUOTE in block:
        doubtful = [(index, line) for index, line in enumerate(lines) if _QUOTE in line]
    else:
        return []
    return [
        index
        for index, line in doubtful
        if line.count(b'"') % 2 or len(line) > _MAX_RECORD_BYTES or not _ONE_LINE_RECORD.fullmatch(line)
    ]
