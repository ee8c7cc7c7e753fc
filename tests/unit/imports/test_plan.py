"""A plan sends each record byte for byte and once, in parts that the vendor takes, and says what is wrong before."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tokens import shown

from ccactivity import ImportPlan, ImportProblem, ImportRefusedError, plan_import
from ccactivity.imports import planner as module

from .test_records import csv_texts

LISTS = ["5b8f3a2c-0d0e-4c1a-9f43-2f0a7d1e6b11"]


def plan(source: Any, **options: Any) -> ImportPlan:
    return plan_import(source.encode() if isinstance(source, str) else source, list_ids=LISTS, **options)


def contents(of: ImportPlan) -> list[bytes]:
    return [of.read_part(part.number).content for part in of.parts]


def records_of(data: bytes) -> list[bytes]:
    """The bytes of each record of a file, without line ends, by `csv` alone."""
    lines = data.splitlines(keepends=True)
    taken = 0

    def give() -> Iterable[str]:
        nonlocal taken
        for line in lines:
            taken += 1
            yield line.decode()

    found = []
    begin = 0
    for fields in csv.reader(give(), strict=True):
        if fields:
            found.append(b"".join(lines[begin:taken]).rstrip(b"\r\n"))
        begin = taken
    return found


def refusal(source: Any, **options: Any) -> ImportRefusedError:
    with pytest.raises(ImportRefusedError) as caught:
        plan(source, **options)
    return caught.value


# --- parts ----------------------------------------------------------------------------------------------------------


@given(csv_texts(), st.sampled_from(["", "\ufeff"]), st.integers(20, 200), st.integers(3, 20))
def test_every_record_is_sent_once(text: str, mark: str, most_bytes: int, most_lines: int) -> None:
    """Byte for byte, whatever the quotes and line ends, in parts that keep both limits, each with the header."""
    data = f"email,x\n{text}".encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MAX_PART_BYTES", most_bytes)
        patch.setattr(module, "_MAX_PART_LINES", most_lines)
        try:
            made = plan(mark.encode() + data)
        except ImportRefusedError as error:
            reasons = ("no rows" in str(error), "fits no upload" in str(error))
            assert any(reasons)
            return
        parts = contents(made)
    sent = [record for content in parts for record in records_of(content)[1:]]

    assert Counter(records_of(data)[1:]) == Counter(sent)
    assert made.rows == len(sent) == sum(part.rows for part in made.parts)
    for part, content in zip(made.parts, parts, strict=True):
        assert content.startswith(b"email,x\n")
        assert part.rows == len(records_of(content)) - 1 > 0
        assert len(content) <= part.size + 1 <= most_bytes + 1
        assert len(content.splitlines()) <= most_lines


def test_the_order_is_kept_but_for_long_records() -> None:
    """Those that take several lines come last in their part, and the last line of the file is ended before them."""
    made = plan('email,pet\n"a@b.c","x\ny"\nd@e.f,"a ""b"""\r\n\ng@h.i,')

    assert [b'email,pet\nd@e.f,"a ""b"""\r\ng@h.i,\n"a@b.c","x\ny"\n'] == contents(made)


def test_a_file_of_one_part_is_sent_as_it_is() -> None:
    """Without blank lines and quoted line ends nothing changes; no line end is added at the end."""
    data = b"email,First Name\r\nzoe@example.com,Zo\xc3\xab\nadam@example.com,"

    assert [data] == contents(plan(data))


def test_both_limits_of_the_vendor() -> None:
    """40,000 lines with the header, of which a record may take several; and 4,000,000 bytes with the form."""
    lines = plan("email\n" + "a@b.c\n" * 79_998 + "a@b.c")
    several = plan('email,cf:x\na@b.c,"1\n2\n3"\n' + "a@b.c,\n" * 39_997)
    size = plan(b"email,x\n" + (b"a@b.c," + b"x" * 3_989 + b"\n") * 999)

    assert [39_999, 39_999, 1] == [part.rows for part in lines.parts]
    assert [39_997, 1] == [part.rows for part in several.parts]
    assert [998, 1] == [part.rows for part in size.parts]
    assert 3_990_000 >= max(map(len, contents(size)))


def test_rows_that_divide_evenly_leave_no_empty_part() -> None:
    """Nor do blank lines at the end."""
    assert [39_999] == [part.rows for part in plan("email\n" + "a@b.c\n" * 39_999).parts]
    assert [39_999] == [part.rows for part in plan("email\n" + "a@b.c\n" * 39_999 + "\n" * 10).parts]


