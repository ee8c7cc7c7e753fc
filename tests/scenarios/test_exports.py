"""Exports: the file is whole or not there, wherever it breaks off; and whoever keeps it learns nothing of the login."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
import ssl
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import aiohttp
import attrs
import pytest
from support.canary import secrets_in
from support.disk import largest_file
from support.token_sources import RefreshingSource
from support.tokens import shown
from support.vendor import VendorFactory, connect

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.jobs import ExportContacts
from ccactivity.sandbox.exports import csv_blocks, csv_length
from scenarios.test_fault_connections import CERTIFICATE, says, server, session_at

By = Literal["length", "chunked", "close"]
CSV = "text/csv"
ALL_WELL = sb.Workload(failed_share=0.0, cancelled_share=0.0, timed_out_share=0.0)
FRAMINGS = [
    pytest.param("length", False, id="length"),
    pytest.param("chunked", False, id="chunked"),
    pytest.param("close", False, id="close"),
    pytest.param("length", True, id="gzip, length"),
    pytest.param("chunked", True, id="gzip, chunked"),
    pytest.param("close", True, id="gzip, close"),
]


def content(rows: int) -> bytes:
    return b"".join(csv_blocks(rows))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def completed(sandbox: sb.Sandbox, session: cc.ActivitySession, rows: int = 40) -> cc.Activity:
    """Have the vendor complete an export, and return it."""
    activity_id = sandbox.submit(sb.Life(duration=1), kind="contact_exports", rows=rows)
    await asyncio.sleep(1)
    return await session.get_activity(activity_id)


def answer(body: bytes, content_type: str = CSV, **headers: str) -> sb.Answer:
    return sb.Answer(sb.Reply(status=200, body=body, content_type=content_type, headers=headers))


def redirect(location: str, status: int = 302) -> sb.Answer:
    return sb.Answer(sb.Reply(status=status, headers={"Location": location} if location else {}))


# --- a file that comes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(("by", "packed"), FRAMINGS)
async def test_an_export_is_saved(vendor: VendorFactory, tmp_path: Path, by: By, packed: bool, elsewhere: bool) -> None:
    """Byte for byte, for one request, whatever tells its end; here or on another host."""
    target = tmp_path / "contacts.csv"
    async with vendor(export_redirect=elsewhere) as (sandbox, session):
        activity = await completed(sandbox, session, 20_000)
        sandbox.faults.add(sb.Framing(by, gzip=packed), where="file" if elsewhere else "export")
        file = await session.save_export(activity, str(target))

        assert cc.ExportFile(path=target, bytes=csv_length(20_000), records=20_000, expected=20_000) == file
        assert content(20_000) == target.read_bytes()
        assert ["contacts.csv"] == names(tmp_path)
        assert {"get": 1, "export": 1} == session.stats.requests
        assert elsewhere == (sandbox.requests["file"] == 1)


async def test_progress(vendor: VendorFactory, tmp_path: Path) -> None:
    """The bytes and records so far, and all of them in the end."""
    seen: list[tuple[int, int]] = []
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session, 30_000)
        await session.save_export(activity, tmp_path / "a", on_progress=lambda *step: seen.append(step))

    assert 3 == len(seen)
    assert sorted(seen) == seen
    assert (csv_length(30_000), 30_000) == seen[-1]


async def test_a_file_of_no_contacts(vendor: VendorFactory, tmp_path: Path) -> None:
    """It has a header alone, or nothing."""
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session, 0)
        assert 0 == (await session.save_export(activity, tmp_path / "a")).records
        sandbox.faults.add(answer(b""), where="export")
        assert 0 == (await session.save_export(activity, tmp_path / "b")).bytes


async def test_contacts_come_and_go(vendor: VendorFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another number than the activity counts is no error where the end was seen: it is in the result and the log."""
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        moved = attrs.evolve(activity, status=attrs.evolve(activity.status, items_total_count=41))
        file = await session.save_export(moved, tmp_path / "a")
        unknown = attrs.evolve(activity, status=cc.ActivityStatus())
        assert None is (await session.save_export(unknown, tmp_path / "b")).expected

    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert (40, 41) == (file.records, file.expected)
    assert [f"the export of activity {activity.activity_id} has 40 records, and 41 were announced"] == warnings


