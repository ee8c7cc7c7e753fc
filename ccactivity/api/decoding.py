"""The decoder: bodies of answers into models. Pure.

It is tolerant of values and strict about shape. A field of the wrong type becomes None and is noticed, and its row
lives. What cannot be understood at all (not JSON, no object, no id, a page without rows) is a `DecodeError`, because
"nothing there" and "nothing understood" must never look alike.

Most of the work of this library is done here, so it takes few steps for each value. Rows are padded with None, so that
generated code needs no `in` checks (`_drafts`). The same few timestamps come again with every look, so they are cached.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_type_hints

import attrs

from .._text import escape
from ..errors import DecodeError
from ..models import Activity, ActivityState, ActivityStatus, SendRecord, SendStatus
from ._drafts import Hook, make_reader

__all__ = ["ActivityPage", "Decoder", "canonical_id", "decode_json"]

T = TypeVar("T", bound=attrs.AttrsInstance)
# A page of 500 rows has at most 1,500 that differ, and no timestamp that anybody writes is longer.
_MAX_CACHED_TIMESTAMPS: Final = 2048
_MAX_CACHED_TIMESTAMP_LENGTH: Final = 32
_UUID: Final = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@attrs.frozen
class ActivityPage:
    """One page of the list.

    `next`: the next link as it came, unchecked. `reach`: which row, from 1, was the last one wanted; 0 if none was.
    """

    activities: tuple[Activity, ...]
    next: object
    reach: int


def decode_json(body: bytes, *, bracketed: bool = False) -> Any:
    """Return the JSON value of a body, or the array that it is the inside of; DecodeError."""
    try:
        return json.loads(b"[%b]" % body if bracketed else body)
    except (ValueError, RecursionError) as error:
        extra = isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
        problem = "more than one JSON value" if extra else "not JSON" if body.strip() else "an empty answer"
    raise DecodeError(problem, excerpt=_excerpt(body))


def _excerpt(body: bytes) -> str:
    return f"'{escape(body[:80].decode('utf-8', 'replace'))}'" if body else ""


class Decoder:
    """Decodes the bodies of answers. `notice(field, value)` is told of every value that was not what is documented."""

    def __init__(self, notice: Callable[[str, object], None]) -> None:
        self._notice = notice
        self._timestamps = _TimestampCache()
        self._status = self._reader_of(ActivityStatus, {})
        self._activity = self._reader_of(
            Activity,
            {
                "activity_id": None,  # checked before
                "state": self._enum_hook("state", *ActivityState, time_out=ActivityState.TIMED_OUT),
                "activity_errors": self._decode_messages,
                "status": self._decode_counters,
                "self_url": _href_hook("self"),
                "results_url": _href_hook("results"),
            },
            {"self_url": "_links", "results_url": "_links"},
        )
        self._send = self._reader_of(
            SendRecord,
            {
                "send_status": self._enum_hook("send_status", *SendStatus),
                "contact_list_ids": self._tuple_hook("contact_list_ids", str),
                "segment_ids": self._tuple_hook("segment_ids", int),
            },
        )

    def decode_activity(self, body: bytes, wanted: str) -> Activity:
        """Read one activity; `DecodeError` unless it is the wanted one. Its id is as it is written there."""
        activity = self.decode_created(body)
        if activity.activity_id != wanted and canonical_id(activity.activity_id) != canonical_id(wanted):
            raise DecodeError("not the activity that was asked for", excerpt=_excerpt(body))
        return _rename(activity, wanted)

    def decode_created(self, body: bytes) -> Activity:
        """Read the activity that a submission has created; `DecodeError` unless it has an id."""
        row = decode_json(body)
        if not _is_activity(row):
            raise DecodeError("not an activity", excerpt=_excerpt(body))
        return self._activity(row)

    def decode_page(
        self,
        body: bytes,
        wanted: Collection[str] | None = None,
        known: Callable[[str], Activity | None] | None = None,
        spellings: Mapping[str, str] | None = None,
    ) -> ActivityPage:
        """Read one page of the list, of its rows only the wanted ones (None: all).

        A row that is no activity is left out and noticed. If no row is one, the page is a `DecodeError`. A row that is
        the same as that of the activity which is `known` by its id is not read again: the page has that very activity.
        `spellings`: wanted ids that are not written as they are compared, by how they are compared.
        """
        data = decode_json(body)
        rows = data.get("activities") if isinstance(data, dict) else None
        if not isinstance(rows, list):
            raise DecodeError("not a page of activities", excerpt=_excerpt(body))
        links = data.get("_links")
        # What cannot be understood is no last page, and is left to who judges links.
        following = links.get("next") if isinstance(links, dict) else links or None
        href = following.get("href") if isinstance(following, dict) else following
        understood = self._good_rows(rows, _is_activity, "activities", body)
        if wanted is None:
            return ActivityPage(tuple(map(self._activity, understood)), href, len(understood))
        chosen, reach = [], 0
        for place, row in enumerate(understood, 1):
            key = row["activity_id"]
            if key not in wanted and (not spellings or (key := spellings.get(canonical_id(key))) is None):
                continue
            chosen.append(self._decode_unless_same(row, None if known is None else known(key), key))
            reach = place
        return ActivityPage(tuple(chosen), href, reach)

    def decode_send_history(self, body: bytes) -> list[SendRecord]:
        """Read a send history. The vendor's page shows it without its brackets, and a single send as bare object."""
        rows = decode_json(body, bracketed=True)
        if len(rows) == 1 and isinstance(rows[0], list):
            rows = rows[0]
        elif not (rows and all(map(_is_object, rows)) and "send_id" in rows[0]):
            raise DecodeError("not a send history", excerpt=_excerpt(body))
        return [self._decode_record(row) for row in self._good_rows(rows, _is_object, "send_history", body)]

    def _good_rows(self, rows: list[Any], is_one: Callable[[Any], bool], what: str, body: bytes) -> list[Any]:
        """The rows that are what they should be; the others are noticed, and if they are all, it is a DecodeError."""
        good = [row for row in rows if is_one(row)]
        if len(good) < len(rows):
            if not good:
                raise DecodeError(f"not one of its rows is understood as {what}", excerpt=_excerpt(body))
            self._notice(what, next(row for row in rows if not is_one(row)))
        return good

    def _decode_unless_same(self, row: dict[str, Any], last: Activity | None, activity_id: str) -> Activity:
        try:
            if last is not None and last.raw == row:
                return last
        except RecursionError:  # nested as deep as could be decoded
            pass
        return _rename(self._activity(row), activity_id)

    def _decode_record(self, row: dict[str, Any]) -> SendRecord:
        also = {"contact_list_ids": row["contact_lists_ids"]} if "contact_lists_ids" in row else {}
        record = self._send({**also, **row})
        return attrs.evolve(record, raw=row) if also else record

    def _reader_of(
        self, cls: type[T], special: Mapping[str, Hook | None], keys: Mapping[str, str] | None = None
    ) -> Callable[[dict[str, Any]], T]:
        """Find the hooks of a class: the special ones, and for what may be None that of its exact type."""
        hooks = dict(special)
        for name, hint in get_type_hints(cls).items():
            if name not in hooks and NoneType in get_args(hint):
                exact = get_args(hint)[0]
                hooks[name] = self._timestamp_hook(name) if exact is datetime else self._value_hook(name, exact)
        return make_reader(cls, hooks, keys or {})

    def _timestamp_hook(self, name: str) -> Hook:
        stamps = self._timestamps

        def read(value: Any, _: Any) -> datetime | None:
            if value is None:
                return None
            try:
                return stamps[value]
            except (TypeError, ValueError, OverflowError):
                self._notice(name, value)
                return None

        return read

    def _value_hook(self, name: str, exact: type[int | str]) -> Hook:
        def read(value: Any, _: Any) -> Any:
            if value is None or type(value) is exact:
                return value
            number = _to_integer(value) if exact is int else None
            if number is None:
                self._notice(name, value)
            return number

        return read

    def _tuple_hook(self, name: str, exact: type[int | str]) -> Hook:
        read_one = self._value_hook(name, exact)

        def read(value: Any, _: Any) -> tuple[Any, ...]:
            items = [read_one(item, None) for item in (value if isinstance(value, list) else [value])]
            return tuple(item for item in items if item is not None)

        return read

    def _enum_hook(self, name: str, *words: StrEnum, **aliases: StrEnum) -> Hook:
        known = {str(word): word for word in words} | aliases

        def read(value: Any, _: Any) -> str | None:
            try:
                return known[value]
            except (KeyError, TypeError):
                if value is not None:
                    self._notice(name, value)
                return value if isinstance(value, str) else None

        return read

    def _decode_counters(self, value: Any, _: Any) -> ActivityStatus:
        if not isinstance(value, dict):
            if value is not None:
                self._notice("status", value)
            value = {}
        return self._status(value)

    def _decode_messages(self, value: Any, _: Any) -> tuple[str, ...]:
        """Errors are strings, or objects with a message (as deleting a tag gives them), or both; a bare one counts."""
        if not value:
            return ()
        items = value if isinstance(value, list) else [value]
        if {*map(type, items)} == {str}:
            return tuple(items)
        return tuple(_to_message(item) for item in items if item is not None)


