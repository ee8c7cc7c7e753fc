"""Imports of files: what is sent, how the end is told, and what becomes of parts, rows and answers that go wrong."""

from __future__ import annotations

import asyncio
import gc
import io
import pickle
import threading
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from support.imports import LISTS, ROWS_OF_A_PART, STEADY, contacts, imported, line_of, once
from support.vendor import VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.sandbox import Fault

THREE_PARTS = 3 * ROWS_OF_A_PART
POST = "contacts_file_import"


# --- what is sent, and how it ends ------------------------------------------------------------------------------------


async def test_a_file_is_imported_part_by_part(vendor: VendorFactory) -> None:
    """Each row arrives once; the result has the activities in the order of the parts."""
    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_file(contacts(THREE_PARTS), list_ids=LISTS)

        assert (THREE_PARTS, 0, 0, ()) == (result.rows, result.refused, result.lost, result.repeated)
        assert once(THREE_PARTS) == await imported(sandbox, session)
        names = [str(activity.source_file_name) for activity in result.activities]
        assert ["contacts-1of3-", "contacts-2of3-", "contacts-3of3-"] == [name[:14] for name in names]
        assert all(activity.succeeded for activity in result.activities)


@pytest.mark.parametrize(("count", "parts"), [(19_948, 1), (20_100, 2)])
async def test_parts_that_are_full_of_bytes(vendor: VendorFactory, count: int, parts: int) -> None:
    """A part that is as large as the vendor takes it is sent, also if a line end is added to it."""
    row = b"%05d@a.io," + b"x" * 188  # with its line end, 200 bytes
    rows = [row % number for number in range(count)]
    source = b"\n".join([b"email,cf:x", b'a@a.io,"x\n"', *rows])
    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_file(source + b"x" * 376, list_ids=LISTS, problems="send")
        sizes = [len(sandbox.upload(activity.activity_id)) for activity in result.activities]

        assert len(rows) + 1 == result.rows
        assert parts == len(sizes)
        assert 3_989_800 < max(sizes) <= 3_990_000


@pytest.mark.parametrize("kind", ["path", "file", "bytes"])
async def test_sources(vendor: VendorFactory, tmp_path: Path, kind: str) -> None:
    """A path names the parts; a file object is read from where it stands."""
    content = contacts(5)
    (tmp_path / "march (2).csv").write_bytes(content)
    file = io.BytesIO(b"ignored\n" + content)
    file.seek(8)
    sources: dict[str, Path | io.BytesIO | bytes] = {
        "path": tmp_path / "march (2).csv",
        "file": file,
        "bytes": content,
    }
    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_file(sources[kind], list_ids=LISTS)

        (activity,) = result.activities
        assert str(activity.source_file_name).startswith("march-2" if kind == "path" else "contacts")
        assert content == sandbox.upload(activity.activity_id)


async def test_a_file_in_another_encoding(vendor: VendorFactory) -> None:
    """It arrives in UTF-8."""
    text = "email,first_name\na@a.io,Zoë\n"
    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_file(text.encode("cp1252"), list_ids=LISTS, encoding="cp1252")

        assert text.encode() == sandbox.upload(result.activities[0].activity_id)


