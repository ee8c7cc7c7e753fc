"""The file that is imported, as UTF-8 whatever its encoding is, with places to which a later reading can return."""

from __future__ import annotations

import codecs
import io
import os
import stat
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from ..errors import ImportRefusedError
from .columns import ImportProblem

__all__ = ["FileSource", "Piece", "Place"]

_CHUNK_BYTES: Final = 131_072
_BOM: Final = codecs.BOM_UTF8
_OTHER_BOMS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Place(NamedTuple):
    """Where a reading can begin anew.

    `offset`: in the source. `state`: of the decoder there. `stream_offset`: in what is sent, which is UTF-8 without a
    byte order mark.
    """

    offset: int
    state: tuple[bytes, int]
    stream_offset: int


class Piece(NamedTuple):
    """What one read of the source brought: `raw` as it is there, `text` as UTF-8, `place` where it begins."""

    place: Place
    raw: bytes
    text: bytes


class FileSource:
    """A path, bytes, or a binary file that can seek; what a file holds from where it stands.

    `path`: None of bytes and file objects. `of_rows`: whether it was made of the rows of a program, so that its lines
    are told by the number of the row, and the header by 0.

    Raises ValueError for another encoding than one of text, and for what cannot be read twice.
    """

    def __init__(
        self, source: str | os.PathLike[str] | bytes | BinaryIO, encoding: str, *, of_rows: bool = False
    ) -> None:
        try:
            codec = codecs.lookup(encoding)
            "".encode(encoding)
        except LookupError:
            raise ValueError(f"encoding {encoding!r} is not known, or not one of text") from None
        self.had_bom: bool = False
        self.of_rows: bool = of_rows
        self._as_it_is = codec.name in {"utf-8", "utf-8-sig"}
        self._codec = "utf-8" if self._as_it_is else encoding
        self._lock = threading.Lock()  # one file object has one position
        self.path: Path | None = Path(source) if isinstance(source, str | os.PathLike) else None
        self._file: BinaryIO | None = None
        self._base = 0
        if isinstance(source, bytes | bytearray | memoryview):
            self._file = io.BytesIO(source)
        elif self.path is None:
            self._file = _check_file(source)
            self._base = self._file.tell()
        self._stamp: tuple[int, int] | None = None

    def read(self) -> Generator[Piece, None, None]:
        """Read all of it. ImportRefusedError for a byte that is not of the encoding, or a file that changes."""
        with self._open() as file:
            self._stamp = _stamp(file) if self.path else None
            yield from self._pieces(file, Place(0, codecs.getincrementaldecoder(self._codec)().getstate(), 0))
            self._check_unchanged(file)

    def read_range(self, place: Place, start: int, end: int) -> Generator[bytes, None, None]:
        """Read a range of the stream again. ImportRefusedError if the file is not what it was."""
        with self._open() as file:
            self._check_unchanged(file)
            for piece in self._pieces(file, place):
                at = piece.place.stream_offset
                yield piece.text[max(0, start - at) : max(0, end - at)]
                if at + len(piece.text) >= end:
                    break
            self._check_unchanged(file)

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        if self.path is not None:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise ImportRefusedError(f"{self.path} is not a regular file: it is read twice, so save it first")
            with self.path.open("rb") as file:
                yield file
            return
        assert self._file is not None
        with self._lock:
            yield self._file

    def _pieces(self, file: BinaryIO, place: Place) -> Iterator[Piece]:
        decoder = codecs.getincrementaldecoder(self._codec)()
        decoder.setstate(place.state)
        file.seek(self._base + place.offset)
        while True:
            raw = file.read(_CHUNK_BYTES)
            try:
                decoded = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                offset = place.offset + len(raw) - len(error.object) + error.start
                problem = f"byte {offset + 1:,} (0x{error.object[error.start]:02x}) is not {self._codec}"
            except UnicodeError:
                offset, problem = place.offset, f"this is not {self._codec}"
            else:
                text = raw if self._as_it_is else decoded.encode()
                if place.offset == 0 and text.startswith(_BOM):
                    self.had_bom = True
                    text = text[len(_BOM) :]
                if raw or text:
                    yield Piece(place, raw, text)
                if not raw:
                    return
                place = Place(place.offset + len(raw), decoder.getstate(), place.stream_offset + len(text))
                continue
            raise self._undecodable(file, offset, problem)

    def _undecodable(self, file: BinaryIO, offset: int, problem: str) -> ImportRefusedError:
        """Make the error that names the line, which nobody has counted."""
        file.seek(self._base)
        start = file.read(2)
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(self._codec)("replace"), translate=True)
        file.seek(self._base)
        line, left = 1, offset
        while left and (raw := file.read(min(left, _CHUNK_BYTES))):
            left -= len(raw)
            line += decoder.decode(raw, final=not left).count("\n")
        advice = "encoding='cp1252' is what Excel writes in much of the world"
        if not self._as_it_is:
            advice = "is that the encoding of the file?"
        elif start in _OTHER_BOMS:
            advice = "the file begins as UTF-16 does: encoding='utf-16'"
        return ImportRefusedError.of([ImportProblem(line, None, f"{problem}; {advice}")])

    def _check_unchanged(self, file: BinaryIO) -> None:
        if self.path is not None and _stamp(file) != self._stamp:
            raise ImportRefusedError(f"{self.path} changed while it was imported; what was sent is not taken back")


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _check_file(source: object) -> BinaryIO:
    if isinstance(source, io.TextIOBase) or not hasattr(source, "read"):
        raise TypeError(f"source must be a path, bytes or a binary file, not {type(source).__name__}")
    if not getattr(source, "seekable", lambda: False)():
        raise ValueError("source cannot seek, and is read twice: save it to a file, or give its bytes")
    return source  # type: ignore[return-value]  # what it has was looked at
