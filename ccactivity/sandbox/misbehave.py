"""Carries a reply out over one connection, soundly or as its faults ask; it knows nothing of the API."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Iterator

from aiohttp import web

from .effects import Bomb, Delay, Disconnect, Drip, Endless, Hang, Raw, Reset
from .messages import Mishap, Reply

__all__ = ["send"]

_BLOCK = 1 << 20


async def send(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    """Send the reply, after every delay it is due, with the last of its other mishaps.

    What is returned has been sent already, or cannot be any more, or is sound and ready to be sent.
    """
    sound = web.Response(status=reply.status, body=reply.body, headers=_headers(reply))
    mishap: Mishap | None = None
    for found in reply.wire:
        if isinstance(found, Delay):
            await asyncio.sleep(found.seconds)
        else:
            mishap = found
    try:
        return await _mishandle(request, reply, mishap) or sound
    except ConnectionError:  # the caller left in the middle
        return sound


async def _mishandle(request: web.BaseRequest, reply: Reply, mishap: Mishap | None) -> web.StreamResponse | None:
    match mishap:
        case Disconnect():
            _break(request, hard=False)
        case Raw(data=data):
            _transport(request).write(data)
            _break(request, hard=False)
        case Reset(after=None, hard=hard):
            _break(request, hard=hard)
        case Hang(after=None):
            await _for_ever()
        case Drip(head=True):
            await _drip_all(request, reply, mishap)
        case Reset() | Hang() | Drip():
            return await _in_pieces(request, reply, mishap)
        case Bomb(size=size):
            response = _response(reply, length=None)
            response.headers["Content-Encoding"] = "gzip"
            return await _stream(request, response, _inflating_to(size))
        case Endless(declared=declared):
            return await _stream(request, _response(reply, length=declared), _without_end())
    return None


async def _in_pieces(request: web.BaseRequest, reply: Reply, mishap: Reset | Hang | Drip) -> web.StreamResponse:
    chunked = isinstance(mishap, Reset) and mishap.chunked
    response = _response(reply, length=None if chunked else len(reply.body))
    await response.prepare(request)
    if isinstance(mishap, Drip):
        for begin in range(0, len(reply.body), mishap.size):
            await asyncio.sleep(mishap.pause)
            await response.write(reply.body[begin : begin + mishap.size])
        return response

    await response.write(reply.body[: int(len(reply.body) * (mishap.after or 0.0))])
    if isinstance(mishap, Hang):
        await _for_ever()
    else:
        _break(request, hard=mishap.hard)
    return response


async def _drip_all(request: web.BaseRequest, reply: Reply, drip: Drip) -> None:
    headers = {**_headers(reply), "Content-Length": str(len(reply.body))}
    lines = [f"HTTP/1.1 {reply.status} -", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    whole = "\r\n".join(lines).encode() + reply.body
    for begin in range(0, len(whole), drip.size):
        await asyncio.sleep(drip.pause)
        _transport(request).write(whole[begin : begin + drip.size])
    _break(request, hard=False)


async def _stream(
    request: web.BaseRequest, response: web.StreamResponse, pieces: Iterator[bytes]
) -> web.StreamResponse:
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(0)  # a fast reader never fills the buffer: others must get their turn
    return response


def _inflating_to(size: int) -> Iterator[bytes]:
    """Yield a gzip stream of one JSON object padded with spaces, compressed once and repeated."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head, blank, tail = b'{"activities": [', b" " * _BLOCK, b'], "_links": {}}'
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    yield squeeze.compress(head) + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(blank) + squeeze.flush(zlib.Z_FULL_FLUSH)  # stands alone, so it can be said again
    check = zlib.crc32(head)
    blocks = max(1, size // _BLOCK)
    for _ in range(blocks):
        check = zlib.crc32(blank, check)
        yield block
    yield squeeze.compress(tail) + squeeze.flush()
    length = len(head) + blocks * _BLOCK + len(tail)
    yield struct.pack("<II", zlib.crc32(tail, check), length & 0xFFFFFFFF)


def _without_end() -> Iterator[bytes]:
    yield b'{"activities": ['
    while True:
        yield b" " * 65_536


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def _headers(reply: Reply) -> dict[str, str]:
    return {**reply.headers, "Content-Type": reply.content_type}


def _response(reply: Reply, *, length: int | None) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=_headers(reply))
    if length is None:
        response.enable_chunked_encoding()
    else:
        response.content_length = length
    return response


def _transport(request: web.BaseRequest) -> asyncio.WriteTransport:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the caller is gone")
    return transport


def _break(request: web.BaseRequest, *, hard: bool) -> None:
    """End the connection: with a TCP reset if `hard`, else in order, once all is sent."""
    transport = _transport(request)
    if not hard:
        transport.close()
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
