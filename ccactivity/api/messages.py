"""Requests and replies as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from .._text import escape

__all__ = ["API_PREFIX", "CAMPAIGN_DATA", "CONTACT_DATA", "SUCCESSES", "FileForm", "Reply", "Request", "Scope"]

SUCCESSES: Final = range(200, 300)  # statuses
API_PREFIX: Final = "/v3"  # of every path of the API


@attrs.frozen
class Scope:
    """What the vendor asks of a token, and the privilege that it asks of the user who granted it."""

    name: str
    privilege: str


# The vendor's pages on scopes and user privileges.
CONTACT_DATA: Final = Scope("contact_data", "contacts:write")
CAMPAIGN_DATA: Final = Scope("campaign_data", "campaign:read")


@attrs.frozen
class FileForm:
    """A multipart form with one file. `fields`: the other parts, which are text."""

    file_name: str
    content: bytes = attrs.field(repr=False)
    content_type: str
    fields: Mapping[str, str]


@attrs.frozen
class Request:
    """One request.

    `kind`: "list", "get", "history", "post", "export" or "token", for statistics. `target`: path and query as they
    stand in the request line. `scope`: None for what takes no token. `body`: of a POST, with its `content_type`; a form
    with a file says its own. `idempotent`: whether sending it twice does what sending it once does, so that it may be
    repeated when its answer was lost. `prefix`: with which the target begins, the path of the base URL. `route`: the
    path behind it, with a name in the place of each id; `item_id`: the one that it holds. Both are for logs and events.
    `accept`: the type of content that is wanted. `streamed`: whether the answer is a file of any size, which may be on
    another host and is read as it arrives.
    """

    kind: str
    target: str
    scope: Scope | None = CONTACT_DATA
    method: str = "GET"
    body: bytes | FileForm | None = attrs.field(default=None, repr=False)
    content_type: str = "application/x-www-form-urlencoded"
    idempotent: bool = False
    prefix: str = API_PREFIX
    route: str = ""
    item_id: str | None = None
    accept: str = "application/json"
    streamed: bool = False

    @property
    def path(self) -> str:
        """The target without its query, which may hold more than a log should."""
        return self.target.partition("?")[0]

    @property
    def size(self) -> int:
        """The bytes of what it carries, without headers and the frame of a form."""
        content = self.body.content if isinstance(self.body, FileForm) else self.body
        return len(content or b"")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@attrs.frozen
class Reply:
    """What came back: headers are case-insensitive, or lower-case; the body is decompressed and capped."""

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = attrs.field(default=b"", repr=False)

    @property
    def request_id(self) -> str | None:
        """The vendor's name for the request, escaped."""
        name = self.headers.get("x-amzn-requestid") or self.headers.get("x-amz-apigw-id")
        return escape(name, 80) if name else None
