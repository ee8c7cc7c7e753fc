"""The effects that a scripted fault can have, as data; `misbehave` carries out those that need a connection.

An `Answer`, and the functions that make one, replaces the vendor's. `Cut`, `Edit`, `Patch`, and the functions that
make one, change the body of its real answer. The others are what goes wrong with the answer on its way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from attrs import evolve, frozen

from .messages import Reply, TransportFault, error_array, error_object, gateway_message

__all__ = [
    "Answer",
    "Bomb",
    "Cut",
    "Delay",
    "Disconnect",
    "Drip",
    "Edit",
    "Effect",
    "Endless",
    "Framing",
    "Hang",
    "Patch",
    "Raw",
    "Reset",
    "drop_rows",
    "duplicate_rows",
    "empty",
    "forbidden",
    "html",
    "lost_request",
    "message",
    "next_link",
    "not_found",
    "ok",
    "quota_exceeded",
    "server_error",
    "throttled",
    "unauthorized",
    "wrong_id",
]


class Effect(Protocol):
    """Something that is done to the vendor's own reply."""

    def apply(self, reply: Reply, activity_id: str | None, /) -> Reply:
        """Return what becomes of the reply. `activity_id`: the only activity to change, None for all."""
        ...


# --- the answer ---------------------------------------------------------------------------------------------


@frozen
class Answer:
    """Answer with this reply instead of carrying the request out."""

    reply: Reply


def throttled(headers: Mapping[str, str] | None = None) -> Answer:
    """429 of the limit per second; `headers` may add the Retry-After that the vendor does not send."""
    return Answer(error_object(429, "throttled", "Too Many Requests", headers))


def quota_exceeded() -> Answer:
    """429 of the limit per day. From then on every request before 00:00 UTC counts as a violation."""
    return Answer(error_object(429, "quota_exceeded", "Limit Exceeded"))


def unauthorized() -> Answer:
    """401, whatever the token; no violation is counted."""
    return Answer(error_object(401, "unauthorized", "Unauthorized", {"WWW-Authenticate": "Bearer realm=api.cc.email"}))


def forbidden() -> Answer:
    """403 for a user privilege that is missing."""
    return Answer(error_object(403, "access_denied", "Request forbidden due to insufficient user privileges."))


def not_found() -> Answer:
    """404, as for an activity that is unknown or too old."""
    return Answer(error_array(404, "contacts.api.not_found", "The requested resource was not found."))


def server_error(status: int = 500) -> Answer:
    """An internal error of the vendor, in the general form of errors."""
    return Answer(error_array(status, "contacts.api.internal.error", "There was a problem with our service."))


def message(status: int, text: str) -> Answer:
    """The gateway's form, `{"message": ...}`."""
    return Answer(gateway_message(status, text))


def html(status: int = 200) -> Answer:
    """An HTML page, such as gateways send for 502 to 504 and, in maintenance, with a 200."""
    page = b"<!DOCTYPE html><html><title>Maintenance</title><body>Please come back later.</body></html>"
    return Answer(Reply(status=status, body=page, content_type="text/html"))


def empty(status: int = 200) -> Answer:
    """No body at all."""
    return Answer(Reply(status=status))


def ok(body: bytes | str | Mapping[str, Any] | list[Any], content_type: str = "application/json") -> Answer:
    """200 with exactly these bytes; what is not bytes or text is sent as JSON."""
    if isinstance(body, str):
        body = body.encode()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(Reply(status=200, body=data, content_type=content_type))


def lost_request(fault: Reset | Hang | None = None) -> Answer:
    """No answer, because the request was lost on its way: nothing is carried out, and a POST creates nothing.

    `fault`: what the caller sees of it: `Reset()` (the default), `Reset(hard=False)` or `Hang()`. The same effect added
    by itself loses the answer instead: then the job is there. A caller cannot tell one from the other.
    """
    fault = Reset() if fault is None else fault
    if not fault.silent:
        raise ValueError("a lost request has no answer: the fault must let nothing of one through")
    return Answer(Reply(status=500, wire=(fault,)))


@frozen
class Cut:
    """Send only this share of the body, with a matching Content-Length: malformed JSON in a sound HTTP answer."""

    share: float = 0.5

    def apply(self, reply: Reply, _activity_id: str | None, /) -> Reply:
        """Return the reply with the rest of its body cut off."""
        return evolve(reply, body=reply.body[: int(len(reply.body) * self.share)])


