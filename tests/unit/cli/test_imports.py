"""The command `import`: what it prints in each form, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.imports import LISTS, ROWS_OF_A_PART, STEADY, contacts, line_of_long
from support.logins import Printed

from ccactivity.cli import main
from ccactivity.cli.exit_codes import UsageError
from ccactivity.cli.imports import import_
from ccactivity.cli.session import open_session
from ccactivity.sandbox import Fault, Patch, Sandbox, lost_request, server_error

from .processes import started

TO = ["--list", LISTS[0]]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractAsyncContextManager[Sandbox]]:
    """Give a sandbox in the running loop, at which the environment points."""

    @asynccontextmanager
    async def enter() -> AsyncIterator[Sandbox]:
        async with Sandbox(latency=0.06, workload=STEADY) as sandbox:
            for name, value in sandbox.env.items():
                monkeypatch.setenv(name, value)
            yield sandbox
            assert 0 == sandbox.violations.total

    return enter


async def run_import(file: Path, **options: Any) -> int:
    """Run the command, as its options would have it run."""
    await asyncio.sleep(1.0)  # another process would not know what the last one has sent in this second
    options = {"rejects": None, "wait": True, "as_json": False, "list_ids": LISTS, **options}
    return await import_(open_session(), file, **options)


def write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def remove(file: Path) -> None:
    file.unlink()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of five good rows."""
    path = tmp_path / "contacts.csv"
    path.write_bytes(contacts(5))
    return path


Offline = Callable[[], AbstractAsyncContextManager[Sandbox]]


def lines(printed: Printed) -> tuple[list[str], list[str]]:
    out, err = printed.readouterr()
    return out.splitlines(), err.splitlines()


# --- checking ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token and no login anywhere."""
    monkeypatch.delenv("CCACTIVITY_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("CCACTIVITY_TOKEN_STORE", str(tmp_path / "none" / "tokens.json"))


def test_check(nobody: None, file: Path, capsys: Printed) -> None:
    """It needs no token, and says what the import would take."""
    assert 0 == main(["import", str(file), *TO, "--check"])
    assert (["5 rows in 1 part, about 26 requests; 0 problems"], []) == lines(capsys)

    assert 0 == main(["import", str(file), *TO, "--check", "--json"])
    (line,) = lines(capsys)[0]
    plan = json.loads(line)
    assert (5, 0, 1) == (plan["rows"], plan["problems"], len(plan["parts"]))


def test_check_of_a_bad_file(nobody: None, file: Path, capsys: Printed) -> None:
    """Each problem is told with its line, the first twenty for people, and all as JSON."""
    file.write_text("email,birthday_day\n" + "a@a.io,40\n" * 30)

    assert 2 == main(["import", str(file), *TO, "--check"])
    out, err = lines(capsys)
    assert out == ["30 rows in 1 part, about 26 requests; 60 problems"]
    assert "error: line 2: birthday_day: not a number from 1 to 31" in err
    assert "error: and 40 more problems" == err[-1]

    assert 2 == main(["import", str(file), *TO, "--check", "--json"])
    out, _ = lines(capsys)
    assert 61 == len(out)
    assert {"line": 2, "column": "birthday_day"}.items() <= json.loads(out[1]).items()


@pytest.mark.parametrize("check", [["--check"], []])
@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (None, [], "cannot read '.*contacts.csv': No such file"),
        ("folder", [], "contacts.csv is not a regular file"),
        (b"", [], "the file is empty"),
        (b"name\nx\n", [], "email"),
        (b"email\na@a.io\n", ["--list", "nope"], "'nope' is no list id"),
        (b"email\na@a.io\n", ["--encoding", "klingon"], "encoding 'klingon' is not known"),
        (b"email\n\xe9@a.io\n", [], "0xe9"),
    ],
)
def test_what_cannot_be_imported(  # noqa: PLR0917 -- fixtures and parameters
    vendor: Sandbox,
    file: Path,
    capsys: Printed,
    check: list[str],
    content: bytes | str | None,
    options: list[str],
    words: str,
) -> None:
    """It is said in one line, with exit code 2, and nothing is sent."""
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.unlink()
        if content is not None:
            file.mkdir()

    assert 2 == main(["import", str(file), *TO, *options, *check])
    _, err = lines(capsys)
    assert [True] == [re.search(words, line) is not None for line in err]
    assert 0 == vendor.requests.total()


# --- importing --------------------------------------------------------------------------------------------------------


async def test_import(offline: Offline, file: Path, capsys: Printed) -> None:
    """Its parts are followed, and the sums are told."""
    async with offline():
        assert 0 == await run_import(file)

    out, err = lines(capsys)
    assert "5 rows: 5 imported, 0 refused" == out[-1]
    assert "1 completed" in out[-2]
    assert [] == err


async def test_refused_rows(offline: Offline, file: Path, tmp_path: Path, capsys: Printed) -> None:
    """They are told with their lines, and written to a file."""
    rejects = tmp_path / "rejects.csv"
    write(file, contacts(5, bad=[2]))
    async with offline():
        assert 1 == await run_import(file, rejects=rejects)

    out, err = lines(capsys)
    assert ["line 3: Line 3: Invalid email address", "5 rows: 4 imported, 1 refused"] == out[-2:]
    assert [f"rows in {str(rejects)!r}: 1; correct them, and import that file"] == err
    assert ["email,ccactivity_error", "2 at a.io,Line 3: Invalid email address"] == rejects.read_text().splitlines()


