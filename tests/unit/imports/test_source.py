"""A file in any encoding is sent as UTF-8, read twice, and refused if it is not the same the second time."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity import ImportPlan, ImportRefusedError, plan_import
from ccactivity.imports import planner as planner_module
from ccactivity.imports import source as module

LISTS = ["5b8f3a2c-0d0e-4c1a-9f43-2f0a7d1e6b11"]
TEXT = 'email,first_name\nzoe@example.com,Zoë\nadam@example.com,"A\nd"\n'
DATA = TEXT.encode()


def plan(source: Any, **options: Any) -> ImportPlan:
    return plan_import(source, list_ids=LISTS, **options)


def sent(made: ImportPlan) -> bytes:
    return made.read_part(1).content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "contacts.csv"
    path.write_bytes(DATA)
    return path


# --- encodings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "UTF8", "U8"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_utf_8_is_passed_through(encoding: str, mark: bytes) -> None:
    """But for a byte order mark, of which the plan speaks."""
    made = plan(mark + DATA, encoding=encoding)

    assert DATA == sent(made)
    assert bool(mark) == any("byte order mark" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    "encoding", ["cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "gb18030", "iso2022_jp_2"]
)
def test_other_encodings_become_utf_8(encoding: str) -> None:
    """Those of several bytes too, wherever they are cut."""
    assert DATA == sent(plan(TEXT.encode(encoding), encoding=encoding))


def test_a_mark_in_an_encoding_that_has_none() -> None:
    """UTF-16-LE does not take it off by itself; we do."""
    assert DATA == sent(plan(("\ufeff" + TEXT).encode("utf-16-le"), encoding="utf-16-le"))


@given(st.lists(st.text(st.sampled_from("aé\u20ac😀"), max_size=5), min_size=1), st.integers(3, 9), st.integers(40, 99))
def test_parts_of_another_encoding(names: list[str], chunk: int, most: int) -> None:
    """Each part is found again, wherever the reads fell and whatever state the decoder was in."""
    text = "email,x\n" + "".join(f"a@b.c,{name}\n" for name in names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK_BYTES", chunk)
        patch.setattr(planner_module, "_MAX_PART_BYTES", most)
        made = plan(text.encode("utf-16"), encoding="utf-16")
        contents = [made.read_part(part.number).content.decode() for part in made.parts]

    assert text == "email,x\n" + "".join(content.removeprefix("email,x\n") for content in contents)


@pytest.mark.parametrize(
    ("data", "encoding", "line", "message"),
    [
        (TEXT.encode("cp1252"), "utf-8-sig", 2, "byte 36 (0xeb) is not utf-8; encoding='cp1252' is what Excel"),
        (b"email\r\n\r\n\ra@b.c\n\xff", "utf-8", 5, "byte 17 (0xff) is not utf-8"),
        (DATA + b"\xc3", "utf-8-sig", 5, "byte 62 (0xc3) is not utf-8"),
        (TEXT.encode("utf-16"), "utf-8-sig", 1, "byte 1 (0xff) is not utf-8; the file begins as UTF-16 does"),
        (b"email\na@b.c\n\x81", "cp1252", 3, "byte 13 (0x81) is not cp1252; is that the encoding of the file?"),
        (TEXT.encode("utf-16") + b"x", "utf-16", 5, "is not utf-16; is that the encoding of the file?"),
        (TEXT.encode("utf-16-le"), "utf-16", 1, "is not utf-16; is that the encoding of the file?"),
        ("email\na@b.c".encode("utf-16-le"), "utf-8", 1, "a NUL byte: not text, or UTF-16, which needs encoding="),
    ],
)
def test_a_byte_that_is_none_of_the_encoding(data: bytes, encoding: str, line: int, message: str) -> None:
    """The first one is named with its line, and what to try."""
    with pytest.raises(ImportRefusedError) as caught:
        plan(data, encoding=encoding)

    (problem,) = caught.value.problems
    assert line == problem.line
    assert message in problem.message


def test_the_line_of_a_bad_byte_far_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line end that two reads share is one."""
    monkeypatch.setattr(module, "_CHUNK_BYTES", 8)
    with pytest.raises(ImportRefusedError, match="line 1002: "):
        plan(b"email\r\n" + b"a@b.c\r\n" * 1_000 + b"\xff")


