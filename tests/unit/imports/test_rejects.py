"""The file of refused rows holds each of them byte for byte, is for its owner alone, and can be imported again."""

from __future__ import annotations

import csv
import stat
import sys
from pathlib import Path

import pytest

from ccactivity import ImportRefusedError, RowError, plan_import
from ccactivity.imports import planner as planner_module
from ccactivity.imports.plan import ImportPlan
from ccactivity.imports.rejects import write_rejects

LISTS = ["5b8f3a2c-0d0e-4c1a-9f43-2f0a7d1e6b11"]
DATA = b'email,cf:x\r\nzoe@example,Zo\xc3\xab\nadam@example.com,"a ""b"""\n\neve@,"1\n2"\nkim@,"3\n4"\nmax@,5'


def plan(data: bytes = DATA) -> ImportPlan:
    return plan_import(data, list_ids=LISTS)


def errors(of: ImportPlan, *messages: str, part: int = 1) -> tuple[RowError, ...]:
    return of.read_part(part).line_map.locate(messages, part, "id")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rejects.csv"


def test_refused_rows_byte_for_byte(path: Path) -> None:
    """In the order of the file, below its header, with what the vendor said; a row is there once."""
    made = plan()
    found = errors(made, "Line 4: Invalid email", 'Line 2: Invalid\n"email", really', "Line 2: and this", "Too late")

    assert 2 == write_rejects(path, made, found)
    assert (
        b"email,cf:x,ccactivity_error\r\n"
        b'zoe@example,Zo\xc3\xab,"Line 2: Invalid ""email"", really; Line 2: and this"\n'
        b"max@,5,Line 4: Invalid email\r\n"
    ) == path.read_bytes()


def test_a_row_on_several_lines(path: Path) -> None:
    """It stays one record."""
    made = plan()
    write_rejects(path, made, errors(made, "Line 5: x"))

    assert b'email,cf:x,ccactivity_error\r\neve@,"1\n2",Line 5: x\n' == path.read_bytes()


def test_rows_that_cannot_be_told_apart(path: Path) -> None:
    """Both are there, and say so: nothing that was refused is left out."""
    made = plan()

    assert 2 == write_rejects(path, made, errors(made, "Line 6: x"))
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True)))
    assert [("eve@", "Line 6: x (this row or another one)"), ("kim@", "Line 6: x (this row or another one)")] == [
        (row[0], row[2]) for row in rows[1:]
    ]


def test_it_can_be_imported_again(path: Path) -> None:
    """The column of errors is not sent, and another import's errors take its place."""
    made = plan()
    write_rejects(path, made, errors(made, *(f"Line {number}: x" for number in range(2, 8))))
    again = plan_import(path, list_ids=LISTS)
    second = path.with_name("second.csv")

    assert made.read_part(1).content == again.read_part(1).content
    write_rejects(second, again, errors(again, "Line 2: y"))
    assert b"email,cf:x,ccactivity_error\r\nzoe@example,Zo\xc3\xab,Line 2: y\n" == second.read_bytes()


def test_rows_of_several_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read again from its part."""
    monkeypatch.setattr(planner_module, "_MAX_PART_LINES", 2)
    made = plan(b"email\na@b\nd@e\ng@h\n")

    write_rejects(path, made, [*errors(made, "Line 2: x", part=3), *errors(made, "Line 2: y", part=1)])
    assert b"email,ccactivity_error\na@b,Line 2: y\ng@h,Line 2: x\n" == path.read_bytes()


def test_the_file_that_was_imported_is_not_replaced(path: Path) -> None:
    """Rejects that are imported again may be refused again; the rows that were not would be lost."""
    path.write_bytes(DATA)
    made = plan_import(path, list_ids=LISTS)

    with pytest.raises(ValueError, match="is the file that was imported: name another one"):
        write_rejects(path, made, errors(made, "Line 2: x"))
    assert DATA == path.read_bytes()


def test_without_errors(path: Path) -> None:
    """A header alone says that nothing was refused, in the place of an older file."""
    path.write_text("from yesterday")

    assert 0 == write_rejects(str(path), plan(), [])
    assert b"email,cf:x,ccactivity_error\r\n" == path.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_it_is_for_its_owner_alone(path: Path) -> None:
    """Rows are personal data; that the file was there with another mode changes nothing."""
    path.touch(mode=0o644)
    write_rejects(path, plan(), [])

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_what_fails_leaves_nothing(path: Path) -> None:
    """The file of before stays, and no half of a new one is beside it."""
    source = path.with_name("contacts.csv")
    source.write_bytes(DATA)
    made = plan_import(source, list_ids=LISTS)
    found = errors(made, "Line 2: x")
    path.write_text("from yesterday")
    source.write_bytes(DATA + b"\n")

    with pytest.raises(ImportRefusedError, match="changed"):
        write_rejects(path, made, found)
    assert "from yesterday" == path.read_text()
    assert {path, source} == set(path.parent.iterdir())