async def test_a_header_that_the_vendor_spells_differently(
    vendor: VendorFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """The vendor gets its own spelling, and the log says so; a name that has to be guessed at is refused, unsent."""
    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_file(b"Email,FIRST_NAME\na@a.io,Zoe\n", list_ids=LISTS)
        assert b"email,first_name\na@a.io,Zoe\n" == sandbox.upload(result.activities[0].activity_id)
        assert "'Email' as email, 'FIRST_NAME' as first_name" in caplog.text
        result = await session.import_contacts([{"Email": "a@a.io"}], list_ids=LISTS)
        assert b"email\r\na@a.io\r\n" == sandbox.upload(result.activities[0].activity_id)
        with pytest.raises(cc.ImportRefusedError, match="rename email address to email"):
            await session.import_file(b"Email Address\na@a.io\n", list_ids=LISTS)


@pytest.mark.parametrize("line_numbers", ["physical", "record"])
async def test_refused_rows_are_told_by_their_lines(vendor: VendorFactory, line_numbers: str, tmp_path: Path) -> None:
    """Whatever the vendor's numbers count, and in whatever part; they make a file to be corrected."""
    bad = [7, ROWS_OF_A_PART, ROWS_OF_A_PART + 8, 2 * ROWS_OF_A_PART]
    source = contacts(2 * ROWS_OF_A_PART, bad=bad)
    async with vendor(workload=STEADY, line_numbers=line_numbers) as (_, session):
        result = await session.import_file(source, list_ids=LISTS)

    assert (4, 0) == (result.refused, result.lost)
    assert bad == [error.row for error in result.errors]
    assert [(line_of(row), line_of(row), True) for row in bad] == [
        (e.line, e.last_line, e.exact) for e in result.errors
    ]
    assert [1, 1, 2, 2] == [error.part for error in result.errors]
    assert 4 == result.write_rejects(tmp_path / "rejects.csv")
    rejects = (tmp_path / "rejects.csv").read_text().splitlines()
    assert rejects[0].endswith(",cf:24,ccactivity_error")
    assert [f"{row} at a.io" for row in bad] == [line.split(",")[0] for line in rejects[1:]]


async def test_messages_and_counters_may_differ(vendor: VendorFactory) -> None:
    """`refused` is by the counters; a message about no line is kept without one."""
    async with vendor(workload=STEADY) as (sandbox, session):
        sandbox.vendor.unsubscribed.add("1@a.io")
        sandbox.faults.add(sb.Patch({"activity_errors": ["Something is wrong", "Line 3: wrong"]}), where="get")
        result = await session.import_file(contacts(5), list_ids=LISTS)

    assert 1 == result.refused
    assert [(None, False), (3, True)] == [(error.line, error.exact) for error in result.errors]


async def test_progress(vendor: VendorFactory) -> None:
    """The first step comes before anything is sent, the last one says that all has ended; then the result is there."""
    async with vendor(workload=STEADY) as (sandbox, session):
        importing = session.import_file(contacts(THREE_PARTS), list_ids=LISTS, parts_at_once=1)
        steps = [step async for step in importing]
        result = await importing

        assert (THREE_PARTS, 0, 3, (), 0.0) == (
            steps[0].rows,
            steps[0].sent,
            steps[0].parts,
            steps[0].activities,
            steps[0].percent,
        )
        assert (THREE_PARTS, 100.0, result.activities) == (steps[-1].sent, steps[-1].percent, steps[-1].activities)
        assert all(former.percent <= later.percent for former, later in pairwise(steps))
        assert all(former != later for former, later in pairwise(steps))
        assert result is await importing
        assert 3 == sandbox.requests["post"]


async def test_an_activity_that_says_100_percent_has_not_ended(vendor: VendorFactory) -> None:
    """100.0 is said of what has ended alone."""
    async with vendor(workload=STEADY) as (sandbox, session):
        sandbox.faults.add(sb.Patch({"percent_done": 100}), where="get")
        importing = session.import_file(contacts(5), list_ids=LISTS)
        percents = {all(a.done for a in step.activities): step.percent async for step in importing if step.activities}

    assert 100.0 == percents[True]
    assert 99.0 == percents[False]


@pytest.mark.parametrize("parts_at_once", [1, 2, 9])
async def test_how_many_parts_are_at_the_vendor(vendor: VendorFactory, parts_at_once: int) -> None:
    """No more than `parts_at_once` at any time, and no fewer while there are others to send."""
    most = 0
    async with vendor(workload=STEADY) as (_, session):
        importing = session.import_file(contacts(THREE_PARTS), list_ids=LISTS, parts_at_once=parts_at_once)
        async for step in importing:
            most = max(most, sum(not activity.done for activity in step.activities))

    assert min(3, parts_at_once) == most


async def test_nothing_happens_before_the_first_await(vendor: VendorFactory, tmp_path: Path) -> None:
    """Not even the file is opened, and nothing is left behind by an import that is dropped."""
    async with vendor() as (sandbox, session):
        importing = session.import_file(tmp_path / "missing.csv", list_ids=LISTS, journal=tmp_path / "journal")
        await asyncio.sleep(100)
        assert "<Import, not begun>" == repr(importing)
        assert not (tmp_path / "journal").exists()
        await importing.aclose()
        with pytest.raises(FileNotFoundError):
            await importing

        assert 0 == sandbox.requests.total()


async def test_what_is_shown_of_an_import(vendor: VendorFactory) -> None:
    """Its repr, and that of its result, show no row and no message about one."""
    async with vendor(workload=STEADY) as (_, session):
        importing = session.import_file(contacts(5, bad=[2]), list_ids=LISTS)
        result = await importing

    assert "<Import of 5 rows>" == repr(importing)
    assert "1 at" not in repr(result)
    assert "Line" not in repr(result)
    assert result == pickle.loads(pickle.dumps(result))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"list_ids": []}, ValueError, "1 to 50"),
        ({"list_ids": LISTS * 51}, ValueError, "1 to 50"),
        ({"list_ids": ["no/id"]}, ValueError, "no/id"),
        ({"list_ids": LISTS[0]}, TypeError, "list_ids"),
        ({"encoding": "klingon"}, ValueError, "'klingon' is not known"),
        ({"parts_at_once": 0}, ValueError, "parts_at_once"),
        ({"duplicates": "drop"}, ValueError, "duplicates must be one of"),
        ({"problems": "ignore"}, ValueError, "problems must be one of"),
        ({"sms_permission_to_send": "yes"}, ValueError, "sms_permission_to_send"),
        ({"timeout": -1}, ValueError, "timeout"),
    ],
)
async def test_wrong_arguments(
    vendor: VendorFactory, options: dict[str, object], error: type[Exception], words: str
) -> None:
    """They are errors of the call, and not of the await."""
    async with vendor() as (sandbox, session):
        with pytest.raises(error, match=words):
            session.import_file(b"", **{"list_ids": LISTS, **options})  # type: ignore[arg-type]

        assert 0 == sandbox.requests.total()