class _TimestampCache(dict[str, datetime]):
    """Timestamps of RFC 3339 by their text; ValueError, TypeError or OverflowError for anything else."""

    def __missing__(self, text: str) -> datetime:
        # fromisoformat takes more (weeks, dates alone, no zone).
        plain = text[4:20:3] in ("--T::.", "--T::Z", "--T::+", "--T::-") and " " not in text
        if not plain or (text[-1] != "Z" and (text[-6] not in "+-" or text[-3] != ":")):
            raise ValueError("not a complete timestamp")
        stamp = datetime.fromisoformat(text)
        stamp.astimezone(UTC)  # fails for "9999-12-31T23:59:59-23:59", which is no time that anyone can convert
        if len(text) <= _MAX_CACHED_TIMESTAMP_LENGTH:
            if len(self) >= _MAX_CACHED_TIMESTAMPS:
                self.clear()
            self[text] = stamp
        return stamp


def canonical_id(activity_id: str) -> str:
    """The id as it is compared: a UUID has no case (RFC 9562), and the vendor answers in lower case."""
    return activity_id.lower() if _UUID.fullmatch(activity_id) else activity_id


def _rename(activity: Activity, activity_id: str) -> Activity:
    return activity if activity.activity_id == activity_id else attrs.evolve(activity, activity_id=activity_id)


def _href_hook(name: str) -> Hook:
    def read(links: Any, _: Any) -> str | None:
        if type(links) is not dict or name not in links:
            return None
        link = links[name]
        href = link.get("href") if type(link) is dict else link
        return href if type(href) is str else None

    return read


def _is_object(row: Any) -> bool:
    return isinstance(row, dict)


def _is_activity(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("activity_id") or None, str)  # "" is no id


def _to_message(item: Any) -> str:
    if isinstance(item, dict):
        item = next((item[key] for key in ("message", "error_message") if isinstance(item.get(key), str)), item)
    try:
        return item if isinstance(item, str) else json.dumps(item)
    except RecursionError:
        return "(an error message of many nested objects)"


def _to_integer(value: Any) -> int | None:
    """Read what is meant as a whole number: 75, 75.0, "75"; a bool is none."""
    try:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str) and len(value) <= 20:
            return int(float(value)) if value.strip().endswith(".0") else int(value)
    except ValueError:
        pass
    return None
