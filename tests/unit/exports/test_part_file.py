"""The file that takes the place of its target: whole, or not there; and nothing stays behind."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
import time
from pathlib import Path

import pytest
from support.disk import largest_file

from ccactivity.exports.part_file import PartFile

PIECE = b"x" * 100_000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def parts_left(folder: Path) -> list[str]:
    """Return the part files that are still there after five seconds: what was under way in a thread ends first."""
    give_up = time.monotonic() + 5.0
    while (parts := [name for name in names(folder) if name.endswith(".part")]) and time.monotonic() < give_up:
        time.sleep(0.001)
    return parts


async def save(target: Path, pieces: int = 25, *, overwrite: bool = False) -> None:
    async with PartFile(target, overwrite=overwrite) as part:
        for _ in range(pieces):
            await part.write(PIECE)
        await part.commit()


async def test_a_file_is_there_at_the_end_alone(tmp_path: Path) -> None:
    """Until then it has another name, beside it; only its user can read it."""
    target = tmp_path / "contacts.csv"
    async with PartFile(target, overwrite=False) as part:
        full = [await part.write(PIECE) for _ in range(25)]
        (name,) = names(tmp_path)
        assert name.startswith(".contacts.csv.") and name.endswith(".part") and len(name) == 27
        await part.commit()

    assert [10, 21] == [place for place, was_full in enumerate(full) if was_full]
    assert ["contacts.csv"] == names(tmp_path)
    assert PIECE * 25 == target.read_bytes()
    assert 0o600 == stat.S_IMODE(target.stat().st_mode)


async def test_what_is_not_committed_is_gone(tmp_path: Path) -> None:
    """However the block is left."""
    with pytest.raises(KeyError):
        async with PartFile(tmp_path / "a", overwrite=False) as part:
            await part.write(PIECE * 30)
            raise KeyError

    assert [] == names(tmp_path)


async def test_a_restart_forgets_what_was_written(tmp_path: Path) -> None:
    """Also what has not yet gone to disk."""
    async with PartFile(tmp_path / "a", overwrite=False) as part:
        for _ in range(13):
            await part.write(PIECE)
        await part.restart()
        await part.write(b"new")
        await part.commit()

    assert b"new" == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("kind", ["file", "dangling link"])
async def test_what_is_there_is_not_replaced(tmp_path: Path, kind: str) -> None:
    """Unless one asks for it."""
    target = tmp_path / "a"
    if kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to("nowhere")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        await save(target)
    assert ["a"] == names(tmp_path)
    await save(target, 1, overwrite=True)

    assert ["a"] == names(tmp_path)
    assert PIECE == target.read_bytes()
    assert not target.is_symlink()


async def test_what_has_come_to_be_there_is_not_replaced(tmp_path: Path) -> None:
    """The target is looked at again at the end."""
    target = tmp_path / "a"
    with pytest.raises(FileExistsError, match="overwrite=True"):
        async with PartFile(target, overwrite=False) as part:
            target.write_text("mine")
            await part.commit()

    assert ["a"] == names(tmp_path)
    assert "mine" == target.read_text()


@pytest.mark.parametrize("there", [False, True])
async def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """Then the target is looked at, and replaced."""

    def link(_: Path, target: Path) -> None:
        if there:
            target.write_text("mine")
            raise FileExistsError(errno.EEXIST, "File exists")
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    if there:
        with pytest.raises(FileExistsError, match="overwrite=True"):
            await save(tmp_path / "a", 1)
    else:
        await save(tmp_path / "a", 1)

    assert ["a"] == names(tmp_path)
    assert ("mine" if there else PIECE.decode()) == (tmp_path / "a").read_text()


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_folder_is_no_target(tmp_path: Path, overwrite: bool) -> None:
    """It is refused at the start, not once all has come."""
    with pytest.raises(IsADirectoryError, match="name a file in it"):
        await save(tmp_path, overwrite=overwrite)


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes with a name")
@pytest.mark.parametrize("linked", [False, True])
async def test_what_is_no_file_is_not_replaced(tmp_path: Path, linked: bool) -> None:
    """Root could replace /dev/null; and a link such as /dev/stdout leads to what one means."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(OSError, match="a device or a pipe"):
        await save(tmp_path / ("link" if linked else "pipe"), 1, overwrite=True)

    assert ["link", "pipe"] == names(tmp_path)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("letter", ["x", "\N{GRINNING FACE}"])
async def test_a_long_name(tmp_path: Path, letter: str) -> None:
    """What may be the name of a file may be that of this one."""
    target = tmp_path / (letter * (255 // len(letter.encode())))
    await save(target, 1)

    assert [target.name] == names(tmp_path)


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """What the system says passes."""
    with pytest.raises(FileNotFoundError):
        await save(tmp_path / "none" / "a")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
@pytest.mark.parametrize("pieces", [11, 12, 40])
async def test_a_full_disk_leaves_nothing(tmp_path: Path, pieces: int) -> None:
    """Wherever it is noticed: at the write after, or at the end."""
    with largest_file(1_000_000), pytest.raises(OSError, match="too large"):
        await save(tmp_path / "a", pieces)

    assert [] == names(tmp_path)


@pytest.mark.real_time
@pytest.mark.parametrize("turns", [*range(12), 20, 30, 50])
async def test_a_cancellation_leaves_no_part(tmp_path: Path, turns: int) -> None:
    """At any point, and also if the clean-up itself is cancelled: the whole file is there, or nothing."""
    for cancellations in (1, 2):
        task = asyncio.create_task(save(tmp_path / "a", 60))
        for _ in range(turns):
            await asyncio.sleep(0)
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        assert task.cancelled()
        assert [] == await asyncio.to_thread(parts_left, tmp_path)
        if (tmp_path / "a").exists():  # it came while the file took its place
            assert PIECE * 60 == (tmp_path / "a").read_bytes()
            (tmp_path / "a").unlink()
