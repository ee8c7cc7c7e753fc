"""Connections that misbehave, most of them worse than the sandbox can: each attempt ends, is paid for, and says why."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.vendor import UNKNOWN_ID
from yarl import URL

import ccactivity as cc
from ccactivity.testing import utc_now

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = b'{"activity_id": "04fe9a-a579-43c5-bb1a-58ed29bf0a6a", "state": "completed"}'
TOKEN = "canary-secret-of-the-connection"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
# Made for this test, of nobody, for localhost, and trusted by none.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUUUktqQm5tuhsg5quyT/HtWa5Ri8wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjAyMjA0NFoYDzIxMjYxMDI5
MDIyMDQ0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASXZTlEHYCg7TkzjZNtiyZinWp3whkInh3hZT8DP1oKy1RDX2+bgWDx
3ReqchCcmyPKORmN1snhIk+kSmy6YeMvo1MwUTAdBgNVHQ4EFgQU/VC1FLoa+Gn0
05UcKWytBEhnDn4wHwYDVR0jBBgwFoAU/VC1FLoa+Gn005UcKWytBEhnDn4wDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiA2KIiAAncBFD51emZAkQei
6dFscqS3G7ND+ow4d32IbQIhAJJXvbZ8tEa6Degfou2SNFdMb47Oxm6/sg4PqDY4
///W
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgr/kV0Tq0Outjhu1B
Fnx+wqBSDW34QRf4wAEVaMKIkqyhRANCAASXZTlEHYCg7TkzjZNtiyZinWp3whkI
nh3hZT8DP1oKy1RDX2+bgWDx3ReqchCcmyPKORmN1snhIk+kSmy6YeMv
-----END PRIVATE KEY-----
"""


@asynccontextmanager
async def server(answer: Answer, port: int = 0, **options: Any) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answer each request as told, once a connection; collect the heads of the requests."""
    heads: list[bytes] = []
    serving: set[asyncio.Task[Any] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                await answer(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port, **options) as listening:
        yield listening.sockets[0].getsockname()[1], heads
        await asyncio.sleep(0.01)
        for task in serving:
            if task is not None:
                task.cancel()
        await asyncio.sleep(0.01)


def says(*pieces: bytes, pause: float = 0.0) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)

    return answer


def bytewise(text: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in text]


def session_at(port: int, scheme: str = "http", **options: Any) -> cc.ActivitySession:
    return cc.ActivitySession(TOKEN, base_url=f"{scheme}://localhost:{port}/v3", now=utc_now, **options)


@pytest.mark.parametrize(
    "answer",
    [
        says(*bytewise(HEAD + b"Content-Length: 75\r\n\r\n" + BODY), pause=1.0),
        says(HEAD + b"Content-Length: 75\r\n\r\n", *bytewise(BODY), pause=1.0),
        says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *bytewise(b"4b\r\n" + BODY + b"\r\n"), pause=1.0),
        says(HEAD, *[b"X-%d: y\r\n" % number for number in range(1000)], pause=1.0),
    ],
    ids=["head", "body", "chunk", "endless headers"],
)
async def test_a_slow_loris_ends_with_its_attempt(answer: Answer) -> None:
    """However slowly an answer drips, an attempt is over after the one limit, by default 30 seconds."""
    loop = asyncio.get_running_loop()
    async with server(answer) as (port, heads), session_at(port, retry=cc.Retry(attempts=2)) as session:
        began = loop.time()
        with pytest.raises(cc.TransportError, match="30 s"):
            await session.get_activity(UNKNOWN_ID)

        assert 60 <= loop.time() - began < 65
        assert 2 == len(heads) == session.quota.spent


BROKEN = {
    "no status": b"\r\n\r\n",
    "garbage": b"garbage\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 75\r\n\r\n" + BODY,
    "a length of letters": HEAD + b"Content-Length: many\r\n\r\n" + BODY,
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "a short body": HEAD + b"Content-Length: 76\r\n\r\n" + BODY,
    "a chunk that ends early": HEAD + b"Transfer-Encoding: chunked\r\n\r\n4b\r\n" + BODY[:10],
    "no last chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n4b\r\n" + BODY + b"\r\n",
    "a chunk of letters": HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a header without end": HEAD + b"X: " + b"y" * 100_000,
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_http_is_a_transport_error(name: str) -> None:
    """Broken status lines, headers, lengths and chunks are retried, then a TransportError that shows no token."""
    async with (
        server(says(BROKEN[name])) as (port, heads),
        session_at(port, retry=cc.Retry(attempts=3), timeout=5.0) as session,
    ):
        with pytest.raises(cc.TransportError) as caught:
            await session.get_activity(UNKNOWN_ID)

        assert 3 <= len(heads) == session.quota.spent <= 6  # aiohttp repeats some of them by itself
        assert str(caught.value).isprintable()


@given(text=st.binary(max_size=200) | st.binary(max_size=60).map(lambda end: HEAD + end))
@settings(max_examples=60)
@pytest.mark.slow
async def test_any_bytes_end_in_an_error_of_the_family(text: bytes) -> None:
    """Whatever a server says, a call returns or raises one of ours, within its limit."""
    async with (
        server(says(text)) as (port, _),
        session_at(port, retry=cc.Retry(attempts=1), timeout=5.0) as session,
        asyncio.timeout(60),
    ):
        with pytest.raises(cc.CCActivityError) as caught:
            await session.get_activity(UNKNOWN_ID)

    assert TOKEN not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


async def test_a_certificate_is_not_tried_twice(tmp_path: Path) -> None:
    """A server that cannot prove who it is gets one connection and no token; a watch ends with it."""
    file = tmp_path / "certificate.pem"
    file.write_text(CERTIFICATE, encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server complains of its caller
    async with server(says(b"?\r\n"), ssl=context) as (port, heads), session_at(port, "https") as session:
        for call in (session.get_activity(UNKNOWN_ID), session.wait(UNKNOWN_ID)):
            began = session.quota.spent
            with pytest.raises(cc.TransportError):
                await call
            assert began + 1 == session.quota.spent

    assert not [head for head in heads if TOKEN.encode() in head]


async def test_a_name_that_is_not_found_is_retried() -> None:
    """A failing DNS is a failure that may pass: five attempts, with waits between them, then a NotSentError."""
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        asked.append(loop.time())
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
    async with cc.ActivitySession(TOKEN, base_url="https://api.invalid/v3", now=utc_now) as session:
        with pytest.raises(cc.NotSentError, match=r"^GET /v3/activities/\S+: Cannot connect to host api.invalid:443"):
            await session.get_activity(UNKNOWN_ID)

        # What never reached a server was not sent, but whether it was is not ours to know.
        assert 5 == len(asked)
        assert asked[-1] >= 0.5 + 1 + 2 + 4
        assert session.quota.spent <= 10


@pytest.mark.parametrize("watched", [False, True])
async def test_a_server_that_comes_back_is_found(watched: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A refused connection is retried as any failure that may pass: the restart of a server is one line in the log."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async with session_at(port) as session:
        call = asyncio.create_task(session.wait(UNKNOWN_ID) if watched else session.get_activity(UNKNOWN_ID))
        await asyncio.sleep(3)
        async with server(says(HEAD + b"Content-Length: 75\r\n\r\n" + BODY), port):
            assert (await call).succeeded

    warnings = [(record.name, record.getMessage()) for record in caplog.records if record.levelname == "WARNING"]
    assert [("ccactivity.connection", f"cannot connect to localhost:{port}, trying again")] == warnings


@asynccontextmanager
async def full_queue() -> AsyncIterator[int]:
    """A server that accepts nobody, and whose queue has no place left: who connects waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, socket.socket() as first:
        first.connect(listening.getsockname())
        yield listening.getsockname()[1]


