"""The values that pass through the simulated vendor: requests, replies, and what goes wrong with a reply on its way.

The error bodies come in the shapes that the vendor documents: an array of objects in general, a bare object for 401,
403 and 429, and the gateway's `{"message": ...}` for paths outside the API.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

__all__ = ["Reply", "Request", "TransportFault", "error_array", "error_object", "gateway_message", "json_reply"]


def _lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@frozen(kw_only=True)
class Request:
    """One request as it reached the vendor.

    `target` is the raw request target, path and query exactly as sent. `headers` are found by lower-case name.
    `reused` says that the connection had served a request before.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(factory=dict, converter=_lower_names, repr=False)
    body: bytes = field(default=b"", repr=False)
    reused: bool = False

    @property
    def path(self) -> str:
        """The path alone, still percent-encoded."""
        return urlsplit("http://vendor" + self.target).path if self.target[:1] == "/" else self.target

    @property
    def query(self) -> str:
        """The raw query, without its question mark; empty when there is none."""
        return self.target.partition("?")[2].partition("#")[0]


@frozen
class TransportFault:
    """Something that goes wrong with a reply on its way. `effects` has all kinds, `misbehave` carries them out."""

    @property
    def silent(self) -> bool:
        """Whether not even the reply's status gets through."""
        return False

    def apply(self, reply: Reply, _activity_id: str | None, /) -> Reply:
        """Return the reply with this fault noted on it."""
        return evolve(reply, wire=(*reply.wire, self))


@frozen(kw_only=True)
class Reply:
    """One answer of the vendor.

    `wire`: what goes wrong with it on its way, in the order in which it was scripted; whoever calls
    `Vendor.handle` without a network may ignore it. `blocks`: makes a body that is too long to be kept, of `length`
    bytes, piece by piece; `body` is empty then, and `whole` has it.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(factory=dict)
    wire: tuple[TransportFault, ...] = ()
    blocks: Callable[[], Iterator[bytes]] | None = field(default=None, repr=False)
    length: int = 0

    def whole(self) -> Reply:
        """Return the reply with all of its body in `body`."""
        return self if self.blocks is None else evolve(self, body=b"".join(self.blocks()), blocks=None, length=0)

    def with_headers(self, headers: Mapping[str, str]) -> Reply:
        """Return the reply with further headers; those it has already stay."""
        return evolve(self, headers={**headers, **self.headers})


def json_reply(status: int, value: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply whose body is `value` as compact JSON: the vendor's 401 has a Content-Length of 59."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Reply(status=status, body=body, headers=headers or {})


def error_array(status: int, key: str, message: str) -> Reply:
    """Return the documented general form of an error: an array of objects (glossary of responses)."""
    return json_reply(status, [{"error_key": key, "error_message": message}])


def error_object(status: int, key: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return the bare object that 401, 403 and 429 really carry (pages on rate limits and privileges)."""
    return json_reply(status, {"error_key": key, "error_message": message}, headers)


def gateway_message(status: int, message: str) -> Reply:
    """Return the API gateway's own form, seen on paths outside /v3."""
    return json_reply(status, {"message": message})
