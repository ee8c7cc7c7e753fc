"""What happens in a session, as values for the hooks of `ActivitySession(on_event=...)`. Pure.

No event holds a token, a body, a row of an import, the query of a request or a person; an `ActivityChanged` holds the
snapshots that a watch yields. The family grows, and so do its fields: pass over a kind of event that you do not know.
"""

from __future__ import annotations

import attrs

from .models import Activity

__all__ = [
    "ActivityChanged",
    "Event",
    "Paused",
    "RequestEnded",
    "Resumed",
    "Retrying",
    "Submitted",
    "TokenRefreshed",
    "WatchEnded",
    "WatchStarted",
]


@attrs.frozen(kw_only=True, slots=False)
class Event:
    """Something that happened in a session. `at`: when, in seconds of the event loop's clock."""

    at: float


@attrs.frozen(kw_only=True, slots=False)
class RequestEnded(Event):
    """A request was answered, or failed; each attempt is a request of its own.

    `kind`: as in `Stats.requests`. `route`: the path below the base URL with names in the place of ids, such as
    /activities/{activity_id}; empty if it has none. `url`: where it went, without its query. `status`: of HTTP, None
    without an answer. `error`: the name of the error's class, None for an answer that was understood. `seconds`: from
    when it was sent; `waited`: for its permit before. `attempt`: 1 for the first request of a call. `request_id`: the
    vendor's name for it. `why`: the planner's reason; empty for a call of the program's.
    `activity_ids`: watched activities that it brought, or was for if it brought none (of a list, 128 at most).
    `serves`: how many watches its answer tells something.
    """

    kind: str
    method: str
    route: str
    url: str
    status: int | None
    error: str | None
    seconds: float
    waited: float
    attempt: int
    request_id: str | None
    why: str = ""
    activity_ids: tuple[str, ...] = ()
    serves: int = 0


@attrs.frozen(kw_only=True, slots=False)
class Retrying(Event):
    """A call sends another request, in `delay` seconds; a look that fails is left to the planner instead.

    `kind`, `attempt`: of the request that failed. `trouble`: the name of the error's class.
    """

    kind: str
    trouble: str
    delay: float
    attempt: int


@attrs.frozen(kw_only=True, slots=False)
class Paused(Event):
    """Nothing is sent `until` then, by the clock of `at`.

    `cause`: "throttled"; "quota_exceeded" (single calls may still be sent where only the day's reserve is left); or
    "queue_full", which holds back submissions alone, and is tried again at that time.
    """

    cause: str
    until: float


@attrs.frozen(kw_only=True, slots=False)
class Resumed(Event):
    """The first request after a pause may be sent. `cause`: of the pause."""

    cause: str


@attrs.frozen(kw_only=True, slots=False)
class WatchStarted(Event):
    """A consumer watches an activity from now on; called in their context. Of `watch_many` there is one for each id.

    `watch`: its number in this process.
    """

    activity_id: str
    watch: int


@attrs.frozen(kw_only=True, slots=False)
class WatchEnded(WatchStarted):
    """A watch has ended after `seconds`, in which its activity was seen `looks` times.

    `outcome`: the terminal state, the name of the error's class, or "left" if the consumer did not wait for the end.
    """

    outcome: str
    seconds: float
    looks: int


@attrs.frozen(kw_only=True, slots=False)
class ActivityChanged(Event):
    """A watched activity was seen for the first time, or differs from the last time.

    `previous`: None the first time. `lag`: seconds from the change to this, at least and at most; None the first time.
    """

    activity: Activity
    previous: Activity | None
    lag: tuple[float, float] | None


@attrs.frozen(kw_only=True, slots=False)
class Submitted(Event):
    """A job of so many `rows` and `bytes` was submitted, or may have been: then `activity_id` is None.

    `rows`: contacts of an import; of other jobs, the length of their longest list of ids.
    `outcome`: "answered", "reconciled" (found in the list), "repeated" (not found, and sent again) or "unknown".
    """

    kind: str
    activity_id: str | None
    rows: int
    bytes: int
    outcome: str


@attrs.frozen(kw_only=True, slots=False)
class TokenRefreshed(Event):
    """The source of tokens was told of a rejected one, and it took `seconds`; or it gave another one by itself, 0.

    `outcome`: "refreshed", "unchanged" if there is no other one, or the name of the error's class.
    """

    seconds: float
    outcome: str
