"""The site: which request gets which answer, as plain functions for any server. It knows neither aiohttp nor ASGI."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

import attrs

from .board import Board, Viewer

__all__ = ["SEND_TIMEOUT_S", "STREAM_HEADERS", "PageRequest", "Reply", "Site"]

SEND_TIMEOUT_S: Final = 30.0
"""For so long may a viewer not read; then they are dropped."""
_MAX_VIEWERS: Final = 200
_RECONNECT_MS: Final = 2_000
_HEARTBEAT_S: Final = 15.0
_IDLE_CHECK_S: Final = 1.0
_PIECE_BYTES: Final = 32_768
_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
STREAM_HEADERS: Final[Mapping[str, str]] = {
    **_HEADERS,
    "Content-Type": "text/event-stream",
    "X-Accel-Buffering": "no",  # nginx would keep events until its buffer is full
}
_FILES: Final = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
}
_PROXY_HEADERS: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_NOT_LOCAL: Final = (
    "This page is for browsers on the machine that serves it, by one of its own names, and not through a proxy. To let "
    "others see it, give the app allow=, an async function that says who may."
)


@attrs.frozen(kw_only=True)
class PageRequest:
    """What of a request matters here.

    `path`: below the place of the app, without a slash at the beginning; `whole_path`: as the browser asked for it.
    `headers`: by their names in lower case. `peer`: the address of the other side, None if it is unknown.
    """

    method: str
    path: str
    whole_path: str
    query: str
    headers: Mapping[str, str]
    peer: str | None


@attrs.frozen
class Reply:
    """An answer that is complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Site:
    """Answers for one board. `allow`: whoever embeds the page says with it who may see it; None: only this machine."""

    def __init__(self, board: Board, allow: object | None) -> None:
        if not isinstance(board, Board):
            raise TypeError(f"board must be a Board, not {type(board).__name__}")
        if allow is not None and not callable(allow):
            raise TypeError("allow must be an async function of a request that returns a bool, or None")
        self._board = board
        self._local = allow is None
        self._streams = 0
        self._files = {name: (files(__package__) / "static" / name).read_bytes() for name, _ in _FILES.values()}
        self._files["page.html"] = self._files["page.html"].replace(b"{{ title }}", escape(board.title).encode())

    def answer(self, request: PageRequest, *, allowed: bool) -> Reply | None:
        """Return the answer; None for the stream of events, to be sent by `stream`. `allowed`: what `allow` said."""
        if not allowed:
            return _text(403, "You may not see this page.")
        if self._local and not _is_of_this_machine(request):
            return _text(403, _NOT_LOCAL)
        if request.method not in ("GET", "HEAD"):
            return _text(405, "This page can only be looked at.", Allow="GET, HEAD")
        if request.path == "" and not request.whole_path.endswith("/"):
            # The page names its files relative to itself, so that it works below any prefix.
            return _text(308, "", Location=quote(request.whole_path.rpartition("/")[2], safe="") + "/")
        if request.path in _FILES:
            name, content_type = _FILES[request.path]
            return _reply(200, content_type, self._files[name])
        if request.path == "activities.json":
            return _reply(200, "application/json", json.dumps(self._board.as_dict()).encode())
        if request.path != "events":
            return _text(404, "There is no such page.")
        if self._streams >= _MAX_VIEWERS or self._board.closed:
            return _text(503, "Too many are looking, or the server stops: try again.", **{"Retry-After": "10"})
        return None if request.method == "GET" else Reply(200, STREAM_HEADERS, b"")

    @contextmanager
    def stream(self, request: PageRequest) -> Iterator[AsyncGenerator[bytes]]:
        """Give the stream of events, in pieces; an empty piece is a moment to see whether the viewer is still there."""
        after = request.headers.get("last-event-id") or parse_qs(request.query).get("after", [None])[0]
        self._streams += 1
        try:
            with self._board.look(after) as viewer:
                yield _pieces(self._board, viewer)
        finally:
            self._streams -= 1


async def _pieces(board: Board, viewer: Viewer) -> AsyncGenerator[bytes]:
    loop = asyncio.get_running_loop()
    yield f"retry: {_RECONNECT_MS}\n\n".encode()
    spoke_at = loop.time()
    while (events := await board.next_events(viewer, _IDLE_CHECK_S)) is not None:
        for event in events:
            for begin in range(0, len(event.encoded), _PIECE_BYTES):
                yield event.encoded[begin : begin + _PIECE_BYTES]
        if events:
            spoke_at = loop.time()
        elif loop.time() >= spoke_at + _HEARTBEAT_S:
            spoke_at = loop.time()
            yield b": still here\n\n"
        yield b""


def _reply(status: int, content_type: str, body: bytes, **more: str) -> Reply:
    return Reply(status, {**_HEADERS, "Content-Type": f"{content_type}; charset=utf-8", **more}, body)


def _text(status: int, text: str, **more: str) -> Reply:
    return _reply(status, "text/plain", f"{text}\n".encode(), **more)


def _is_of_this_machine(request: PageRequest) -> bool:
    """Whether a browser here asks, by a name of this machine; what a proxy passes on may be from anywhere."""
    passed_on = any(name in request.headers for name in _PROXY_HEADERS)
    return not passed_on and _is_local(request.peer) and _is_local(_name_of(request.headers.get("host", "")))


def _name_of(host: str) -> str | None:
    """The name in a header Host, without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_local(name: str | None) -> bool:
    """Whether a name or an address is one of this machine, whatever a name server says."""
    try:
        address = ipaddress.ip_address(name or "")
    except ValueError:
        return name == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
