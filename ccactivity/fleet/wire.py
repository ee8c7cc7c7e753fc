"""What travels through the engine as text: snapshots as the vendor sent them, errors of single activities, and wishes.

No header, no token and no body of an error is among it.
"""

from __future__ import annotations

import json
from typing import Any, Final, Self

import attrs

from ..api.decoding import Decoder
from ..errors import (
    ActivityExpiredError,
    BadRequestError,
    CCActivityError,
    NotFoundError,
    PermissionDeniedError,
    ResponseError,
)
from ..models import Activity

__all__ = ["Wish", "error_from_text", "error_to_text", "snapshot_from_text", "snapshot_to_text"]

_KINDS: Final = {kind.__name__: kind for kind in (BadRequestError, NotFoundError, PermissionDeniedError)}
_FIELDS: Final = ("status", "method", "path", "error_key", "error_message", "request_id", "hint")
_FIELDS_OF_403: Final = ("scope", "privilege")


@attrs.frozen
class Wish:
    """What a process wants of an activity: see `ActivitySession.watch`. `max_staleness`: None for any."""

    grace: float
    max_staleness: float | None
    every_poll: bool = False

    def to_text(self) -> str:
        """Write it."""
        return json.dumps([self.grace, self.max_staleness, int(self.every_poll)])

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read it."""
        grace, max_staleness, every_poll = json.loads(text)
        return cls(grace, max_staleness, bool(every_poll))


def snapshot_to_text(activity: Activity, seen_at: int) -> str:
    """Write a snapshot, and when it was seen: in microseconds of the engine's clock."""
    try:
        text = json.dumps(activity.raw, separators=(",", ":"))
    except RecursionError:  # nested as deep as could be decoded
        text = json.dumps(activity.as_dict())
    return f"{seen_at}:{text}"


def snapshot_from_text(text: str, activity_id: str, decoder: Decoder) -> tuple[int, Activity]:
    """Read a snapshot, and when it was seen; DecodeError."""
    seen_at, _, body = text.partition(":")
    return int(seen_at), decoder.decode_activity(body.encode(), activity_id)


def error_to_text(error: CCActivityError) -> str:
    """Write the error of an activity that cannot be followed."""
    names = (*_FIELDS, *_FIELDS_OF_403)
    values = {name: getattr(error, name) for name in names if getattr(error, name, None) is not None}
    return json.dumps({"kind": type(error).__name__, "says": str(error), **values})


def error_from_text(text: str, last: Activity | None) -> CCActivityError:
    """Read such an error; `last`: the last snapshot that was seen here."""
    values: dict[str, Any] = json.loads(text)
    name, says = values.pop("kind"), values.pop("says")
    if name == ActivityExpiredError.__name__ and last is not None:
        return ActivityExpiredError(last)
    if "status" not in values:
        return CCActivityError(says)
    return _KINDS.get(name, ResponseError)(**values)
