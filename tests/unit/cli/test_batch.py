"""The live view as a function of snapshots and the time: which rows, how fast, until when, and in how many columns."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from rich.console import Console

from ccactivity import Activity, ActivityStatus
from ccactivity.cli.batch.live import live_view, viewport_of
from ccactivity.cli.batch.plain import LineFormatter
from ccactivity.cli.batch.render import Line, Viewport, detail, duration, render_frame, summary, truncate
from ccactivity.cli.batch.state import BatchState

WIDE = Viewport(width=120, height=40)


def activity(number: int, state: str = "processing", percent: int | None = 0, **more: Any) -> Activity:
    activity_id = f"{number:08x}-cc52-11ea-9dad-fa163e3d9194"
    return Activity(activity_id=activity_id, state=state, percent_done=percent, **more)


def batch_of(*activities: Activity, now: float = 0.0) -> BatchState:
    batch = BatchState(0.0)
    for one in activities:
        batch.update(one, now)
    return batch


def numbers(batch: BatchState, count: int, now: float) -> list[int]:
    return [int(row.activity_id[:8], 16) for row in batch.rows(count, now)]


def texts(batch: BatchState, viewport: Viewport, now: float = 0.0) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines(batch, viewport, now)]


def lines(batch: BatchState, viewport: Viewport, now: float = 0.0) -> list[Line]:
    return render_frame(batch, viewport, spent=12, remaining=9_988, now=now)


# --- which rows -----------------------------------------------------------------------------------------------------


def test_moving_activities_come_before_waiting_ones() -> None:
    """What moves is shown before what waits, and waiting activities in the order in which they came."""
    batch = batch_of(activity(1, "initialized"), activity(2, "initialized"), activity(3), activity(4))

    assert [4, 3, 1] == numbers(batch, 3, now=1.0)


def test_a_row_keeps_its_place() -> None:
    """A change moves no row: a list that sorts itself cannot be read."""
    batch = batch_of(activity(1), activity(2), activity(3))
    before = numbers(batch, 3, now=0.0)
    batch.update(activity(before[2] and 1, percent=50), 1.0)
    batch.update(activity(2, "completed", 100), 1.5)

    assert before == numbers(batch, 3, now=2.0)


def test_an_ended_activity_lingers_and_then_gives_way() -> None:
    """Whoever looks sees how an activity ended, before a waiting one takes its row."""
    batch = batch_of(activity(1), activity(2, "initialized"))

    assert [1] == numbers(batch, 1, now=0.0)

    batch.update(activity(1, "completed", 100), 10.0)

    assert [1] == numbers(batch, 1, now=13.0)
    assert [2] == numbers(batch, 1, now=15.0)


def test_an_activity_that_stands_still_gives_way_to_one_that_moves() -> None:
    """A stuck activity does not hold a row for ever."""
    batch = batch_of(activity(1))

    assert [1] == numbers(batch, 1, now=0.0)

    batch.update(activity(2), 60.0)

    assert [2] == numbers(batch, 1, now=60.0)


def test_a_smaller_terminal_shows_fewer_rows_and_a_larger_one_more() -> None:
    """The size of the terminal may change between two frames."""
    batch = batch_of(*(activity(number) for number in range(1, 6)))
    first = numbers(batch, 5, now=0.0)

    assert first[:2] == numbers(batch, 2, now=0.0)
    assert set(first) == set(numbers(batch, 9, now=0.0))
    assert [] == numbers(batch, -1, now=0.0)


def test_what_has_ended_long_ago_fills_the_rows_that_are_free() -> None:
    """A batch that is over still shows its activities."""
    batch = batch_of(activity(1, "completed"), activity(2, "failed"))

    assert {1, 2} == set(numbers(batch, 10, now=1000.0))


# --- how fast -------------------------------------------------------------------------------------------------------


def test_rate_and_end_follow_from_what_was_seen_to_happen() -> None:
    """Half an activity in 10 s makes 3 a minute, and 30 s for the one and a half that are left."""
    batch = batch_of(activity(1), activity(2))
    batch.update(activity(1, percent=50), 10.0)

    assert pytest.approx(0.05) == batch.rate(10.0)
    assert pytest.approx(30.0) == batch.seconds_left(10.0)
    assert pytest.approx(0.25) == batch.progress


def test_what_was_done_before_the_first_look_is_no_speed() -> None:
    """Activities that are nearly done when they are first seen promise no early end."""
    batch = batch_of(activity(1, percent=90), now=5.0)

    assert batch.rate(10.0) is None
    assert batch.seconds_left(10.0) is None


def test_the_rate_is_that_of_the_last_minute() -> None:
    """A batch that has come to a stop says so within a minute."""
    batch = batch_of(activity(1))
    batch.update(activity(1, percent=50), 10.0)
    for second in range(20, 90, 10):
        batch.update(activity(1, percent=50), float(second))

    assert batch.rate(90.0) is None


def test_counts() -> None:
    """Everything is counted once, also what ended twice or was lost twice."""
    batch = BatchState(0.0, expected=5)
    refused = ActivityStatus(error_count=2)
    for one in (activity(1, "completed", status=refused), activity(2, "failed"), activity(2, "failed"), activity(3)):
        batch.update(one, 1.0)
    for _ in range(2):
        batch.stop_following("gone", "it is gone")

    assert (5, 2, 1, 1, 1) == (batch.total, batch.ended, batch.completed, batch.partial, batch.unfollowed)
    assert "1 completed, 1 of them with rows refused, 1 failed, 2 not ended, 1 could not be followed" == summary(batch)
    assert "nothing seen yet" == summary(BatchState(0.0))


# --- a frame --------------------------------------------------------------------------------------------------------


def test_frame() -> None:
    """A row for each activity, then all of them together, how they ended, what went wrong, and the quota."""
    status = ActivityStatus(items_total_count=5000, items_completed_count=1204)
    batch = batch_of(
        activity(1, percent=24, status=status),
        activity(2, "failed", 60, activity_errors=("The file could not be processed.",)),
    )

    assert [
        "00000001-cc52-11ea-9dad-fa163e3d9194  ━━────────  24 %  processing   1,204 of 5…",
        "00000002-cc52-11ea-9dad-fa163e3d9194  ━━━━━━────  60 %  failed       The file c…",
        "",
        f"{'━' * 37}{'─' * 23}  1 of 2 ended  62 %",
        "1 failed · 1 not ended",
        "00000002-cc52-11ea-9dad-fa163e3d9194  failed  The file could not be processed.",
        "12 requests spent today, at most 9,988 left",
    ] == texts(batch, Viewport(width=80, height=23))


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
    """Bars, dots and foreign letters have a form in ASCII."""
    batch = batch_of(activity(1, percent=50, source_file_name="Kündigungen.csv"))

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


def test_earlier_troubles_are_counted() -> None:
    """Of many failures the last are shown, and how many there are besides."""
    batch = batch_of(*(activity(number, "failed") for number in range(100)))
    shown = [text for text in texts(batch, Viewport(width=80, height=24)) if "  failed" in text and "─" not in text]

    assert 4 == len(shown)
    assert "96 earlier errors" in texts(batch, Viewport(width=80, height=24))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min"), (3540, "59 min"), (7500, "2 h 05 min"), (190_000, "2 d 5 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    """A predicted end is no more precise than it can be."""
    assert words == duration(seconds)


def test_crop_counts_columns() -> None:
    """Wide letters take two columns, combining marks none, and what is cut shows."""
    assert "名簿…" == truncate("名簿名簿", 6)
    assert "e\u0301e\u0301" == truncate("e\u0301e\u0301", 2)
    assert "" == truncate("abc", 0)


# --- lines ----------------------------------------------------------------------------------------------------------


def test_a_plain_line_for_each_state_and_quarter() -> None:
    """Plain lines tell of each state and of each quarter of the way, and escape what they show."""
    plain = LineFormatter(began=100.0)
    steps = [
        activity(1, "initialized"),
        activity(1, percent=1),
        activity(1, percent=20),
        activity(1, percent=50),
        activity(1, "completed", status=ActivityStatus(error_count=1)),
        Activity(activity_id="b", state="\x1b", percent_done=None),
    ]
    said = [plain.format(step, 101.5, "import 1" if step.activity_id != "b" else None) for step in steps]

    assert [
        "    1.5 s  import 1  initialized    0 %",
        "    1.5 s  import 1  processing     1 %",
        None,
        "    1.5 s  import 1  processing    50 %",
        "    1.5 s  import 1  completed    1 row refused",
        "    1.5 s  b  \\x1b",
    ] == said


# --- drawing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("no_color", [False, True])
async def test_live_view(no_color: bool) -> None:
    """The live view draws in place, with colours unless they are unwanted, and leaves its last frame."""
    drawn = io.StringIO()
    console = Console(
        file=drawn, force_terminal=True, width=80, height=24, color_system="standard", no_color=no_color, _environ={}
    )
    batch = batch_of(activity(1, percent=50))
    with live_view(console, lambda viewport: lines(batch, viewport), redirect_stderr=False):
        await asyncio.sleep(0.3)
        batch.update(activity(1, "completed", 100), 1.0)

    assert 80 == viewport_of(console).width
    assert 23 == viewport_of(console).height
    assert drawn.getvalue().count("0 of 1 ended") >= 2
    assert "1 of 1 ended" in drawn.getvalue()[drawn.getvalue().rindex("0 of 1 ended") :]
    assert (not no_color) == ("\x1b[36m" in drawn.getvalue())
    assert drawn.getvalue().endswith("\x1b[?25h")