@asynccontextmanager
async def silence() -> AsyncIterator[int]:
    """A server that accepts, and says nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(answer) as (port, _):
        yield port


@pytest.mark.parametrize(
    ("place", "url"),
    [
        (full_queue, "http://127.0.0.1:{}/v3"),
        (silence, "http://127.0.0.1:{}/v3"),
        (silence, "https://127.0.0.1:{}/v3"),
        (silence, "https://no-answer.invalid:{}/v3"),
    ],
    ids=["connecting", "half-open", "TLS", "DNS"],
)
async def test_whatever_hangs_has_the_one_limit(place: Any, url: str) -> None:
    """Looking a name up, connecting, shaking hands and waiting: thirty seconds in all, though nobody gave a timeout."""
    loop = asyncio.get_running_loop()
    if ".invalid" in url:
        loop.getaddrinfo = lambda *_, **__: loop.create_future()  # type: ignore[assignment, method-assign]
    async with (
        place() as port,
        cc.ActivitySession(TOKEN, base_url=url.format(port), now=utc_now, retry=cc.Retry(attempts=2)) as session,
    ):
        began = loop.time()
        with pytest.raises(cc.TransportError, match="30 s"):
            await session.get_activity(UNKNOWN_ID)

        assert 60 <= loop.time() - began < 62
        assert 2 == session.quota.spent
        with pytest.raises(cc.WatchTimeoutError):
            await session.wait(UNKNOWN_ID, timeout=100)


async def test_a_download_stops_at_the_cap() -> None:
    """The connection of a body without end is closed, so that no more of it arrives."""
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while sent < 1 << 30:
            writer.write(b"10000\r\n" + b" " * (1 << 16) + b"\r\n")
            await writer.drain()
            sent += 1 << 16

    async with server(pour) as (port, heads), session_at(port) as session:
        with pytest.raises(cc.DecodeError, match="8 MiB"):
            await session.get_activity(UNKNOWN_ID)
        await asyncio.sleep(1)

        assert 1 == len(heads) == session.quota.spent
        assert 8 << 20 <= sent < 32 << 20  # what the kernel had buffered


async def test_the_environment_sends_nobody_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An own session knows no proxy and no .netrc of the environment: the token goes to the vendor alone."""
    answer = says(HEAD + b"Content-Length: 75\r\nConnection: close\r\n\r\n" + BODY)
    async with server(answer) as (proxy, stolen), server(answer) as (port, heads), session_at(port) as session:
        netrc = tmp_path / "netrc"
        netrc.write_text("default login them password theirs", encoding="ascii")
        monkeypatch.setenv("NETRC", str(netrc))
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert (await session.get_activity(UNKNOWN_ID)).succeeded

        assert [] == stolen
        assert f"Authorization: Bearer {TOKEN}".encode() in heads[0]


async def test_a_borrowed_session_cannot_take_the_token_elsewhere() -> None:
    """A middleware of its owner's that turns a request to another origin gets one error, and no token."""
    answer = says(HEAD + b"Content-Length: 75\r\nConnection: close\r\n\r\n" + BODY)
    async with server(answer) as (evil, stolen), server(answer) as (port, heads):

        async def turn(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            request.url = URL(f"http://localhost:{evil}/v3/activities")
            return await handler(request)

        async with aiohttp.ClientSession(middlewares=[turn]) as http, session_at(port, http=http) as session:
            with pytest.raises(cc.TransportError, match="to another host"):
                await session.get_activity(UNKNOWN_ID)
            with pytest.raises(cc.TransportError, match="to another host"):
                await session.wait(UNKNOWN_ID)

        assert [] == stolen == heads
