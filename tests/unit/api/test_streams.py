"""The body of an answer as it is read: what had come when the connection broke, and what that means."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from ccactivity.api.messages import Request
from ccactivity.api.streams import BodyStream
from ccactivity.errors import TransportError

REQUEST = Request("export", "/v3/contact_exports/1", idempotent=True, streamed=True)
BROKEN = aiohttp.ClientPayloadError("Response payload is not completed")


def translate(problem: Exception) -> Exception:
    return TransportError(str(problem), method="GET", path=REQUEST.path)


def stream_of(content: aiohttp.StreamReader, length: int | None) -> BodyStream:
    """A stream over the library's own reader."""
    response = SimpleNamespace(content=content, content_length=length, content_type="text/csv", headers={})
    return BodyStream(cast("aiohttp.ClientResponse", response), REQUEST, silence=5.0, translate=translate)


@pytest.mark.parametrize(("length", "broken"), [(10, False), (11, True), (None, True)])
async def test_what_had_come_counts(length: int | None, broken: bool) -> None:
    """The library may call a body broken that is whole, and keep what had arrived to itself (aiohttp#13348)."""
    content: Any = aiohttp.StreamReader(
        BaseProtocol(asyncio.get_running_loop()), 2**16, loop=asyncio.get_running_loop()
    )
    content.feed_data(b"12345")
    stream = stream_of(content, length)
    pieces = stream.pieces()
    first = await anext(pieces)
    content.feed_data(b"67890")
    content.set_exception(BROKEN)
    rest: list[bytes] = []
    if broken:
        with pytest.raises(TransportError, match="not completed"):
            async for piece in pieces:
                rest.append(piece)
    else:
        rest = [piece async for piece in pieces]

    assert (b"12345", [b"67890"]) == (first, rest)
