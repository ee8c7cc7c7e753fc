"""The records of a CSV file: counted as `csv` counts them, wherever the pieces begin and end."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.exports.records import RecordCounter

FIELDS = st.text(st.sampled_from('ab",;é\r\n'), max_size=8)
TABLES = st.lists(st.lists(FIELDS, min_size=2, max_size=4), min_size=1, max_size=8)
QUOTING = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])


def written(table: list[list[str]], line_end: str, quoting: int) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end, quoting=quoting).writerows(table)  # type: ignore[arg-type]
    return text.getvalue().encode()


def count(*pieces: bytes) -> RecordCounter:
    counter = RecordCounter()
    for piece in pieces:
        counter.feed(piece)
    return counter


@given(TABLES, st.sampled_from(["\n", "\r\n"]), QUOTING, st.integers(1, 9))
def test_records_are_those_of_csv(table: list[list[str]], line_end: str, quoting: int, size: int) -> None:
    """Quotes, line breaks in fields, letters of several bytes: in pieces of any size."""
    content = written(table, line_end, quoting)
    counter = count(*(content[begin : begin + size] for begin in range(0, len(content), size)))

    assert (len(content), len(table) - 1) == (counter.size, counter.records)
    assert (True, False) == (counter.ended, counter.open_quote)
    assert counter.records == count(content.removesuffix(line_end.encode())).records


@given(TABLES, QUOTING)
def test_what_is_cut_off_is_not_taken_for_the_whole(table: list[list[str]], quoting: int) -> None:
    """No beginning of a file has ended and has as many records."""
    content = written(table, "\r\n", quoting)
    cut = [count(content[:length]) for length in range(len(content))]

    assert [] == [one for one in cut if one.ended and one.records == len(table) - 1]


@pytest.mark.parametrize(
    ("pieces", "records", "ended", "open_quote"),
    [
        ([], 0, False, False),
        ([b""], 0, False, False),
        ([b"Email"], 0, False, False),
        ([b"Email\r\n"], 0, True, False),
        ([b"Email\r\n", b"", b"a@b.example"], 1, False, False),
        ([b'Email\r\n"a', b"\r\n", b"b\n"], 1, False, True),
        ([b'Email\r\n"a"', b'"b"\r\n'], 1, True, False),
        ([b'Email\r\n"', b'"\r\n'], 1, True, False),
    ],
)
def test_the_end(pieces: list[bytes], records: int, ended: bool, open_quote: bool) -> None:
    """An end without a line break is one; within quotes it is none."""
    counter = count(*pieces)

    assert (records, ended, open_quote) == (counter.records, counter.ended, counter.open_quote)
