"""What came of a request: a reply, classified once, or an error; and which of them may pass by themselves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Final, TypeGuard

import attrs

from .._text import escape
from ..errors import (  # noqa: F401 -- errors pickled by earlier versions name two more of them here
    AuthenticationError,
    BadRequestError,
    BodyTooLargeError,
    DecodeError,
    NotFoundError,
    NotSentError,
    PermissionDeniedError,
    QueueFullError,
    ResponseError,
    ServerError,
    ThrottledError,
    TransportError,
    UntrustedServerError,
)
from .decoding import decode_json
from .messages import API_PREFIX, SUCCESSES, Reply, Request

__all__ = [
    "Outcome",
    "OutcomeKind",
    "classify",
    "error_from",
    "is_ambiguous",
    "is_rejection",
    "is_transient",
]

# Of a Date header: with the first and the last years that there are, a day more or less is out of range.
_YEARS: Final = range(2000, 2200)
# Statuses that may pass by themselves beside 5xx: request timeout, too early, too many requests (RFC 9110, 8470, 6585).
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
_ERRORS: Final[Mapping[int, type[ResponseError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: ThrottledError,
}


class OutcomeKind(Enum):
    """What came of a request, for whoever sent it."""

    ANSWER = auto()  # 2xx: decode it
    UNREADABLE = auto()  # 2xx whose body cannot be understood: the decoder says so, not `classify`
    UNAUTHORIZED = auto()  # 401: the token is not accepted
    THROTTLED = auto()  # 429 `throttled`: more than the key's requests a second
    QUOTA_EXCEEDED = auto()  # 429 `quota_exceeded`: no more requests before 00:00 UTC
    TOO_MANY_REQUESTS = auto()  # 429 that says neither
    QUEUE_FULL = auto()  # the same as the answer to a submission: the account has its 1,000 queued jobs
    TRANSIENT = auto()  # 5xx, 408, 425, or no usable answer at all: may well work next time
    REJECTED = auto()  # any other status: asking again changes nothing
    UNEXPECTED = auto()  # 1xx, 3xx: the API has none, and a redirect would carry the token elsewhere


@attrs.frozen
class Outcome:
    """A classified reply. `error_key`, `error_message`: the vendor's words in an error body, escaped."""

    kind: OutcomeKind
    reply: Reply
    error_key: str | None = None
    error_message: str | None = None

    @property
    def server_time(self) -> datetime | None:
        """The instant of the Date header, None without a readable one, or with one of a clock that was never set."""
        try:
            when = parsedate_to_datetime(self.reply.headers["date"])
        except (KeyError, ValueError, TypeError, IndexError, OverflowError):
            return None
        return when if when.tzinfo is not None and when.year in _YEARS else None

    @property
    def retry_after(self) -> float:
        """Seconds of a Retry-After header (none was ever seen, but it may come); 0 without a plain one."""
        value = self.reply.headers.get("retry-after", "")
        return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0.0


def classify(reply: Reply, *, submission: bool = False) -> Outcome:
    """Say what a reply means, by its status and, for 429, by the vendor's error_key.

    `submission`: whether the request was to queue a job.
    """
    if reply.status in SUCCESSES:
        return Outcome(OutcomeKind.ANSWER, reply)
    key, message = _read_error_body(reply.body)
    kind = _kind_of(reply.status, key)
    if submission and kind is OutcomeKind.TOO_MANY_REQUESTS:
        kind = OutcomeKind.QUEUE_FULL
    return Outcome(kind, reply, key, message)


def _kind_of(status: int, key: str | None) -> OutcomeKind:
    if status == 401:
        return OutcomeKind.UNAUTHORIZED
    if status == 429:
        kinds = {"throttled": OutcomeKind.THROTTLED, "quota_exceeded": OutcomeKind.QUOTA_EXCEEDED}
        return kinds.get(key or "", OutcomeKind.TOO_MANY_REQUESTS)
    if _is_transient_status(status):
        return OutcomeKind.TRANSIENT
    return OutcomeKind.REJECTED if status >= 400 else OutcomeKind.UNEXPECTED


def error_from(request: Request, outcome: Outcome) -> ResponseError:
    """Make the error of a reply that is not an answer."""
    reply, scope = outcome.reply, request.scope
    kind = _ERRORS.get(reply.status, ServerError if reply.status >= 500 else ResponseError)
    if outcome.kind is OutcomeKind.QUEUE_FULL:
        kind = QueueFullError
    hint, more = None, {}
    if reply.status == 401:
        hint = "the access token is expired or invalid"
    elif kind is QueueFullError:
        hint = "the account has as many queued activities as it may have, 1,000"
    elif reply.status == 404 and request.kind == "list":
        hint = _hint_at_path(request)
    elif reply.status == 403 and scope is not None:
        needs = f"this call needs the scope {scope.name} and the privilege {scope.privilege}"
        hint = _hint_at_path(request) or needs
        more = {"scope": scope.name, "privilege": scope.privilege}
    return kind(
        status=reply.status,
        method=request.method,
        path=request.path,
        error_key=outcome.error_key,
        error_message=outcome.error_message,
        request_id=reply.request_id,
        hint=hint,
        **more,
    )


def _hint_at_path(request: Request) -> str | None:
    """The vendor's gateway refuses a path that it does not know as it refuses a call for want of a scope."""
    right = request.prefix.endswith(API_PREFIX)
    return None if right else f"base_url does not end in {API_PREFIX}, which is the likely cause"


def is_transient(error: Exception) -> bool:
    """Whether the next request may be answered, for all that this error says."""
    if isinstance(error, ResponseError):
        return _is_transient_status(error.status)
    return isinstance(error, TransportError | DecodeError) and not isinstance(error, UntrustedServerError)


def is_ambiguous(error: Exception) -> bool:
    """Whether the vendor may have done what was answered like this: the answer was lost, or says nothing of it."""
    unsent_or_refused = isinstance(error, NotSentError | QueueFullError | ThrottledError)
    return is_transient(error) and not unsent_or_refused


def is_rejection(error: Exception) -> TypeGuard[ResponseError]:
    """Whether the vendor rejects what was asked for, and would again; a refused token is about who asks."""
    return isinstance(error, ResponseError) and not isinstance(error, AuthenticationError) and not is_transient(error)


def _is_transient_status(status: int) -> bool:
    return status >= 500 or status in _TRANSIENT_STATUSES


def _read_error_body(body: bytes) -> tuple[str | None, str | None]:
    """Key and message of an error body: an array, a bare object, a gateway's, OAuth's or Okta's; None for the rest."""
    try:
        data = decode_json(body)
    except DecodeError:
        return None, None
    items = data if isinstance(data, list) else [data]
    error = next((item for item in items if isinstance(item, dict)), {})
    return (
        _first(error, "error_key", "error", "errorCode", limit=80),
        _first(error, "error_message", "error_description", "message", "errorSummary", limit=300),
    )


def _first(error: Mapping[str, object], *names: str, limit: int) -> str | None:
    text = next((error[name] for name in names if name in error), None)
    return escape(text, limit) if isinstance(text, str) else None
