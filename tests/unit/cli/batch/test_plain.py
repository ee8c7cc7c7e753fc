"""A batch as plain lines."""

from __future__ import annotations

from ccactivity import Activity, ActivityStatus
from ccactivity.cli.batch.plain import LineFormatter

from .activities import activity


def test_a_plain_line_for_each_state_and_quarter() -> None:
    """A line tells of each state and each quarter of the way, the first of what it is; all that is shown is escaped."""
    plain = LineFormatter(began=100.0)
    steps = [
        activity(1, "initialized", source_file_name="people.csv"),
        activity(1, percent=1),
        activity(1, percent=20),
        activity(1, percent=50),
        activity(1, "completed", status=ActivityStatus(error_count=1)),
        Activity(activity_id="b", state="\x1b", percent_done=None),
    ]
    said = [plain.format(step, 101.5, "import 1" if step.activity_id != "b" else None) for step in steps]

    assert [
        "    1.5 s  import 1  initialized    0%  people.csv",
        "    1.5 s  import 1  processing     1%",
        None,
        "    1.5 s  import 1  processing    50%",
        "    1.5 s  import 1  completed    1 row refused",
        "    1.5 s  b  \\x1b",
    ] == said
