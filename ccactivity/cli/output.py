"""Rows on stdout: a table for people, or JSON lines, or CSV. The data are the library's; only the layout is made here.

A table has fixed columns and is written row by row, because the first page should not wait for the last. On a terminal
its lines are cut at the width, or the last column is folded; elsewhere lines are whole.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import attrs

from ccactivity import Activity, ActivityStatus, SendRecord
from ccactivity._text import escape

from .batch.render import detail, truncate
from .exit_codes import UsageError

__all__ = ["ActivityWriter", "OutputFormat", "SendWriter", "format_time", "output_format", "print_json", "print_note"]

_MIN_FOLD_COLUMNS: Final = 20
_MIN_COLUMNS_FOR_TIMES: Final = 100


class OutputFormat(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def output_format(*, json: bool = False, csv: bool = False) -> OutputFormat:
    """Return the format that the flags ask for; UsageError for both."""
    if json and csv:
        raise UsageError("--json and --csv are mutually exclusive")
    return OutputFormat.JSON if json else OutputFormat.CSV if csv else OutputFormat.TABLE


def print_json(data: Mapping[str, Any]) -> None:
    """Write one JSON object as a line, and flush it: a reader may be waiting."""
    print(json.dumps(data), flush=True)


def print_note(text: str) -> None:
    """Write a line for people on stderr."""
    print(text, file=sys.stderr)


def _terminal_columns() -> int | None:
    """The columns of the terminal on stdout; None elsewhere, and for one that does not know its size and says 0."""
    return (os.get_terminal_size().columns or None) if sys.stdout.isatty() else None


class _RowWriter:
    """Writes rows in a format. `columns`: name and alignment of each table column. `fields`: the columns of the CSV.

    `fold`: whether the last table column is folded at the width of a terminal, else lines are cut there.
    """

    def __init__(
        self, form: OutputFormat, columns: Sequence[tuple[str, str]], fields: Sequence[str], *, fold: bool
    ) -> None:
        self.format: OutputFormat = form
        self.count: int = 0
        self._columns = columns
        self._fields = fields
        self._fold = fold
        self._width = _terminal_columns()
        self._csv = csv.DictWriter(sys.stdout, fields, lineterminator="\n")
        self._has_header = form is OutputFormat.JSON

    def write_header(self) -> None:
        """Write the column names, unless they are written already."""
        if self._has_header:
            return
        self._has_header = True
        if self.format is OutputFormat.CSV:
            self._csv.writeheader()
        else:
            self._write_table_row([name for name, _ in self._columns])

    def finish(self, if_empty: str) -> None:
        """End the output: without rows a table has its header, and people are told `if_empty`."""
        self.write_header()
        if self.format is OutputFormat.TABLE and not self.count:
            print_note(if_empty)

    def _write_row(self, data: Mapping[str, Any], cells: Sequence[str]) -> None:
        """Write a row: `data` for JSON and CSV, `cells` for the table."""
        self.write_header()
        self.count += 1
        if self.format is OutputFormat.JSON:
            print_json(data)
        elif self.format is OutputFormat.CSV:
            self._csv.writerow({name: _csv_cell(data.get(name)) for name in self._fields})
        else:
            self._write_table_row(cells)

    def _write_table_row(self, cells: Sequence[str]) -> None:
        padded = [format(cell, alignment) for cell, (_, alignment) in zip(cells, self._columns, strict=True)]
        text = "  ".join(padded).rstrip()
        if self._width is None:
            print(text)
        elif self._fold:
            margin = len("  ".join([*padded[:-1], ""]))
            folded = textwrap.wrap(padded[-1], max(_MIN_FOLD_COLUMNS, self._width - margin)) or [""]
            print(text[:margin] + f"\n{' ' * margin}".join(folded))
        else:
            print(truncate(text, self._width))


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    return escape("; ".join(map(str, value)) if isinstance(value, list) else str(value))


def format_time(moment: datetime | None, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """Write a time in UTC, as `strftime` does; None is empty."""
    return "" if moment is None else moment.astimezone(UTC).strftime(form)


class ActivityWriter(_RowWriter):
    """Writes activities."""

    def __init__(self, form: OutputFormat) -> None:
        columns = [("ID", "36"), ("STATE", "11"), ("DONE", ">4"), ("UPDATED", "12"), ("DETAIL", "")]
        if (_terminal_columns() or _MIN_COLUMNS_FOR_TIMES) < _MIN_COLUMNS_FOR_TIMES:
            columns = [column for column in columns if column[0] != "UPDATED"]
        names = [name for name in Activity(activity_id="").as_dict() if name not in ("status", "_links")]
        counters = [field.name for field in attrs.fields(ActivityStatus)]
        super().__init__(form, columns, [*names, *counters], fold=False)

    def write(self, activity: Activity) -> None:
        """Write an activity."""
        data = activity.as_dict()
        if self.format is OutputFormat.CSV:
            data |= activity.status.as_dict()
        cells = {
            "ID": escape(activity.activity_id),
            "STATE": escape(str(activity.state or "")),
            "DONE": "" if activity.progress is None else f"{activity.progress * 100:.0f}%",
            # The vendor keeps an activity for ten days, so nobody needs the year.
            "UPDATED": format_time(activity.updated_at, "%m-%d %H:%MZ"),
            "DETAIL": detail(activity),
        }
        self._write_row(data, [cells[name] for name, _ in self._columns])


class SendWriter(_RowWriter):
    """Writes a send history."""

    def __init__(self, form: OutputFormat) -> None:
        columns = (("SEND", ">4"), ("RUN DATE", "17"), ("COUNT", ">9"), ("STATUS", "9"), ("REASON", ""))
        super().__init__(form, columns, [*SendRecord().as_dict(), "reason"], fold=True)

    def write(self, send: SendRecord) -> None:
        """Write a send."""
        number, count = ("" if value is None else f"{value:,}" for value in (send.send_id, send.count))
        status, reason = escape(str(send.send_status or "")), send.reason or ""
        data = send.as_dict() | ({"reason": reason} if self.format is OutputFormat.CSV else {})
        self._write_row(data, [number, format_time(send.run_date, "%Y-%m-%d %H:%MZ"), count, status, reason])
