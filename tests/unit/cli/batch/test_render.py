"""A batch as lines: what is in a frame, in how many columns and lines, and with which characters."""

from __future__ import annotations

from typing import Any

import pytest

from ccactivity import Activity, ActivityStatus
from ccactivity.cli.batch.render import Viewport, detail, duration, subject, truncate

from .activities import activity, batch_of, texts

WIDE = Viewport(width=120, height=40)


def test_frame() -> None:
    """A row for each activity, then all of them together, how they ended, what went wrong, and the quota."""
    status = ActivityStatus(items_total_count=5000, items_completed_count=1204)
    batch = batch_of(
        activity(1, percent=24, status=status),
        activity(2, "failed", 60, activity_errors=("The file could not be processed.",)),
    )

    assert [
        "00000001-cc52-11ea-9dad-fa163e3d9194  ━━────────  24%  processing   1,204 of 5,…",
        "00000002-cc52-11ea-9dad-fa163e3d9194  ━━━━━━────  60%  failed       The file co…",
        "",
        f"{'━' * 37}{'─' * 24}  1 of 2 ended  62%",
        "1 failed · 1 in progress",
        "00000002-cc52-11ea-9dad-fa163e3d9194  failed  The file could not be processed.",
        "12 requests spent today, at most 9,988 left",
    ] == texts(batch, Viewport(width=80, height=23))


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ({"source_file_name": "people.csv", "status": ActivityStatus(person_count=5)}, "people.csv"),
        ({"status": ActivityStatus(person_count=5, list_count=0)}, "import"),
        ({"status": ActivityStatus(list_count=3)}, "list deletion"),
        ({"status": ActivityStatus(list_count=3, items_total_count=10, items_completed_count=2)}, ""),
        ({"status": ActivityStatus(person_count=0, items_total_count=10, list_count=0)}, ""),
        ({"results_url": "/v3/contact_exports/5aecf179-cc52-11ea-9dad-fa163e3d9194"}, "export"),
        ({"results_url": "/v3/activities/5aecf179-cc52-11ea-9dad-fa163e3d9194/results"}, "tag change"),
    ],
)
def test_what_an_activity_is(known: dict[str, Any], name: str) -> None:
    """An activity is called by its file, or by its kind where its counters and links tell, and else by nothing."""
    assert name == subject(activity(1, **known))


def test_rows_are_called_by_name() -> None:
    """A row says what an activity is: in the place of most of the id, or at its end where there is room for both."""
    batch = batch_of(activity(1, source_file_name="子ども.csv"), activity(2))

    assert [
        "00000002-cc52-11ea-9dad-fa163e3d9194  ──────────   0%  processing",
        "00000001…  子ども.csv                 ──────────   0%  processing",
    ] == [text.rstrip() for text in texts(batch, Viewport(width=80, height=23))[:2]]
    assert texts(batch, WIDE)[1].startswith("00000001-cc52-11ea-9dad-fa163e3d9194  ")
    assert texts(batch, WIDE)[1].endswith("  子ども.csv")
    assert texts(batch, Viewport(width=60, height=23))[1].endswith("  子ども.csv")


def test_rows_that_do_not_fit_are_counted() -> None:
    """Below the rows it says how many more there are; nothing if all are shown."""
    batch = batch_of(*(activity(number) for number in range(15)))
    shown = texts(batch, Viewport(width=80, height=10))

    assert 6 == sum("processing" in text for text in shown)
    assert "9 more" == shown[6]
    assert "" == texts(batch, WIDE)[15]


@pytest.mark.parametrize("width", [8, 20, 39, 40, 60, 75, 76, 80, 110, 200])
@pytest.mark.parametrize("height", [1, 3, 6, 24])
def test_a_frame_fits_the_terminal(width: int, height: int) -> None:
    """No line is wider than the terminal, and there are no more lines than it has, whatever the server sends."""
    batch = batch_of(
        *(activity(number, percent=number, source_file_name="子どもの名簿.csv") for number in range(40)),
        *(activity(100 + number, "failed", activity_errors=("x" * 500,)) for number in range(20)),
        activity(200, "very_new_state_of_the_vendor", None),
    )
    batch.stop_following("a" * 128, "no")
    drawn = texts(batch, Viewport(width=width, height=height))

    assert len(drawn) <= height
    assert all(sum(1 + ("\u2e80" < c) for c in text) <= width for text in drawn)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """Bars, dots and foreign letters have a form in ASCII, wherever they stand."""
    batch = batch_of(activity(1, percent=50, source_file_name="Kündigungen.csv"), activity(2, "geprüft", None))
    batch.stop_following("kündigung", "nicht verfügbar")

    assert "".join(texts(batch, Viewport(width=120, height=24, unicode=False))).isascii()


def test_what_the_server_sends_is_escaped() -> None:
    """No text of the server's moves the cursor, sets a title, turns text around or is read as markup."""
    nasty = "\x1b]0;title\x07\x1b[2J\r\n\u202egnp.[bold red]x"
    batch = batch_of(
        Activity(activity_id="a\x1b[1m", state="odd\x1b[31m", source_file_name=nasty),
        activity(2, "failed", activity_errors=(nasty,)),
    )
    batch.stop_following("b\x1b[1m", nasty)
    shown = "".join(texts(batch, WIDE))

    assert shown.isprintable()
    assert "[bold red]x" in shown
    assert "\\x1b[2J" in detail(activity(2, "failed", activity_errors=(nasty,)))


def test_earlier_problems_are_counted() -> None:
    """Of many failures the last are shown, and how many there are besides."""
    batch = batch_of(*(activity(number, "failed") for number in range(100)))
    shown = [text for text in texts(batch, Viewport(width=80, height=24)) if "  failed" in text and "─" not in text]

    assert 4 == len(shown)
    assert "96 earlier errors" in texts(batch, Viewport(width=80, height=24))


def test_rate_and_time_left() -> None:
    """Once something has moved, a frame tells how fast, and how long the rest takes; a narrow one leaves that out."""
    batch = batch_of(activity(1), activity(2))
    batch.update(activity(1, percent=50), 10.0)

    assert texts(batch, WIDE, now=10.0)[-3].endswith("  0 of 2 ended  25%  about 30 s left  3.0/min")
    assert texts(batch, Viewport(width=44, height=40), now=10.0)[-3].endswith("  0 of 2 ended  25%")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (61, "1 min"),
        (3540, "59 min"),
        (7500, "2 h 05 min"),
        (86_399, "24 h 00 min"),
        (190_000, "2 d 5 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    """A predicted end is no more precise than it can be."""
    assert words == duration(seconds)


def test_truncate_counts_columns() -> None:
    """Wide letters take two columns, combining marks none, and what is cut shows."""
    assert "名簿…" == truncate("名簿名簿", 6)
    assert "e\u0301e\u0301" == truncate("e\u0301e\u0301", 2)
    assert "" == truncate("abc", 0)