async def test_a_slow_file_may_take_its_time(vendor: VendorFactory, tmp_path: Path) -> None:
    """The clock bounds silence, not the whole."""
    loop = asyncio.get_running_loop()
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(sb.Drip(pause=29.0, size=100), where="export")
        began = loop.time()
        await session.save_export(activity, tmp_path / "a")

        assert loop.time() - began > 29 * 30
        assert 1 == sandbox.requests["export"]


async def test_a_stream_keeps_nobody_waiting(vendor: VendorFactory, tmp_path: Path) -> None:
    """It holds the permit of its request no longer than until the answer begins."""
    loop = asyncio.get_running_loop()
    async with vendor(quota=cc.Quota(per_second=1)) as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(sb.Drip(pause=20.0, size=100), where="export")
        saving = asyncio.create_task(session.save_export(activity, tmp_path / "a"))
        await asyncio.sleep(5)
        began = loop.time()
        await session.get_activity(activity.activity_id)

        assert loop.time() - began < 1
        assert not saving.done()
        await saving


async def test_export_contacts(vendor: VendorFactory, tmp_path: Path) -> None:
    """Submitted, waited for, saved."""
    async with vendor(workload=ALL_WELL) as (sandbox, session):
        file = await session.export_contacts(ExportContacts(contact_ids=[f"c{n}" for n in range(7)]), tmp_path / "a")

    assert 7 == file.records == file.expected
    assert content(7) == (tmp_path / "a").read_bytes()
    assert 1 == sandbox.requests["post"] == sandbox.requests["export"]


