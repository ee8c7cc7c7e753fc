"""Addresses that occur more than once in a file, found in little memory however long the file is.

An address is known by an 8-byte hash of it, salted anew in each process, so that none is written to the disk. Hashes
and lines are spread over buckets, each small enough for a set of its own. What no longer fits the memory goes to a
temporary file without a name.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import IO, Final

__all__ = ["AddressIndex"]

_BUCKETS: Final = 256
_MAX_IN_MEMORY: Final = 262_144  # addresses, of 16 bytes each; the others are on the disk


class AddressIndex:
    """Addresses with the lines on which they are. Close it."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]  # a hash and a line in turns
        self._count = 0
        self._file: IO[bytes] | None = None
        self._spilled: list[list[tuple[int, int]]] = [[] for _ in range(_BUCKETS)]  # offset and size of what is in it

    def add(self, addresses: Iterable[bytes], lines: Sequence[int]) -> None:
        """Add addresses, each with its line, in the order of the file. The same address has to be the same bytes."""
        buckets = self._buckets
        for key, line in zip(map(hash, addresses), lines, strict=True):
            bucket = buckets[key % _BUCKETS]
            bucket.append(key)
            bucket.append(line)
        self._count += len(lines)
        if self._count >= _MAX_IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        self._file = self._file or TemporaryFile()  # noqa: SIM115 -- `close` closes it
        for bucket, spilled in zip(self._buckets, self._spilled, strict=True):
            spilled.append((self._file.tell(), self._file.write(bucket)))
            del bucket[:]
        self._count = 0

    def find(self) -> Iterator[tuple[int, int]]:
        """Yield (line, next line with the same address) for each row that is followed by another one."""
        for bucket, spilled in zip(self._buckets, self._spilled, strict=True):
            entries = array("q")
            for offset, size in spilled:
                assert self._file is not None
                self._file.seek(offset)
                entries.frombytes(self._file.read(size))
            entries += bucket
            if len(set(entries[::2])) == len(entries) // 2:
                continue
            latest: dict[int, int] = {}
            for key, line in zip(entries[::2], entries[1::2], strict=True):
                if key in latest:
                    yield latest[key], line
                latest[key] = line

    def close(self) -> None:
        """Give up what is kept."""
        if self._file is not None:
            self._file.close()
