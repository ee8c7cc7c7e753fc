"""From the vendor's `Line 7: ...` back to a line of the file. Pure.

The vendor numbers the lines of the part that it was given, header included, and does not say what a line is: a physical
line, or a record, which takes several if a quoted field holds a line end. So both readings are computed. Where they
agree, the row is certain. Records that take several lines are put last in a part, so that all others, and the first of
those, have the same number under both.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import attrs

__all__ = ["LineMap", "RowError", "SentRow"]

_LINE: Final = re.compile(r"\bline\s+#?([0-9]{1,9})\b", re.IGNORECASE)


@attrs.frozen
class RowError:
    """A message of the vendor's about a row, and where that row is in the file.

    `line`, `last_line`: the lines of the file that the row takes, from 1; None if the message names no line of the
    part. `message`: the vendor's words. `row`: the number of the row, 1 for the first below the header, blank lines not
    counted; None as `line` is. `part`: the number of the part, from 1. `activity_id`: of the part's import. `exact`:
    False if it may be another row, or if it is not known which: `candidates` has the lines where those rows begin that
    it can be.
    """

    line: int | None
    last_line: int | None
    message: str
    row: int | None
    part: int
    activity_id: str
    exact: bool
    candidates: tuple[int, ...] = ()


class SentRow(NamedTuple):
    """A row of a part: its number and lines in the file, and the columns that look wrong in it.

    `sent_lines`: lines that it takes in the part.
    """

    row: int
    line: int
    lines: int = 1
    sent_lines: int = 1
    suspect: frozenset[str] = frozenset()

    @property
    def last_line(self) -> int:
        """The last line of the file that it takes."""
        return self.line + self.lines - 1


class LineMap:
    """The rows of one part in the order in which they are sent. It keeps what is out of step, a few bytes a row.

    `header_lines`: physical lines of the header. `runs`: of rows on one line each, which follow each other: (number of
    the first, its line, how many). `spanning`: the rows on several lines, which come after all of those. `lone_cr`:
    whether there is a carriage return without a line feed, which only some count as the end of a line.
    """

    def __init__(
        self,
        header_lines: int,
        runs: Iterable[tuple[int, int, int]],
        spanning: Sequence[SentRow],
        *,
        lone_cr: bool = False,
    ) -> None:
        self._header_lines = header_lines
        self._lone_cr = lone_cr
        # Columns of numbers, since a map is kept for each part until that has ended; small ones, counted from here.
        runs = list(runs)
        self._row, self._line = min([*(run[:2] for run in runs), *(sent[:2] for sent in spanning)], default=(0, 0))
        self._spanning_rows = array("I", (sent.row - self._row for sent in spanning))
        self._spanning_lines = array("I", (sent.line - self._line for sent in spanning))
        self._spanning_heights = array("I", (sent.lines for sent in spanning))
        self._suspects = {index: sent.suspect for index, sent in enumerate(spanning) if sent.suspect}
        self._single_count = 0
        self._run_starts, self._run_rows, self._run_lines = array("I"), array("I"), array("I")
        follows = None
        for row, line, count in runs:
            if (row, line) != follows:
                self._run_starts.append(self._single_count)
                self._run_rows.append(row - self._row)
                self._run_lines.append(line - self._line)
            self._single_count += count
            follows = row + count, line + count
        ends = accumulate((row.sent_lines for row in spanning), initial=header_lines + self._single_count)
        self._spanning_ends = array("I", ends)[1:]

    def __len__(self) -> int:
        return self._single_count + len(self._spanning_rows)

    def locate(self, messages: Sequence[str], part_number: int, activity_id: str) -> tuple[RowError, ...]:
        """Return where the row of each message is in the file."""
        return tuple(self._locate(message, part_number, activity_id) for message in messages)

    def _locate(self, message: str, part_number: int, activity_id: str) -> RowError:
        found = _LINE.search(message)
        number = int(found[1]) if found else 0
        indices = {self._by_physical_line(number), self._by_record(number)}
        rows = [self._get(index) for index in sorted(index for index in indices if index is not None)]
        if not rows:
            return RowError(None, None, message, None, part_number, activity_id, exact=False)
        words = message.casefold()
        agreeing = [row for row in rows if any(_name(column) in words for column in row.suspect)]
        best = agreeing[0] if len(agreeing) == 1 else rows[0]
        exact = len(rows) == 1 and not self._lone_cr
        lines = () if exact else tuple(sorted(row.line for row in rows))
        return RowError(best.line, best.last_line, message, best.row, part_number, activity_id, exact, lines)

    def _by_physical_line(self, number: int) -> int | None:
        index = number - self._header_lines - 1
        if index < self._single_count:
            return index if index >= 0 else None
        at = bisect_left(self._spanning_ends, number)
        return self._single_count + at if at < len(self._spanning_rows) else None

    def _by_record(self, number: int) -> int | None:
        index = number - 2  # the header is record 1
        return index if 0 <= index < len(self) else None

    def _get(self, index: int) -> SentRow:
        at = index - self._single_count
        if at >= 0:
            row, line = self._spanning_rows[at], self._spanning_lines[at]
            suspect = self._suspects.get(at, frozenset())
            return SentRow(self._row + row, self._line + line, self._spanning_heights[at], suspect=suspect)
        at = bisect_right(self._run_starts, index) - 1
        ahead = index - self._run_starts[at]
        return SentRow(self._row + self._run_rows[at] + ahead, self._line + self._run_lines[at] + ahead)


def _name(column: str) -> str:
    """The word of a column that a message about it has."""
    return column.removeprefix("cf:").split("_")[0]
