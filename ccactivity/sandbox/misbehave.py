"""Sends a reply over one connection, soundly or with the faults that were scripted for it."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Iterable, Iterator

from aiohttp import web

from .effects import Bomb, Delay, Disconnect, Drip, Endless, Framing, Hang, Raw, Reset
from .messages import Reply, TransportFault

__all__ = ["send"]

_GZIP_BLOCK_BYTES = 1 << 20
_ENDLESS_BLOCK_BYTES = 1 << 16


async def send(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    """Send the reply, after all of its delays, with the last of its other faults.

    The response returned was sent already, or cannot be sent any more, or is sound and ready to be sent.
    """
    sound = web.Response(status=reply.status, body=reply.body, headers=_headers(reply))
    last: TransportFault | None = Framing() if reply.blocks else None
    for fault in reply.wire:
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        else:
            last = fault
    try:
        return await _send_faulty(request, reply, last) or sound
    except ConnectionError:  # the caller left in the middle
        return sound


async def _send_faulty(
    request: web.BaseRequest, reply: Reply, fault: TransportFault | None
) -> web.StreamResponse | None:
    response = None
    match fault:
        case Disconnect():
            _close(request, hard=False)
        case Raw(data=data):
            _transport(request).write(data)
            _close(request, hard=False)
        case Reset(after=share, hard=hard, chunked=chunked):
            if share is not None:
                response = await _send_share(request, reply, share, chunked=chunked)
            _close(request, hard=hard)
        case Hang(after=share):
            if share is not None:
                await _send_share(request, reply, share)
            await asyncio.get_running_loop().create_future()
        case Drip(head=True):
            await _drip_all(request, reply, fault)
        case Drip(pause=pause, size=size):
            pieces = _pieces(reply.body, size)
            response = await _stream(request, _response(reply, length=len(reply.body)), pieces, pause=pause)
        case Framing():
            response = await _send_framed(request, reply, fault)
        case Bomb(size=size):
            packed = _response(reply, length=None)
            packed.headers["Content-Encoding"] = "gzip"
            response = await _stream(request, packed, _gzip_of(size))
        case Endless(declared=declared):
            response = await _stream(request, _response(reply, length=declared), _endless_body())
    return response


async def _send_share(
    request: web.BaseRequest, reply: Reply, share: float, *, chunked: bool = False
) -> web.StreamResponse:
    response = _response(reply, length=None if chunked else len(reply.body))
    await response.prepare(request)
    await response.write(reply.body[: int(len(reply.body) * share)])
    return response


async def _send_framed(request: web.BaseRequest, reply: Reply, framing: Framing) -> web.StreamResponse | None:
    if framing.gzip:
        reply = reply.with_headers({"Content-Encoding": "gzip"})

    def pieces() -> Iterator[bytes]:
        blocks = reply.blocks() if reply.blocks else iter([reply.body])
        return _compressed(blocks) if framing.gzip else blocks

    response = None
    sent = pieces() if framing.cut is None else _first(pieces(), framing.cut)
    if framing.by == "close":
        await request.writer.write(_head(reply.status, _headers(reply) | {"Connection": "close"}))
        for piece in sent:
            await request.writer.write(piece)
    else:
        length = None
        if framing.by == "length":
            length = sum(map(len, pieces())) if framing.gzip else reply.length or len(reply.body)
        response = await _stream(request, _response(reply, length=length), sent)
    if framing.cut is not None or response is None:
        _close(request, hard=False)
    return response


async def _drip_all(request: web.BaseRequest, reply: Reply, drip: Drip) -> None:
    headers = {**_headers(reply), "Content-Length": str(len(reply.body))}
    for piece in _pieces(_head(reply.status, headers) + reply.body, drip.size):
        await asyncio.sleep(drip.pause)
        _transport(request).write(piece)
    _close(request, hard=False)


async def _stream(
    request: web.BaseRequest, response: web.StreamResponse, pieces: Iterable[bytes], *, pause: float = 0.0
) -> web.StreamResponse:
    await response.prepare(request)
    for piece in pieces:
        await asyncio.sleep(pause)  # also of 0 s: a fast reader never fills the buffer, and others must get their turn
        await response.write(piece)
    return response


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[begin : begin + size] for begin in range(0, len(data), size))


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def _first(pieces: Iterable[bytes], count: int) -> Iterator[bytes]:
    """Yield the first `count` bytes."""
    for piece in pieces:
        yield piece[:count]
        count -= len(piece)
        if count <= 0:
            break


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    yield from filter(None, map(compressor.compress, pieces))
    yield compressor.flush()


def _gzip_of(size: int) -> Iterator[bytes]:
    """Yield a gzip stream of one JSON object padded with spaces: one block is compressed once, and sent again."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head, blank, tail = b'{"activities": [', b" " * _GZIP_BLOCK_BYTES, b'], "_links": {}}'
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    yield compressor.compress(head) + compressor.flush(zlib.Z_FULL_FLUSH)
    block = compressor.compress(blank) + compressor.flush(zlib.Z_FULL_FLUSH)  # depends on no block before it
    check = zlib.crc32(head)
    blocks = max(1, size // _GZIP_BLOCK_BYTES)
    for _ in range(blocks):
        check = zlib.crc32(blank, check)
        yield block
    yield compressor.compress(tail) + compressor.flush()
    length = len(head) + blocks * _GZIP_BLOCK_BYTES + len(tail)
    yield struct.pack("<II", zlib.crc32(tail, check), length & 0xFFFFFFFF)


def _endless_body() -> Iterator[bytes]:
    yield b'{"activities": ['
    while True:
        yield b" " * _ENDLESS_BLOCK_BYTES


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


def _close(request: web.BaseRequest, *, hard: bool) -> None:
    """Close the connection: with a TCP reset if `hard`, else in order, once all is sent."""
    transport = _transport(request)
    if not hard:
        transport.close()
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