# --- a file that does not --------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("by", "packed"), FRAMINGS)
async def test_a_file_cut_anywhere_is_never_there(vendor: VendorFactory, tmp_path: Path, by: By, packed: bool) -> None:
    """Cut at each of 200 offsets: three attempts, each paid for, an error that says so, and nothing left."""
    sent = len(content(40)) if not packed else len(gzip.compress(content(40), 1))
    offsets = {sent * place // 200 for place in range(200)}
    options = {"quota": cc.Quota.unlimited(), "per_second": None, "per_day": None, "retry": cc.Retry(budget=1e6)}
    async with vendor(**options) as (sandbox, session):
        activity = await completed(sandbox, session)
        for offset in offsets:
            fault = sandbox.faults.add(sb.Framing(by, gzip=packed, cut=offset), where="export")
            with pytest.raises(cc.TransportError) as caught:
                await session.save_export(activity, tmp_path / "a")
            sandbox.faults.remove(fault)

            assert 3 == fault.hits
            assert [] == names(tmp_path), offset
            assert "@example.com" not in shown(caught.value)
        assert 3 * len(offsets) == session.stats.requests["export"]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(("by", "packed"), FRAMINGS)
async def test_it_is_fetched_anew(vendor: VendorFactory, tmp_path: Path, by: By, packed: bool, elsewhere: bool) -> None:
    """From its beginning: what had come is forgotten."""
    async with vendor(export_redirect=elsewhere) as (sandbox, session):
        activity = await completed(sandbox, session, 30_000)
        where = "file" if elsewhere else "export"
        sandbox.faults.add(sb.Framing(by, gzip=packed, cut=100_000), where=where, times=2)
        await session.save_export(activity, tmp_path / "a")

        assert content(30_000) == (tmp_path / "a").read_bytes()
        assert 3 == session.stats.requests["export"]


@pytest.mark.parametrize(
    ("fault", "error", "attempts", "says"),
    [
        (sb.html(), cc.DecodeError, 3, "text/html instead of CSV"),
        (sb.ok({"error": 1}), cc.DecodeError, 3, "application/json instead of CSV"),
        (answer(b"\xef\xbb\xbf\r\n <?xml?>"), cc.DecodeError, 3, "something else than CSV"),
        (answer(b"[1]", "application/octet-stream"), cc.DecodeError, 3, "something else than CSV"),
        (answer(b'Email\r\n"a@b.example'), cc.TransportError, 3, "is not closed"),
        (answer(b""), cc.TransportError, 3, "is empty"),
        (answer(b"", **{"Content-Encoding": "gzip"}), cc.TransportError, 3, "is empty"),
        (answer(b"Email", **{"Content-Encoding": "br"}), cc.DecodeError, 3, "unknown content encoding 'br'"),
        (answer(b"Email", **{"Content-Encoding": "gzip"}), cc.DecodeError, 3, "not compressed as"),
        (answer(gzip.compress(b"Email")[:9], **{"Content-Encoding": "gzip"}), cc.TransportError, 3, "ends too early"),
        (sb.Hang(after=0.5), cc.TransportError, 3, "no further byte of the body within 30 s"),
        (sb.Reset(after=0.5), cc.TransportError, 3, "reset|not completed"),
        (sb.Hang(), cc.TransportError, 5, "no complete answer within 30 s"),
        (sb.server_error(503), cc.ServerError, 5, "503"),
        (sb.forbidden(), cc.PermissionDeniedError, 1, "contact_data"),
        (sb.message(400, "no"), cc.BadRequestError, 1, "400"),
    ],
)
async def test_what_is_not_the_file(  # noqa: PLR0917 -- a table, and where it is tried
    vendor: VendorFactory, tmp_path: Path, fault: Any, error: type[Exception], attempts: int, says: str
) -> None:
    """Each kind of it: how often it is asked for, and what is said."""
    async with vendor(timeout=30.0, retry=cc.Retry(deadline=1e6)) as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(fault, where="export")
        with pytest.raises(error, match=says) as caught:
            await session.save_export(activity, tmp_path / "a")

        assert attempts == sandbox.requests["export"]
        assert activity.results_url is not None and activity.results_url in str(caught.value)
    assert [] == names(tmp_path)


async def test_the_time_of_reading_is_no_time_of_retrying(vendor: VendorFactory, tmp_path: Path) -> None:
    """A file that breaks off after longer than the deadline of retries is fetched anew all the same."""
    loop = asyncio.get_running_loop()
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(answer(b'Email\r\n"' + b"x" * 1_000), where="export")
        sandbox.faults.add(sb.Drip(pause=2.0, size=10), where="export")
        began = loop.time()
        with pytest.raises(cc.TransportError, match="not closed"):
            await session.save_export(activity, tmp_path / "a")

        assert 600 < loop.time() - began < 620
        assert 3 == sandbox.requests["export"]


async def test_an_end_that_nothing_tells(vendor: VendorFactory, tmp_path: Path) -> None:
    """Where only the close of the connection ends a file, and the activity counts nothing, it is never complete."""
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(sb.Framing("close"), where="export")
        with pytest.raises(cc.TransportError, match="40 of an unknown number of records"):
            await session.save_export(attrs.evolve(activity, status=cc.ActivityStatus()), tmp_path / "a")

    assert [] == names(tmp_path)


async def test_a_file_may_appear_later(vendor: VendorFactory, tmp_path: Path) -> None:
    """404 right after the end of an activity is looked at again within the grace; then the file has expired."""
    loop = asyncio.get_running_loop()
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        fault = sandbox.faults.add(sb.not_found(), where="export", times=3)
        await session.save_export(activity, tmp_path / "a")
        assert 3 == fault.hits

        sandbox.faults.add(sb.not_found(), where="export")
        for grace, most in ((10.0, 7), (0.0, 1)):
            began, before = loop.time(), sandbox.requests["export"]
            with pytest.raises(cc.ActivityExpiredError, match="10 days"):
                await session.save_export(activity, tmp_path / "b", grace=grace)
            assert grace <= loop.time() - began < grace + 2
            assert sandbox.requests["export"] - before <= most
    assert ["a"] == names(tmp_path)


async def test_what_has_no_file(vendor: VendorFactory, tmp_path: Path) -> None:
    """It is said before anything is sent."""
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sent = sandbox.requests.total()
        for wrong, error, says in (
            (activity.activity_id, TypeError, "get_activity"),
            (attrs.evolve(activity, state="processing"), ValueError, "has not ended"),
            (attrs.evolve(activity, state="a new one"), ValueError, "has not ended"),
            (attrs.evolve(activity, state="failed"), cc.ActivityFailedError, "failed"),
            (attrs.evolve(activity, results_url=None), ValueError, "no results_url"),
            (attrs.evolve(activity, results_url="https://evil.example/v3/x"), cc.UnsafeLinkError, "leads away"),
            (attrs.evolve(activity, results_url="//evil.example/v3/x"), cc.UnsafeLinkError, "leads away"),
            (attrs.evolve(activity, results_url="/oauth2/token"), cc.UnsafeLinkError, "outside /v3"),
            (attrs.evolve(activity, results_url="/v3/../oauth2/token"), cc.UnsafeLinkError, "outside /v3"),
        ):
            with pytest.raises(error, match=says):
                await session.save_export(wrong, tmp_path / "a")  # type: ignore[arg-type]
            with pytest.raises(error, match=says):
                session.open_export(wrong)  # type: ignore[arg-type]
        for options in ({"most": -1}, {"grace": -1.0}):
            with pytest.raises(ValueError, match="at least 0"):
                await session.save_export(activity, tmp_path / "a", **options)
        with pytest.raises(FileExistsError):
            (tmp_path / "there").touch()
            await session.save_export(activity, tmp_path / "there")
        with pytest.raises(FileExistsError):
            await session.export_contacts(ExportContacts(), tmp_path / "there")
        with pytest.raises(TypeError, match="ExportContacts"):
            await session.export_contacts({}, tmp_path / "a")  # type: ignore[arg-type]

        assert sent == sandbox.requests.total()


async def test_an_error_names_the_activity(vendor: VendorFactory, tmp_path: Path) -> None:
    """What was submitted is not lost with the file."""
    async with vendor(workload=ALL_WELL) as (sandbox, session):
        sandbox.faults.add(sb.html(), where="export")
        with pytest.raises(cc.DecodeError) as caught:
            await session.export_contacts(ExportContacts(), tmp_path / "a")
        (note,) = caught.value.__notes__
        sandbox.faults.clear()
        activity = await session.get_activity(note.removeprefix("the export is activity "))
        await session.save_export(activity, tmp_path / "a")


async def test_another_file_came_first(vendor: VendorFactory, tmp_path: Path) -> None:
    """While this one was on its way: that one stays."""
    target = tmp_path / "a"
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(sb.Delay(5.0), where="export")
        saving = asyncio.create_task(session.save_export(activity, target))
        await asyncio.sleep(1)
        target.write_text("mine")
        with pytest.raises(FileExistsError, match="overwrite=True"):
            await saving

        assert ["a"] == names(tmp_path)
        assert "mine" == target.read_text()
        await session.save_export(activity, target, overwrite=True)
    assert content(40) == target.read_bytes()


@pytest.mark.parametrize("after", [0.0, 0.03, 0.2, 1.0, 5.0, 11.0])
async def test_a_cancelled_call_leaves_nothing(vendor: VendorFactory, tmp_path: Path, after: float) -> None:
    """Before the answer, in the middle of the body, between two attempts."""
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(sb.Drip(pause=0.5, size=100), where="export", times=1)
        sandbox.faults.add(sb.Framing("chunked", cut=2_000), where="export", times=1)
        sandbox.faults.add(sb.Hang(after=0.5), where="export")
        saving = asyncio.create_task(session.save_export(activity, tmp_path / "a"))
        await asyncio.sleep(after)
        saving.cancel()
        await asyncio.wait([saving])

        assert saving.cancelled()
    assert [] == names(tmp_path)


async def test_a_session_is_closed_meanwhile(vendor: VendorFactory, tmp_path: Path) -> None:
    """Whoever saves or reads is told."""
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(sb.Drip(pause=0.5, size=100), where="export")

        async def read() -> None:
            async with session.open_export(activity) as chunks:
                async for _ in chunks:
                    pass

        tasks = [asyncio.create_task(session.save_export(activity, tmp_path / "a")), asyncio.create_task(read())]
        await asyncio.sleep(3)
        await session.aclose()
        await asyncio.wait(tasks)

        assert [cc.SessionClosedError] * 2 == [type(task.exception()) for task in tasks]
        for late in (session.save_export(activity, tmp_path / "a"), read()):
            with pytest.raises(cc.SessionClosedError):
                await late
    assert [] == names(tmp_path)


# --- how much of it --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
async def test_what_fails_here_shows_no_contact(vendor: VendorFactory, tmp_path: Path) -> None:
    """A full disk, a callback that fails, a session that is closed: no variable that an error tracker keeps has any."""

    def fail(*_: object) -> None:
        raise KeyError

    def close(*_: object) -> None:
        closing.append(asyncio.create_task(session.aclose()))

    closing: list[asyncio.Task[None]] = []
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session, 40_000)
        with largest_file(1_000_000), pytest.raises(OSError, match="too large") as full:
            await session.save_export(activity, tmp_path / "a")
        with pytest.raises(KeyError) as failed:
            await session.save_export(activity, tmp_path / "a", on_progress=fail)
        with pytest.raises(cc.SessionClosedError) as closed:
            await session.save_export(activity, tmp_path / "a", on_progress=close)
        await asyncio.gather(*closing)

    assert fail.__name__ == failed.traceback[-1].name
    for error in (full.value, failed.value, closed.value):
        assert "@example.com" not in shown(error)
    assert [] == names(tmp_path)