async def test_many_refused_rows(offline: Offline, file: Path, capsys: Printed) -> None:
    """People are shown twenty; a message about no line with its part, and one that may be of two lines with both."""
    write(file, contacts(ROWS_OF_A_PART + 1))
    async with offline() as vendor:
        messages = [f"Line {number}: wrong" for number in (9, *range(40_000, 40_030))]
        vendor.faults.add(Patch({"activity_errors": messages}), where="get")
        vendor.faults.add(Patch({"activity_errors": messages}), where="list")

        assert 0 == await run_import(file)

    out, _ = lines(capsys)
    assert f"line 2 or {line_of_long(3)}: Line 9: wrong" in out
    assert "part 1: Line 40000: wrong" in out
    assert "and 42 more; --rejects FILE writes all of them" in out


async def test_import_as_json(offline: Offline, file: Path, capsys: Printed) -> None:
    """A line for each change, for each refused row, and the sums."""
    write(file, contacts(5, bad=[2]))
    async with offline():
        assert 1 == await run_import(file, as_json=True)

    *changes, row, sums = map(json.loads, lines(capsys)[0])
    assert "completed" == changes[-1]["state"]
    assert {"line": 3, "row": 2, "part": 1, "exact": True}.items() <= row.items()
    assert {"rows": 5, "refused": 1, "lost": 0, "repeated": [], "errors": {}} == sums


async def test_no_wait(offline: Offline, file: Path, tmp_path: Path, capsys: Printed) -> None:
    """The ids of all parts are printed; with a journal, the same command tells of the end later."""
    write(file, contacts(5 * ROWS_OF_A_PART))
    async with offline() as vendor:
        assert 0 == await run_import(file, wait=False, journal=tmp_path / "journal")
        ids, _ = lines(capsys)
        assert 5 == len(set(ids)) == vendor.requests["post"]
        assert 0 == await run_import(file, journal=tmp_path / "journal")
        assert "55 rows: 55 imported, 0 refused" == lines(capsys)[0][-1]
        assert 5 == vendor.requests["post"]
        assert 0 == await run_import(file, wait=False, as_json=True)
        assert 5 == len({json.loads(line)["activity_id"] for line in lines(capsys)[0]})


async def test_parts_that_fail(offline: Offline, file: Path, capsys: Printed) -> None:
    """1 if some were imported, and 3 if the API took none, also of those who do not wait."""
    write(file, contacts(2 * ROWS_OF_A_PART))
    async with offline() as vendor:
        vendor.faults.add(Fault(server_error(413), where="post", times=1))
        assert 1 == await run_import(file)
        out, err = lines(capsys)
        assert "22 rows: 11 imported, 0 refused, 11 in parts that failed" == out[-1]
        assert any(line.startswith("error: part 1: ") for line in err)

        vendor.faults.add(Fault(server_error(413), where="post"))
        assert 3 == await run_import(file)
        assert 3 == await run_import(file, wait=False)


async def test_a_file_that_is_gone_meanwhile(offline: Offline, file: Path) -> None:
    """It is told how many parts are at the vendor, and how many were not sent."""
    write(file, contacts(5 * ROWS_OF_A_PART))
    async with offline() as vendor:
        importing = asyncio.ensure_future(run_import(file))
        await asyncio.sleep(10)
        assert 4 == vendor.requests["post"]
        remove(file)
        with pytest.raises(UsageError, match=r"No such file.*; the import stopped; .* vendor: 0, not sent: 1"):
            await importing


async def test_a_part_that_was_sent_twice(offline: Offline, file: Path, capsys: Printed) -> None:
    """It is told; nothing is wrong with it."""
    async with offline() as vendor:
        vendor.faults.add(Fault(lost_request(), where="post", times=1))
        assert 0 == await run_import(file)

    assert "note: these parts were sent twice, or may have been, which has the effect of once: 1" in lines(capsys)[1]


def test_a_journal_of_another_file(vendor: Sandbox, file: Path, tmp_path: Path, capsys: Printed) -> None:
    """2, and nothing is sent."""
    journal = tmp_path / "journal"
    journal.write_text("mine\n")

    assert 2 == main(["import", str(file), *TO, "--journal", str(journal)])
    assert "is not the journal of an import" in lines(capsys)[1][0]
    assert ("mine\n", 0) == (journal.read_text(), vendor.requests.total())


@pytest.mark.parametrize("place", ["missing/rejects.csv", "contacts.csv", "folder"])
async def test_rejects_that_cannot_be_written(
    offline: Offline, file: Path, tmp_path: Path, capsys: Printed, place: str
) -> None:
    """A folder that is missing, and the imported file, are told before anything is sent; all else with exit code 4."""
    (tmp_path / "folder").mkdir()
    write(file, contacts(5, bad=[2]))
    async with offline() as vendor:
        if place == "folder":
            assert 4 == await run_import(file, rejects=tmp_path / place)
            assert "cannot write" in lines(capsys)[1][-1]
        else:
            with pytest.raises(UsageError, match=r"cannot write .*: (there is no such|it is the file that)"):
                await run_import(file, rejects=tmp_path / place)
            assert 0 == vendor.requests.total()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_import_that_is_interrupted(file: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """It says what goes on at the vendor, and with which journal the same command goes on."""
    with Sandbox() as sandbox:
        with started("import", str(file), *TO, "--journal", str(tmp_path / "j"), sandbox=sandbox) as process:
            assert process.stdout is not None
            assert "initialized" in process.stdout.readline()
            process.send_signal(number)
            _, err = process.communicate(timeout=30)

        assert code == process.returncode
        assert f"at the vendor: 1, not sent: 0; the same call with the journal '{tmp_path / 'j'}' goes on" in err
