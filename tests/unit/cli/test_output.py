"""Rows on stdout: as a table on a terminal and elsewhere, and as CSV."""

from __future__ import annotations

import csv
import os
import sys
from datetime import UTC, datetime

import pytest
from support.logins import Printed

from ccactivity import Activity, SendRecord
from ccactivity.cli.output import ActivityWriter, OutputFormat, SendWriter

ACTIVITY = Activity(
    activity_id="04fe9a00-a579-43c5-bb1a-58ed29bf0a6a",
    state="failed",
    percent_done=50,
    activity_errors=("The file could not be processed.", "Twice."),
)


@pytest.mark.parametrize(("columns", "cut"), [(80, True), (0, False)])
def test_a_table_is_cut_at_the_width_of_a_terminal(
    columns: int, cut: bool, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of a table are cut on a terminal that knows its size, so that each is one line."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
    ActivityWriter(OutputFormat.TABLE).write(ACTIVITY)
    _, row = capsys.readouterr().out.splitlines()

    assert row.endswith("The file could not be …" if cut else "The file could not be processed.")
    assert (80 == len(row)) == cut


@pytest.mark.parametrize(("columns", "shown"), [(99, False), (100, True), (0, True)])
def test_a_narrow_terminal_leaves_no_room_for_times(
    columns: int, shown: bool, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a narrow terminal it is more important what an activity is than when it was updated."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
    updated = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    ActivityWriter(OutputFormat.TABLE).write(Activity(activity_id="an-id", state="completed", updated_at=updated))
    header, row = capsys.readouterr().out.splitlines()

    assert shown == ("UPDATED" in header) == ("11-24 09:30Z" in row)


def test_the_last_column_of_a_send_history_is_folded(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reasons of a send history are folded on a terminal, and nothing is lost of them."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda: os.terminal_size((72, 24)))
    send = SendRecord(send_id=1, send_status="ERRORED", reason_code=4)
    SendWriter(OutputFormat.TABLE).write(send)
    header, *rows = capsys.readouterr().out.splitlines()
    margin = header.index("REASON")

    assert len(rows) > 1
    assert max(map(len, rows)) <= 72
    assert send.reason == " ".join(row[margin:] for row in rows)
    assert {""} == {row[:margin].strip() for row in rows[1:]}


def test_lists_and_gaps_in_csv(capsys: Printed) -> None:
    """In CSV a list is one cell, and what is unknown is empty."""
    ActivityWriter(OutputFormat.CSV).write(ACTIVITY)
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())

    assert "The file could not be processed.; Twice." == row["activity_errors"]
    assert "" == row["source_file_name"] == row["items_total_count"]
