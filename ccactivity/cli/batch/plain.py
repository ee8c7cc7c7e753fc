"""A batch as plain lines, for files, pipes and terminals that cannot be drawn on. Pure; needs no extra.

There is a line for each state and each quarter of the way: one for each change would be a hundred for each activity.
The first one says what the activity is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ccactivity._text import escape

from .render import detail, subject, truncate

if TYPE_CHECKING:
    from ccactivity import Activity

__all__ = ["LineFormatter"]

_MAX_STATE_COLUMNS: Final = 40


class LineFormatter:
    """Formats the snapshots that are worth a line. `began`: the time from which the lines count."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._milestones: dict[str, tuple[object, int]] = {}

    def format(self, activity: Activity, now: float, label: str | None = None) -> str | None:
        """Return the line, None if the last one of this activity says as much. `label`: shown instead of the id."""
        first = activity.activity_id not in self._milestones
        milestone = (activity.state, int((activity.progress or 0.0) * 4))
        if self._milestones.get(activity.activity_id) == milestone:
            return None
        self._milestones[activity.activity_id] = milestone
        name = escape(activity.activity_id) if label is None else label
        state = truncate(escape(str(activity.state or "unknown")), _MAX_STATE_COLUMNS)
        if activity.done:
            more = detail(activity)
        else:
            more = "    " if activity.progress is None else f"{activity.progress * 100:3.0f}%"
            more += f"  {subject(activity)}" if first else ""
        return f"{now - self._began:7.1f} s  {name}  {state:<11}  {more}".rstrip()
