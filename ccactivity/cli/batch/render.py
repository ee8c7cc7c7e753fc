"""A board as lines of styled text, for a width and a height; knows no terminal, and what it is given is not trusted.

A line is a list of pieces, each a text and a style: "" or one of `STYLES`, which the shell turns into colours. Every
text that came from the server goes through `safe`.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

import attrs

from .state import Board, Trouble

if TYPE_CHECKING:
    from ccactivity import Activity

__all__ = ["STYLES", "Line", "Look", "crop", "detail", "draw", "duration", "outcome", "safe", "style_of", "summary"]

Line = list[tuple[str, str]]

STYLES: Final = ("good", "bad", "odd", "moving", "quiet")
_OF_STATE: Final = {
    "completed": "good",
    "failed": "bad",
    "cancelled": "odd",
    "timed_out": "odd",
    "processing": "moving",
}
_STATE_WIDTH: Final = 11
_MOST_TROUBLES: Final = 5
# From this width on there is room for a whole id.
_WHOLE_ID: Final = 76


@attrs.frozen
class Look:
    """What a terminal can show. `unicode`: whether it shows more than ASCII."""

    width: int
    height: int
    unicode: bool = True

    def full(self) -> str:
        return "━" if self.unicode else "#"

    def rest(self) -> str:
        return "─" if self.unicode else "-"

    def dot(self) -> str:
        return " · " if self.unicode else ", "

    def more(self) -> str:
        return "…" if self.unicode else "~"


# --- words ----------------------------------------------------------------------------------------------------------


def safe(text: str, *, ascii_only: bool = False) -> str:
    """Escape what could move a cursor, turn text around or ring a bell."""
    if ascii_only:
        return "".join(c if c.isprintable() and c.isascii() else ascii(c)[1:-1] for c in text)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _cells(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me") else 1


def crop(text: str, width: int, more: str = "…") -> str:
    """Cut a text to `width` columns; what was cut shows as `more`."""
    if len(text) * 2 <= width or sum(map(_cells, text)) <= width:
        return text
    kept, used = "", len(more)
    for character in text:
        used += _cells(character)
        if used > width:
            break
        kept += character
    return kept + more if width >= len(more) else ""


def duration(seconds: float) -> str:
    """Say a number of seconds in words: "40 s", "12 min", "3 h 05 min", "2 d 4 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def detail(activity: Activity) -> str:
    """Say what a state leaves out: rows refused, the first error, how many items, the file; escaped."""
    said: list[str] = []
    refused = activity.status.refused_count
    if activity.done and not activity.succeeded:
        said += activity.activity_errors[:1]
    elif refused:
        said.append(f"{refused:,} {'row' if refused == 1 else 'rows'} refused")
    total, completed = activity.status.items_total_count, activity.status.items_completed_count
    if total is not None and not activity.done:
        said.append(f"{total:,} items" if completed is None else f"{completed:,} of {total:,} items")
    if activity.source_file_name:
        said.append(activity.source_file_name)
    return safe(", ".join(said))


def outcome(board: Board) -> Line:
    """Say how a batch stands, each part with its style: what ended how, what is under way, what was lost sight of."""
    by_count = sorted(board.outcome.items(), key=lambda item: (item[0] != "completed", -item[1]))
    said: Line = []
    for state, count in by_count:
        said.append((f"{count:,} {safe(state)}", _OF_STATE.get(state, "")))
        if state == "completed" and board.partial:
            said.append((f"{board.partial:,} of them with rows refused", "odd"))
    if (under_way := board.total - board.ended - board.lost) > 0:
        said.append((f"{under_way:,} not ended", ""))
    if board.lost:
        said.append((f"{board.lost:,} lost sight of", "bad"))
    return said or [("nothing seen yet", "")]


def summary(board: Board) -> str:
    """Say in one line how a batch stands."""
    return ", ".join(text for text, _ in outcome(board))


# --- lines ----------------------------------------------------------------------------------------------------------


