"""Imports under a journal: whenever the process dies, the same call goes on; no row twice, none lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import import_process
from support.imports import LISTS, ROWS_OF_A_PART, STEADY, contacts, imported, once
from support.vendor import VendorFactory, connect

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.sandbox import Fault, Logged, Sandbox, Workload

THREE_PARTS = 3 * ROWS_OF_A_PART
BAD = [8, ROWS_OF_A_PART + 9]  # one in the first part, one in the second
QUICK = Workload(
    median=0.5,
    sigma=0.2,
    delay=(0.0, 0.1),
    update_every=(0.1, 0.2),
    failed_share=0,
    cancelled_share=0,
    timed_out_share=0,
)


class Killed:
    """A process that dies at the arrival of a request: what it leaves are its journal and the jobs of the vendor."""

    def __init__(self, journal: Path, at: int) -> None:
        self._journal = journal
        self._left = at
        self.content: bytes | None = None
        self.task: asyncio.Task[Any] | None = None

    def on_request(self, _: Logged) -> None:
        self._left -= 1
        if self._left == 0 and self.task is not None:
            self.content = self._journal.read_bytes()
            self.task.cancel()

    async def run(self, session: cc.ActivitySession, source: bytes) -> bool:
        """Import until the death; tell whether it came before the end."""
        self.task = asyncio.ensure_future(start(session, source, self._journal))
        await asyncio.wait([self.task])
        await session.aclose()
        if self.content is None:
            assert self.task.exception() is None
            return False
        # Whoever is killed writes nothing any more.
        assert self.content == self._journal.read_bytes()
        return True


async def start(session: cc.ActivitySession, source: bytes | Path, journal: Path, **options: Any) -> cc.ImportResult:
    return await session.import_file(
        source, list_ids=LISTS, **{"parts_at_once": 2, "encoding": "utf-8", **options}, journal=journal
    )


async def die_and_go_on(path: Path, at: int, *, torn: bytes = b"", lost: bool = False) -> bool:
    """Die at a request and go on; tell whether the death came before the end.

    `lost`: no POST of the first life arrives. `torn`: what it had written of the next line.
    """
    journal = path / f"{at}.journal"
    killed = Killed(journal, at)
    async with Sandbox(latency=0.06, workload=STEADY, on_request=killed.on_request) as sandbox:
        fault = Fault(sb.lost_request(), where="post") if lost else None
        if fault is not None:
            sandbox.faults.add(fault)
        died = await killed.run(connect(sandbox), contacts(THREE_PARTS, bad=BAD))
        sandbox.faults.clear()
        with journal.open("ab") as file:
            file.write(torn)
        await asyncio.sleep(1.0)  # a new process knows nothing of the requests of the last second
        async with connect(sandbox) as session:
            result = await start(session, contacts(THREE_PARTS, bad=BAD), journal)

            assert (THREE_PARTS, 2, 0) == (result.rows, result.refused, result.lost)
            assert BAD == [error.row for error in result.errors]
            expected = once(THREE_PARTS)
            for row in BAD:
                del expected[f"{row}@a.io"]
            assert expected == await imported(sandbox, session)
            assert 3 == len(result.activities)
        assert 0 == sandbox.violations.total
    return died


# --- deaths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 2, 5])
async def test_a_death_at_a_request(tmp_path: Path, at: int) -> None:
    """The answer is never read; the job is there, and is found by its name or its id."""
    assert await die_and_go_on(tmp_path, at)


@pytest.mark.parametrize("at", [1, 2])
async def test_a_death_whose_request_was_lost(tmp_path: Path, at: int) -> None:
    """What was being sent is looked for twice, and then sent."""
    assert await die_and_go_on(tmp_path, at, lost=True)


@pytest.mark.long
@pytest.mark.parametrize("torn", [b"", b"{", b'{"part": 3, "sending": "contacts-3of3-', b"\0\0\0"])
async def test_a_death_at_every_request(tmp_path: Path, torn: bytes) -> None:
    """At each of them, with whatever was written of the next line by then."""
    at = 1
    while await die_and_go_on(tmp_path, at, torn=torn):
        at += 1

    assert at > 7


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_process_that_is_killed(tmp_path: Path, at: int) -> None:
    """SIGKILL, in real time: the next process goes on, and gets the lock at once."""
    path = tmp_path / "contacts.csv"
    path.write_bytes(contacts(THREE_PARTS, bad=BAD))
    command = [sys.executable, import_process.__file__, str(path), LISTS[0], str(tmp_path / "journal")]
    process: subprocess.Popen[str] | None = None
    left = at

    def kill(_: Logged) -> None:
        nonlocal left
        left -= 1
        if left == 0 and process is not None:
            process.send_signal(signal.SIGKILL)

    with Sandbox(workload=QUICK, on_request=kill, per_second=None) as sandbox:
        env = {**os.environ, **sandbox.env}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert -signal.SIGKILL == process.wait(30)
        again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=True)

        rows, refused, lost, _, refused_rows = again.stdout.split()
        assert [f"{THREE_PARTS}", "2", "0", f"{BAD[0]},{BAD[1]}"] == [rows, refused, lost, refused_rows]
        assert 3 == len(set(names_of(sandbox)))
        assert 3 == sandbox.requests["post"]


def names_of(sandbox: Sandbox) -> list[str | None]:
    return [job.file_name for job in sandbox.vendor.jobs.listed(sandbox.now, oldest=0.0, state=None, after=None)]


# --- what a journal is good for, and what not -------------------------------------------------------------------------


async def test_an_import_that_has_ended(vendor: VendorFactory, tmp_path: Path) -> None:
    """The same call sends nothing, and gives the same result."""
    async with vendor(workload=STEADY) as (sandbox, session):
        source = contacts(THREE_PARTS, bad=BAD)
        first = await start(session, source, tmp_path / "journal")
        asked = sandbox.requests.copy()
        again = await start(session, source, tmp_path / "journal")

        assert first == again
        assert asked["post"] == sandbox.requests["post"]
        assert sandbox.requests.total() - asked.total() <= 3


async def test_an_import_whose_activities_the_vendor_has_forgotten(vendor: VendorFactory, tmp_path: Path) -> None:
    """Its counters are in the journal; its messages are gone."""
    async with vendor(workload=STEADY) as (sandbox, session):
        source = contacts(5, bad=[2])
        await start(session, source, tmp_path / "journal")
        await asyncio.sleep(11 * 86_400)
        result = await start(session, source, tmp_path / "journal")

        assert (5, 1, 0, ()) == (result.rows, result.refused, result.lost, result.errors)
        assert 1 == sandbox.requests["post"]


async def test_a_part_that_was_refused_is_sent_again_at_once(vendor: VendorFactory, tmp_path: Path) -> None:
    """Nobody needs to look for what the vendor did not accept."""
    async with vendor(workload=STEADY) as (sandbox, session):
        sandbox.faults.add(Fault(sb.server_error(413), where="post", times=1))
        with pytest.raises(cc.ImportFailedError):
            await start(session, contacts(5), tmp_path / "journal")
        asked = sandbox.requests["list"]
        result = await start(session, contacts(5), tmp_path / "journal")

        assert (0, ()) == (result.lost, result.repeated)
        assert asked == sandbox.requests["list"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": contacts(6)}, "source"),
        ({"duplicates": "keep-last"}, "duplicates"),
        ({"encoding": "utf-8-sig"}, "encoding"),
    ],
)
async def test_the_journal_of_another_import(
    vendor: VendorFactory, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """Nothing is sent, and what differs is named."""
    journal = tmp_path / "journal"
    async with vendor(workload=STEADY) as (sandbox, session):
        await start(session, contacts(5), journal)
        content, asked = journal.read_bytes(), sandbox.requests.total()
        with pytest.raises(cc.JournalError, match=f"another .*{words}"):
            await start(session, **{"source": contacts(5), "journal": journal, **change})

        assert asked == sandbox.requests.total()
        assert content == journal.read_bytes()


async def test_two_imports_with_one_journal(vendor: VendorFactory, tmp_path: Path) -> None:
    """The second one is refused while the first one is under way, and sends nothing."""
    async with vendor(workload=STEADY) as (sandbox, session):
        first = asyncio.ensure_future(start(session, contacts(5), tmp_path / "journal"))
        await asyncio.sleep(1)
        with pytest.raises(cc.JournalError, match="used by another import"):
            await start(session, contacts(5), tmp_path / "journal")
        result = await first

        assert (0, 1) == (result.lost, sandbox.requests["post"])


async def test_an_import_that_is_cancelled_frees_its_journal(
    vendor: VendorFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the journal, and the same call goes on."""
    journal = tmp_path / "journal"
    async with vendor(workload=STEADY) as (sandbox, session):
        first = asyncio.ensure_future(start(session, contacts(THREE_PARTS), journal))
        await asyncio.sleep(5)
        first.cancel()
        await asyncio.wait([first])
        said = f"at the vendor: 2, not sent: 1; the same call with the journal {str(journal)!r} goes on from there"
        assert said in caplog.text
        result = await start(session, contacts(THREE_PARTS), journal)

        assert (0, 3) == (result.lost, sandbox.requests["post"])
        assert once(THREE_PARTS) == await imported(sandbox, session)


