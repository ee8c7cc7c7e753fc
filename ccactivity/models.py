"""The vendor's nouns as frozen values, and the three errors that carry one. Pure.

Every field may be missing or null in an answer, so every field may be None here, but for the id, the tuple of errors
and the counters object. The vendor's samples are not consistent with themselves (an `initialized` activity with a
completion time; more contacts than items), so no field is ever inferred from another. Only `state` tells whether an
activity has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import attrs

from ._base_error import CCActivityError
from ._text import escape

__all__ = [
    "TERMINAL_STATES",
    "Activity",
    "ActivityExpiredError",
    "ActivityFailedError",
    "ActivityState",
    "ActivityStatus",
    "SendRecord",
    "SendStatus",
    "WatchTimeoutError",
]


class ActivityState(StrEnum):
    """The documented values of `Activity.state`."""

    INITIALIZED = "initialized"
    """Accepted, waiting in the queue."""
    PROCESSING = "processing"
    """Being worked on."""
    COMPLETED = "completed"
    """Finished; single rows may still have been refused, see `Activity.partial`."""
    CANCELLED = "cancelled"
    """The request was cancelled."""
    FAILED = "failed"
    """Could not be finished."""
    TIMED_OUT = "timed_out"
    """Ran out of time before it finished."""


TERMINAL_STATES: Final = frozenset(
    {ActivityState.COMPLETED, ActivityState.CANCELLED, ActivityState.FAILED, ActivityState.TIMED_OUT}
)
"""The one table of states that end an activity. An unknown state is not in it, and so ends nothing."""

_CHANGES: Final = ("state", "percent_done", "status", "activity_errors", "results_url")  # worth telling
_DATA_FIELDS: Final = attrs.filters.exclude("self_url", "results_url", "raw")  # for `attrs.asdict`


class SendStatus(StrEnum):
    """The documented values of `SendRecord.send_status`."""

    COMPLETED = "COMPLETED"
    ERRORED = "ERRORED"


def _as_json(_: object, __: attrs.Attribute[Any], value: Any) -> Any:
    """The value of a field as JSON has it: without enums, tuples and dates."""
    match value:
        case datetime():
            text = value.isoformat()
            return text[:-6] + "Z" if value.utcoffset() == timedelta(0) else text
        case StrEnum():
            return str(value)
        case tuple():
            return list(value)
        case ActivityStatus():
            return value.as_dict()
    return value


@attrs.frozen(kw_only=True)
class ActivityStatus:
    """The counters of an activity (`Activity.status`): what it did, not whether it is done.

    Each is a non-negative count in all that was ever seen, or None where the vendor gives none: which counters exist
    depends on the kind of the activity. Imports have no `items_completed_count`.
    """

    items_total_count: int | None = None
    """Items to process; for a file import its rows, the header included."""
    items_completed_count: int | None = None
    """Items processed so far."""
    person_count: int | None = None
    """Contacts in an import."""
    error_count: int | None = None
    """Rows refused for reasons the user cannot correct."""
    correctable_count: int | None = None
    """Rows refused for reasons the user can correct, such as a malformed address."""
    cannot_add_to_list_count: int | None = None
    """Contacts that were not added because they had unsubscribed."""
    list_count: int | None = None
    """Lists that a membership job touches."""

    @property
    def refused_count(self) -> int:
        """Rows that an import refused, of all three kinds; 0 where the vendor gives no such counters."""
        return sum(count or 0 for count in (self.error_count, self.correctable_count, self.cannot_add_to_list_count))

    def as_dict(self) -> dict[str, int]:
        """Return the counters that are there, by their wire names."""
        return attrs.asdict(self, filter=lambda _, count: count is not None)


@attrs.frozen(kw_only=True)
class Activity:
    """A snapshot of one bulk activity: an import, an export, a delete, a tagging or a change of lists.

    The vendor does not say which of these it is. Timestamps are aware, and None where the vendor sent none or none
    that can be read.
    """

    activity_id: str
    """The id; a UUID in practice, though not in the vendor's own samples, so it is never parsed."""
    state: ActivityState | str | None = None
    """Where the activity stands: the word that decides whether it is over. A value that the vendor has not documented
    stays the string it is. Not to be confused with `status`, the counters."""
    created_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    source_file_name: str | None = None
    """Of a file import, else usually None."""
    percent_done: int | None = None
    """As the vendor sent it: it may go back, be over 100, or never move. See `progress`."""
    activity_errors: tuple[str, ...] = ()
    """Messages of the vendor about rows or about the whole."""
    status: ActivityStatus = attrs.field(factory=ActivityStatus)
    """The counters. Not to be confused with `state`."""
    self_url: str | None = None
    """`_links.self.href` as sent, usually without scheme and host."""
    results_url: str | None = None
    """`_links.results.href` as sent: where an export's file or a tagging's outcome is. It may be there before the
    file is."""
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)
    """The decoded object as it came, with whatever this library does not know yet."""

    @property
    def done(self) -> bool:
        """Whether the activity has ended, well or not. An unknown state has not."""
        return self.state in TERMINAL_STATES

    @property
    def succeeded(self) -> bool:
        """Whether it ended as `completed`. Single rows may still have been refused, see `partial`."""
        return self.state == ActivityState.COMPLETED

    @property
    def partial(self) -> bool:
        """Whether it completed, but rows were refused."""
        return self.succeeded and self.status.refused_count > 0

    @property
    def progress(self) -> float | None:
        """How much is done, 0.0 to 1.0; None if the vendor does not tell.

        1.0 for a completed activity, else `percent_done` within its bounds, else items completed of items total.
        """
        if self.succeeded:
            return 1.0
        if self.percent_done is not None:
            return min(max(self.percent_done, 0), 100) / 100
        total, completed = self.status.items_total_count, self.status.items_completed_count
        if total is None or completed is None or total <= 0:
            return None
        return min(max(completed, 0), total) / total

    def older_than(self, other: Activity) -> bool:
        """Whether the vendor updated it before the other snapshot; False if either does not say when."""
        return self.updated_at is not None and other.updated_at is not None and self.updated_at < other.updated_at

    def changed_from(self, other: Activity) -> bool:
        """Whether something differs that is worth telling: not `updated_at` alone."""
        return any(getattr(self, name) != getattr(other, name) for name in _CHANGES)

    def raise_for_state(self) -> None:
        """Raise `ActivityFailedError` if the activity ended in another state than `completed`."""
        if self.done and not self.succeeded:
            raise ActivityFailedError(self)

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as JSON-ready data with the vendor's names, for a web framework to send."""
        links = {"self": self.self_url, "results": self.results_url}
        data = attrs.asdict(self, recurse=False, filter=_DATA_FIELDS, value_serializer=_as_json)
        return {**data, "_links": {name: {"href": href} for name, href in links.items() if href is not None}}


