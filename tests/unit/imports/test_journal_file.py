"""The file of a journal: for one import at a time, whole after any death, and nobody else's file is touched."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ccactivity import JournalError
from ccactivity.imports.journal import Journal
from ccactivity.imports.journal_file import JournalFile

IDENTITY = {"source": "9f86d0"}
HOLD = """
import sys, time
from ccactivity.imports.journal import Journal
from ccactivity.imports.journal_file import JournalFile
file = JournalFile(sys.argv[1])
file.open(Journal({"source": "9f86d0"}))
print("open", flush=True)
time.sleep(60)
"""
FILL = """
import resource, signal, sys
from ccactivity import JournalError
from ccactivity.imports.journal import Journal
from ccactivity.imports.journal_file import JournalFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal({"source": "9f86d0"})
file = JournalFile(sys.argv[1])
file.open(journal)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
for number in range(1, 100):
    try:
        file.write(journal.sending(number, "a.csv"))
    except JournalError as error:
        print(number, error)
"""


@contextmanager
def opened(path: Path, journal: Journal) -> Iterator[JournalFile]:
    file = JournalFile(path)
    try:
        file.open(journal)
        yield file
    finally:
        file.close()


def read_again(path: Path) -> Journal:
    journal = Journal(IDENTITY)
    with opened(path, journal):
        return journal


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    """A line is in the file as soon as `write` returns; the file is for its owner alone."""
    path, journal = tmp_path / "import.journal", Journal(IDENTITY)
    with opened(path, journal) as file:
        file.write(journal.sending(1, "a.csv"))
        content = path.read_bytes()

    assert content == path.read_bytes()
    assert "a.csv" == read_again(path).part(1).file_name
    assert content == path.read_bytes()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_a_line_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    """What is written next stands alone."""
    path, journal = tmp_path / "import.journal", Journal(IDENTITY)
    read_again(path)
    path.write_bytes(path.read_bytes() + journal.sending(1, "a.csv") + b'{"part": 1, "activ')

    with opened(path, journal) as file:
        file.write(journal.accepted(1, "04fe9a"))

    assert ["04fe9a"] == read_again(path).part(1).activity_ids


@pytest.mark.parametrize("content", [b"email,first_name\n", b"email", Journal({"source": "60303a"}).first_line()])
def test_a_file_of_something_else(tmp_path: Path, content: bytes) -> None:
    """It is named, and left as it is."""
    path = tmp_path / "contacts.csv"
    path.write_bytes(content)

    for _ in range(2):  # the lock of the first one is gone
        with pytest.raises(JournalError, match=r"contacts\.csv' cannot be used: it .*; name another file") as caught:
            read_again(path)
        assert str(path) == caught.value.path
    assert content == path.read_bytes()


def test_a_place_where_no_journal_can_be(tmp_path: Path) -> None:
    """A folder that is missing, a folder, a device."""
    for path, words in [
        (tmp_path / "missing" / "import.journal", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/null"), "it is not the journal of an import"),
    ]:
        with pytest.raises(JournalError, match=words):
            read_again(path)


def test_a_journal_is_for_one_import_at_a_time(tmp_path: Path) -> None:
    """Another process is refused, and so is the same one; a death of its holder frees it."""
    path = tmp_path / "import.journal"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert "open\n" == other.stdout.readline()
        with pytest.raises(JournalError, match=r"import\.journal' is used by another import now"):
            read_again(path)
        other.send_signal(signal.SIGKILL)
        other.wait(10)

        with opened(path, Journal(IDENTITY)), pytest.raises(JournalError, match="is used by another import now"):
            read_again(path)
    read_again(path)


@pytest.mark.parametrize("room", [5, 60, 61])
def test_a_full_disk(tmp_path: Path, room: int) -> None:
    """The line that does not fit is refused, and spoils nothing: what was written can be read."""
    path = tmp_path / "import.journal"
    size = len(Journal(IDENTITY).first_line()) + room
    command = [sys.executable, "-c", FILL, str(path), str(size)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)

    refused = run.stdout.splitlines()
    assert "import.journal' cannot be written: " in refused[0]
    written = 99 - len(refused)
    journal = read_again(path)
    assert written == sum(journal.part(number).file_name is not None for number in range(1, 100))
    assert written == room // len(journal.sending(1, "a.csv"))


def test_a_journal_that_is_a_link(tmp_path: Path) -> None:
    """It is followed: where the journal is kept is the user's affair."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    read_again(tmp_path / "link")

    assert not (tmp_path / "real").is_symlink()
    assert Journal(IDENTITY).first_line() == (tmp_path / "real").read_bytes()