async def test_an_import_that_is_cancelled_while_it_sends(
    vendor: VendorFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is unknown of that part whether it was sent; the same call finds out."""
    async with vendor(workload=STEADY, latency=1.0) as (sandbox, session):
        first = asyncio.ensure_future(start(session, contacts(THREE_PARTS), tmp_path / "journal"))
        await asyncio.sleep(0.7)
        first.cancel()
        await asyncio.wait([first])
        assert "at the vendor: 0, not sent: 2, perhaps sent: 1; the same call" in caplog.text
        result = await start(session, contacts(THREE_PARTS), tmp_path / "journal")

        assert (0, 3) == (result.lost, sandbox.requests["post"])


async def test_a_journal_on_a_disk_that_is_missing(vendor: VendorFactory, tmp_path: Path) -> None:
    """Nothing is sent that could not be noted."""
    async with vendor(workload=STEADY) as (sandbox, session):
        with pytest.raises(cc.JournalError, match="No such file"):
            await start(session, contacts(5), tmp_path / "missing" / "journal")

        assert 0 == sandbox.requests.total()


async def test_a_spent_day(vendor: VendorFactory, tmp_path: Path) -> None:
    """It ends the import; the same call goes on the next day, and nobody needs to look for what was not sent."""
    source, journal = contacts(THREE_PARTS), tmp_path / "journal"
    async with vendor(workload=STEADY) as (sandbox, session):
        sandbox.faults.add(sb.quota_exceeded(), where="post", skip=1, times=1)
        with pytest.raises(cc.QuotaExceededError) as caught:
            await start(session, source, journal, parts_at_once=1)
        assert "not sent: 2; the same call with the journal" in caught.value.__notes__[0]
        await asyncio.sleep(86_400)
        result = await start(session, source, journal, parts_at_once=1)

        assert (THREE_PARTS, 0, ()) == (result.rows, result.lost, result.repeated)
        assert once(THREE_PARTS) == await imported(sandbox, session)


async def test_a_file_that_is_gone_when_an_import_goes_on(vendor: VendorFactory, tmp_path: Path) -> None:
    """What the vendor says of its rows stays, without their lines."""
    path = tmp_path / "contacts.csv"
    write(path, contacts(5, bad=[2]))
    async with vendor(workload=STEADY) as (_, session):
        first = await start(session, path, tmp_path / "journal")
        importing = session.import_file(path, list_ids=LISTS, encoding="utf-8", journal=tmp_path / "journal")
        await anext(importing)
        path.unlink()
        again = await importing

    assert [(3, True)] == [(error.line, error.exact) for error in first.errors]
    assert [(None, False)] == [(error.line, error.exact) for error in again.errors]
    assert first.errors[0].message == again.errors[0].message


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