class ActivityFailedError(CCActivityError):
    """The activity ended, and not in `completed`. `activity`: its terminal snapshot."""

    def __init__(self, activity: Activity) -> None:
        reasons = "; ".join(activity.activity_errors[:3])
        ended = f"activity {_quoted(activity.activity_id)} ended as {_quoted(activity.state)}"
        super().__init__(ended + (f": {_quoted(reasons)}" if reasons else ""))
        self.activity = activity


class ActivityExpiredError(CCActivityError):
    """404, twice, for an activity that had been seen. `activity`: its last snapshot.

    The vendor keeps the status of an activity for ten days.
    """

    def __init__(self, activity: Activity) -> None:
        gone, last = _quoted(activity.activity_id), _quoted(activity.state)
        super().__init__(f"activity {gone} no longer exists (the API keeps one for 10 days); last seen as {last}")
        self.activity = activity


class WatchTimeoutError(CCActivityError, TimeoutError):
    """The time that the caller gave a watch is over.

    `activity_id`: what was watched. `activity`: its last snapshot, None if none was ever seen. `timeout`: seconds.
    """

    def __init__(self, activity_id: str, activity: Activity | None, timeout: float) -> None:
        last = "never seen" if activity is None else f"last seen as {_quoted(activity.state)}"
        super().__init__(f"activity {_quoted(activity_id)} did not end within {timeout:g} s, {last}")
        self.activity_id = activity_id
        self.activity = activity
        self.timeout = timeout


def _quoted(text: object) -> str:
    return f"'{escape(str(text), 200)}'"


_REASONS: Final[Mapping[int, str]] = {
    0: "sent",
    1: "a general error while sending; schedule it again or ask the vendor's support",
    2: "not sent; the vendor's account review team must be contacted",
    3: "the account may not send now: a billing problem or an expired product",
    4: "more recipients than the account may send to",
    5: "held back for review before sending",
    6: "sending stopped before it reached all contacts",
    7: "an image is invalid, for instance removed from the library",
    8: "a link is longer than 1005 characters",
    9: "the sender's address could not be verified",
    10: "the sender's address could not be verified",
    11: "the account may not send survey invitations",
    12: "nobody to send to: the lists are empty, or hold nobody new since the last send",
}


@attrs.frozen(kw_only=True)
class SendRecord:
    """One send of an email campaign activity."""

    send_id: int | None = None
    """1, 2, 3... within one campaign activity."""
    contact_list_ids: tuple[str, ...] = ()
    segment_ids: tuple[int, ...] = ()
    count: int | None = None
    """Recipients of this send; a resend goes only to those who are new."""
    run_date: datetime | None = None
    send_status: SendStatus | str | None = None
    """`COMPLETED` or `ERRORED`; a value that the vendor has not documented stays the string it is. A completed send
    may have reached nobody: see `succeeded`."""
    reason_code: int | None = None
    """0 to 12 are documented; `reason` has them in words."""
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)
    """The decoded object as it came."""

    @property
    def reason(self) -> str | None:
        """What `reason_code` means; None without a code."""
        if self.reason_code is None:
            return None
        return _REASONS.get(self.reason_code, f"undocumented reason code {self.reason_code}")

    @property
    def succeeded(self) -> bool:
        """Whether it was sent to somebody: `COMPLETED` and code 0. Code 12 is a completed send to nobody."""
        return self.send_status == SendStatus.COMPLETED and self.reason_code == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready data with the vendor's names."""
        return attrs.asdict(self, recurse=False, filter=_DATA_FIELDS, value_serializer=_as_json)
