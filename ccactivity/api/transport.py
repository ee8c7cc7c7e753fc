"""The HTTP transport: one request and its reply, without retries. The only module here that handles aiohttp.

1. **The token goes to one origin.** It is added by a middleware of the request, after a look at where that really goes,
   never as a default of the session. Redirects are not followed; but a file may be on another host, which gets no
   token, no cookie and no Referer, and whose URL, which may be signed, is in no error.
2. **Every real send is announced.** aiohttp re-sends a GET once by itself when a kept-alive connection turns out to be
   dead, and a borrowed session may have a retrying middleware of its own. Both pass through our middleware, the
   innermost, so `before_each_send` runs for each.
3. **The attempt has one clock**, which runs while something is under way and stands still while `before_each_send`
   waits. aiohttp's own timeouts are off: they would run in the queue as well.
4. **A body is read up to a cap**, counted as it arrives and after decompression, and decompressed in small steps: a
   bomb of one megabyte never becomes one of a gigabyte.
5. **What must not be sent twice goes on a connection of its own.** On a kept-alive one that turns out to be dead,
   nobody knows whether the vendor has read it. The pool of a borrowed session is its owner's, and is used as it is.
6. **Errors are translated here and nowhere else**, and cut from their causes: the repr of aiohttp's response errors
   holds the request's headers, and with them the token.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import attrs
from yarl import URL

from .._secret import Secret
from .._text import escape
from ..errors import (
    BodyTooLargeError,
    CCActivityError,
    DecodeError,
    NotSentError,
    SessionClosedError,
    TransportError,
    UntrustedServerError,
)
from .endpoint import Endpoint
from .messages import SUCCESSES, FileForm, Reply, Request
from .streams import BodyStream, StreamedReply, inflater_for

__all__ = ["MAX_BODY_BYTES", "Transport"]

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "Cache-Control": "no-cache"}
_UNTRUSTED: Final = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})  # RFC 9110
_PUBLIC_HEADERS: Final = frozenset({"host", "user-agent", "accept", "accept-encoding", "cache-control"})
# What is sent may take a second more for each so many bytes: an upload on a slow line is no failure.
_MIN_UPLOAD_BYTES_PER_S: Final = 50_000
# Of the time of an attempt, for a connection: what has none by then was certainly not sent.
_CONNECT_SHARE: Final = 0.5


class Transport:
    """Sends requests to one origin. `host`: that of the origin, with its port if it is not the usual one.

    `http`: a borrowed session, whose cookies, proxies, pool and traces are its owner's and which is never closed; or
    None for an own one that keeps no cookies and ignores the environment.
    """

    def __init__(self, origin: str, http: aiohttp.ClientSession | None, timeout: float | None, agent: str) -> None:
        self.host: str = origin.partition("://")[2]
        self._origin = origin
        self._http = http
        self._unpooled: aiohttp.ClientSession | None = None
        self._borrowed = http is not None
        self._timeout = timeout
        self._connect_timeout = aiohttp.ClientTimeout(
            total=None, connect=None if timeout is None else timeout * _CONNECT_SHARE, sock_connect=None, sock_read=None
        )
        self._headers = _HEADERS | {"User-Agent": agent}

    async def aclose(self) -> None:
        """Close the own sessions, if there are any."""
        for http in (self._unpooled, None if self._borrowed else self._http):
            if http is not None:
                await http.close()

    async def send(self, request: Request, before_each_send: Callable[[], Awaitable[str]]) -> Reply:
        """Send a request and read its reply, whatever its status.

        `before_each_send` is awaited before each real send, and gives the value of the Authorization header, or an
        empty string for none. Errors it raises pass. Raises TransportError and DecodeError.
        """
        loop = asyncio.get_running_loop()
        clock = asyncio.timeout(None)
        timeout = None if self._timeout is None else self._timeout + request.size / _MIN_UPLOAD_BYTES_PER_S
        try:
            async with clock:

                async def authorize(
                    outgoing: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
                ) -> aiohttp.ClientResponse:
                    if outgoing.url.origin() != URL(self._origin):
                        reason = f"the aiohttp session sends requests for {self._origin} to another host"
                        raise _PassthroughError(UntrustedServerError(reason, method=request.method, path=request.path))
                    clock.reschedule(None)
                    try:
                        authorization = await before_each_send()
                    except Exception as failure:  # noqa: BLE001 -- a user's token source may raise anything; it passes
                        raise _PassthroughError(failure) from None
                    if authorization:
                        outgoing.headers["Authorization"] = authorization
                    clock.reschedule(None if timeout is None else loop.time() + timeout)
                    return await handler(outgoing)

                send = self._open if request.streamed else self._send_and_read
                return await send(request, authorize)
        except CCActivityError:
            raise
        except _PassthroughError as stop:
            error = stop.error
        except aiohttp.ConnectionTimeoutError:
            error = NotSentError("no connection in time", method=request.method, path=request.path)
        except TimeoutError:
            reason = "no complete answer" + (f" within {timeout:g} s" if clock.expired() else ", timed out")
            error = TransportError(reason, method=request.method, path=request.path)
        except Exception as problem:  # noqa: BLE001 -- what is not the library's comes out as it is
            error = self._translate(problem, request)
        # Raised out here, so that the HTTP library's error is neither cause nor context of ours.
        raise error

    async def _send_and_read(self, request: Request, authorize: aiohttp.ClientMiddlewareType) -> Reply:
        async with await self._request(request, Secret(self._origin + request.target), authorize) as response:
            return await _read_reply(response)

    async def _open(self, request: Request, authorize: aiohttp.ClientMiddlewareType) -> Reply:
        """Send a request for a file, follow one redirect, and leave the body of a success to be read."""
        response = await self._request(request, Secret(self._origin + request.target), authorize)
        if response.status in _REDIRECTS:
            location = Secret(response.headers.get("Location", ""))
            response.close()
            del response  # its repr shows that header, and errors pass this frame
            response = await self._follow(request, location)
        if response.status in SUCCESSES:
            translate = partial(self._translate, request=request)
            stream = BodyStream(response, request, silence=self._timeout, translate=translate)
            return StreamedReply(response.status, response.headers, stream=stream)
        async with response:
            return await _read_reply(response)

    async def _follow(self, request: Request, location: Secret) -> aiohttp.ClientResponse:
        """Get a file from where a redirect leads to; whatever goes wrong there says nothing of the API."""
        host, url = _resolve(self._origin + request.target, location)
        if url is None:
            reason = "a redirect to what is not https, or back to the API; not followed"
            raise UntrustedServerError(reason, method=request.method, path=request.path)
        kind: type[TransportError] = TransportError
        try:
            response = await self._request(request, url, _strip)
            status = response.status
            if status in SUCCESSES:
                return response
            response.close()
            del response  # its repr shows the URL
            problem = f"answered HTTP {status}"
        except aiohttp.ClientError as failure:
            problem = type(failure).__name__
            if isinstance(failure, _UNTRUSTED):
                kind = UntrustedServerError
        raise kind(f"{host}, where the file is: {problem}", method=request.method, path=request.path)

    async def _request(
        self, request: Request, url: Secret, innermost: aiohttp.ClientMiddlewareType
    ) -> aiohttp.ClientResponse:
        http = self._session_for(request)
        # A request's middlewares replace its session's: the owner's run too, outside of ours. aiohttp has no public
        # name for them.
        theirs = tuple(getattr(http, "_middlewares", ()) or ())
        data, headers = _data_of(request)
        return await http.request(
            request.method,
            URL(url, encoded=True),
            headers=self._headers | {"Accept": request.accept} | headers,
            data=data,
            timeout=_NO_TIMEOUT if request.idempotent else self._connect_timeout,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=False,
            middlewares=(*theirs, innermost),
        )

    def _session_for(self, request: Request) -> aiohttp.ClientSession:
        if self._http is not None and (self._borrowed or request.idempotent):
            return self._http
        if self._unpooled is not None and not request.idempotent:
            return self._unpooled
        # The quota bounds what is under way; the pool's own limit would queue after the grant.
        connector = aiohttp.TCPConnector(limit=0, force_close=not request.idempotent)
        http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        if request.idempotent:
            self._http = http
        else:
            self._unpooled = http
        return http

    def _translate(self, problem: Exception, request: Request) -> Exception:
        """Our error for one of the HTTP library's."""
        kind = TransportError
        if isinstance(problem, _UNTRUSTED):
            kind = UntrustedServerError
        elif isinstance(problem, aiohttp.ClientConnectorError):
            kind = NotSentError
        elif not isinstance(problem, aiohttp.ClientError | OSError | ValueError | EOFError):
            # With its session closed before or under it, the library fails in any way, by an AssertionError for one.
            closed = any(http is not None and http.closed for http in (self._http, self._unpooled))
            return SessionClosedError("the aiohttp session was closed") if closed else problem
        # The name alone where the text may hold headers; the text alone where it says enough.
        text = "" if isinstance(problem, aiohttp.ClientResponseError) else escape(str(problem).partition("?")[0], 160)
        if not text or isinstance(problem, ValueError):
            text = f"{type(problem).__name__}: {text}".removesuffix(": ")
        return kind(text, method=request.method, path=request.path)


