"""A message leads to the row that it is about, under both readings of its line number, or says that it may not."""

from __future__ import annotations

import re

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from ccactivity import ImportPart, ImportPlan, RowError, plan_import
from ccactivity.imports.linemap import LineMap, SentRow
from ccactivity.imports.records import is_blank, split_records

LISTS = ["5b8f3a2c-0d0e-4c1a-9f43-2f0a7d1e6b11"]


def plan(text: str, **options: str) -> ImportPlan:
    return plan_import(text.encode(), list_ids=LISTS, **options)  # type: ignore[arg-type]


def locate(part: ImportPart, *messages: str) -> tuple[RowError, ...]:
    return part.line_map.locate(messages, part.number, "id")


def number_records(content: bytes) -> list[tuple[bytes, int, int]]:
    """The vendor's view of a part: each record with its number as a physical line, and as a record."""
    found: list[tuple[bytes, int, int]] = []
    for batch in split_records([content]):
        records = batch.lines if batch.fields is None else [b"".join(batch.lines)]
        line = batch.first_line
        for record in records:
            if not is_blank(record):
                found.append((record, line, len(found) + 1))
            line += len(record.splitlines())
    return found[1:]


def test_rows_on_one_line_are_exact() -> None:
    """The number of the part becomes the line of the file, which is another one after blank lines."""
    part = plan("email\na@b.c\n\n\nd@e.f\ng@h.i").read_part(1)

    assert [(2, 1), (5, 2), (6, 3)] == [
        (e.line, e.row) for e in locate(part, "Line 2: x", "line 3", "Error in Line #4")
    ]
    error = RowError(5, 5, "Line 3: Invalid email", 2, 1, "id", exact=True)
    assert (error,) == locate(part, "Line 3: Invalid email")


@pytest.mark.parametrize(
    "message", ["Invalid email", "", "Line 1: no", "Line 4: no", "Line 0", "Line 99999999999", "Lines 2"]
)
def test_a_message_that_names_no_row(message: str) -> None:
    """It is kept, and its line is unknown."""
    part = plan("email\na@b.c\nd@e.f\n").read_part(1)

    assert (RowError(None, None, message, None, 1, "id", exact=False),) == locate(part, message)


def test_records_on_several_lines_come_last() -> None:
    """So every row on one line, and the first of the others, has one number."""
    part = plan('email,cf:note\na@b.c,"x\ny"\nd@e.f,z\ng@h.i,"x\n\ny"\nj@k.l,z\n').read_part(1)

    assert b'email,cf:note\nd@e.f,z\nj@k.l,z\na@b.c,"x\ny"\ng@h.i,"x\n\ny"\n' == part.content
    found = locate(part, "Line 2: x", "Line 3: x", "Line 4: x")
    assert [(4, 4, 2, True), (8, 8, 4, True), (2, 3, 1, True)] == [(e.line, e.last_line, e.row, e.exact) for e in found]
    (doubtful,) = locate(part, "Line 5: x")
    assert (False, (2, 5)) == (doubtful.exact, doubtful.candidates)


def test_a_number_that_only_one_reading_knows_is_exact() -> None:
    """There are fewer records than lines: a number beyond them is a line's."""
    part = plan('email,cf:note\na@b.c,"x\ny"\ng@h.i,"x\n\ny"\n').read_part(1)

    assert [(4, True), (4, True)] == [(e.line, e.exact) for e in locate(part, "Line 4: x", "Line 6: x")]


def test_the_row_that_looks_wrong_is_preferred() -> None:
    """Of two rows that it may be, that with the strange address is the one whose email is invalid; it stays a guess."""
    rows = ['a@b.c,"x\ny"', 'strange,"x\ny"', 'g@h.i,"x\ny"']
    first = plan("email,cf:note\n" + "\n".join([rows[1], rows[0], rows[2]])).read_part(1)
    second = plan("email,cf:note\n" + "\n".join([rows[0], rows[1], rows[2]])).read_part(1)

    assert [(2, False)] == [(e.line, e.exact) for e in locate(first, "Line 3: Invalid email address")]
    assert [(4, False)] == [(e.line, e.exact) for e in locate(second, "Line 3: Invalid email address")]
    assert [(2, False)] == [(e.line, e.exact) for e in locate(second, "Line 3: something else")]


