"""The sandbox as an HTTP server on loopback: `vendor` decides every answer, and this serves it.

Theory of operation:

1. The clock is the running loop's, counted from the start of the server, so a loop with virtual time gives virtual
   dates, limits and job lives.
2. A request is counted the moment it has arrived. The answer shows the state of `latency / 2` seconds later, and is
   sent as much later again.
3. `async with` serves in the running loop. `with` serves in a thread with a loop of its own, for callers of any kind;
   every method may then be called from other threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from typing import Any, Self
from weakref import WeakSet

from aiohttp import StreamReader, web
from attrs import frozen

from . import misbehave
from .faults import Faults
from .lifecycle import Life, Workload
from .limits import Violations
from .logins import OAuthRules
from .messages import Request
from .oauth import PREFIX, OAuth, RegisteredClient
from .vendor import Logged, Vendor

__all__ = ["Sandbox", "Truth"]

_MAX_BODY_BYTES = 16 << 20
_STOP_TIMEOUT_S = 1.0
_MAX_PENDING_CONNECTIONS = 4096


@frozen
class Truth:
    """How an activity really ended: its state, and when, by the `time()` of the event loop that serves the sandbox."""

    state: str
    ended_at: float


class Sandbox:
    """An offline vendor, served at `base_url` while the block lasts.

    `start`: the vendor's wall time at the start; None takes that of the running loop if it has a `utc_now()`, as loops
    with virtual time have, and else the real one. `latency`: seconds that a request and its answer take together.
    `host`, `port`: where to listen; port 0 takes a free one. `on_request`: called with each request once its answer is
    decided, in the thread that serves. All else as in `Vendor`. Methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        start: datetime | None = None,
        latency: float = 0.0,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        workload: Workload | None = None,
        speed: float = 1.0,
        history: int = 0,
        order: str = "newest",
        stale_rows: float = 0.0,
        line_numbers: str = "physical",
        echo_file_name: str = "as sent",
        keep_uploads: int = 128_000_000,
        per_second: int | None = 4,
        per_day: int | None = 10_000,
        spent_today: int = 0,
        token_life: float | None = None,
        oauth: OAuthRules | None = None,
        export_redirect: bool = False,
        on_request: Callable[[Logged], object] | None = None,
    ) -> None:
        self.vendor: Vendor = Vendor(
            start=start or _wall_time(),
            seed=seed,
            workload=workload,
            speed=speed,
            history=history,
            order=order,
            stale_rows=stale_rows,
            line_numbers=line_numbers,
            echo_file_name=echo_file_name,
            keep_uploads=keep_uploads,
            per_second=per_second,
            per_day=per_day,
            spent_today=spent_today,
            token_life=token_life,
            oauth=oauth,
            export_redirect=export_redirect,
        )
        self._on_request = on_request
        self._latency = latency
        self._host = host
        self._port = port
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._origin = 0.0
        self._base_url: str | None = None
        self._handlers: set[asyncio.Task[Any]] = set()
        self._used_connections: WeakSet[asyncio.BaseTransport] = WeakSet()
        self._server_stack = AsyncExitStack()
        self._thread_stack = ExitStack()

    # --- for tests --------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """Where the API is served, or was, without a slash at the end."""
        if self._base_url is None:
            raise RuntimeError("the sandbox has not started: enter it with `with` or `async with`")
        return self._base_url

    @property
    def oauth_base_url(self) -> str:
        """Where the authorization server is, or was, without a slash at the end."""
        return self.base_url.removesuffix("/v3") + PREFIX

    @property
    def oauth(self) -> OAuth:
        """The authorization server: what it was asked, and its `families` of refresh tokens."""
        return self.vendor.oauth

    @property
    def token(self) -> str:
        """The newest access token."""
        return self.vendor.token

    @property
    def env(self) -> dict[str, str]:
        """The environment variables for `ActivitySession.from_env`; `oauth_base_url` is for logins."""
        return {"CCACTIVITY_ACCESS_TOKEN": self.token, "CCACTIVITY_BASE_URL": self.base_url}

    @property
    def faults(self) -> Faults:
        """The script of faults: add to it at any time."""
        return self.vendor.faults

    @property
    def violations(self) -> Violations:
        """What callers did wrong so far, counted."""
        return self.vendor.violations

    @property
    def requests(self) -> Counter[str]:
        """How many requests of each kind arrived: "list", "get", "history", "post", "export", "file", "other",
        "token", "device", "authorize", "activate".
        """
        return self.vendor.requests

    @property
    def log(self) -> list[Logged]:
        """Every request so far."""
        return self.vendor.log

    @property
    def now(self) -> float:
        """Seconds since the sandbox started; 0.0 before."""
        return 0.0 if self._loop is None else self._loop.time() - self._origin

    @property
    def wall(self) -> datetime:
        """The vendor's wall time, aware, in UTC."""
        return self.vendor.wall(self.now)

    def submit(
        self,
        life: Life | None = None,
        *,
        kind: str = "contacts_json_import",
        rows: int | None = None,
        lists: int = 1,
        file_name: str | None = None,
    ) -> str:
        """Create a job without a request and return its activity id.

        `life`, `rows`: None for random ones of the workload. `file_name`: as the vendor would show it; None for none.
        """
        with self._lock:
            return self.vendor.submit(self.now, life, kind=kind, rows=rows, lists=lists, file_name=file_name)

    def truth(self, activity_id: str) -> Truth | None:
        """Return how an activity ended, None while it has not; `KeyError` for an unknown id."""
        with self._lock:
            job = self.vendor.job(activity_id)
            return Truth(job.life.end, job.ended + self._origin) if job.ended <= self.now else None

    def rows(self, activity_id: str) -> list[dict[str, str]]:
        """Return the rows of an upload that the account will have when its job has ended; see `Vendor.rows`."""
        with self._lock:
            return self.vendor.rows(activity_id)

    def upload(self, activity_id: str) -> bytes:
        """Return the file, or the JSON, that an import was given; see `Vendor.rows`."""
        with self._lock:
            return self.vendor.upload(activity_id)

    def issue_token(self) -> str:
        """Return a new token, which becomes `token`; earlier ones live on until their end."""
        with self._lock:
            return self.vendor.issue_token(self.now)

    def expire_token(self) -> None:
        """End every token issued so far."""
        with self._lock:
            self.vendor.tokens.expire(self.now)

    def register_client(
        self,
        client_id: str = "ccactivity-sandbox",
        *,
        secret: str | None = None,
        redirect_uris: Iterable[str] = (),
        loopback_redirects: bool = False,
    ) -> RegisteredClient:
        """Register an application: a confidential one if it has a secret, else a public one.

        `redirect_uris`: where its web logins may come back to; `loopback_redirects`: to any http address of this
        machine as well.
        """
        with self._lock:
            return self.oauth.register(
                client_id, secret=secret, redirect_uris=redirect_uris, loopback_redirects=loopback_redirects
            )

    def approve_device(self, user_code: str) -> None:
        """Approve as the person who types this code in; `KeyError` for a code never issued."""
        with self._lock:
            self.oauth.decide(user_code, "approved")

    def deny_device(self, user_code: str) -> None:
        """Decline as the person who types this code in; `KeyError` for a code never issued."""
        with self._lock:
            self.oauth.decide(user_code, "denied")

    def log_in(
        self,
        client_id: str = "ccactivity-sandbox",
        scopes: Iterable[str] = ("contact_data", "campaign_data", "offline_access"),
    ) -> dict[str, Any]:
        """Log a person in without any request, and return what the token endpoint would have answered."""
        with self._lock:
            return self.oauth.grant(client_id, scopes, self.now)

    def revoke_logins(self) -> None:
        """End every login so far, its refresh and its access tokens."""
        with self._lock:
            for family in self.oauth.families:
                self.oauth.revoke(family, self.now)

    def add_history(self, campaign_activity_id: str, *records: Mapping[str, Any]) -> None:
        """Add sends to a campaign activity, the oldest first; what a record leaves out is filled in."""
        with self._lock:
            self.vendor.add_history(campaign_activity_id, *records)

    # --- running --------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("a sandbox runs once: make a new one")
        async with AsyncExitStack() as stack:
            self._loop = asyncio.get_running_loop()
            self._origin = self._loop.time()
            server = web.Server(self._serve, access_log=None, handler_cancellation=True)
            runner = web.ServerRunner(server, shutdown_timeout=_STOP_TIMEOUT_S)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            stack.push_async_callback(self._stop_handlers)
            site = web.TCPSite(runner, self._host, self._port, backlog=_MAX_PENDING_CONNECTIONS)
            await site.start()
            stack.push_async_callback(site.stop)
            if self.vendor.exports.redirect:
                elsewhere = web.TCPSite(runner, self._host, 0)
                await elsewhere.start()
                stack.push_async_callback(elsewhere.stop)
                self.vendor.exports.host = f"http://{self._host}:{runner.addresses[1][1]}"
            stack.push_async_callback(_accept_pending)
            self.oauth.site = f"http://{self._host}:{runner.addresses[0][1]}"
            self._base_url = f"{self.oauth.site}/v3"
            self._server_stack = stack.pop_all()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._server_stack.aclose()

    async def _stop_handlers(self) -> None:
        while self._handlers:
            for handler in self._handlers:
                handler.cancel()
            await asyncio.wait(self._handlers)

    def __enter__(self) -> Self:
        thread = _ServerThread(self)
        thread.start()
        self._thread_stack.callback(thread.stop)
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread_stack.close()

    async def _serve(self, incoming: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        connection = incoming.transport
        reused = connection in self._used_connections
        if connection is not None:
            self._used_connections.add(connection)
        request = Request(
            method=incoming.method,
            target=incoming.raw_path,
            headers=incoming.headers,
            body=await _read_body(incoming.content),
            reused=reused,
        )
        with self._lock:
            reply = self.vendor.handle(request, self.now, transit=self._latency / 2)
            logged = self.vendor.log[-1]
        if self._on_request is not None:
            self._on_request(logged)
        if self._latency:
            await asyncio.sleep(self._latency)
        return await misbehave.send(incoming, reply)


def _wall_time() -> datetime:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return datetime.now(UTC)
    utc_now: Callable[[], datetime] = getattr(loop, "utc_now", lambda: datetime.now(UTC))
    return utc_now()


async def _read_body(content: StreamReader) -> bytes:
    body = bytearray()
    while len(body) < _MAX_BODY_BYTES and (piece := await content.readany()):
        body += piece
    return bytes(body)


async def _accept_pending() -> None:
    # asyncio reports an error when a connection is accepted in the very turn in which its server closes.
    for _ in range(3):
        await asyncio.sleep(0)


class _ServerThread:
    """A thread with a loop of its own, which serves a sandbox until it is stopped."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._thread = threading.Thread(target=self._run, name="ccactivity-sandbox", daemon=True)
        # Not the loop of the policy: one with virtual time would not wait for the caller's thread.
        self._loop = asyncio.SelectorEventLoop()
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Return once the sandbox serves; raise the error that prevents it."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Return once the sandbox has stopped."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as failure:  # noqa: BLE001 -- `start` raises it again, where it can be handled
            self._failure = failure
        finally:
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        async with self._sandbox:
            self._ready.set()
            await self._stopping.wait()
