"""Addresses that occur more than once in a file, found in little memory however long the file is.

An address is known by an 8-byte hash of it, salted anew in each process, so that none is written to the disk. Hashes
and lines are spread over buckets, each small enough for a dict of its own, and a bucket that grows goes to a temporary
file without a name.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import Final

__all__ = ["AddressIndex"]

_BUCKETS: Final = 128
_BUCKET_MEMORY_BYTES: Final = 32_768  # 4 MB for all of them; then they are on the disk, 16 bytes a row
_MAX_WAITING: Final = 16_384  # addresses that are not in buckets yet


class AddressIndex:
    """Addresses with the lines on which they are. Close it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Sequence[bytes], Sequence[int]]] = []
        self._waiting_count = 0
        self._buckets = [
            SpooledTemporaryFile(max_size=_BUCKET_MEMORY_BYTES)  # noqa: SIM115 -- `close` closes it
            for _ in range(_BUCKETS)
        ]

    def add(self, addresses: Sequence[bytes], lines: Sequence[int]) -> None:
        """Add addresses, each with its line, in the order of the file. The same address has to be the same bytes."""
        self._waiting.append((addresses, lines))
        self._waiting_count += len(addresses)
        if self._waiting_count >= _MAX_WAITING:
            self._spread()

    def _spread(self) -> None:
        fresh = [array("q") for _ in range(_BUCKETS)]
        for addresses, lines in self._waiting:
            for key, line in zip(map(hash, addresses), lines, strict=True):
                bucket = fresh[key % _BUCKETS]
                bucket.append(key)
                bucket.append(line)
        for entries, spool in zip(fresh, self._buckets, strict=True):
            spool.write(entries.tobytes())
        self._waiting.clear()
        self._waiting_count = 0

    def find(self) -> Iterator[tuple[int, int]]:
        """Yield (line, next line with the same address) for each row that is followed by another one."""
        self._spread()
        for spool in self._buckets:
            spool.seek(0)
            entries = array("q", spool.read())
            if len(set(entries[::2])) == len(entries) // 2:
                continue
            latest: dict[int, int] = {}
            for key, line in zip(entries[::2], entries[1::2], strict=True):
                if key in latest:
                    yield latest[key], line
                latest[key] = line

    def close(self) -> None:
        """Give up what is kept."""
        for spool in self._buckets:
            spool.close()