def test_a_lone_carriage_return_makes_all_doubtful() -> None:
    """Nobody knows whether the vendor counts it as the end of a line."""
    part = plan("email\na@b.c\rd@e.f\n").read_part(1)

    assert [(3, False, (3,))] == [(e.line, e.exact, e.candidates) for e in locate(part, "Line 3: x")]


def test_a_header_on_several_lines() -> None:
    """Then no number is certain that both readings know."""
    part = plan('email,"first\nname"\na@b.c,x\nd@e.f,x\n').read_part(1)

    assert [(3, False), (4, True)] == [(e.line, e.exact) for e in locate(part, "Line 3: x", "Line 4: x")]
    assert [(3, True)] == [(e.line, e.exact) for e in locate(part, "Line 2: x")]


def test_what_is_shown_of_an_error() -> None:
    """Its line and the vendor's words, and nothing of the row."""
    part = plan("email,first_name\nzoe@example.com,Zoe\n").read_part(1)

    assert "zoe" not in repr(locate(part, "Line 2: Invalid email")).casefold()
    assert "zoe" not in repr(part).casefold()


def test_a_map_is_small() -> None:
    """Rows that follow each other take nothing; what is out of step takes a few numbers."""
    rows = 40_000
    together = LineMap(1, [(row, row + 1, 1) for row in range(1, rows)], [])
    spread = LineMap(1, [(row, 2 * row, 1) for row in range(1, rows)], [SentRow(rows, 2 * rows, 2, 2)])

    assert [(rows, True)] == [(error.line, error.exact) for error in together.locate([f"Line {rows}"], 1, "id")]
    assert [2 * rows - 2, 2 * rows] == [e.line for e in spread.locate([f"Line {rows}", f"Line {rows + 1}"], 1, "id")]
    assert 1 == len(together._run_lines)


ONE_LINE = ["a@b.c,x", '"a@b.c",""', "strange,x", 'a@b.c,"x""y"', ""]
SEVERAL_LINES = ['a@b.c,"x\ny"', 'a@b.c,"\r\n\n"', 'strange,"x\ny"', 'a@b.c,"\r"']
ROWS = st.sampled_from(ONE_LINE + SEVERAL_LINES)


@given(
    st.lists(ROWS, min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["email,pet", 'email,"a\nb"']),
)
def test_no_wrong_line_is_certain(rows: list[str], end: str, header: str) -> None:
    """Whichever number the vendor gives a refused row by, the line is right, or the error says that it may not be."""
    text = end.join([header, *rows])
    if not any(rows):
        return
    part = plan(text).read_part(1)
    lines = text.encode().splitlines(keepends=True)

    for record, physical, ordinal in number_records(part.content):
        for number in {physical, ordinal, physical + len(record.splitlines()) - 1}:
            (error,) = locate(part, f"Line {number}: Invalid email")
            assert error.line is not None
            found = [b"".join(lines[first - 1 :]) for first in {error.line, *error.candidates}]
            event("exact" if error.exact else "doubtful")
            assert any(one.startswith(record.rstrip(b"\r\n")) for one in found)
            if error.exact:
                assert b"".join(lines[error.line - 1 : error.last_line]).rstrip(b"\r\n") == record.rstrip(b"\r\n")


@given(st.integers(1, 30), st.sets(st.integers(0, 29)), st.booleans())
def test_each_row_has_one_number_until_the_second_that_is_long(count: int, long: set[int], by_line: bool) -> None:
    """The rows are told apart by their contents: what is certain is right, and nothing before that is doubtful."""
    rows = [f'p{n}@b.c,"{n}\n{n}"' if n in long else f"p{n}@b.c,{n}" for n in range(count)]
    part = plan("email,pet\n" + "\n".join(rows)).read_part(1)
    lines = ["email,pet", *"\n".join(rows).split("\n")]
    several = 0

    for record, physical, ordinal in number_records(part.content):
        several += len(record.splitlines()) > 1
        (error,) = locate(part, f"Line {physical if by_line else ordinal}: x")
        name = re.match(rb"p\d+", record)
        assert name is not None
        right = lines[(error.line or 0) - 1].startswith(f"{name[0].decode()}@")
        assert right or not error.exact
        assert error.exact or several > 1