@pytest.mark.parametrize("by", ["length", "chunked"])
async def test_a_file_of_more_than_one_wants(vendor: VendorFactory, tmp_path: Path, by: By) -> None:
    """It is not read to its end, and not asked for again; exactly so much is not too much."""
    size = csv_length(40)
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(sb.Framing(by), where="export")
        with pytest.raises(cc.BodyTooLargeError, match=f"more than {size - 1} bytes") as caught:
            await session.save_export(activity, tmp_path / "a", most=size - 1)
        assert "@example.com" not in shown(caught.value)
        assert 1 == sandbox.requests["export"]
        await session.save_export(activity, tmp_path / "b", most=size)
    assert ["b"] == names(tmp_path)


@pytest.mark.slow
async def test_a_bomb_goes_off_on_the_disk(vendor: VendorFactory, tmp_path: Path) -> None:
    """A body of 100 kB that becomes 100 MB does so in small pieces: memory stays bounded, and `most` is heeded."""
    bomb = gzip.compress(b"Email\r\n" + b"a,b,c,d\n" * (100 * 2**20 // 8), 9)
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(answer(bomb, **{"Content-Encoding": "gzip"}), where="export")
        tracemalloc.start()
        try:
            with pytest.raises(cc.BodyTooLargeError):
                await session.save_export(activity, tmp_path / "a", most=50 * 2**20)
            assert 100 * 2**20 + 7 == (await session.save_export(activity, tmp_path / "a")).bytes
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()


async def test_a_file_is_read_as_it_comes(vendor: VendorFactory) -> None:
    """The pieces make the file; what is not asked for is not read."""
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session, 30_000)
        async with session.open_export(activity) as chunks:
            assert content(30_000) == b"".join([chunk async for chunk in chunks])
        async with session.open_export(activity) as chunks:
            assert b"Email address," == (await anext(chunks))[:14]
        async with session.open_export(activity):
            pass
        assert 3 == session.stats.requests["export"]


async def test_a_file_that_breaks_off_while_it_is_read(vendor: VendorFactory) -> None:
    """What had come is the caller's; the end is an error. Before the first byte it is asked for again."""
    read: list[bytes] = []
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(sb.server_error(503), where="export", times=2)
        sandbox.faults.add(sb.Framing("close", cut=1_000), where="export")
        with pytest.raises(cc.TransportError, match="of 40 records"):
            async with session.open_export(activity) as chunks:
                async for chunk in chunks:
                    read.append(chunk)
        sandbox.faults.clear()
        sandbox.faults.add(sb.unauthorized(), where="export")
        with pytest.raises(cc.AuthenticationError):
            async with session.open_export(activity):
                pass

    assert content(40)[:1_000] == b"".join(read)


# --- another host -----------------------------------------------------------------------------------------------------


async def send_secrets(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware of somebody's own, which signs whatever is sent."""
    request.headers["X-Api-Key"] = "canary-secret-of-a-middleware"
    if "/v3/" not in request.url.path:
        request.headers["Authorization"] = "Bearer canary-secret-of-a-middleware"
    return await handler(request)


@pytest.mark.parametrize("borrowed", [False, True])
async def test_the_other_host_learns_nothing(vendor: VendorFactory, tmp_path: Path, borrowed: bool) -> None:
    """Neither the token nor what the caller's own HTTP session sends: cookies, headers, what its middlewares add."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n\r\n" % csv_length(40)
    async with (
        server(says(head + content(40))) as (port, heads),
        aiohttp.ClientSession(
            cookies={"session": "canary-secret-cookie"},
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            headers={"Referer": "https://canary-secret.example", "X-Key": "canary-secret-key"},
            auth=None,
            middlewares=(send_secrets,),
        ) as http,
        vendor(http=http if borrowed else None) as (sandbox, session),
    ):
        activity = await completed(sandbox, session)
        sandbox.faults.add(redirect(f"http://127.0.0.1:{port}/file.csv?signed=1#part"), where="export")
        await session.save_export(activity, tmp_path / "a")

    (head,) = heads
    lines = head.decode().lower().split("\r\n")
    assert "get /file.csv?signed=1 http/1.1" == lines[0]
    assert {"host", "user-agent", "accept", "accept-encoding", "cache-control"} >= {
        line.partition(":")[0] for line in lines[1:] if line
    }
    assert [] == secrets_in(head.decode())
    assert sandbox.token not in head.decode()
    assert content(40) == (tmp_path / "a").read_bytes()


SIGNED = "?X-Signature=sandbox-token-of-a-signature"


@pytest.mark.parametrize(
    ("location", "error", "attempts", "message"),
    [
        (f"http://files.example/a.csv{SIGNED}", cc.UntrustedServerError, 1, "not https"),
        (f"ftp://files.example/a.csv{SIGNED}", cc.UntrustedServerError, 1, "not https"),
        (f"https://user:sandbox-token-x@files.example/{SIGNED}", cc.UntrustedServerError, 1, "not https"),
        (f"https://files.example:port/{SIGNED}", cc.UntrustedServerError, 1, "not https"),
        (f"https://files.example/\u00e9{SIGNED}", cc.UntrustedServerError, 1, "not https"),
        (f"/v3/elsewhere{SIGNED}", cc.UntrustedServerError, 1, "or back to the API"),
        ("javascript:alert(1)", cc.UntrustedServerError, 1, "not https"),
        ("", cc.UntrustedServerError, 1, "or back to the API"),
        (f"http://localhost:1/a.csv{SIGNED}", cc.TransportError, 5, "localhost:1, where the file is: ClientConnector"),
        (f"https://localhost:PORT/a.csv{SIGNED}", cc.TransportError, 4, "no complete answer within 30 s"),
        (f"http://localhost:PORT/a.csv{SIGNED}", cc.TransportError, 5, "where the file is: answered HTTP 403"),
    ],
)
async def test_where_a_redirect_may_not_lead(  # noqa: PLR0917 -- as above
    vendor: VendorFactory, tmp_path: Path, location: str, error: type[Exception], attempts: int, message: str
) -> None:
    """What is said names the host, and nothing of the URL that may be signed."""
    forbidden = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    async with server(says(forbidden)) as (port, _), vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(redirect(location.replace("PORT", str(port))), where="export")
        with pytest.raises(error, match=message) as caught:
            await session.save_export(activity, tmp_path / "a")

        assert attempts == sandbox.requests["export"]
        assert [] == secrets_in(shown(caught.value))
    assert [] == names(tmp_path)


@pytest.mark.parametrize("trusted", [False, True])
async def test_an_api_elsewhere_leads_to_no_service_of_this_machine(tmp_path: Path, trusted: bool) -> None:
    """Only one on this machine does, such as a sandbox; nor to a host with a certificate that nobody trusts."""
    place = tmp_path / "certificate"
    place.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place)
    client = ssl.create_default_context(cafile=str(place))
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # a server complains of its caller
    head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http%s://localhost:%d/a?sandbox-token-x\r\n\r\n"
    async with (
        server(says(b"HTTP/1.1 200 OK\r\n\r\n"), ssl=None if trusted else context) as (other, heads),
        server(says(head % (b"" if trusted else b"s", other)), ssl=context if trusted else None) as (port, _),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client if trusted else True)) as http,
        session_at(port, "https" if trusted else "http", http=http) as session,
    ):
        activity = cc.Activity(activity_id="a", state="completed", results_url="/v3/contact_exports/1")
        with pytest.raises(cc.UntrustedServerError, match="is not https" if trusted else "Certificate") as caught:
            await session.save_export(activity, tmp_path / "a")

    assert not heads
    assert [] == secrets_in(shown(caught.value))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_one_redirect_is_followed(vendor: VendorFactory, tmp_path: Path, status: int) -> None:
    """Of each kind; and not a second one."""
    async with (
        server(says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")) as (
            port,
            heads,
        ),
        vendor() as (sandbox, session),
    ):
        activity = await completed(sandbox, session)
        sandbox.faults.add(redirect(f"http://127.0.0.1:{port}/a", status), where="export")
        with pytest.raises(cc.TransportError, match="answered HTTP 302"):
            await session.save_export(activity, tmp_path / "a")

    assert 5 == len(heads)


@pytest.mark.parametrize(
    "fault",
    [
        sb.Framing("chunked", cut=100),
        sb.Framing("close", cut=100),
        sb.Reset(),
        sb.Hang(after=0.5),
        sb.server_error(500),
        sb.html(),
        sb.Raw(b"nonsense\r\n\r\n"),
    ],
)
async def test_what_fails_there_shows_no_signature(vendor: VendorFactory, tmp_path: Path, fault: Any) -> None:
    """No error, no frame of ours and no log record has it; and each attempt gets a new redirect."""
    async with vendor(export_redirect=True) as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(fault, where="file")
        for ask in (
            session.save_export(activity, tmp_path / "a"),
            session.export_contacts(ExportContacts(), tmp_path / "a"),
        ):
            with pytest.raises(cc.CCActivityError) as caught:
                await ask
            assert [] == secrets_in(shown(caught.value))

        assert sandbox.requests["file"] >= sandbox.requests["export"] >= 6
        assert re.search("sandbox-token", sandbox.log[-1].target)
    assert [] == names(tmp_path)


async def test_a_token_that_has_expired(vendor: VendorFactory, tmp_path: Path) -> None:
    """It is replaced, as for any other question."""
    source = RefreshingSource()
    async with vendor(token=source) as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.expire_token()
        await session.save_export(activity, tmp_path / "a")

    assert content(40) == (tmp_path / "a").read_bytes()


async def test_a_full_answer_that_the_library_calls_broken(vendor: VendorFactory, tmp_path: Path) -> None:
    """All bytes came, then a reset: the file is whole."""
    async with vendor() as (sandbox, session):
        activity = await completed(sandbox, session)
        sandbox.faults.add(sb.Reset(after=1.0), where="export")
        await session.save_export(activity, tmp_path / "a")

        assert 1 == sandbox.requests["export"]


async def test_two_sessions_save_the_same(vendor: VendorFactory, tmp_path: Path) -> None:
    """Each has a part file of its own, and one of them the name."""
    async with vendor() as (sandbox, session), connect(sandbox) as other:
        activity = await completed(sandbox, session)
        saving: list[Callable[[], Any]] = [lambda: session.save_export(activity, tmp_path / "a")] * 2
        saving.append(lambda: other.save_export(activity, tmp_path / "a"))
        outcomes = await asyncio.gather(*(save() for save in saving), return_exceptions=True)

    assert ["ExportFile", "FileExistsError", "FileExistsError"] == sorted(
        type(outcome).__name__ for outcome in outcomes
    )
    assert content(40) == (tmp_path / "a").read_bytes()
    assert ["a"] == names(tmp_path)