async def test_a_file_with_problems(vendor: VendorFactory) -> None:
    """Nothing is sent of it, unless the judgement is left to the vendor."""
    source = b"email,birthday_day\na@a.io,40\nb@a.io,\n"
    async with vendor(workload=STEADY) as (sandbox, session):
        with pytest.raises(cc.ImportRefusedError, match="line 2") as caught:
            await session.import_file(source, list_ids=LISTS)
        assert {2} == {problem.line for problem in caught.value.problems}
        assert 0 == sandbox.requests.total()

        result = await session.import_file(source, list_ids=LISTS, problems="send")

        assert (2, [2]) == (result.rows, [error.line for error in result.errors])


async def test_duplicates(vendor: VendorFactory, caplog: pytest.LogCaptureFixture) -> None:
    """They are told in the result, and warned of, since the vendor merges them; or refused; or the last one is kept."""
    source = b"email,first_name\na@a.io,Zoe\nb@a.io,Adam\na@a.io,Zoe\n"
    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_file(source, list_ids=LISTS)
        assert (3, ((2, 4),)) == (result.rows, result.duplicates)
        assert any("address of a later one" in record.getMessage() for record in caplog.records)
        with pytest.raises(cc.ImportRefusedError):
            await session.import_file(source, list_ids=LISTS, duplicates="refuse")
        result = await session.import_file(source, list_ids=LISTS, duplicates="keep-last")

        assert (2, ((2, 4),)) == (result.rows, result.duplicates)
        assert b"email,first_name\nb@a.io,Adam\na@a.io,Zoe\n" == sandbox.upload(result.activities[0].activity_id)


# --- parts that fail --------------------------------------------------------------------------------------------------


async def test_a_part_that_fails_at_the_vendor(vendor: VendorFactory) -> None:
    """All others are imported first; the error has that of the part, and the result."""
    async with vendor(workload=STEADY) as (sandbox, session):
        sandbox.faults.add(Fault(sb.Patch({"state": "failed"}), where="get", times=1))
        with pytest.raises(cc.ImportFailedError, match="1 part of the import failed, with 11 rows") as caught:
            await session.import_file(contacts(THREE_PARTS), list_ids=LISTS, parts_at_once=1)

    assert {"part 1": cc.ActivityFailedError} == {part: type(error) for part, error in caught.value.errors.items()}
    result = caught.value.result
    assert (THREE_PARTS, ROWS_OF_A_PART) == (result.rows, result.lost)
    assert ["failed", "completed", "completed"] == [str(activity.state) for activity in result.activities]
    again = pickle.loads(pickle.dumps(caught.value))
    assert (result, list(caught.value.errors)) == (again.result, list(again.errors))


async def test_a_part_that_the_vendor_does_not_accept(vendor: VendorFactory) -> None:
    """It has no activity; the parts after it are sent."""
    async with vendor(workload=STEADY) as (sandbox, session):
        sandbox.faults.add(Fault(sb.server_error(413), where="post", times=1))
        with pytest.raises(cc.ImportFailedError) as caught:
            await session.import_file(contacts(THREE_PARTS), list_ids=LISTS)

    assert {"part 1": 413} == {part: error.status for part, error in caught.value.errors.items()}  # type: ignore[attr-defined]
    assert 2 == len(caught.value.result.activities)
    assert ROWS_OF_A_PART == caught.value.result.lost