def draw(board: Board, look: Look, *, spent: float, remaining: float, now: float) -> list[Line]:
    """Draw a frame of at most `look.height` lines: the rows, then everything together, the troubles and the quota."""
    below = [_overall(board, look, now), _outcome(board, look)]
    troubles = _troubles(board, look, room=min(_MOST_TROUBLES, look.height // 4))
    below += [*troubles, _quota(look, spent, remaining)]
    room = look.height - len(below) - 1
    rows = [_row(activity, look) for activity in board.rows(room, now)]
    return [*rows, *([[]] if rows else []), *below][-look.height :]


def style_of(activity: Activity) -> str:
    """The style of an activity's state."""
    return "odd" if activity.partial else _OF_STATE.get(str(activity.state), "")


def _bar(share: float | None, width: int, style: str, look: Look) -> Line:
    full = int((share or 0.0) * width)
    return [(look.full() * full, style), (look.rest() * (width - full), "quiet")]


def _label(activity_id: str, look: Look) -> str:
    if look.width >= _WHOLE_ID:
        return f"{crop(safe(activity_id), 36, look.more()):<36}"
    return f"{crop(safe(activity_id), 9, look.more()):<9}"


def _row(activity: Activity, look: Look) -> Line:
    state = safe(str(activity.state or "unknown"), ascii_only=not look.unicode)
    percent = "" if activity.progress is None else f"{activity.progress * 100:.0f} %"
    line: Line = [(_label(activity.activity_id, look), ""), ("  ", "")]
    bar = 30 if look.width >= 110 else 10 if look.width >= _WHOLE_ID else min(14, look.width - 30)
    if bar > 3:
        # What the vendor does not tell shows as nothing; an end without all of the work shows how far it got.
        line += [*_bar(activity.progress, bar, style_of(activity), look), (" ", "")]
    # The bar alone has the colour of what moves: no light terminal shows thin letters in it well.
    style = "" if style_of(activity) == "moving" else style_of(activity)
    line += [(f"{percent:>5}  ", ""), (f"{crop(state, _STATE_WIDTH, look.more()):<{_STATE_WIDTH}}", style)]
    text = detail(activity) if look.unicode else safe(detail(activity), ascii_only=True)
    return _fit([*line, (f"  {text}", "quiet")], look)


def _overall(board: Board, look: Look, now: float) -> Line:
    rate, left = board.rate(now), board.left(now)
    said = [f"{board.ended:,} of {board.total:,} ended", f"{int(board.share * 100)} %"]
    if board.ended < board.total - board.lost:
        if left is not None:
            said.append(f"about {duration(left)} left")
        if rate is not None:
            said.append(f"{rate * 60:,.1f}/min")
    while len(said) > 1 and sum(map(len, said)) + 2 * len(said) > look.width - 10:
        said.pop()
    text = "".join(f"  {part}" for part in said)
    width = max(0, look.width - len(text))
    return _fit([*_bar(board.share, width, "bad" if board.ended > board.completed else "good", look), (text, "")], look)


def _outcome(board: Board, look: Look) -> Line:
    line: Line = []
    for part in outcome(board):
        line += [(look.dot() if line else "", "quiet"), part]
    return _fit(line, look)


def _troubles(board: Board, look: Look, room: int) -> list[Line]:
    count = len(board.troubles)
    hidden = board.ended - board.completed + board.lost - min(count, room)
    shown = list(board.troubles)[-(room - (hidden > 0)) :] if room > 1 else []
    lines = [_trouble(trouble, look) for trouble in shown]
    hidden = board.ended - board.completed + board.lost - len(shown)
    if hidden > 0 and shown:
        lines.insert(0, _fit([(f"{hidden:,} earlier {'error' if hidden == 1 else 'errors'}", "quiet")], look))
    return lines


def _trouble(trouble: Trouble, look: Look) -> Line:
    ended, why = (safe(text, ascii_only=not look.unicode) for text in (trouble.ended, trouble.why))
    style = _OF_STATE.get(trouble.ended, "bad")
    return _fit([(_label(trouble.activity_id, look), ""), (f"  {ended}", style), (f"  {why}", "")], look)


def _quota(look: Look, spent: float, remaining: float) -> Line:
    text = f"{spent:,.0f} {'request' if spent == 1 else 'requests'} spent today"
    return _fit([(text + (f", at most {remaining:,.0f} left" if remaining < 1e9 else ""), "quiet")], look)


def _fit(line: Line, look: Look) -> Line:
    """Cut a line at the width of the terminal: a line that wraps would put every later one in the wrong place."""
    fitted: Line = []
    room = look.width
    for text, style in line:
        if not text:
            continue
        cut = crop(text, room, look.more())
        if cut.strip() or cut == text:
            fitted.append((cut, style))
        room -= sum(map(_cells, cut))
        if cut != text:
            break
    return fitted
