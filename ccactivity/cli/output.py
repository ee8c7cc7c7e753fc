"""Rows on stdout: a table for people, or JSON lines, or CSV; the data are the library's, all there is here is layout.

A table is laid out as it comes, with fixed columns, because the first page should not wait for the last. On a terminal
the lines of a long one are cut at the width, and the last column of a short one is folded; elsewhere lines are whole.
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

from .batch.render import crop, detail, safe
from .exit_codes import UsageError

__all__ = ["Activities", "Form", "Sends", "emit", "form_of", "say"]


class Form(StrEnum):
    """How data are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def form_of(*, json: bool = False, csv: bool = False) -> Form:
    """Return the form that the flags ask for; UsageError for both."""
    if json and csv:
        raise UsageError("--json and --csv cannot both be had")
    return Form.JSON if json else Form.CSV if csv else Form.TABLE


def emit(data: Mapping[str, Any]) -> None:
    """Write one JSON object as a line, at once: whoever reads it may be waiting."""
    print(json.dumps(data), flush=True)


def say(text: str) -> None:
    """Write a line for people on stderr."""
    print(text, file=sys.stderr)


class Rows:
    """Writes rows: `columns` are names and alignments of the table, and `fields` the names of the CSV.

    `cut`: whether lines are cut at the width of a terminal, else the last column is folded there.
    """

    def __init__(
        self, form: Form, columns: Sequence[tuple[str, str]], fields: Sequence[str], *, cut: bool = False
    ) -> None:
        self.form: Form = form
        self._columns = columns
        self._fields = fields
        # A terminal that does not know its size says 0.
        self._width = (os.get_terminal_size().columns or None) if sys.stdout.isatty() else None
        self._cut = cut
        self._csv = csv.DictWriter(sys.stdout, fields, lineterminator="\n")
        self._begun = False
        self.count: int = 0

    def begin(self) -> None:
        """Write the names of the columns, once; also of a table without rows."""
        if self._begun or self.form is Form.JSON:
            return
        self._begun = True
        if self.form is Form.CSV:
            self._csv.writeheader()
        else:
            self._line([name for name, _ in self._columns])

    def write(self, data: Mapping[str, Any], cells: Sequence[str]) -> None:
        """Write a row: `data` for JSON and CSV, `cells` for the table."""
        self.begin()
        self.count += 1
        if self.form is Form.JSON:
            emit(data)
        elif self.form is Form.CSV:
            self._csv.writerow({name: _flat(data.get(name)) for name in self._fields})
        else:
            self._line(cells)

    def _line(self, cells: Sequence[str]) -> None:
        padded = [format(cell, how) for cell, (_, how) in zip(cells, self._columns, strict=True)]
        text = "  ".join(padded).rstrip()
        if self._width is None:
            print(text)
        elif self._cut:
            print(crop(text, self._width))
        else:
            margin = len("  ".join([*padded[:-1], ""]))
            folded = textwrap.wrap(padded[-1], max(20, self._width - margin)) or [""]
            print(text[:margin] + f"\n{' ' * margin}".join(folded))


def _flat(value: Any) -> str:
    if value is None:
        return ""
    return safe("; ".join(map(str, value)) if isinstance(value, list) else str(value))


def _when(moment: datetime | None, form: str) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime(form)


_COUNTERS: Final = tuple(field.name for field in attrs.fields(ActivityStatus))


class Activities(Rows):
    """Rows of activities."""

    def __init__(self, form: Form) -> None:
        columns = (("ID", "36"), ("STATE", "11"), ("DONE", ">5"), ("UPDATED", "12"), ("DETAIL", ""))
        names = [name for name in Activity(activity_id="").as_dict() if name not in ("status", "_links")]
        super().__init__(form, columns, [*names, *_COUNTERS], cut=True)

    def add(self, activity: Activity) -> None:
        """Write an activity."""
        data = activity.as_dict()
        if self.form is Form.CSV:
            data |= activity.status.as_dict()
        done = "" if activity.progress is None else f"{activity.progress * 100:.0f} %"
        state = safe(str(activity.state or ""))
        # An activity is kept for ten days, so nobody needs the year.
        updated = _when(activity.updated_at, "%m-%d %H:%MZ")
        self.write(data, [safe(activity.activity_id), state, done, updated, detail(activity)])


class Sends(Rows):
    """Rows of a send history."""

    def __init__(self, form: Form) -> None:
        columns = (("SEND", ">4"), ("RUN DATE", "17"), ("COUNT", ">9"), ("STATUS", "9"), ("REASON", ""))
        super().__init__(form, columns, [*SendRecord().as_dict(), "reason"])

    def add(self, send: SendRecord) -> None:
        """Write a send."""
        number, count = ("" if value is None else f"{value:,}" for value in (send.send_id, send.count))
        status, reason = safe(str(send.send_status or "")), send.reason or ""
        data = send.as_dict() | ({"reason": reason} if self.form is Form.CSV else {})
        self.write(data, [number, _when(send.run_date, "%Y-%m-%d %H:%MZ"), count, status, reason])
