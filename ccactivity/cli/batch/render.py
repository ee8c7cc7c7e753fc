"""A batch as lines of styled text, for a given width and height. Pure: it knows no terminal and no clock.

A line is a list of pieces, each a text and a style; `live` turns styles into colours. Whatever came from the server
goes through `escape`.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, Literal

import attrs

from ccactivity._text import escape

from .state import BatchState, Problem

if TYPE_CHECKING:
    from ccactivity import Activity

__all__ = ["Line", "Style", "Viewport", "detail", "duration", "render_frame", "subject", "summary", "truncate"]

Style = Literal["", "success", "failure", "warning", "moving", "dim"]
Line = list[tuple[str, Style]]

_STATE_STYLES: Final[dict[str, Style]] = {
    "completed": "success",
    "failed": "failure",
    "cancelled": "warning",
    "timed_out": "warning",
    "processing": "moving",
}
_STATE_COLUMNS: Final = 11
_ID_COLUMNS: Final = 36
_SHORT_ID_COLUMNS: Final = 9
_MIN_WIDTH_FOR_WHOLE_IDS: Final = 76
_MIN_WIDTH_FOR_LONG_BARS: Final = 110
_MAX_PROBLEM_LINES: Final = 5


@attrs.frozen
class Viewport:
    """The columns and lines to fill. `unicode`: whether the terminal shows more than ASCII."""

    width: int
    height: int
    unicode: bool = True

    def escape(self, text: str) -> str:
        """Escape what the terminal cannot or must not show."""
        return escape(text, ascii_only=not self.unicode)

    def truncate(self, text: str, width: int) -> str:
        """Cut a text to `width` columns."""
        return truncate(text, width, "…" if self.unicode else "~")


# --- words ----------------------------------------------------------------------------------------------------------


def _columns(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me") else 1


def truncate(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut a text to `width` columns; the ellipsis shows that something was cut."""
    if len(text) * 2 <= width or sum(map(_columns, text)) <= width:
        return text
    kept, used = 0, len(ellipsis)
    while (used := used + _columns(text[kept])) <= width:
        kept += 1
    return text[:kept] + ellipsis if width >= len(ellipsis) else ""


