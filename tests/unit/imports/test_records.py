"""Records are those that `csv` finds, byte for byte and once, however the file is cut into blocks."""

from __future__ import annotations

import csv
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.imports.records import RecordError, drop_field, is_blank, read_fields, split_records, whole_lines

LINE_ENDS = ("\n", "\r\n", "\r")
FIELDS = st.text(st.sampled_from('ab,"\r\nzé😀 \x0b\x0c\x1c\x85\u2028'), max_size=8)


def write_field(field: str, *, quoted: bool) -> str:
    needed = quoted or any(character in field for character in ',"\r\n')
    return '"' + field.replace('"', '""') + '"' if needed else field


@st.composite
def csv_texts(draw: st.DrawFn) -> str:
    """Files with quotes, mixed line ends, several bytes a character, and blank lines."""
    text = ""
    for _ in range(draw(st.integers(0, 12))):
        fields = draw(st.lists(st.tuples(FIELDS, st.booleans()), max_size=4))
        text += ",".join(write_field(field, quoted=quoted) for field, quoted in fields) + draw(
            st.sampled_from(LINE_ENDS)
        )
    return text[:-1] if draw(st.booleans()) and not text.endswith('"') else text


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Cut data at these places."""
    places = [0, *sorted(one % (len(data) + 1) for one in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def split(data: bytes, at: list[int] | None = None) -> list[tuple[int, bytes, list[str]]]:
    """Return first line, bytes and fields of each record, blank lines among them."""
    found = []
    for batch in split_records(whole_lines(cut(data, at or []))):
        if batch.fields is not None:
            found.append((batch.first_line, b"".join(batch.lines), batch.fields))
            continue
        for line, record in enumerate(batch.lines, batch.first_line):
            found.append((line, record, [] if is_blank(record) else read_fields(record)))
    return found


def test_records_may_be_counted_instead_of_lines() -> None:
    """One that takes several lines counts once, in whatever blocks it is read."""
    data = b'a\n"b\n\rb"\nc\n"d""d"\n"e\ne"\nf\n'
    for at in range(len(data)):
        found = split_records(whole_lines(cut(data, [at])), first_line=0, by_record=True)
        numbers = [
            batch.first_line + index for batch in found for index in range(1 if batch.fields else len(batch.lines))
        ]

        assert [0, 1, 2, 3, 4, 5] == numbers


@given(csv_texts(), st.lists(st.integers(0, 1_000), max_size=5))
def test_records_are_those_of_csv(text: str, at: list[int]) -> None:
    """The records are those of `csv.reader` on the whole file, their bytes are those of the file."""
    data = text.encode()
    lines = [line.decode() for line in data.splitlines(keepends=True)]
    found = split(data, at)

    assert data == b"".join(record for _, record, _ in found)
    assert list(csv.reader(lines, strict=True)) == [fields for _, _, fields in found]


@given(csv_texts(), st.lists(st.integers(0, 1_000), max_size=5))
def test_lines_are_those_of_the_file(text: str, at: list[int]) -> None:
    """Each record begins in the physical line that it is said to."""
    data = text.encode()
    lines = data.splitlines(keepends=True)

    for first, record, _ in split(data, at):
        assert b"".join(lines[first - 1 :]).startswith(record)


@given(st.text(st.sampled_from('ab,"\r\n '), max_size=30))
def test_what_csv_refuses_is_refused(text: str) -> None:
    """Any text: the same records as `csv` has, or an error where `csv` has one."""
    lines = [line.decode() for line in text.encode().splitlines(keepends=True)]
    try:
        expected = list(csv.reader(lines, strict=True))
    except csv.Error:
        with pytest.raises(RecordError):
            split(text.encode())
    else:
        assert expected == [fields for _, _, fields in split(text.encode())]


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b'a\nb,"c\nd\n', 2, "a quote opens here and is never closed"),
        (b'a\n"b\nc","d\ne\n', 3, "a quote opens here and is never closed"),
        (b'a\n"b\nc",,"', 3, "a quote opens here and is never closed"),
        (b'a\nb\n"c"d,e\n', 3, "text after the quote that closes a field"),
        (b'a\n"b\nc"d\n', 3, "text after the quote that closes a field"),
        (b"a\nb\nc\0d\n", 3, "a NUL byte"),
        (b'a\n"b\n\0"\n', 3, "a NUL byte"),
        (b"a\n" + b"b" * 131_073 + b"\n", 2, "a field longer than 131,072 characters"),
        (b'a\nx,"' + b"b\n" * 70_000, 2, "a field longer than 131,072 characters"),
        (b"a\n" + b"b," * 2_000_001 + b"\n", 2, "a record of more than 4,000,000 bytes"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_csv_has_a_line(data: bytes, line: int, problem: str) -> None:
    """The error names the line to look at: that in which the quote opened, not the end of the file."""
    with pytest.raises(RecordError) as caught:
        split(data)

    assert line == caught.value.line
    assert caught.value.problem.startswith(problem)
    assert "b" * 9 not in str(caught.value)


def test_the_limit_of_a_field_is_ours() -> None:
    """A process that reads longer fields elsewhere does not send them: the limit of `csv` is one for all."""
    before = csv.field_size_limit(1_000_000)
    try:
        with pytest.raises(RecordError, match="longer than 131,072"):
            split(b'"' + b"b" * 131_073 + b'\n"\n')
    finally:
        csv.field_size_limit(before)


def test_a_line_that_never_ends_is_not_collected() -> None:
    """What has no line end for 4 MB is passed on, so that it is refused before it fills the memory."""
    chunks = iter([b"b" * 131_072] * 100)

    with pytest.raises(RecordError, match="line 1: a record of more than 4,000,000 bytes"):
        list(split_records(whole_lines(chunks)))
    assert 60 < len(list(chunks))


def test_a_long_line_of_short_fields_is_a_record() -> None:
    """A line longer than the longest field is no mistake."""
    line = b"b," * 100_000 + b"\n"

    assert [line, b"c\n"] == [record for _, record, _ in split(line + b"c\n")]


@given(
    st.lists(st.tuples(FIELDS, st.booleans()), min_size=1, max_size=5), st.integers(0, 6), st.sampled_from(LINE_ENDS)
)
def test_a_dropped_field_is_gone(fields: list[tuple[str, bool]], index: int, end: str) -> None:
    """The other fields stay, and the record stays one."""
    record = (",".join(write_field(field, quoted=quoted) for field, quoted in fields) + end).encode()
    kept = [field for at, (field, _) in enumerate(fields) if at != index] or [""]
    dropped = drop_field(record, index).decode()

    assert dropped.endswith(end)
    assert kept == (next(csv.reader(io.StringIO(dropped, newline=""))) or [""])