async def test_a_part_that_takes_too_long(vendor: VendorFactory) -> None:
    """`timeout` is for each part, from when the vendor accepted it."""
    async with vendor(workload=STEADY) as (_, session):
        with pytest.raises(cc.ImportFailedError) as caught:
            await session.import_file(contacts(5), list_ids=LISTS, timeout=3.0)

    assert isinstance(caught.value.errors["part 1"], cc.WatchTimeoutError)
    assert 5 == caught.value.result.lost


async def test_an_outage_while_parts_are_sent(vendor: VendorFactory) -> None:
    """No more parts are sent; what was is watched to its end, and every part that is missing is named."""
    async with vendor(workload=STEADY, retry=cc.Retry(attempts=2)) as (sandbox, session):
        sandbox.faults.add(Fault(sb.server_error(503), where="post", skip=1))
        sandbox.faults.add(Fault(sb.server_error(503), where="list"))
        with pytest.raises(cc.ImportFailedError) as caught:
            await session.import_file(contacts(THREE_PARTS), list_ids=LISTS, parts_at_once=1)

    assert ["part 2", "part 3"] == list(caught.value.errors)
    (activity,) = caught.value.result.activities
    assert activity.succeeded


async def test_a_dead_token_ends_an_import_at_once(vendor: VendorFactory) -> None:
    """The error says what became of the parts."""
    async with vendor(workload=STEADY, allowed_violations=["bad_token"]) as (sandbox, session):
        importing = session.import_file(contacts(THREE_PARTS), list_ids=LISTS, parts_at_once=2)
        with pytest.raises(cc.AuthenticationError) as caught:
            async for step in importing:
                if step.sent > ROWS_OF_A_PART:
                    sandbox.expire_token()

    assert ["the import stopped; parts that go on at the vendor: 2, not sent: 1"] == caught.value.__notes__


@pytest.mark.parametrize("when", [0, 1])
async def test_a_file_that_changes(vendor: VendorFactory, tmp_path: Path, when: int) -> None:
    """What was sent before is watched to its end, and nothing is sent after it."""
    path = tmp_path / "contacts.csv"
    path.write_bytes(contacts(THREE_PARTS))
    async with vendor(workload=STEADY) as (sandbox, session):
        importing = session.import_file(path, list_ids=LISTS, parts_at_once=1)
        with pytest.raises(cc.ImportRefusedError, match="changed"):
            async for step in importing:
                if len(step.activities) == when:
                    path.write_bytes(contacts(THREE_PARTS + 1))

        assert when == sandbox.requests["post"]
        assert all(activity.succeeded for activity in await session.list_activities())


async def test_a_file_that_is_gone(vendor: VendorFactory, tmp_path: Path) -> None:
    """As one that changes: also what is under way then is watched to its end."""
    path = tmp_path / "contacts.csv"
    path.write_bytes(contacts(THREE_PARTS))
    async with vendor(workload=attrs.evolve(STEADY, sigma=2.0), seed=2) as (sandbox, session):
        importing = session.import_file(path, list_ids=LISTS, parts_at_once=2)
        with pytest.raises(FileNotFoundError) as caught:
            async for step in importing:
                if step.sent == 2 * ROWS_OF_A_PART:
                    path.unlink(missing_ok=True)

        assert ["the import stopped; parts that go on at the vendor: 0, not sent: 1"] == caught.value.__notes__
        assert 2 == sandbox.requests["post"]


async def test_a_file_that_is_gone_when_its_messages_come(vendor: VendorFactory, tmp_path: Path) -> None:
    """They were mapped by what was kept of the part that was sent."""
    path = tmp_path / "contacts.csv"
    path.write_bytes(contacts(5, bad=[2]))
    async with vendor(workload=STEADY) as (_, session):
        importing = session.import_file(path, list_ids=LISTS)
        async for step in importing:
            if step.activities and path.exists():
                path.unlink()
        result = await importing

    assert [3] == [error.line for error in result.errors]