@attrs.define
class _PassthroughError(Exception):
    """Carries an error that is not the HTTP library's through it, unchanged."""

    error: Exception


async def _strip(outgoing: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Leave nothing in a request to another host that says who asks, also if the HTTP session has put it there."""
    for name in {name for name in outgoing.headers if name.lower() not in _PUBLIC_HEADERS}:
        outgoing.headers.popall(name)
    return await handler(outgoing)


def _resolve(base: str, location: str) -> tuple[str, Secret | None]:
    """Return the host and the URL that a redirect leads to; None for one that must not be followed."""
    try:
        parts = urlsplit(urljoin(base, location))
        origin = Endpoint.parse(f"{parts.scheme}://{parts.netloc}").origin
    except ValueError:
        return "", None
    target = Secret(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")
    # Back at the API it would be another request, without a permit. Only an API on this machine leads to this machine.
    allowed = not base.startswith(f"{origin}/") and (origin.startswith("https:") or base.startswith("http:"))
    safe = allowed and location and target.isascii() and target.isprintable()
    return origin.partition("://")[2], Secret(origin + target) if safe else None


async def _read_reply(response: aiohttp.ClientResponse) -> Reply:
    try:
        body = await _read_capped(response.content, response.headers.get("Content-Encoding", ""))
    except BaseException as error:
        # What is left of the body is not worth reading, so the connection is of no more use.
        response.close()
        if not isinstance(error, DecodeError) or response.status in SUCCESSES:
            raise
        body = b""  # what is no success says by its status what to do
    return Reply(response.status, response.headers, body)


def _data_of(request: Request) -> tuple[Any, dict[str, str]]:
    """What aiohttp is to send, made anew for each attempt, and the header for it.

    As a file in memory: of more than a MiB of plain bytes aiohttp warns, and writes them in one go.
    """
    if isinstance(request.body, FileForm):
        form = request.body
        data = aiohttp.FormData()
        for name, value in form.fields.items():
            data.add_field(name, value)
        content = io.BytesIO(form.content)
        data.add_field("file", content, filename=form.file_name, content_type=form.content_type)
        return data, {}
    if request.body is None:
        return None, {}
    return io.BytesIO(request.body), {"Content-Type": request.content_type}


async def _read_capped(content: aiohttp.StreamReader, encoding: str) -> bytes:
    inflater = inflater_for(encoding)
    parts: list[bytes] = []
    received = size = 0
    while chunk := await content.readany():
        received += len(chunk)
        for part in (chunk,) if inflater is None else inflater.pieces(chunk):
            parts.append(part)
            size += len(part)
            if size > MAX_BODY_BYTES:
                break
        # What arrives counts too: without an end, it may inflate to nothing.
        if max(received, size) > MAX_BODY_BYTES:
            raise BodyTooLargeError(f"a body of more than {MAX_BODY_BYTES // 2**20} MiB")
    if inflater is not None and received and not inflater.eof:
        raise DecodeError("a compressed body that ends too early")
    return b"".join(parts)
