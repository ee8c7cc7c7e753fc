"""A store that is one file of one user.

1. The file has mode 0600 in a directory of mode 0700, both owned by the user. Anything looser is refused, and so are
   links and files with several names: others could read the tokens or replace them. (Windows has no such modes: there
   the user's own folder is trusted.)
2. A record is written beside the file, flushed to the disk, and moved into place by a rename, which is flushed too. So
   the file always holds a whole record: the last one, or the one before. A file that cannot be read is left as it is.
3. A process may die between the write and the rename. The record that it wrote is then read instead of the file, and
   moved into place by the next save: a rotated token that reached the disk is never lost.
4. The lock is a file of its own, which is never removed. The system frees it when its holder dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from .._tasks import run_in_thread
from ..errors import TokenStoreError
from ._extras import import_extra
from .models import StoredTokens

__all__ = ["FileStore"]

_MAX_TOKEN_FILE_BYTES: Final = 256 * 1024
_FIRST_LOCK_POLL_S: Final = 0.02
_MAX_LOCK_POLL_S: Final = 0.25
# No link is followed, no child process inherits the file, and a named pipe does not block.
_OPEN_FLAGS: Final = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"))
_GROUP_AND_OTHERS: Final = 0o077


class FileStore:
    """A login in a JSON file, with its lock beside it.

    `path`: None is `tokens.json` in the user's own state directory for ccactivity. The directory is made if it is
    missing. `lock_timeout`: seconds to wait for another process.

    Raises TokenStoreError, and OSError from the disk; ImportError without the extra `oauth`.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, lock_timeout: float = 60.0) -> None:
        self._filelock: Any = import_extra("filelock")
        if path is None:
            folder = import_extra("platformdirs").user_state_path("ccactivity", appauthor=False)
            path = Path(folder, "tokens.json")
        self.path: Path = Path(path).expanduser().absolute()
        self._new_path = self.path.with_name(f".{self.path.name}.new")
        self._lock_timeout = lock_timeout

    def __repr__(self) -> str:
        return str(self.path)

    async def load(self) -> StoredTokens | None:
        """Return what is stored, None for nothing."""
        return await run_in_thread(self._load)

    async def save(self, record: StoredTokens, *, replaces: int) -> bool:
        """Store a record if the stored version is `replaces`, 0 for nothing; needs the lock."""
        return await run_in_thread(lambda: self._save(record, replaces))

    async def delete(self) -> None:
        """Remove what is stored; needs the lock."""
        await run_in_thread(self._delete)

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold the lock; TimeoutError if another process holds it for longer than `lock_timeout`."""
        await run_in_thread(self._make_folder)
        # Not bound to the thread that acquires it: each call may run in another one.
        lock = self._filelock.FileLock(self.path.with_name(f"{self.path.name}.lock"), mode=0o600, thread_local=False)
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._lock_timeout, _FIRST_LOCK_POLL_S
        try:
            while True:
                with contextlib.suppress(self._filelock.Timeout):
                    await run_in_thread(lambda: lock.acquire(blocking=False))
                    break
                if loop.time() >= deadline:
                    raise TimeoutError(f"another process has held the lock of {self.path} for {self._lock_timeout:g} s")
                await asyncio.sleep(pause)
                pause = min(_MAX_LOCK_POLL_S, pause * 1.5)
            yield
        finally:
            # Also after a cancellation, which may arrive just when a thread has acquired the lock.
            await run_in_thread(lambda: lock.release(force=True))

    def _load(self) -> StoredTokens | None:
        self._check_folder()
        stored = _read(self.path)
        with contextlib.suppress(TokenStoreError):  # a half-written record does not count
            new = _read(self._new_path)
            if new is not None and new.version > (stored.version if stored else 0):
                return new
        return stored

    def _save(self, record: StoredTokens, replaces: int) -> bool:
        stored = self._load()
        if replaces != (stored.version if stored else 0):
            return False
        if stored is not None and stored != _read(self.path):  # it was written by a process that died: rule 3
            with self._new_path.open("rb") as file:
                os.fsync(file.fileno())
            self._move_into_place()
        self._new_path.unlink(missing_ok=True)
        descriptor = os.open(self._new_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(record.to_json().encode())
            file.flush()
            os.fsync(file.fileno())
        self._move_into_place()
        return True

    def _delete(self) -> None:
        for path in (self._new_path, self.path):
            path.unlink(missing_ok=True)
        self._flush_folder()

    def _move_into_place(self) -> None:
        self._new_path.replace(self.path)
        self._flush_folder()

    def _flush_folder(self) -> None:
        if os.name != "posix":
            return  # a directory cannot be opened there
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _make_folder(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_folder()

    def _check_folder(self) -> None:
        """TokenStoreError if the directory cannot be trusted; one that is missing has no tokens in it."""
        folder = self.path.parent
        with contextlib.suppress(FileNotFoundError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode):
                raise TokenStoreError(f"{folder} is a link or not a directory: tokens are kept in a real one")
            _check_owner(folder, status, "700")


def _read(path: Path) -> StoredTokens | None:
    """Read a record; None if there is no file, TokenStoreError if it cannot be trusted or read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = "is a link, which is not followed" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise TokenStoreError(f"{path} {problem}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise TokenStoreError(f"{path} is not a regular file")
        if status.st_nlink > 1:
            raise TokenStoreError(f"{path} has {status.st_nlink} names (hard links): one may be another user's")
        _check_owner(path, status, "600")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            text = file.read(_MAX_TOKEN_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    with contextlib.suppress(TokenStoreError):
        if len(text) <= _MAX_TOKEN_FILE_BYTES:
            return StoredTokens.from_json(text)
    del text  # which an error tracker would record
    raise TokenStoreError(f"{path} has no readable tokens, and was left as it is; to log in again, move it away")


def _check_owner(path: Path, status: os.stat_result, mode: str) -> None:
    if os.name != "posix":
        return
    if status.st_uid != os.geteuid():
        raise TokenStoreError(f"{path} belongs to the user with id {status.st_uid}, not to this one")
    if status.st_mode & _GROUP_AND_OTHERS:
        advice = f"chmod {mode} {path}"
        if stat.S_ISDIR(status.st_mode):
            # It may be a home directory or /tmp, which must not be closed to others for the sake of one file.
            advice = f"keep the tokens in a folder of their own, or if it is one, {advice}"
        raise TokenStoreError(f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):o}): {advice}")
