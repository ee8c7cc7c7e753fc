"""The journal of an import as lines: what is read is what was noted, wherever it was cut off."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity import Activity, ActivityState, ActivityStatus
from ccactivity.imports.journal import Journal, PartRecord

IDENTITY: dict[str, Any] = {"source": "9f86d0", "list_ids": ("a", "b"), "encoding": "utf-8-sig"}
ENDED = Activity(
    activity_id="04fe9a",
    state=ActivityState.COMPLETED,
    activity_errors=("Line 2: reader@example.com is invalid",),
    status=ActivityStatus(items_total_count=7, correctable_count=1),
    raw={"activity_id": "04fe9a"},
)

numbers = st.integers(1, 3)
ids = st.sampled_from(["04fe9a", "04fe9b"])
steps = st.one_of(
    st.tuples(st.just("sending"), numbers, st.sampled_from(["a-1of3-0.csv", "ü-1of3-0.csv"])),
    st.tuples(st.just("accepted"), numbers, ids),
    st.tuples(st.just("ended"), numbers, st.builds(Activity, activity_id=ids, state=st.sampled_from(ActivityState))),
)


def note(journal: Journal, step: tuple[str, int, Any]) -> bytes:
    method, number, what = step
    line: bytes = getattr(journal, method)(number, what)
    return line


def known(journal: Journal) -> list[PartRecord]:
    return [journal.part(number) for number in (1, 2, 3)]


@given(st.lists(steps, max_size=8), st.data())
def test_a_journal_that_was_cut_off_is_that_of_its_whole_lines(
    done: list[tuple[str, int, Any]], data: st.DataObject
) -> None:
    """At whatever byte it ends, what is known is what had been noted by then."""
    written = Journal(IDENTITY)
    lines = [written.first_line(), *(note(written, step) for step in done)]
    content = b"".join(lines)
    cut = content[: data.draw(st.integers(0, len(content)))]

    read = Journal(IDENTITY)
    size = read.read(cut)

    whole = 0
    while whole < len(lines) and len(b"".join(lines[: whole + 1])) <= len(cut):
        whole += 1
    expected = Journal(IDENTITY)
    for step in done[: max(0, whole - 1)]:
        note(expected, step)
    assert len(b"".join(lines[:whole])) == size
    assert known(expected) == known(read)


def test_a_journal_tells_of_each_part_what_is_known() -> None:
    """Its name, its activities in order and once each, and how those ended; another part is not touched."""
    journal = Journal(IDENTITY)
    journal.sending(2, "contacts-2of3-5c1f09ab.csv")
    for activity_id in ("04fe9a", "04fe9b", "04fe9a"):
        journal.accepted(2, activity_id)
    journal.ended(2, ENDED)

    record = journal.part(2)

    assert "contacts-2of3-5c1f09ab.csv" == record.file_name
    assert ["04fe9a", "04fe9b"] == record.activity_ids
    assert ["04fe9a"] == list(record.ended)
    assert (ENDED.state, ENDED.status) == (record.ended["04fe9a"].state, record.ended["04fe9a"].status)
    assert PartRecord() == journal.part(1)


def test_a_journal_holds_no_message_of_the_vendor() -> None:
    """They may quote a row."""
    journal = Journal(IDENTITY)

    assert b"example.com" not in journal.first_line() + journal.ended(1, ENDED)


def test_what_a_new_journal_says_of_a_crash_at_its_beginning() -> None:
    """Nothing: it is begun anew, as nothing had been sent."""
    first = Journal(IDENTITY).first_line()

    assert {0} == {Journal(IDENTITY).read(first[:length]) for length in range(len(first))}
    assert len(first) == Journal(IDENTITY).read(first)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({**IDENTITY, "source": "60303a"}, "another source"),
        ({**IDENTITY, "list_ids": ["a"]}, "another list_ids"),
        ({**IDENTITY, "list_ids": [], "encoding": "cp1252"}, "another encoding and list_ids"),
        ({key: IDENTITY[key] for key in ("source", "list_ids")}, "another encoding"),
        ({**IDENTITY, "version": 2}, "another version"),
    ],
)
def test_the_journal_of_another_import(other: dict[str, Any], words: str) -> None:
    """It is refused, and what differs is named."""
    with pytest.raises(ValueError, match=f"it belongs to an import of {words}$"):
        Journal(IDENTITY).read(Journal(other).first_line())


@pytest.mark.parametrize(
    "content",
    [b"email,first_name", b"email,first_name\n", b'{"email": "a"}\n', b"[]\n", b"7\n", b"\xff\n", b"\0\n", b"\0\0"],
)
def test_what_is_no_journal(content: bytes) -> None:
    """A file of the user's is refused, also one of a single line without an end."""
    with pytest.raises(ValueError, match=r"^it is not the journal of an import$"):
        Journal(IDENTITY).read(content)


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"7",
        b"{}",
        b'{"part": 1}',
        b'{"part": "one", "sending": "a.csv"}',
        b'{"part": 1, "activity_id": "a", "state": "completed"}',
        b'{"part": 1, "activity_id": "a", "state": "completed", "status": {"novelty": 1}}',
        b'{"part": 1, "activity_id": "a", "state": "completed", "status": []}',
        b'{"part": 1, "activity_id": "a", "state": "completed", "status": {"error_count": null}}',
    ],
)
def test_a_line_that_nobody_wrote(line: bytes) -> None:
    """A journal that was changed is of no use: what it says may be what was not sent."""
    good = Journal(IDENTITY).sending(1, "a.csv")

    with pytest.raises(ValueError, match=r"^line 3 is not one of a journal$"):
        Journal(IDENTITY).read(Journal(IDENTITY).first_line() + good + line + b"\n" + good)


def test_the_first_line_says_what_it_is() -> None:
    """To whoever opens the file."""
    line = json.loads(Journal(IDENTITY).first_line())

    assert {"journal": "ccactivity import", "version": 1, **IDENTITY, "list_ids": ["a", "b"]} == line
