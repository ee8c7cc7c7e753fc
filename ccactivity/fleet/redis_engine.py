"""The engine in Redis or Valkey, over redis-py. Only this module and `redis_fleet` know it.

1. A session has two connections: one for commands, one after the other, and one on which it waits for news.
2. Nothing is retried here: an unanswered script may have run. Whatever goes wrong is an `EngineError`, and whoever asks
   decides. Lost scripts are loaded again by redis-py: then they have not run.
3. Before the first call, and after each that failed, the server is asked what it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import attrs
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from .._text import escape
from ..ratelimit.limiter import PermitResult
from .engine import AcquireReply, AcquireStatus, EngineError, PermitRequest
from .lease import BeatReply
from .ledger import MICROSECONDS, KeyState, Ledger, Limits
from .scripts import read_script

__all__ = ["Names", "RedisEngine"]

_MIN_VERSION: Final = (6, 0)
# What stands at the head of each answer of a script of the quota, before the bank and its rate.
_STATE_FIELDS: Final = [field.name for field in attrs.fields(KeyState)][:-2]
_STATE_NUMBERS: Final = len(_STATE_FIELDS) + 2
_VERDICTS: Final = {
    PermitResult.NOT_SENT: "refund",
    PermitResult.ANSWERED: "answered",
    PermitResult.NO_ANSWER: "unanswered",
    PermitResult.THROTTLED: "throttled",
    PermitResult.QUOTA_EXCEEDED: "exceeded",
}


@attrs.frozen
class Names:
    """The names of the fleet's keys on the server; those of one API key have one hash tag, so one slot."""

    key: str
    account: str
    member: str

    @property
    def quota(self) -> list[str]:
        """The four of the API key."""
        return [f"ccactivity:1:{{{self.key}}}:{each}" for each in ("quota", "tickets", "due", "flying")]

    def of_account(self, name: str) -> str:
        """One of the account."""
        return f"ccactivity:1:{{{self.key}}}:{self.account}:{name}"

    def watches_of(self, member: str) -> str:
        """What a member watches."""
        return self.of_account(f"w:{member}")


class RedisEngine:
    """See `Engine`. `server`: closed with the engine only if `own_server`."""

    def __init__(self, server: Redis, names: Names, ledger: Ledger, *, own_server: bool = True) -> None:
        self.ledger = ledger
        self._server = server
        self._own_server = own_server
        self.names = names
        self._commands = asyncio.Lock()
        self._known_server = False
        self._scripts: dict[str, Any] = {}

    # --- the quota --------------------------------------------------------------------------------------------------

    async def acquire(self, request: PermitRequest) -> AcquireReply:
        names = self.names
        status, wait = await self._call_quota(
            "acquire",
            [names.of_account("lease")],
            [request.ticket, int(request.background), request.token, _microseconds(request.waited)],
        )
        assert self.ledger.state is not None
        return AcquireReply(AcquireStatus(status), wait / MICROSECONDS, self.ledger.state.now)

    async def settle(
        self, request: PermitRequest, granted_at: int, result: PermitResult, seconds: float, jitter: float
    ) -> None:
        times = [_microseconds(seconds), _microseconds(jitter)]
        arguments = [request.ticket, _VERDICTS[result], granted_at, int(request.background), *times]
        await self._call_quota("settle", [], arguments)

    async def beat(self, *, candidate: bool, token: int, lease: float) -> BeatReply:
        names = self.names
        keys = [names.of_account("lease"), names.of_account("members"), names.watches_of(names.member)]
        arguments = [names.member, int(candidate), token, _microseconds(lease)]
        told = await self._call_quota("beat", [*keys, names.of_account("snap")], arguments)
        token, left, members, registered, snapshots, per_second, per_day, reserve, holder = told
        return BeatReply(
            holder=_text(holder),
            token=token,
            lease_left=left / MICROSECONDS,
            members=members,
            registered=registered,
            snapshots=snapshots,
            limits=Limits.from_reply(float(per_second), float(per_day), float(reserve)),
        )

    async def release(self, token: int) -> None:
        names = self.names
        await self._call("release", [names.of_account("lease"), names.of_account("news")], [names.member, token])

    async def aclose(self) -> None:
        if self._own_server:
            await self._server.connection_pool.disconnect()

    # --- calls ------------------------------------------------------------------------------------------------------

    async def _call_quota(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> list[Any]:
        """Call a script that begins with the quota, and learn the state of the key from its answer."""
        ours = [*self.ledger.seen(), *self.ledger.limits.to_arguments()]
        told: list[Any] = await self._call(name, [*self.names.quota, *keys], [*ours, *arguments])
        *numbers, bank, rate = told[:_STATE_NUMBERS]
        values: dict[str, Any] = dict(zip(_STATE_FIELDS, numbers, strict=True))
        state = KeyState(**values, bank=bank / 1_000, rate=rate / 1_000_000)
        self.ledger.learn(state, asyncio.get_running_loop().time())
        return told[_STATE_NUMBERS:]

    async def _call(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        if name not in self._scripts:
            self._scripts[name] = self._server.register_script(self._read_script(name))
        return await self._ask(lambda: self._scripts[name](keys=list(keys), args=self._arguments(arguments)))

    def _read_script(self, name: str) -> str:
        return read_script(name)

    def _arguments(self, arguments: Sequence[Any]) -> list[Any]:
        return list(arguments)

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Have the server answer one question; EngineError for everything else."""
        async with self._commands:
            try:
                if not self._known_server:
                    await self._meet()
                return await question()
            except (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError) as problem:
                self._known_server = False
                error = _translate(problem)
        # Raised out here: what the library had in its frames, a password for one, is not part of it.
        raise error

    async def _meet(self) -> None:
        """Ask the server what it is; EngineError if it cannot be the engine."""
        info = await self._server.info()
        version = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
        if version < _MIN_VERSION:
            found = ".".join(map(str, version))
            raise EngineError(f"its version is {found}, and 6.0 is the first that will do", lasting=True)
        if info.get("role", "master") != "master":
            raise EngineError("it is a replica, and only the primary will do", lasting=True)
        self._known_server = True


def _microseconds(seconds: float) -> int:
    return round(seconds * MICROSECONDS)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _translate(problem: BaseException) -> EngineError:
    text = escape(str(problem), 120)
    if isinstance(problem, AuthenticationError | AuthorizationError | NoPermissionError):
        return EngineError(f"it refuses the login: {text}", lasting=True)
    if isinstance(problem, ReadOnlyError):
        return EngineError("it is a replica, and only the primary will do", lasting=True)
    if isinstance(problem, ResponseError):
        lasting = text.startswith(("NOAUTH", "NOPERM", "WRONGPASS"))
        return EngineError(f"it refuses the command: {text}", lasting=lasting)
    return EngineError(text or type(problem).__name__)
