"""A file that takes the place of its target once it is whole, written in a thread.

Until then it is `.NAME.<8 hex digits>.part` beside the target, readable by its user alone: exports are personal data.
One thread does all that touches the disk, one thing after the other. So what a cancelled caller leaves behind is
removed after the write that was under way, and never under it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, TypeVar

__all__ = ["PartFile", "check_target"]

T = TypeVar("T")
_BLOCK_BYTES: Final = 1024 * 1024
_MAX_NAME: Final = 60  # characters of the target's name; of four bytes each, and with the rest, a name may be no longer
_MAX_BLOCKS_UNDER_WAY: Final = 4  # so that neither the disk nor the network waits for each turn of the other


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raise what would go wrong at the end: FileExistsError, IsADirectoryError, FileNotFoundError, PermissionError.

    And a plain OSError for a device or a pipe: whoever may write to its folder would lose it.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a directory; name a file in it", str(target))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "is no file that could be replaced, but a device or a pipe", str(target))
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "is there already; overwrite=True replaces it", str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "is no folder", str(target.parent))
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "the folder cannot be written to", str(target.parent))


class PartFile:
    """Enter it to create the part file; `commit` puts it in the place of `target`. Leaving it removes what is left.

    Entering raises FileExistsError for a target that is there, unless `overwrite`; whatever the disk says passes.
    """

    def __init__(self, target: Path, *, overwrite: bool) -> None:
        self._target = target
        self._overwrite = overwrite
        self._part = target.with_name(f".{target.name[:_MAX_NAME]}.{secrets.token_hex(4)}.part")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ccactivity-export")
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._inspect: Callable[[bytes], object] | None = None
        self._writes: deque[asyncio.Future[None]] = deque()
        self._file: BinaryIO | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._create)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for write in self._writes:
            write.cancel()  # the thread ends what it has begun; nobody asks for the outcome
        try:
            await asyncio.shield(self._run(self._discard))  # the thread does it also if nobody waits any more
        finally:
            self._thread.shutdown(wait=False)

    async def restart(self, inspect: Callable[[bytes], object] | None = None) -> None:
        """Forget what was written. `inspect` is called with each piece that follows, in the thread."""
        await self._wait_for_writes(0)
        self._block, self._block_bytes = [], 0
        await self._run(self._truncate)
        self._inspect = inspect

    async def write(self, piece: bytes) -> bool:
        """Add a piece; tell whether a block was full and goes to disk, while the next ones are filled."""
        self._block.append(piece)
        self._block_bytes += len(piece)
        if self._block_bytes < _BLOCK_BYTES:
            return False
        await self._flush()
        return True

    async def commit(self) -> None:
        """Write all of it to disk, and let it take the place of the target; FileExistsError if one has come to be."""
        await self.flush()
        await self._run(self._place)

    async def flush(self) -> None:
        """Wait until every piece was inspected and written."""
        await self._flush()
        await self._wait_for_writes(0)

    async def _flush(self) -> None:
        await self._wait_for_writes(_MAX_BLOCKS_UNDER_WAY - 1)
        block, self._block, self._block_bytes = self._block, [], 0
        self._writes.append(self._run(partial(self._write, block)))

    async def _wait_for_writes(self, left: int) -> None:
        while len(self._writes) > left:
            await self._writes[0]
            self._writes.popleft()

    def _run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _open_file(self) -> BinaryIO:
        assert self._file is not None
        return self._file

    def _create(self) -> None:
        check_target(self._target, overwrite=self._overwrite)
        self._file = open(self._part, "xb", opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115 -- `_discard` closes it

    def _write(self, block: list[bytes]) -> None:
        self._open_file().writelines(block)
        if self._inspect is not None:
            for piece in block:
                self._inspect(piece)

    def _truncate(self) -> None:
        self._open_file().seek(0)
        self._open_file().truncate()

    def _place(self) -> None:
        file = self._open_file()
        file.flush()
        os.fsync(file.fileno())
        file.close()
        check_target(self._target, overwrite=self._overwrite)
        if not self._overwrite:
            try:
                os.link(self._part, self._target)  # fails if there is one, which replacing does not
            except FileExistsError:
                check_target(self._target, overwrite=False)
            except OSError:
                pass  # a file system without hard links: the check above has to do
            else:
                return
        self._part.replace(self._target)

    def _discard(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk may say so once more
                self._file.close()
            with suppress(OSError):
                self._part.unlink()  # not there if it has taken the target's place
