"""Requests and replies as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

__all__ = ["CAMPAIGN_DATA", "CONTACT_DATA", "Needs", "Reply", "Request"]

_ACCEPT: Final = {"Accept": "application/json", "Cache-Control": "no-cache"}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


@attrs.frozen
class Needs:
    """What the vendor asks of a token, and of the user who granted it."""

    scope: str
    privilege: str


# The vendor's pages on scopes and user privileges.
CONTACT_DATA: Final = Needs("contact_data", "contacts:write")
CAMPAIGN_DATA: Final = Needs("campaign_data", "campaign:read")


@attrs.frozen
class Request:
    """One request. `kind`: "list", "get", "history" or "token"; `needs`: None for what takes no token.

    `body`: an encoded form, which only a POST has.
    """

    kind: str
    path: str
    query: str = ""
    needs: Needs | None = CONTACT_DATA
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
class Reply:
    """What came back: header names are lower-case or in a mapping to which case is all one; the body is decompressed
    and capped.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = attrs.field(default=b"", repr=False)