@frozen
class Edit:
    """Change the decoded body of a successful answer, of whatever shape: `change` gets it and returns the new one."""

    change: Callable[[Any], Any]

    def apply(self, reply: Reply, _activity_id: str | None, /) -> Reply:
        """Return the reply with the changed body; an error, and what is not JSON, stays as it is."""
        body = _decoded(reply)
        return reply if body is None else evolve(reply, body=json.dumps(self.change(body)).encode())


@frozen
class Patch:
    """Change activities (or records of sends): of a list every row, or the one that the fault names.

    `change` is a mapping merged over the top level of the object, or a callable that gets the object and returns what
    takes its place.
    """

    change: Mapping[str, Any] | Callable[[dict[str, Any]], Any]

    def apply(self, reply: Reply, activity_id: str | None, /) -> Reply:
        """Return the reply with its activities changed."""
        body = _decoded(reply)
        if isinstance(body, dict) and isinstance(body.get("activities"), list):
            body["activities"] = [self._patch(row, activity_id) for row in body["activities"]]
        elif isinstance(body, list):
            body = [self._patch(row, None) for row in body]
        elif isinstance(body, dict):
            body = self._patch(body, activity_id)
        else:
            return reply
        return evolve(reply, body=json.dumps(body).encode())

    def _patch(self, row: Any, activity_id: str | None) -> Any:
        if not isinstance(row, dict) or activity_id not in (None, row.get("activity_id")):
            return row
        return self.change(row) if callable(self.change) else {**row, **self.change}


def drop_rows(*ids: str) -> Edit:
    """Leave these activities out of lists; all rows when none is named."""
    return _edit_rows(lambda rows: [row for row in rows if ids and row["activity_id"] not in ids])


def duplicate_rows() -> Edit:
    """Show every row of a list twice."""
    return _edit_rows(lambda rows: [row for row in rows for _ in range(2)])


def next_link(value: object) -> Edit:
    """Replace a page's `_links.next` by this value; text is taken as its href."""
    link = {"href": value} if isinstance(value, str) else value
    return _edit_page(lambda page: {**page, "_links": {**page["_links"], "next": link}})


def wrong_id(other: str = "11111111-1111-4111-8111-111111111111") -> Patch:
    """Answer with another activity than was asked for."""
    return Patch({"activity_id": other})


def _edit_page(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Edit:
    return Edit(lambda body: change(body) if isinstance(body, dict) and "activities" in body else body)


def _edit_rows(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Edit:
    return _edit_page(lambda page: {**page, "activities": change(page["activities"])})


def _decoded(reply: Reply) -> Any:
    if reply.status >= 300 or reply.content_type != "application/json":
        return None
    try:
        return json.loads(reply.body)
    except ValueError:
        return None


# --- on the way ---------------------------------------------------------------------------------------------


@frozen
class Delay(TransportFault):
    """Send the answer so many seconds later; several delays add up."""

    seconds: float


@frozen
class Reset(TransportFault):
    """Break the connection, before the answer or after this share of its body.

    The declared length is always that of the whole body. `hard`: with a TCP reset; else an early but orderly close.
    `chunked`: in a chunked body, which then lacks its last chunk.
    """

    after: float | None = None
    hard: bool = True
    chunked: bool = False

    @property
    def silent(self) -> bool:
        return self.after is None


@frozen
class Disconnect(TransportFault):
    """Close a kept-alive connection just as its next request arrives; the first one of a connection is answered."""

    @property
    def silent(self) -> bool:
        return True


@frozen
class Hang(TransportFault):
    """Never answer. `after`: send the headers and this share of the body first."""

    after: float | None = None

    @property
    def silent(self) -> bool:
        return self.after is None


@frozen
class Drip(TransportFault):
    """Send the body in pieces of `size` bytes, `pause` seconds apart. `head`: the status and headers as well."""

    pause: float = 1.0
    size: int = 1
    head: bool = False


@frozen
class Framing(TransportFault):
    """Tell the end of the body in another way: by its "length", by the last chunk ("chunked"), or by "close" alone.

    `gzip`: compressed. `cut`: close the connection, in order, after so many bytes of what would be sent; None sends
    all.
    """

    by: Literal["length", "chunked", "close"] = "length"
    gzip: bool = False
    cut: int | None = None


@frozen
class Bomb(TransportFault):
    """Send a gzip body that inflates to `size` bytes of a list page, a thousand times its own length."""

    size: int = 1 << 30


@frozen
class Endless(TransportFault):
    """Send a body that never ends. `declared`: its Content-Length; None sends it chunked."""

    declared: int | None = None


@frozen
class Raw(TransportFault):
    """Send exactly these bytes instead of an HTTP answer, and close the connection."""

    data: bytes

    @property
    def silent(self) -> bool:
        return True