def duration(seconds: float) -> str:
    """Say a number of seconds in words: "40 s", "12 min", "27 h 05 min", "2 d 4 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def subject(activity: Activity) -> str:
    """Say what an activity is, escaped: its file, or else its kind, if that can be told; empty if not.

    The vendor names no kind. Its Swagger file has the contacts for imports only, the results for exports and tags.
    """
    counters, results = activity.status, activity.results_url
    if activity.source_file_name:
        return escape(activity.source_file_name)
    if counters.person_count:
        return "import"
    if results:
        return "export" if "_exports/" in results else "tag change"
    return "list deletion" if counters.list_count and counters.items_total_count is None else ""


def detail(activity: Activity, *, with_subject: bool = True) -> str:
    """Say what the state leaves out, escaped: what it is, the first error or the rows refused, the number of items."""
    parts = [subject(activity)] if with_subject and subject(activity) else []
    refused = activity.status.refused_count
    if activity.done and not activity.succeeded:
        parts += activity.activity_errors[:1]
    elif refused:
        parts.append(f"{refused:,} {'row' if refused == 1 else 'rows'} refused")
    total, completed = activity.status.items_total_count, activity.status.items_completed_count
    if total is not None and not activity.done:
        parts.append(f"{total:,} items" if completed is None else f"{completed:,} of {total:,} items")
    return escape(", ".join(parts))


def summary(batch: BatchState) -> str:
    """Say in one line how a batch stands."""
    return ", ".join(text for text, _ in _counts(batch))


def _counts(batch: BatchState) -> Line:
    """How many activities completed, ended otherwise, are in progress, were late, and could not be followed."""
    parts: Line = []
    for state, count in sorted(batch.end_states.items(), key=lambda item: (item[0] != "completed", -item[1])):
        parts.append((f"{count:,} {escape(state)}", _STATE_STYLES.get(state, "")))
        if state == "completed" and batch.partial:
            parts.append((f"{batch.partial:,} of them with rows refused", "warning"))
    in_progress = batch.total - batch.ended - batch.unfollowed
    if not batch.seen and in_progress + batch.late:
        parts.append((f"no answer for {in_progress + batch.late:,}", "warning"))
    elif in_progress > 0:
        parts.append((f"{in_progress:,} in progress", ""))
    if batch.seen and batch.late:
        parts.append((f"{batch.late:,} did not end in time", "warning"))
    if batch.unfollowed > batch.late:
        parts.append((f"{batch.unfollowed - batch.late:,} could not be followed", "failure"))
    return parts or [("nothing seen yet", "")]


# --- lines ----------------------------------------------------------------------------------------------------------


def render_frame(batch: BatchState, viewport: Viewport, *, spent: float, remaining: float, now: float) -> list[Line]:
    """Return the lines of a frame: a row for each activity, then the whole batch, its problems and the quota."""
    problems = _problem_lines(batch, viewport, max_lines=min(_MAX_PROBLEM_LINES, viewport.height // 4))
    below = [_overall_line(batch, viewport, now), _counts_line(batch, viewport), *problems]
    below.append(_quota_line(viewport, spent, remaining))
    rows = [_row(activity, viewport) for activity in batch.rows(viewport.height - len(below) - 1, now)]
    hidden = batch.seen - len(rows)
    between: Line = [(f"{hidden:,} more", "dim")] if hidden else []
    return [*rows, *([between] if rows else []), *below][-viewport.height :]


def _row(activity: Activity, viewport: Viewport) -> Line:
    style = "warning" if activity.partial else _STATE_STYLES.get(str(activity.state), "")
    # Where there is no room for both, what it is takes the place of most of the id.
    name = subject(activity) if _MIN_WIDTH_FOR_WHOLE_IDS <= viewport.width < _MIN_WIDTH_FOR_LONG_BARS else ""
    line: Line = [(_label(activity.activity_id, viewport, name), ""), ("  ", "")]
    bar_columns = min(14, viewport.width - 30)
    if viewport.width >= _MIN_WIDTH_FOR_WHOLE_IDS:
        bar_columns = 30 if viewport.width >= _MIN_WIDTH_FOR_LONG_BARS else 10
    if bar_columns > 3:
        # Unknown progress shows as an empty bar; an activity that ended early shows how far it got.
        line += [*_bar(activity.progress, bar_columns, style, viewport), (" ", "")]
    percent = "" if activity.progress is None else f"{activity.progress * 100:.0f}%"
    state = viewport.truncate(viewport.escape(str(activity.state or "unknown")), _STATE_COLUMNS)
    # Only the bar has the colour of movement: thin letters in it are hard to read on a light terminal.
    line += [(f"{percent:>4}  ", ""), (f"{state:<{_STATE_COLUMNS}}", "" if style == "moving" else style)]
    more = viewport.escape(detail(activity, with_subject=not name))
    return _fit([*line, (f"  {more}".rstrip(), "dim")], viewport)


def _label(activity_id: str, viewport: Viewport, name: str = "") -> str:
    columns = _ID_COLUMNS if viewport.width >= _MIN_WIDTH_FOR_WHOLE_IDS else _SHORT_ID_COLUMNS
    text = viewport.escape(activity_id)
    if name:
        text = f"{viewport.truncate(text, _SHORT_ID_COLUMNS)}  {viewport.escape(name)}"
    text = viewport.truncate(text, columns)
    return text + " " * (columns - sum(map(_columns, text)))


def _bar(progress: float | None, columns: int, style: Style, viewport: Viewport) -> Line:
    filled = int((progress or 0.0) * columns)
    filled_glyph, empty_glyph = "━─" if viewport.unicode else "#-"
    return [(filled_glyph * filled, style), (empty_glyph * (columns - filled), "dim")]


def _overall_line(batch: BatchState, viewport: Viewport, now: float) -> Line:
    parts = [f"{batch.ended:,} of {batch.total:,} ended", f"{int(batch.progress * 100)}%"]
    rate, seconds_left = batch.rate(now), batch.seconds_left(now)
    if batch.ended < batch.total - batch.unfollowed and rate is not None and seconds_left is not None:
        parts += [f"about {duration(seconds_left)} left", f"{rate * 60:,.1f}/min"]
    while len(parts) > 1 and sum(map(len, parts)) + 2 * len(parts) > viewport.width - 10:
        parts.pop()
    text = "".join(f"  {part}" for part in parts)
    style: Style = "failure" if batch.ended > batch.completed else "success"
    bar = _bar(batch.progress, max(0, viewport.width - len(text)), style, viewport)
    return _fit([*bar, (text, "")], viewport)


def _counts_line(batch: BatchState, viewport: Viewport) -> Line:
    line: Line = []
    separator = " · " if viewport.unicode else ", "
    for text, style in _counts(batch):
        line += [(separator if line else "", "dim"), (viewport.escape(text), style)]
    return _fit(line, viewport)


def _problem_lines(batch: BatchState, viewport: Viewport, max_lines: int) -> list[Line]:
    """The latest problems; if there are more than `max_lines`, the first line tells how many are left out."""
    total = batch.ended - batch.completed + batch.unfollowed
    if max_lines < 2 or not total:
        return []
    latest = list(batch.problems)[-(max_lines if total <= max_lines else max_lines - 1) :]
    lines = [_problem_line(problem, viewport) for problem in latest]
    if hidden := total - len(latest):
        lines.insert(0, _fit([(f"{hidden:,} earlier {'error' if hidden == 1 else 'errors'}", "dim")], viewport))
    return lines


def _problem_line(problem: Problem, viewport: Viewport) -> Line:
    outcome, reason = viewport.escape(problem.outcome), viewport.escape(problem.reason)
    style = _STATE_STYLES.get(problem.outcome, "failure")
    return _fit(
        [(_label(problem.activity_id, viewport), ""), (f"  {outcome}", style), (f"  {reason}".rstrip(), "")], viewport
    )


def _quota_line(viewport: Viewport, spent: float, remaining: float) -> Line:
    text = f"{spent:,.0f} {'request' if spent == 1 else 'requests'} spent today"
    return _fit([(text + (f", at most {remaining:,.0f} left" if remaining < 1e9 else ""), "dim")], viewport)


def _fit(line: Line, viewport: Viewport) -> Line:
    """Cut a line at the width of the viewport: a line that wraps would put every later one in the wrong place."""
    fitted: Line = []
    room = viewport.width
    for text, style in line:
        if not text:
            continue
        cut = viewport.truncate(text, room)
        fitted.append((cut, style))
        room -= sum(map(_columns, cut))
        if cut != text:
            break
    return fitted
