"""A batch as plain lines, for files, pipes and terminals that cannot be drawn on; needs nothing but the library.

A line for each state and each quarter of the way: one for every change would be a hundred for each activity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .render import crop, detail, safe

if TYPE_CHECKING:
    from ccactivity import Activity

__all__ = ["Lines"]


class Lines:
    """Makes a line of a snapshot that is worth one. `began`: the time from which the lines count."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._shown: dict[str, tuple[object, int]] = {}

    def line(self, activity: Activity, now: float, label: str | None = None) -> str | None:
        """Return the line, None if the last one of this activity says as much. `label` stands for the id."""
        mark = (activity.state, int((activity.progress or 0.0) * 4))
        if self._shown.get(activity.activity_id) == mark:
            return None
        self._shown[activity.activity_id] = mark
        name = safe(activity.activity_id) if label is None else label
        state = crop(safe(str(activity.state or "unknown")), 40)
        if activity.done:
            more = detail(activity)
        else:
            more = "" if activity.progress is None else f"{activity.progress * 100:3.0f} %"
        return f"{now - self._began:7.1f} s  {name}  {state:<11}  {more}".rstrip()