def test_blank_lines_are_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part takes so many bytes of the file, also where those are nothing but blank lines."""
    monkeypatch.setattr(module, "_MAX_PART_BYTES", 4_000)
    made = plan(b"email\na@b.c\n" + b"\n" * 9_000 + b"d@e.f\n")

    assert [1, 1] == [part.rows for part in made.parts]
    assert [(2, 1), (9_003, 2)] == [
        (error.line, error.row)
        for part in made.parts
        for error in made.read_part(part.number).line_map.locate(["Line 2: x"], 1, "id")
    ]


def test_a_record_that_fits_no_part() -> None:
    """It is named by its line."""
    error = refusal(b"email,x\na@b.c," + b",".join([b"x" * 100_000] * 39) + b"," + b"y" * 99_000)

    assert str(error).startswith("line 2: a record of 3,999,045 bytes on 1 lines fits no upload")


def test_parts_say_where_they_are() -> None:
    """Their place in the file, and how many requests they and their watching take."""
    made = plan("email\n\n" + "a@b.c\n" * 40_000)

    assert (1, 2, 1, 6, 39_999) == (
        made.parts[0].number,
        made.parts[0].first_line,
        made.parts[0].first_row,
        made.parts[0].start,
        made.parts[0].rows,
    )
    assert made.parts[0].end == made.parts[1].start
    assert 27 == made.requests
    with pytest.raises(ValueError, match="part 3 of 2"):
        made.read_part(3)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    """Of its bytes as they are, with the byte order mark."""
    path = tmp_path / "contacts.csv"
    path.write_bytes(b"\xef\xbb\xbfemail\na@b.c\n")
    made = plan(path)

    assert hashlib.sha256(path.read_bytes()).hexdigest() == made.sha256
    assert path == made.path == plan_import(str(path), list_ids=LISTS).path
    assert plan(b"email\na@b.c").path is None


def test_the_bytes_read_are_told() -> None:
    """After each piece; what the callback raises ends the planning."""
    told: list[int] = []
    data = b"email\n" + b"a@b.c\n" * 50_000
    plan(data, progress=told.append)

    assert [131_072, 262_144, 300_006] == told

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan(data, progress=stop)


# --- what is wrong with a file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n\r\n", "email", "email\n", "email\n\n\n", "\ufeff", "\ufeffemail\n"])
def test_a_file_without_rows(text: str) -> None:
    """There is nothing to import, which is a ValueError."""
    assert isinstance(refusal(text), ValueError)
    assert "nothing to import" in str(refusal(text))


def test_a_header_that_will_not_do() -> None:
    """The error says what to do, and has the problem with its line."""
    error = refusal("\n\nEmail address;Name\nzoe@example.com;Zoe\n")

    message = "no column email: the columns are separated by semicolons; convert them to commas"
    assert (ImportProblem(3, None, message),) == error.problems
    assert "'explicit' needs" in str(refusal("email\na@b.c", sms_permission_to_send="explicit"))


def test_what_is_no_csv_is_refused_at_once() -> None:
    """Before the problems of the lines above it."""
    error = refusal('email,pet\n,x\na@b.c,"x\n')

    assert [(3, None), (2, "email")] == [(problem.line, problem.column) for problem in error.problems]
    assert "line 3: a quote opens here and is never closed; line 2: email: neither email nor sms_number" == str(error)


def test_problems_are_collected() -> None:
    """All rows are looked at, and what a row says is in no message."""
    made = plan("email,birthday_day\nzoe@example.com,5\n,\nadam@example.com,\n" + 'eve@example.com,"\n4"\n')

    assert [(2, "birthday_day"), (3, "email"), *[(5, "birthday_day")] * 2] == [
        (p.line, p.column) for p in made.problems
    ]
    with pytest.raises(ImportRefusedError) as caught:
        made.raise_for_problems()
    assert made.problems == caught.value.problems
    assert "example" not in str(caught.value) + repr(made)


def test_problems_end() -> None:
    """A thousand are kept, and all are counted."""
    made = plan("email,x\n" + ",x\n" * 1_500)

    assert (1_000, 1_500) == (len(made.problems), made.problem_count)
    with pytest.raises(ImportRefusedError, match="and 1,497 more") as caught:
        made.raise_for_problems()
    assert 1_500 == caught.value.count
    plan("email\na@b.c").raise_for_problems()


def test_rows_of_phones_alone() -> None:
    """Without a column of addresses each row is looked at, and needs its number."""
    made = plan("sms_number\n123-123-1234\n1231231235\n")

    assert (2, 0, 0) == (made.rows, made.problem_count, made.duplicate_count)


def test_warnings() -> None:
    """What may not be what was meant is said, and sent."""
    made = plan("\ufeffemail,pet\nstrange,x\na@b.c,x\nA@B.c,x\nalso strange,x\n")

    mark, unknown, strange, duplicate = made.warnings
    assert mark.startswith("the byte order mark is not sent")
    assert unknown.startswith("column pet is not known")
    assert strange.startswith("addresses that do not look like one or have space around them: 2, the first in line 2")
    assert duplicate.startswith("rows with the address of a later one: 1; ")
    assert 4 == made.rows
    assert () == plan("email,cf:pet\na@b.c,x\n").warnings


def test_a_header_in_another_spelling() -> None:
    """It is sent in that of the vendor, which is said; the records stay as they are."""
    made = plan('Email,"CF:Pet\nName",Ccactivity_Error\r\na@b.c,cat,\r\nd@e.f,"x\ny",\r\n')
    (respelled,) = made.warnings

    assert [b'email,"cf:Pet\nName"\r\na@b.c,cat\r\nd@e.f,"x\ny"\r\n'] == contents(made)
    assert "columns are sent as the vendor spells them: 'Email' as email, 'CF:Pet\\nName' as cf:Pet\\nName" == respelled
    (error,) = made.read_part(1).line_map.locate(["Line 3: x"], 1, "id")
    assert (3, False) == (error.line, error.exact)


@pytest.mark.parametrize("row", [" a@b.c,", "a@b.c ,", '"a@b.c\t",'])
def test_space_around_an_address(row: str) -> None:
    """The vendor may refuse it, so it is said before it is sent."""
    (warning,) = plan(f"email,cf:x\nd@e.f,\n{row}\n").warnings

    assert warning.startswith("addresses that do not look like one or have space around them: 1, the first in line 3")


@pytest.mark.parametrize(
    "end",
    [
        b'zoe@canary.io,"x',
        b'zoe@canary.io,"x"y\n',
        b"zoe@canary.io,\0\n",
        b"zoe@canary.io,\xff\n",
        b"zoe@canary.io," + b"x" * 4_100_000,
        b"zoe@canary.io,1,2\n",
    ],
)
def test_an_error_shows_no_row(end: bytes) -> None:
    """Neither in its text nor in the variables of frames, which error trackers record."""
    with pytest.raises(ImportRefusedError) as caught:
        plan_import(b"email,x\nadam@canary.io,1\n" + end, list_ids=LISTS).raise_for_problems()

    assert "canary" not in shown(caught.value)


def test_a_file_that_changed_shows_no_row() -> None:
    """When a part of it is read, and what is read is another one."""
    file = io.BytesIO(b"email\nadam@canary.io\n")
    made = plan(file)
    file.getbuffer()[6:10] = b"noah"
    with pytest.raises(ImportRefusedError, match="changed") as caught:
        made.read_part(1)

    assert "canary" not in shown(caught.value)


# --- duplicates -----------------------------------------------------------------------------------------------------

TWICE = 'email,cf:x\nzoe@example.com,1\n"ZOE@example.com","2\n2"\nadam@example.com,3\n zoe@Example.com ,4\n'


def test_duplicates_are_pairs_of_lines() -> None:
    """Case and space around an address make no other contact of it."""
    made = plan(TWICE)

    assert (((2, 3), (3, 6)), 2, 0, 4) == (made.duplicates, made.duplicate_count, made.dropped, made.rows)
    assert ((2, 3),) == plan("email,x\nÉ@b.c,1\né@b.c,2\n").duplicates


def test_duplicates_may_be_refused() -> None:
    """Then each is a problem of the later row."""
    problems = plan(TWICE, duplicates="refuse").problems

    assert ["line 3: email: the same address as in line 2", "line 6: email: the same address as in line 3"] == [
        str(problem) for problem in problems
    ]


def test_the_last_of_duplicates_may_be_kept() -> None:
    """The others are not sent; what is sent is mapped as ever, and the rows keep their numbers."""
    made = plan(TWICE, duplicates="keep-last")
    part = made.read_part(1)

    assert (2, 2) == (made.rows, made.dropped)
    assert b"email,cf:x\nadam@example.com,3\n zoe@Example.com ,4\n" == part.content
    assert [(5, 3), (6, 4)] == [(e.line, e.row) for e in part.line_map.locate(["Line 2", "Line 3"], 1, "id")]


def test_duplicates_across_parts() -> None:
    """A part of which nothing is left is none; the rest are numbered anew."""
    rows = [f"p{number}@b.c" for number in range(39_999)]
    made = plan("\n".join(["email", *rows, *rows, "q@b.c"]), duplicates="keep-last")

    assert [(1, 39_999), (2, 1)] == [(part.number, part.rows) for part in made.parts]
    assert (1_000, 39_999, 40_000) == (len(made.duplicates), made.duplicate_count, made.rows)
    assert (2, 40_001) == made.duplicates[0]
    assert b"email\nq@b.c" == made.read_part(2).content
    assert 39_999 == plan("\n".join(["email", *rows, *rows]), duplicates="refuse").problem_count


@given(st.lists(st.sampled_from(["a@b.c", "A@b.c", '"a@B.c"', "d@e.f", "", 'g@h.i,"x\n"']), max_size=12))
def test_the_last_of_each_address_is_kept(rows: list[str]) -> None:
    """Exactly those rows are sent that no later one has the address of."""
    text = "email,x\n" + "\n".join(rows) + "\n"
    expected: dict[str, int] = {}
    line = 2
    for row in rows:
        if row:
            expected[next(csv.reader([row]))[0].casefold()] = line
        line += row.count("\n") + 1
    if not expected:
        return
    made = plan(text, duplicates="keep-last")
    part = made.read_part(1)
    messages = [f"Line {number}: x" for number in range(2, part.rows + 2)]

    assert sorted(expected.values()) == sorted(error.line or 0 for error in part.line_map.locate(messages, 1, "id"))
    assert len([row for row in rows if row]) - len(expected) == made.dropped == made.duplicate_count


# --- the column of rejects ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(3))
def test_the_column_of_errors_is_not_sent(place: int) -> None:
    """Wherever a spreadsheet has moved it."""
    rows = [["email", "cf:x"], ["a@b.c", "1"], ["d@e.f", 'x"\ny'], ["g@h.i", ""]]
    text = io.StringIO(newline="")
    for number, row in enumerate(rows):
        error = "Ccactivity_Error " if number == 0 else 'Line 2: "no",\nreally'
        csv.writer(text).writerow([*row[:place], error, *row[place:]])
    made = plan(text.getvalue())
    (content,) = contents(made)

    assert rows == list(csv.reader(io.StringIO(content.decode(), newline="")))
    assert ((), ()) == (made.warnings, made.problems)
    located = made.read_part(1).line_map.locate(["Line 2: x", "Line 3: x", "Line 5: x"], 1, "id")
    assert [(2, 3, True), (4, 6, True), (7, 8, True)] == [(e.line, e.last_line, e.exact) for e in located]


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("list_ids", "error", "problem"),
    [
        ([], ValueError, "1 to 50 ids, not 0"),
        (LISTS * 51, ValueError, "1 to 50 ids, not 51"),
        (["list 1"], ValueError, "'list 1' is no list id, which is a UUID"),
        (LISTS[0], TypeError, "a list of ids, not a str"),
        ([1], TypeError, "of str, not int"),
    ],
)
def test_list_ids_are_checked(list_ids: Any, error: type[Exception], problem: str) -> None:
    """At the call."""
    with pytest.raises(error, match=problem):
        plan_import(b"email\na@b.c", list_ids=list_ids)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"duplicates": "drop"}, "duplicates must be one of 'warn', 'refuse', 'keep-last', not 'drop'"),
        ({"sms_permission_to_send": "yes"}, "sms_permission_to_send must be one of 'explicit', 'not_set', None"),
        ({"encoding": "klingon"}, "encoding 'klingon' is not known"),
        ({"encoding": "base64"}, "encoding 'base64' is not known, or not one of text"),
    ],
)
def test_options_are_checked(options: dict[str, str], problem: str) -> None:
    """With the words that are allowed."""
    with pytest.raises(ValueError, match=problem):
        plan(b"email\na@b.c", **options)


def test_many_small_pieces_make_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the reads of the file end decides nothing."""
    data = ('email,x\r\n"é@b.c","1\r\n2"\r\nd@e.f,😀\r\n' * 3).replace("email,x\r\n", "", 2).encode()
    text = b"email,x\r\n" + data.removeprefix(b"email,x\r\n")
    expected = plan(text)
    for size in itertools.chain(range(3, 12), [100]):
        monkeypatch.setattr("ccactivity.imports.source._CHUNK_BYTES", size)
        made = plan(text)
        assert (expected.parts[0].end, expected.sha256, contents(expected)) == (
            made.parts[0].end,
            made.sha256,
            contents(made),
        )
