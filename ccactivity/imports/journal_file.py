"""The file of a journal: each line is on the disk before the import goes on, and one import at a time writes it.

1. The file has mode 0600, and each line is flushed to the disk. What it was cut off by, a full disk or a death, is
   removed when it is opened again.
2. It is locked by the system while it is open, which frees it when its process dies.
3. A file that is no journal, or that of another import, is left as it is.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..errors import JournalError
from .journal import Journal

__all__ = ["JournalFile"]

_NOT_OPEN: Final = -1
_MAX_JOURNAL_BYTES: Final = 64 << 20  # a line is a few hundred, and a part has four
_OPEN_FLAGS: Final = os.O_RDWR | os.O_CREAT | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_BINARY"))


class JournalFile:
    """A journal on a disk. All of it blocks: call it in a thread.

    Lines may be written by several threads. Raises JournalError if the file belongs to another import, is used by
    another one now, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        self._descriptor = _NOT_OPEN
        self._size = 0  # in bytes, of whole lines
        self._lock = threading.Lock()

    def open(self, journal: Journal) -> None:
        """Open and lock the file, and have the journal take over what it says; both until `close`."""
        try:
            self._descriptor = os.open(self.path, _OPEN_FLAGS, 0o600)
        except OSError as error:
            raise self._error(f"cannot be opened: {error.strerror}") from None
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_JOURNAL_BYTES:
            raise self._error("cannot be used: it is not the journal of an import")
        try:
            _lock(self._descriptor)
        except OSError:
            raise self._error("is used by another import now") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(status, self.path.stat()):
                return self._read(journal)
        raise self._error("was removed while it was opened")

    def write(self, line: bytes) -> None:
        """Add a line, and return when it is on the disk."""
        with self._lock:
            try:
                rest = line
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
                os.fsync(self._descriptor)
            except OSError as error:
                with suppress(OSError):  # what is there of the line would spoil the next one
                    self._cut()
                raise self._error(f"cannot be written: {error.strerror}") from None
            self._size += len(line)

    def close(self) -> None:
        """Close the file, and free it for others."""
        descriptor, self._descriptor = self._descriptor, _NOT_OPEN
        if descriptor != _NOT_OPEN:
            os.close(descriptor)

    def _read(self, journal: Journal) -> None:
        with os.fdopen(self._descriptor, "rb", closefd=False) as file:
            content = file.read()
        try:
            self._size = journal.read(content)
        except ValueError as error:
            advice = "name another file, or remove it to import everything anew"
            raise self._error(f"cannot be used: {error}; {advice}") from None
        self._cut()
        if not self._size:
            self.write(journal.first_line())
            _flush_folder(self.path.absolute().parent)

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self._size)
        os.lseek(self._descriptor, self._size, os.SEEK_SET)

    def _error(self, problem: str) -> JournalError:
        return JournalError(f"the journal {str(self.path)!r} {problem}", path=str(self.path))


def _flush_folder(folder: Path) -> None:
    """Have the name of a new file reach the disk too."""
    if os.name != "posix":
        return  # a directory cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE: Final = 1 << 40  # beyond the end: what is locked there cannot be read by others

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
