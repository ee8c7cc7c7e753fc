"""What a reply means, and the error that it becomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Final

from .._text import escape
from ..errors import (
    AuthenticationError,
    BadRequestError,
    DecodeError,
    NotFoundError,
    PermissionDeniedError,
    ResponseError,
    ServerError,
    ThrottledError,
)
from .decoding import decode
from .messages import Reply, Request

__all__ = ["Verdict", "judge", "may_pass", "refusal", "retry_after", "said", "server_time"]

# Of a Date: with the first and the last years that there are, a day more or less is out of range.
_YEARS: Final = range(2000, 2200)


class Verdict(Enum):
    """What a reply means for the exchange that got it."""

    ANSWER = auto()
    """2xx: read it."""
    TOKEN_REFUSED = auto()
    """401: the token is not accepted."""
    THROTTLED = auto()
    """429 `throttled`: more than the key's requests a second."""
    QUOTA_EXCEEDED = auto()
    """429 `quota_exceeded`: no more requests before 00:00 UTC."""
    CROWDED = auto()
    """429 that says neither."""
    TRANSIENT = auto()
    """5xx, 408, 425: may well work next time."""
    REFUSED = auto()
    """Any other status: asking again changes nothing."""
    NONSENSE = auto()
    """1xx or 3xx: the API has none. Redirects are never followed, they would carry the token elsewhere."""


# Statuses that may pass by themselves beside 5xx: request timeout, too early (RFC 9110, RFC 8470).
_TRANSIENT: Final = frozenset({408, 425})
_ERRORS: Final[Mapping[int, type[ResponseError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: ThrottledError,
}


def judge(reply: Reply) -> Verdict:
    """Judge a reply by its status and, for 429, by the vendor's error_key."""
    if 200 <= reply.status < 300:
        return Verdict.ANSWER
    if reply.status == 401:
        return Verdict.TOKEN_REFUSED
    if reply.status == 429:
        key, _ = said(reply.body)
        return {"throttled": Verdict.THROTTLED, "quota_exceeded": Verdict.QUOTA_EXCEEDED}.get(
            key or "", Verdict.CROWDED
        )
    if may_pass(reply.status):
        return Verdict.TRANSIENT
    return Verdict.REFUSED if reply.status >= 400 else Verdict.NONSENSE


def may_pass(status: int) -> bool:
    """Whether what this status says may be over the next time."""
    return status >= 500 or status in _TRANSIENT


def refusal(request: Request, reply: Reply) -> ResponseError:
    """Make the error of a reply that is no answer."""
    key, message = said(reply.body)
    kind = _ERRORS.get(reply.status, ServerError if reply.status >= 500 else ResponseError)
    request_id = reply.headers.get("x-amzn-requestid") or reply.headers.get("x-amz-apigw-id")
    hints, more, needs = {401: "the access token is expired or invalid"}, {}, request.needs
    if reply.status == 403 and needs is not None:
        hints[403] = f"this call needs the scope {needs.scope} and the privilege {needs.privilege}"
        more = {"scope": needs.scope, "privilege": needs.privilege}
    return kind(
        status=reply.status,
        method=request.method,
        path=request.path,
        error_key=key,
        error_message=message,
        request_id=escape(request_id, 80) if request_id else None,
        hint=hints.get(reply.status),
        **more,
    )


def said(body: bytes) -> tuple[str | None, str | None]:
    """Key and message of an error body: an array, a bare object, a gateway's, OAuth's or Okta's; None for the rest."""
    try:
        data = decode(body)
    except DecodeError:
        return None, None
    if isinstance(data, list):
        data = next((item for item in data if isinstance(item, dict)), None)
    if not isinstance(data, dict):
        return None, None
    key = _first(data, "error_key", "error", "errorCode")
    message = _first(data, "error_message", "error_description", "message", "errorSummary")
    return (
        escape(key, 80) if isinstance(key, str) else None,
        escape(message, 300) if isinstance(message, str) else None,
    )


def _first(data: Mapping[str, object], *names: str) -> object:
    return next((data[name] for name in names if name in data), None)


def server_time(reply: Reply) -> datetime | None:
    """The instant of the Date header, None without a readable one, or with one of a clock that was never set."""
    try:
        when = parsedate_to_datetime(reply.headers["date"])
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return None
    return when if when.tzinfo is not None and when.year in _YEARS else None


def retry_after(reply: Reply) -> float:
    """Seconds of a Retry-After header (none was ever seen, but it may come); 0 without a plain one."""
    value = reply.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0.0
