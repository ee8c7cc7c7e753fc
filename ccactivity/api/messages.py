"""Requests and replies as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

__all__ = ["CAMPAIGN_DATA", "CONTACT_DATA", "Reply", "Request", "Scope"]

_ACCEPT: Final = {"Accept": "application/json", "Cache-Control": "no-cache"}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


@attrs.frozen
class Scope:
    """What the vendor asks of a token, and the privilege that it asks of the user who granted it."""

    name: str
    privilege: str


# The vendor's pages on scopes and user privileges.
CONTACT_DATA: Final = Scope("contact_data", "contacts:write")
CAMPAIGN_DATA: Final = Scope("campaign_data", "campaign:read")


@attrs.frozen
class Request:
    """One request.

    `kind`: "list", "get", "history" or "token", for statistics. `scope`: None for what takes no token. `body`: an
    encoded form, which only a POST has. `idempotent`: whether sending it twice does what sending it once does; such a
    request may be repeated when its answer was lost. By default a GET is, and nothing else.
    """

    kind: str
    path: str
    query: str = ""
    scope: Scope | None = CONTACT_DATA
    method: str = "GET"
    body: bytes | None = attrs.field(default=None, repr=False)
    idempotent: bool = attrs.field(kw_only=True)

    @idempotent.default
    def _get_is_idempotent(self) -> bool:
        return self.method == "GET"

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of its kind; those of every request are the transport's."""
        return _ACCEPT if self.body is None else _ACCEPT | _FORM


@attrs.frozen
class Reply:
    """What came back: headers are case-insensitive, or lower-case; the body is decompressed and capped."""

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = attrs.field(default=b"", repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300