# --- lost answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("created", [True, False])
async def test_a_lost_answer(vendor: VendorFactory, created: bool) -> None:
    """Each row arrives once, whether the request or its answer was lost; a part that was sent twice is told."""
    async with vendor(workload=STEADY) as (sandbox, session):
        lost = sb.Reset() if created else sb.lost_request()
        sandbox.faults.add(Fault(lost, where="post", times=1))
        result = await session.import_file(contacts(THREE_PARTS), list_ids=LISTS)

        assert 0 == result.lost
        assert (() if created else (1,)) == result.repeated
        assert once(THREE_PARTS) == await imported(sandbox, session)


async def test_a_part_that_was_queued_twice(vendor: VendorFactory) -> None:
    """A vendor that shows no file names: both activities cannot be known, and the part is named."""
    async with vendor(workload=STEADY, echo_file_name="absent") as (sandbox, session):
        sandbox.faults.add(Fault(sb.Reset(), where="post", times=1))
        result = await session.import_file(contacts(5), list_ids=LISTS)

        assert (0, (1,)) == (result.lost, result.repeated)
        assert {2} == set((await imported(sandbox, session)).values())


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cancel the await", "cancel the iteration", "close", "forget"])
async def test_an_import_that_is_stopped(vendor: VendorFactory, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is sent or asked any more; the log says what goes on at the vendor."""
    async with vendor(workload=STEADY) as (sandbox, session):
        importing = session.import_file(contacts(THREE_PARTS), list_ids=LISTS, parts_at_once=1)
        while (step := await anext(importing)).sent == 0:
            pass
        if way == "cancel the await":
            waiting = asyncio.ensure_future(importing)
            await asyncio.sleep(1)
            waiting.cancel()
            await asyncio.wait([waiting])
        elif way == "cancel the iteration":
            while True:
                waiting_step = asyncio.ensure_future(anext(importing))
                await asyncio.sleep(0.01)
                if waiting_step.cancel():
                    break
            await asyncio.wait([waiting_step])
        elif way == "close":
            async with importing:
                pass
        else:
            del importing, step
            gc.collect()
            await asyncio.sleep(0.1)
        asked = sandbox.requests.total()
        await asyncio.sleep(1000)

        assert asked == sandbox.requests.total()
        assert 1 == sandbox.requests["post"]
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["the import stopped; parts that go on at the vendor: 1, not sent: 2"] == said


async def test_an_import_that_is_stopped_while_it_is_planned(vendor: VendorFactory) -> None:
    """The thread that reads the file ends soon: it does not go on to the end of a large one."""
    loop, stopped = asyncio.get_running_loop(), threading.Event()
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            loop.call_soon_threadsafe(stop)
            assert stopped.wait(10)

    def stop() -> None:
        closing.append(loop.create_task(importing.aclose()))
        loop.call_soon(stopped.set)  # once the task has been told

    closing: list[asyncio.Task[None]] = []

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            step()
            return super().read(size)

    async with vendor() as (sandbox, session):
        importing = session.import_file(Slow(b"email\n" + b"a@a.io\n" * 1_000_000), list_ids=LISTS)
        with pytest.raises(asyncio.CancelledError):
            await importing
        await closing[0]

        assert 3 <= steps <= 4
        assert 0 == sandbox.requests.total()


async def test_a_session_that_is_closed(vendor: VendorFactory) -> None:
    """Before: nothing is read. Meanwhile: the import ends at once."""
    async with vendor(workload=STEADY) as (_, session):
        importing = session.import_file(contacts(5), list_ids=LISTS)
        waiting = asyncio.ensure_future(importing)
        await asyncio.sleep(5)
        await session.aclose()
        with pytest.raises(cc.SessionClosedError):
            await waiting
        with pytest.raises(cc.SessionClosedError):
            await session.import_file("missing.csv", list_ids=LISTS)


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_the_requests_of_a_large_import(vendor: VendorFactory, seed: int) -> None:
    """Eleven parts, as of 400,000 rows, take a request each, and 25 to watch them."""
    async with vendor(workload=STEADY, seed=seed) as (sandbox, session):
        await session.import_file(contacts(11 * ROWS_OF_A_PART), list_ids=LISTS)

        assert 11 == sandbox.requests["post"]
        assert sandbox.requests.total() <= 11 + 25


async def test_a_small_import_is_told_soon(vendor: VendorFactory) -> None:
    """The thrift of large imports is not for small ones."""
    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_file(contacts(5), list_ids=LISTS)
        truth = sandbox.truth(result.activities[0].activity_id)

        assert truth is not None
        assert sandbox.now - truth.ended_at < 5
