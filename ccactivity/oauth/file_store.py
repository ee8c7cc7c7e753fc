"""Tokens in a file of one user's; it repairs nothing, follows no link, and replaces only what it could read.

1. The file is 0600 in a directory that is 0700, both its user's own. Anything looser is refused, as are links and
   files with several names: whoever may write there could have tokens sent or taken. (Where there are no such modes,
   on Windows, the user's own folder is trusted.)
2. A record is written beside the file, flushed to the disk, and put in its place by a rename, which is flushed too. So
   the file is always a whole record: the last one, or the one before.
3. A process may die between the writing and the rename. What it wrote is then read in the place of its predecessor, and
   put there by the next one that saves: a rotated token that reached the disk at all is not lost.
4. The lock is a file of its own, never removed, that the system frees when its holder dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from ..errors import TokenStoreError
from ._extras import need
from .models import StoredTokens

__all__ = ["FileStore"]

T = TypeVar("T")
_MOST: Final = 256 * 1024
_POLL: Final = 0.02
_SLOWEST_POLL: Final = 0.25
# No link is followed, no child inherits the file, and a named pipe does not block.
_SAFELY: Final = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"))


class FileStore:
    """A login in a JSON file, with its lock beside it.

    `path`: None is `tokens.json` in the user's own state directory for ccactivity. The directory is made if it is
    missing. `lock_timeout`: seconds to wait for another process.

    Raises TokenStoreError, and OSError from the disk; ImportError without the extra `oauth`.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, lock_timeout: float = 60.0) -> None:
        self._locks: Any = need("filelock")
        if path is None:
            path = Path(need("platformdirs").user_state_path("ccactivity", appauthor=False), "tokens.json")
        self.path: Path = Path(path).expanduser().absolute()
        self._new = self.path.with_name(f".{self.path.name}.new")
        self._lock_timeout = lock_timeout

    def __repr__(self) -> str:
        return str(self.path)

    async def load(self) -> StoredTokens | None:
        """Return what is stored, None for nothing."""
        return await _finish(self._load)

    async def save(self, record: StoredTokens, *, replaces: int) -> bool:
        """Store a record if the stored version is `replaces`, 0 for nothing; needs the lock."""
        return await _finish(lambda: self._save(record, replaces))

    async def delete(self) -> None:
        """Remove what is stored; needs the lock."""
        await _finish(self._delete)

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold the lock; TimeoutError if another process keeps it for too long."""
        await _finish(self._prepare)
        # Not bound to the thread that takes it, for each call may get another one.
        lock = self._locks.FileLock(self.path.with_name(f"{self.path.name}.lock"), mode=0o600, thread_local=False)
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._lock_timeout, _POLL
        try:
            while not await _finish(lambda: self._take(lock)):
                if loop.time() >= deadline:
                    raise TimeoutError(f"another process has held the lock of {self.path} for {self._lock_timeout:g} s")
                await asyncio.sleep(pause)
                pause = min(_SLOWEST_POLL, pause * 1.5)
            yield
        finally:
            # Also after a cancellation, which may come in the very moment in which a thread takes the lock.
            await _finish(lambda: lock.release(force=True))

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _take(self, lock: Any) -> bool:
        try:
            lock.acquire(blocking=False)
        except self._locks.Timeout:
            return False
        return True

    def _load(self) -> StoredTokens | None:
        if not self._check_directory():
            return None
        stored = self._read(self.path)
        with contextlib.suppress(TokenStoreError):  # a half-written successor is none
            new = self._read(self._new)
            if new is not None and new.version > (stored.version if stored else 0):
                return new
        return stored

    def _save(self, record: StoredTokens, replaces: int) -> bool:
        self._prepare()
        stored = self._load()
        if (stored.version if stored else 0) != replaces:
            return False
        if stored is not None and stored != self._read(self.path):
            with self._new.open("rb") as file:
                os.fsync(file.fileno())
            self._publish()
        with contextlib.suppress(FileNotFoundError):
            self._new.unlink()
        handle = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(record.to_json().encode())
            file.flush()
            os.fsync(file.fileno())
        self._publish()
        return True

    def _publish(self) -> None:
        """Put the successor in its place."""
        self._new.replace(self.path)
        self._flush_directory()

    def _delete(self) -> None:
        for path in (self._new, self.path):
            path.unlink(missing_ok=True)
        if self.path.parent.exists():
            self._flush_directory()

    def _flush_directory(self) -> None:
        if os.name != "posix":
            return  # a directory cannot be opened there
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    # --- what is trusted --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_directory()

    def _check_directory(self) -> bool:
        """Whether the directory is there; TokenStoreError if it cannot be trusted."""
        folder = self.path.parent
        try:
            found = folder.lstat()
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(found.st_mode):
            raise TokenStoreError(f"{folder} is a link or no directory: tokens are kept in a real one")
        _check_owner(folder, found, "700")
        return True

    @staticmethod
    def _read(path: Path) -> StoredTokens | None:
        try:
            handle = os.open(path, os.O_RDONLY | _SAFELY)
        except FileNotFoundError:
            return None
        except OSError as error:
            if path.is_symlink():
                raise TokenStoreError(f"{path} is a link, which is not followed") from None
            raise TokenStoreError(f"{path} cannot be read: {error.strerror}") from None
        try:
            _check_file(path, os.fstat(handle))
            with os.fdopen(handle, "rb", closefd=False) as file:
                text = file.read(_MOST + 1)
        finally:
            os.close(handle)
        try:
            if len(text) <= _MOST:
                return StoredTokens.from_json(text)
        except TokenStoreError:
            pass
        raise TokenStoreError(
            f"{path} holds no tokens that can be read; it was left as it is: move it away to log in anew"
        )


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise TokenStoreError(f"{path} is no regular file")
    if found.st_nlink > 1:
        raise TokenStoreError(f"{path} has {found.st_nlink} names (hard links): one may be someone else's")
    _check_owner(path, found, "600")


def _check_owner(path: Path, found: os.stat_result, mode: str) -> None:
    if os.name != "posix":
        return
    if found.st_uid != os.geteuid():
        raise TokenStoreError(f"{path} belongs to the user with id {found.st_uid}, not to this one")
    if loose := stat.S_IMODE(found.st_mode) & 0o077:
        shown = stat.S_IMODE(found.st_mode)
        advice = f"chmod {mode} {path}"
        if stat.S_ISDIR(found.st_mode):
            # It may be a home, or /tmp, and is not to be shut for the sake of one file.
            advice = f"keep the tokens in a folder of their own, or if it is one, {advice}"
        raise TokenStoreError(f"{path} is open to others (mode {shown:o}, {loose:o} too much): {advice}")


async def _finish(work: Callable[[], T]) -> T:
    """Run `work` in a thread, and wait for its end even when cancelled: it cannot be stopped half-way."""
    job = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        while not job.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([job])
        if not job.cancelled():
            job.exception()
        raise
