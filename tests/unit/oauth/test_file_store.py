"""Tokens in a file: what is trusted, what is refused, and that the file is whole whatever happens."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from support.logins import FULL_RECORD, NEXT_RECORD, RECORD, save

from ccactivity import TokenStoreError
from ccactivity.oauth import FileStore, StoredTokens

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes and owners are those of POSIX systems")


def look(path: Path) -> tuple[tuple[int, ...], bytes | None]:
    """All that there is to see of a path."""
    found = path.lstat()
    # Not when it was last read: reading it is what is tested.
    known = (found.st_mode, found.st_ino, found.st_nlink, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns)
    return known, path.read_bytes() if stat.S_ISREG(found.st_mode) else None


def modes(folder: Path) -> dict[str, int]:
    return {found.name: stat.S_IMODE(found.stat().st_mode) for found in [folder, *folder.iterdir()]}


@pytest.mark.parametrize("record", [RECORD, FULL_RECORD])
async def test_a_record_comes_back_as_it_was(path: Path, record: StoredTokens) -> None:
    """Every field survives, in a file that only its user can read, in a directory that only they can enter."""
    assert await FileStore(path).load() is None
    assert await save(FileStore(path), record)

    assert record == await FileStore(path).load()
    assert {"tokens": 0o700, "tokens.json": 0o600, "tokens.json.lock": 0o600} == modes(path.parent)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _hard_link(path: Path) -> None:
    path.with_name("elsewhere").hardlink_to(path)


def _linked_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


def _dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path)) if len(str(path)) < 100 else path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (_link, "is a link"),
    "a dangling link": (_dangling_link, "is a link"),
    "a hard link": (_hard_link, "2 names"),
    "a linked folder": (_linked_folder, "a link or not a directory"),
    "a pipe": (_pipe, "not a regular file"),
    "a folder": (_folder, "not a regular file"),
    "a socket": (_socket, "cannot be read|not a regular file"),
    "a file others can read": (lambda path: path.chmod(0o640), "mode 640.*chmod 600"),
    "a file others can write": (lambda path: path.chmod(0o602), "mode 602.*chmod 600"),
    "a folder others can enter": (lambda path: path.parent.chmod(0o710), "mode 710.*chmod 700"),
    "a folder others can write": (lambda path: path.parent.chmod(0o777), "mode 777.*chmod 700"),
    "an empty file": (lambda path: path.write_bytes(b""), "left as it is"),
    "half a file": (lambda path: path.write_bytes(path.read_bytes()[:200]), "left as it is"),
    "another file": (lambda path: path.write_bytes(b'{"access_token": "canary-secret-x"}'), "left as it is"),
    "no UTF-8": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "left as it is"),
    "a list": (lambda path: path.write_bytes(b"[[]]"), "left as it is"),
    "deep": (lambda path: path.write_bytes(b"[" * 100_000), "left as it is"),
    "huge": (lambda path: path.write_bytes(b" " * 300_000 + path.read_bytes()), "left as it is"),
    "a later format": (
        lambda path: path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 2')),
        "left",
    ),
    "a version that is none": (
        lambda path: path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": true')),
        "left",
    ),
    "a time without a zone": (lambda path: path.write_bytes(path.read_bytes().replace(b"+00:00", b"")), "left"),
    "a token with a line break": (
        lambda path: path.write_bytes(path.read_bytes().replace(b"secret-access", b"secret\\n")),
        "left",
    ),
}


@posix_only
@pytest.mark.parametrize("kind", DAMAGE)
async def test_what_cannot_be_trusted_is_refused_and_left_alone(path: Path, kind: str) -> None:
    """Neither loading nor saving touches it, and the error says what is wrong, and nothing of what is in it."""
    damage, words = DAMAGE[kind]
    store = FileStore(path)
    await save(store, RECORD)
    damage(path)
    before = look(path)

    with pytest.raises(TokenStoreError, match=words) as caught:
        await store.load()
    with pytest.raises(TokenStoreError, match=words):
        await save(store, NEXT_RECORD, 1)
    assert before == look(path)
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None or "canary" not in repr(caught.value.__context__.__dict__)


@posix_only
@pytest.mark.parametrize("name", ["tokens", "tokens/tokens.json"])
async def test_what_belongs_to_somebody_else_is_refused(path: Path, name: str) -> None:
    """A file or a directory of another user is not trusted, whatever its mode."""
    if os.geteuid() == 0:  # only root can give files away, and others have none of root's
        await save(FileStore(path), RECORD)
        os.chown(path.parent.parent / name, 12345, -1)
        owner = 12345
    else:
        path, owner = Path("/usr/tokens.json" if name == "tokens" else "/etc/passwd"), 0

    with pytest.raises(TokenStoreError, match=f"user with id {owner}"):
        await FileStore(path).load()


@posix_only
async def test_a_lock_file_that_is_a_link_is_not_followed(path: Path) -> None:
    """The lock cannot be made to create or open a file elsewhere."""
    await save(FileStore(path), RECORD)
    lock = path.with_name("tokens.json.lock")
    lock.unlink()
    lock.symlink_to(path.parent.parent / "elsewhere")

    with pytest.raises(OSError, match="lock"):
        await save(FileStore(path), NEXT_RECORD, 1)
    assert not (path.parent.parent / "elsewhere").exists()


NEW = ".tokens.json.new"


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (None, RECORD),
        (b"", RECORD),
        (NEXT_RECORD.to_json().encode()[:-20], RECORD),
        (NEXT_RECORD.to_json().encode(), NEXT_RECORD),
        (RECORD.to_json().encode(), RECORD),
    ],
    ids=["nothing", "an empty file", "half a record", "a whole record", "an old record"],
)
async def test_a_process_that_dies_while_saving_leaves_the_last_whole_record(
    path: Path, left: bytes | None, expected: StoredTokens
) -> None:
    """What a dead process wrote and did not put in place counts if it is whole; else what was there before does."""
    store = FileStore(path)
    await save(store, RECORD)
    if left is not None:
        new = path.with_name(NEW)
        new.touch(0o600)
        new.write_bytes(left)

    assert expected == await store.load()
    later = attrs.evolve(expected, version=expected.version + 1, scopes=("later",))
    assert not await save(store, later, expected.version + 1)
    assert await save(store, later, expected.version)
    assert later == await store.load()
    assert ["tokens.json", "tokens.json.lock"] == sorted(found.name for found in path.parent.iterdir())


async def test_a_disk_that_fails_leaves_the_file_whole(path: Path) -> None:
    """A save that fails half-way changes nothing."""
    store = FileStore(path)
    await save(store, RECORD)
    path.with_name(NEW).mkdir()

    with pytest.raises(OSError, match="new"):
        await save(store, NEXT_RECORD, 1)
    assert RECORD == await store.load()


async def test_the_lock_keeps_others_out(path: Path) -> None:
    """Tasks and stores of one process exclude each other too, and a wait that is too long ends."""
    one, other = FileStore(path), FileStore(path, lock_timeout=5)
    async with one.exclusive():
        with pytest.raises(TimeoutError, match="for 5 s"):
            async with other.exclusive():
                raise AssertionError
    async with other.exclusive():
        pass


async def test_a_cancelled_wait_leaves_no_lock_behind(path: Path) -> None:
    """Whoever is cancelled at the lock, or while holding it, leaves it free."""
    store = FileStore(path)

    async def hold() -> None:
        async with store.exclusive():
            await asyncio.sleep(100)

    tasks = [asyncio.ensure_future(hold()) for _ in range(3)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    async with FileStore(path, lock_timeout=1).exclusive():
        pass


def test_a_killed_process_frees_the_lock(path: Path) -> None:
    """The lock ends with the process that holds it."""
    program = (
        "import asyncio, sys; from ccactivity.oauth import FileStore\n"
        "async def main():\n"
        "    async with FileStore(sys.argv[1]).exclusive():\n"
        "        print('held', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )

    async def take(lock_timeout: float) -> None:
        async with FileStore(path, lock_timeout=lock_timeout).exclusive():
            pass

    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert "held\n" == child.stdout.readline()
        with pytest.raises(TimeoutError):
            asyncio.run(take(0.05))
        child.kill()
    asyncio.run(take(5))


def test_the_default_place_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a path the file is in the user's state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = FileStore()

    assert "tokens.json" == store.path.name
    assert "ccactivity" in str(store)
    assert str(store.path) == repr(store)


async def test_a_cancelled_save_is_whole(path: Path) -> None:
    """A thread cannot be stopped half-way, so the caller is held until it has ended, however often it is cancelled."""
    store = FileStore(path)
    async with store.exclusive():
        saving = asyncio.ensure_future(store.save(RECORD, replaces=0))
        await asyncio.sleep(0)
        saving.cancel()
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

        assert RECORD == await store.load()
