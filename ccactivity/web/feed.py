"""What the page shows: the newest snapshot of each activity as a row, and what a viewer has not got yet. Pure.

1. A viewer is a position in the sequence of changes, and no queue: newer values replace older ones, so whoever is slow
   gets the newest of each row, and costs no memory.
2. The keys of the last 1,000 changes are remembered. Whoever is further behind gets the whole snapshot, and so does
   whoever comes back after a restart: the id of an event begins with that of the feed.
3. Viewers at one position get the same bytes, which are encoded once, and kept for a few positions.
4. The parts of one imported file are one row. They are known by their names, `<stem>-<part>of<parts>-<8 hex>.csv`.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from ccactivity import Activity

__all__ = ["Feed", "PageEvent", "Position"]

_RING_SIZE: Final = 1_000  # changes
_MAX_KEPT: Final = 20  # positions whose events are kept encoded
_MAX_ROWS: Final = 10_000
_MAX_MESSAGES: Final = 20  # in a row
_MAX_CHARACTERS: Final = 300  # of a name or a message
_PART: Final = re.compile(r"(.+)-([0-9]{1,6})of([0-9]{1,6})-[0-9a-f]{8}\.csv", re.DOTALL)
_SECTIONS: Final = ("failed", "running", "waiting", "ended")  # as they stand on the page
# The section of a state, and the word for it. A state that the vendor has not documented has not ended.
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "initialized": ("waiting", "waiting"),
    "processing": ("running", "running"),
    "completed": ("ended", "completed"),
    "cancelled": ("failed", "cancelled"),
    "failed": ("failed", "failed"),
    "timed_out": ("failed", "timed out"),
}
_Row = dict[str, Any]


@attrs.frozen
class Position:
    """What a viewer has got: the changes up to `sequence`, and the status with the number `status`."""

    sequence: int
    status: int


@attrs.frozen(kw_only=True, slots=False)  # a cached property needs a place
class PageEvent:
    """An event of the page's stream, as server-sent events have them.

    `event`: "snapshot" (all rows), "change" (rows that changed), "quota" (requests) or "end". `data`: as JSON text.
    `id`: for the header Last-Event-ID; None where the former one stays.
    """

    event: str
    data: str
    id: str | None = None

    @cached_property
    def encoded(self) -> bytes:
        """The bytes of the event in a stream of the type text/event-stream."""
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.event}\ndata: {self.data}\n\n".encode()


class Feed:
    """The rows and their changes. `boot`: tells the events of this feed from those before a restart.

    `max_rows`: of more, the oldest in which nothing more will happen are dropped.
    """

    def __init__(self, boot: str, *, max_rows: int = _MAX_ROWS) -> None:
        self._boot = boot
        self._max_rows = max_rows
        self._activities: dict[str, Activity | None] = {}
        self._troubles: dict[str, str] = {}  # why an id cannot be followed
        self._keys: dict[str, str] = {}  # of the row of each id
        self._members: dict[str, list[str]] = {}  # the ids of each row
        # Of each stem, part and number of parts: which file of theirs a name belongs to, the first 1, in this order.
        self._files: dict[tuple[str | Any, ...], dict[str, int]] = {}
        self._over: dict[str, None] = {}  # rows in which nothing more will happen, the oldest first
        self._ring: deque[str] = deque(maxlen=_RING_SIZE)
        self.rows: dict[str, _Row] = {}
        self.status: dict[str, Any] = {}
        self.position: Position = Position(0, 0)
        self._events: dict[Position | None, list[PageEvent]] = {}  # that lead to the present position

    # --- what is known ----------------------------------------------------------------------------------------------

    def __contains__(self, activity_id: str) -> bool:
        return activity_id in self._keys

    def expect(self, activity_id: str) -> None:
        """Show an activity, of which nothing needs to be known yet."""
        if activity_id not in self:
            self._place(activity_id, activity_id, None)

    def put(self, activity: Activity) -> None:
        """Show a snapshot, unless a newer one is shown."""
        last = self._activities.get(activity.activity_id)
        if last is not None and activity.older_than(last):
            return
        self._troubles.pop(activity.activity_id, None)
        self._place(activity.activity_id, self._key_of(activity), activity)

    def fail(self, activity_id: str, reason: str) -> None:
        """Show why an activity cannot be followed."""
        self.expect(activity_id)  # its row may have been dropped, if it had ended and is followed again
        self._troubles[activity_id] = reason
        self._show(self._keys[activity_id])

    def set_status(self, status: dict[str, Any]) -> None:
        """Replace what concerns all rows: the requests of the day, and what is wrong."""
        if status != self.status:
            self.status = status
            self._move(attrs.evolve(self.position, status=self.position.status + 1))

    def _key_of(self, activity: Activity) -> str:
        """The row of an activity: its own, or that of the first file that lacks this part, or has it by this name."""
        old = self._keys.get(activity.activity_id, activity.activity_id)
        name = activity.source_file_name or ""
        if old != activity.activity_id or (match := _PART.fullmatch(name)) is None:
            return old
        files = self._files.setdefault(match.groups(), {})
        return f"{match[1]}/{match[3]}/{files.setdefault(name, next(reversed(files.values()), 0) + 1)}"

    def _name_of(self, activity_id: str) -> str:
        activity = self._activities[activity_id]
        return (activity.source_file_name if activity else None) or ""

    def _place(self, activity_id: str, key: str, activity: Activity | None) -> None:
        old = self._keys.get(activity_id)
        if old is not None and old != key:
            self._remove(old)
        if old != key:
            self._keys[activity_id] = key
            self._members.setdefault(key, []).append(activity_id)
        self._activities[activity_id] = activity
        self._show(key)

    def _show(self, key: str) -> None:
        ids = self._members[key]
        parts = [_describe(self._activities[one], self._troubles.get(one)) for one in ids]
        row = {"key": key, "ids": list(ids), **_merge(key, list(map(self._name_of, ids)), parts)}
        if row == self.rows.get(key):
            return
        self.rows[key] = row
        self._note(key)
        self._over.pop(key, None)
        if row["over"]:
            self._over[key] = None
        while len(self.rows) > self._max_rows and self._over:
            self._remove(next(iter(self._over)))

    def _remove(self, key: str) -> None:
        for activity_id in self._members.pop(key):
            self._forget_name(self._name_of(activity_id))
            del self._keys[activity_id], self._activities[activity_id]
            self._troubles.pop(activity_id, None)
        del self.rows[key]
        self._over.pop(key, None)
        self._note(key)

    def _forget_name(self, name: str) -> None:
        if match := _PART.fullmatch(name):
            files = self._files.get(match.groups(), {})
            files.pop(name, None)
            if not files:
                self._files.pop(match.groups(), None)

    def _note(self, key: str) -> None:
        self._ring.append(key)
        self._move(attrs.evolve(self.position, sequence=self.position.sequence + 1))

    def _move(self, position: Position) -> None:
        self.position = position
        self._events = {}

    # --- what a viewer gets -----------------------------------------------------------------------------------------

    def resume(self, last_event_id: str | None) -> Position | None:
        """Return the position of a viewer who got this event last; None if they need everything."""
        boot, _, number = (last_event_id or "").rpartition("-")
        known = boot == self._boot and re.fullmatch(r"[0-9]{1,15}", number) is not None
        return Position(int(number), 0) if known and int(number) <= self.position.sequence else None

    def since(self, position: Position | None) -> list[PageEvent]:
        """Return the events that take a viewer from a position, or from nothing, to the present one."""
        if position is not None and self.position.sequence - position.sequence > len(self._ring):
            position = None  # nobody remembers what they miss
        if position not in self._events:
            if len(self._events) == _MAX_KEPT:
                self._events.clear()  # each may be as large as all of the rows
            self._events[position] = list(self._make_events(position))
        return self._events[position]

    def _make_events(self, position: Position | None) -> Iterator[PageEvent]:
        event_id = f"{self._boot}-{self.position.sequence}"
        missed = self.position.sequence - position.sequence if position else 0
        if position is None:
            yield PageEvent(event="snapshot", data=_json({"rows": list(self.rows.values())}), id=event_id)
        elif missed:
            keys = dict.fromkeys(islice(self._ring, len(self._ring) - missed, None))
            rows = [self.rows.get(key, {"key": key, "gone": True}) for key in keys]
            yield PageEvent(event="change", data=_json({"rows": rows}), id=event_id)
        if self.status and (position is None or position.status != self.position.status):
            yield PageEvent(event="quota", data=_json(self.status))


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _part_number(name: str) -> str | None:
    match = _PART.fullmatch(name)
    return match and match[2]


def _describe(activity: Activity | None, trouble: str | None) -> _Row:
    """What a row shows of one activity; `trouble`: why it cannot be followed."""
    section, word = ("waiting", "not seen yet") if activity is None else _section_of(activity.state)
    row: _Row = {"section": section, "state": word, "progress": None, "rows": None, "refused": 0, "at": None}
    messages: list[str] = []
    if activity is not None:
        counters, at = activity.status, activity.updated_at or activity.completed_at or activity.created_at
        row["progress"] = activity.progress
        row["rows"] = counters.items_total_count if counters.person_count is None else counters.person_count
        row["refused"] = counters.refused_count
        row["at"] = at and at.isoformat()
        messages += activity.activity_errors
    if trouble is not None:
        row |= {"section": "failed", "state": "not followed"}
        messages.insert(0, trouble)
    return {**row, "over": row["section"] in ("failed", "ended"), "errors": messages}


def _section_of(state: str | None) -> tuple[str, str]:
    return _STATES.get(state or "") or ("running", _cut(state or "state unknown"))


def _merge(key: str, names: list[str], parts: list[_Row]) -> _Row:
    """One row for one activity, or for the parts of a file that are known; they are fewer while it is submitted."""
    row, messages = parts[0], parts[0]["errors"]
    row["name"] = _cut(names[0]) or None
    if "/" in key:  # which no id has
        stem, of, _ = key.rsplit("/", 2)
        whole = max(int(of), len(parts))  # a part that was sent twice is there twice
        over, failed = sum(part["over"] for part in parts), sum(part["section"] == "failed" for part in parts)
        sections = {part["section"] for part in parts} | ({"running"} if 0 < over < whole else set())
        section = next(one for one in _SECTIONS if one in sections)
        counts = [part["rows"] for part in parts if part["rows"] is not None]
        messages = [
            f"part {_part_number(name)}: {text}"
            for name, part in zip(names, parts, strict=True)
            for text in part["errors"]
        ]
        row = {
            "name": _cut(stem),
            "section": section,
            "state": {"failed": f"{failed} of {whole} parts failed", "ended": "completed"}.get(section, section),
            "progress": sum(part["progress"] or 0.0 for part in parts) / whole,
            "rows": sum(counts) if counts else None,
            "refused": sum(part["refused"] for part in parts),
            "at": max((part["at"] for part in parts if part["at"]), default=None),
            "over": over >= whole,
            "parts": {"over": over, "of": whole},
        }
    row["progress"] = row["progress"] and round(row["progress"], 3)
    row["errors"] = [_cut(text) for text in messages[:_MAX_MESSAGES]]
    row["more_errors"] = max(0, len(messages) - _MAX_MESSAGES)
    return row


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "…"
