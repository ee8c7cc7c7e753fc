"""The fleet over Redis or Valkey: its options, and the connections that it makes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry as RedisRetry
from redis.backoff import NoBackoff

from .._emitter import Emitter
from .._secret import Secret, hide
from .._tasks import spawn
from .._validation import check_number
from ..api.decoding import Decoder
from ..membership import Fleet, Membership
from ..polling.hub import Hub
from ..polling.poller import Poller
from ..ratelimit.quota import Quota
from .engine import EngineError, FleetStatus
from .lease import Lease
from .ledger import Ledger, Limits
from .link import Link
from .member import Member
from .redis_engine import Names, RedisEngine

__all__ = ["RedisFleet"]

_TIMEOUT_S: Final = 2.0  # of one answer; longer than the wait for news
_MIN_TIMEOUT_S, _MAX_TIMEOUT_S = 1.5, 5.0
_MAX_CONNECTIONS: Final = 2  # one for commands, one for news
_MAX_NAME_LENGTH: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9._~@-]+")


class RedisFleet(Fleet):
    """All processes that use one API key, over one primary of Redis or Valkey (6.0 or later, standalone or Sentinel).

    They spend together what one process would: one of them at a time asks for what all of them watch, and no request of
    any kind is sent without a permit of the server. While the server is away nobody sends.

    `url`: redis://, rediss:// or unix://. `client`: a `redis.asyncio.Redis` of the caller's instead, for instance of
    Sentinel's `master_for`; it is never closed.
    `key`: a name for the API key, the same for all that use it; it shares the quota. Not a secret.
    `account`: a name for the account whose activities the token sees; it shares the polling.
    `lease`: seconds, 1 to 60, after which a process that polled and is gone is replaced.
    `patience`: seconds that a single call waits for a server that is away, before FleetUnavailableError.
    `candidate`: whether this process may poll. False for processes that live for a short time or block their loop.

    Raises ValueError or TypeError for options that cannot work. Nothing is connected before the first await.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | None = None,
        key: str = "default",
        account: str = "default",
        lease: float = 3.0,
        patience: float = 10.0,
        candidate: bool = True,
    ) -> None:
        url = hide(url)
        if (url is None) == (client is None):
            raise ValueError("give a RedisFleet either a url or a client")
        names: dict[str, object] = {"key": key, "account": account}
        for name, value in names.items():
            if not isinstance(value, str) or not _NAME.fullmatch(value) or len(value) > _MAX_NAME_LENGTH:
                raise ValueError(
                    f"{name} must be 1 to {_MAX_NAME_LENGTH} letters, digits or any of '._~@-', not {value!r}"
                )
        check_number("lease", lease, least=1.0)
        if lease > 60.0:
            raise ValueError(f"lease must be at most 60 seconds, not {lease!r}")
        check_number("patience", patience)
        self._names = Names(key, account)
        self._lease_s = lease
        self._patience = patience
        self._candidate = candidate
        self._url = Secret(url or "")
        self._client = client
        self._where = _check(client.connection_pool if client is not None else _make_pool(self._url))

    def __repr__(self) -> str:
        return f"<RedisFleet at {self._where}, key {self._names.key!r}, account {self._names.account!r}>"

    async def status(self) -> FleetStatus:
        """Return what the server knows of the fleet, without being part of it; FleetUnavailableError."""
        engine, link = self._make_engine(Ledger(Limits.of(Quota()))), Link(self._where, self._patience)
        try:
            return await asyncio.shield(spawn(engine.status()))
        except EngineError as error:
            problem = error
        finally:
            await engine.aclose()
        link.error = problem
        raise link.unavailable_error()

    def join(
        self, quota: Quota, decoder: Decoder, make_poller: Callable[[Hub], Poller], emitter: Emitter
    ) -> Membership:
        ledger = Ledger(Limits.of(quota), spent=quota.spent)
        quota.follow(lambda: ledger.spent)
        engine = self._make_engine(ledger)
        lease = Lease("", self._lease_s, willing=self._candidate)
        return Member(engine, Link(self._where, self._patience), lease, decoder, make_poller, emitter=emitter)

    def _connect(self) -> Redis:
        return Redis(connection_pool=_make_pool(self._url)) if self._client is None else self._client

    def _make_engine(self, ledger: Ledger) -> RedisEngine:
        return RedisEngine(self._connect, self._names, ledger, own=self._client is None)


def _make_pool(url: str) -> ConnectionPool:
    """Make the connections of one session. What differs between the versions of redis-py is said in full."""
    options: dict[str, Any] = {
        "max_connections": _MAX_CONNECTIONS,
        "socket_timeout": _TIMEOUT_S,
        "socket_connect_timeout": _TIMEOUT_S,
        "protocol": 2,
        "retry": RedisRetry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "decode_responses": False,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    if url.startswith("rediss:"):
        options["ssl_check_hostname"] = True
    return ConnectionPool.from_url(url, **options)


def _check(pool: ConnectionPool) -> str:
    """Say where the server is, without a password; ValueError for a client that would wait or repeat by itself."""
    options = pool.connection_kwargs
    for name in ("socket_timeout", "socket_connect_timeout"):
        value = options.get(name)
        if value is None or not _MIN_TIMEOUT_S <= value <= _MAX_TIMEOUT_S:
            raise ValueError(f"the client's {name} must be {_MIN_TIMEOUT_S} to {_MAX_TIMEOUT_S} seconds, not {value!r}")
    if getattr(options.get("retry"), "_retries", 0):
        raise ValueError("the client's retry must be Retry(NoBackoff(), 0): what was sent may have been done")
    if "path" in options:
        return f"unix://{options['path']}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