# --- sources --------------------------------------------------------------------------------------------------------


def test_a_binary_file_is_read_from_where_it_stands() -> None:
    """What was read before is not imported, and the file is left open."""
    file = io.BytesIO(b"# made by hand\n" + DATA)
    file.readline()
    made = plan(file)

    assert DATA == sent(made)
    assert DATA == sent(made)
    assert not file.closed


@pytest.mark.parametrize(
    ("make", "error", "problem"),
    [
        (lambda: io.StringIO(TEXT), TypeError, "a path, bytes or a binary file, not StringIO"),
        (lambda: [DATA], TypeError, "a path, bytes or a binary file, not list"),
        (lambda: 7, TypeError, "not int"),
    ],
)
def test_what_is_no_source(make: Callable[[], object], error: type[Exception], problem: str) -> None:
    """Text was decoded by somebody else, and an open number is no file."""
    with pytest.raises(error, match=problem):
        plan(make())


def test_a_pipe_is_refused() -> None:
    """It cannot be read twice."""
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as pipe, pytest.raises(ValueError, match="cannot seek"):
        plan(pipe)


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The first is no regular file, the second is the system's to name."""
    with pytest.raises(ValueError, match="is not a regular file"):
        plan(tmp_path)
    with pytest.raises(FileNotFoundError):
        plan(tmp_path / "none.csv")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    """Nor does it wait for who writes to it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is not a regular file"):
        plan(tmp_path / "pipe")


def test_what_is_shown_of_a_plan(path: Path) -> None:
    """Its path, and none of its contents."""
    made = plan(path)

    assert "zoe" not in repr(made).casefold()
    assert "contacts.csv" in repr(made)


# --- files that change ----------------------------------------------------------------------------------------------


def test_a_file_that_grew(path: Path) -> None:
    """What was planned is not sent, whatever is behind it."""
    made = plan(path)
    with path.open("ab") as file:
        file.write(b"eve@example.com,Eve\n")

    with pytest.raises(ImportRefusedError, match=r"contacts\.csv changed while it was imported"):
        made.read_part(1)


def test_a_file_that_changed_in_place(path: Path) -> None:
    """Of the same size, and with a clock that shows the same time."""
    status = path.stat()
    made = plan(path)
    path.write_bytes(DATA.replace(b"zoe@", b"eve@"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    with pytest.raises(ImportRefusedError, match="the file changed after it was planned: part 1 is another one now"):
        made.read_part(1)


@pytest.mark.parametrize("data", [DATA.replace(b"zoe@", b"eve@"), DATA[:-1], b""])
def test_a_binary_file_that_changed(data: bytes) -> None:
    """Its contents tell."""
    file = io.BytesIO(DATA)
    made = plan(file)
    file.seek(0)
    file.write(data)
    file.truncate()

    with pytest.raises(ImportRefusedError, match="the file changed after it was planned"):
        made.read_part(1)


def test_a_file_that_changes_while_it_is_planned(path: Path) -> None:
    """Nothing is planned."""

    def grow(_: int) -> None:
        with path.open("ab") as file:
            file.write(b"eve@example.com,Eve\n")

    with pytest.raises(ImportRefusedError, match="changed while it was imported"):
        plan(path, progress=lambda read: grow(read) if read == len(DATA) else None)


def test_files_are_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of the search for duplicates, and after a file that was refused."""
    opened: list[IO[bytes]] = []

    def open_file() -> IO[bytes]:
        opened.append(tempfile.TemporaryFile())  # noqa: SIM115
        return opened[-1]

    monkeypatch.setattr("ccactivity.imports.duplicates.TemporaryFile", open_file)
    monkeypatch.setattr("ccactivity.imports.duplicates._MAX_IN_MEMORY", 2)
    plan(path)
    path.write_bytes(DATA + b'"')
    with pytest.raises(ImportRefusedError):
        plan(path)

    assert [True, True] == [file.closed for file in opened]
