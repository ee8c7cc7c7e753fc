"""The vendor's language, requests out and replies in; sends nothing, and knows neither clocks nor sessions.

1. A reply is judged once, by `judge`. Everything else that cares (retry, quota, tokens, watches) acts on that word.
2. A next link is followed only within the collection it came from, and then its query is sent as it was given: the
   vendor's cursors are opaque, carry the page size, and are not even well-formed base64.
3. An id is refused unless it can stand in a path as it is. Nothing is encoded, so nothing can be decoded on the way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import attrs

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
    UnsafeLinkError,
)
from .decoding import decode

__all__ = [
    "Endpoint",
    "Reply",
    "Request",
    "Verdict",
    "check_id",
    "get_activity",
    "get_send_history",
    "judge",
    "list_activities",
    "may_pass",
    "refusal",
    "retry_after",
    "said",
    "server_time",
]

_ACCEPT: Final = {"Accept": "application/json", "Cache-Control": "no-cache"}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ID: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}")
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+")
# Of a Date: with the first and the last years that there are, a day more or less is out of range.
_YEARS: Final = range(2000, 2200)
# A collection that shifts while it is read repeats rows, but not whole pages again and again.
MAX_BARREN_PAGES: Final = 10
MAX_PAGE_SIZE: Final = 500


# --- requests out ---------------------------------------------------------------------------------------------------


@attrs.frozen
class Needs:
    """What the vendor asks of a token, and of the user who granted it."""

    scope: str
    privilege: str


# The vendor's pages on scopes and user privileges.
_CONTACT_DATA: Final = Needs("contact_data", "contacts:write")
_CAMPAIGN_DATA: Final = Needs("campaign_data", "campaign:read")


@attrs.frozen
class Request:
    """One request. `kind`: "list", "get", "history" or "token"; `needs`: None for what takes no token.

    `body`: an encoded form, which only a POST has.
    """

    kind: str
    path: str
    query: str = ""
    needs: Needs | None = _CONTACT_DATA
    method: str = "GET"
    body: bytes | None = attrs.field(default=None, repr=False)

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that every request has, but for those of the transport."""
        return _ACCEPT if self.body is None else _ACCEPT | _FORM


@attrs.frozen
class Endpoint:
    """Where the API is: `origin` such as `https://api.cc.email`, `prefix` such as `/v3`."""

    origin: str
    prefix: str

    @classmethod
    def parse(cls, base_url: str, name: str = "base_url") -> Endpoint:
        """Read the base URL that the argument `name` gave; ValueError unless it is https, or http to this machine."""
        if not isinstance(base_url, str):
            raise TypeError(f"{name} must be a str, not {type(base_url).__name__}")
        if not base_url.isascii() or not base_url.isprintable() or " " in base_url or "\\" in base_url:
            raise ValueError(f"{name} must be printable ASCII without spaces or backslashes")
        try:
            parts = urlsplit(base_url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ValueError(f"{name} is not a URL: {error}") from None
        if "@" in parts.netloc or "?" in base_url or "#" in base_url:
            raise ValueError(f"{name} must not hold credentials, a query or a fragment")
        if parts.scheme not in ("https", "http") or not _HOST.fullmatch(host):
            raise ValueError(f"{name} must look like https://host/v3")
        if parts.scheme == "http" and host not in _LOOPBACK:
            raise ValueError(f"{name} must be https: the token would travel in clear text (http is for loopback only)")
        prefix = parts.path.rstrip("/")
        if _climbs(prefix):
            raise ValueError(f"the path of {name} must be plain")
        shown = f"[{host}]" if ":" in host else host
        default = {"https": 443, "http": 80}[parts.scheme]
        return cls(f"{parts.scheme}://{shown}" + ("" if port in (None, default) else f":{port}"), prefix)

    def next_request(self, href: object, current: Request) -> Request | None:
        """Turn the next link of `current`'s page into a request; None if there is none; `UnsafeLinkError`."""
        if href is None or href == "":
            return None
        if not isinstance(href, str):
            raise UnsafeLinkError("it is not a string", link=escape(repr(href), 80))
        if not href.isascii() or not href.isprintable() or re.search(r"[\s\\#<>\"]", href):
            raise UnsafeLinkError("it holds characters that no URL has", link=escape(href, 80))
        path, _, query = self._local(href).partition("?")
        collection = f"{self.prefix}/activities"
        if _climbs(path) or not (path == collection or path.startswith(collection + "/")):
            raise UnsafeLinkError(f"it leads outside {collection}", link=escape(href, 80))
        return attrs.evolve(current, path=quote(path, safe="/~:@!$&'()*+,;=%"), query=query)

    def _local(self, href: str) -> str:
        """Path and query of a link to our own origin; a link may hold the origin or leave it out."""
        if href.startswith("/") and not href.startswith("//"):
            return href
        try:
            parts = urlsplit(href)
            if "://" in href and Endpoint.parse(f"{parts.scheme}://{parts.netloc}").origin == self.origin:
                return href.split("://", 1)[1][len(parts.netloc) :]
        except ValueError:
            pass
        raise UnsafeLinkError(f"it leads away from {self.origin}", link=escape(href, 80))


def _climbs(path: str) -> bool:
    """Whether a path could be read as another one than it looks: dot segments, doubled or hidden slashes."""
    plain = unquote(path)
    if plain != unquote(plain) or "\\" in plain or plain.count("/") != path.count("/") or not plain.isascii():
        return True
    return not plain.isprintable() or "//" in plain or any(part in (".", "..") for part in plain.split("/"))


def check_id(activity_id: object, what: str = "activity_id") -> str:
    """Return the id if it can stand in a path as it is; else TypeError or ValueError, which names it."""
    if not isinstance(activity_id, str):
        raise TypeError(f"{what} must be a str, not {type(activity_id).__name__}")
    if not _ID.fullmatch(activity_id):
        raise ValueError(
            f"malformed {what} {escape(activity_id, 60)!r}: expected 1 to 128 letters, digits, '-', '_', '.' or '~', "
            "such as 04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
        )
    return activity_id


def list_activities(endpoint: Endpoint, *, limit: int, state: str | None = None) -> Request:
    """GET /activities: at most `limit` (1 to 500) rows a page, of one state or of all."""
    query = urlencode({"limit": limit, **({"state": state} if state else {})})
    return Request("list", f"{endpoint.prefix}/activities", query)


def get_activity(endpoint: Endpoint, activity_id: str) -> Request:
    """GET /activities/{activity_id}."""
    return Request("get", f"{endpoint.prefix}/activities/{activity_id}")


def get_send_history(endpoint: Endpoint, campaign_activity_id: str) -> Request:
    """GET /emails/activities/{campaign_activity_id}/send_history."""
    path = f"{endpoint.prefix}/emails/activities/{campaign_activity_id}/send_history"
    return Request("history", path, needs=_CAMPAIGN_DATA)


# --- replies in -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Reply:
    """What came back: header names are lower-case or in a mapping to which case is all one; the body is decompressed
    and capped.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = attrs.field(default=b"", repr=False)


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
