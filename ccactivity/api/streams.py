"""The body of an answer that is too long to be kept: read piece by piece as it arrives, decompressed, and to its end.

1. **What is missing shows**, by the declared length, the last chunk, or the end of the compressed data. A body that
   nothing but the end of its connection ends is marked as such (`ends_by_close`).
2. **The clock bounds silence, not the whole**: a large file may take hours, but no byte for a while is an end.
3. **Memory is bounded**: nothing is read before the last piece was taken, and what is compressed comes out in small
   pieces, however large it becomes.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final

import aiohttp
import attrs

from .._text import escape
from ..errors import DecodeError, TransportError
from .messages import Reply, Request

__all__ = ["BodyStream", "Inflater", "StreamedReply", "inflater_for"]

_ENCODINGS: Final = ("gzip", "x-gzip", "deflate")
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS  # whichever header there is
_GZIP_MAGIC: Final = b"\x1f"  # the first byte of it: a chunk may end there
_UNCOMPRESSED: Final = ("", "identity")
_MAX_PIECE_BYTES: Final = 256 * 1024  # that come out of the decompressor at once


class BodyStream:
    """The body of a response. Whoever has it closes it.

    `length`: bytes that are declared, as they are sent; None if that is left open. `compressed`: whether that is less
    than what comes out. `silence`: seconds without a byte after which it is given up, None for never. `translate`:
    makes our error of one of the HTTP library's.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        request: Request,
        *,
        silence: float | None,
        translate: Callable[[Exception], Exception],
    ) -> None:
        self._encoding = response.headers.get("Content-Encoding", "").strip().lower()
        self.compressed: bool = self._encoding not in _UNCOMPRESSED
        self.length: int | None = response.content_length
        self.content_type: str = response.content_type
        self.ends_by_close: bool = (
            self.length is None and not self.compressed and "Transfer-Encoding" not in response.headers
        )
        self._response = response
        self._request = request
        self._silence = silence
        self._translate = translate

    def close(self) -> None:
        """Give the connection back if all was read, else close it."""
        self._response.close()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body; TransportError if it breaks off, DecodeError for what is not compressed as it says."""
        inflater = inflater_for(self._encoding)
        received, more, problem = 0, True, None
        while more:
            chunk, problem = await self._read()
            received += len(chunk)
            more = bool(chunk) and problem is None
            if inflater is not None:
                for piece in inflater.pieces(chunk):
                    yield piece
            elif chunk:
                yield chunk
        if received == self.length:
            problem = None  # whatever the HTTP library says: it has called whole bodies broken (aiohttp#13348)
        if problem is None and inflater is not None and received and not inflater.eof:
            problem = self._error("a compressed body that ends too early")
        if problem is not None:
            raise problem

    async def _read(self) -> tuple[bytes, Exception | None]:
        """Return what has arrived, empty at the end, and why nothing can follow, if so."""
        content = self._response.content
        try:
            if chunk := content.read_nowait():
                return chunk, None
            async with asyncio.timeout(self._silence):  # not for what is there already: it takes as long as reading it
                return await content.readany(), None
        except TimeoutError:
            waited = "" if self._silence is None else f" within {self._silence:g} s"
            return b"", self._error(f"no further byte of the body{waited}")
        except Exception as problem:  # noqa: BLE001 -- all errors of the HTTP library are translated
            # What had arrived before the connection broke; aiohttp has no public name for it.
            rest: Callable[[int], bytes] = getattr(content, "_read_nowait", lambda _: b"")
            return rest(-1), self._translate(problem)

    def _error(self, reason: str) -> TransportError:
        return TransportError(reason, method=self._request.method, path=self._request.path)


@attrs.frozen
class StreamedReply(Reply):
    """A reply of success whose body is still to be read."""

    stream: BodyStream = attrs.field(kw_only=True, repr=False)


class Inflater:
    """Decompresses, in small pieces. Gzip members may come one after the other (RFC 1952)."""

    def __init__(self) -> None:
        self._member: Any = zlib.decompressobj(_GZIP_OR_ZLIB)

    @property
    def eof(self) -> bool:
        """Whether the data may end here."""
        return bool(self._member.eof)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what comes out of a chunk; padding after the last member is ignored."""
        while chunk:
            if self._member.eof:
                if not chunk.startswith(_GZIP_MAGIC):
                    return
                self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                piece = self._member.decompress(chunk, _MAX_PIECE_BYTES)
            except zlib.error:
                raise DecodeError("a body that is not compressed as its Content-Encoding says") from None
            if piece:
                yield piece
            chunk = self._member.unconsumed_tail or self._member.unused_data


def inflater_for(encoding: str) -> Inflater | None:
    """What decompresses a body with this Content-Encoding; None if nothing has to. DecodeError if nothing can."""
    encoding = encoding.strip().lower()
    if encoding in _UNCOMPRESSED:
        return None
    if encoding not in _ENCODINGS:
        raise DecodeError(f"an unknown content encoding {escape(encoding, 40)!r}")
    return Inflater()
