"""The engine in Redis or Valkey, over redis-py. Only this module and `redis_fleet` know it.

1. A session has two connections: one for commands, one after the other, and one on which it waits for news.
2. Nothing is retried here: an unanswered script may have run. Whatever goes wrong is an `EngineError`, and whoever asks
   decides. Lost scripts are loaded again by redis-py: then they have not run.
3. Before the first call, and after each that failed, the server is asked what it is.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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
from .engine import (
    AcquireReply,
    AcquireStatus,
    Engine,
    EngineError,
    FleetStatus,
    Look,
    NewsItem,
    PermitRequest,
    Place,
    Taken,
)
from .lease import BeatReply
from .ledger import MICROSECONDS, KeyState, Ledger, Limits
from .scripts import read_script

__all__ = ["Names", "RedisEngine"]

_MIN_VERSION: Final = (6, 0)
# What stands at the head of each answer of a script of the quota, before the bank and its rate.
_STATE_FIELDS: Final = [field.name for field in attrs.fields(KeyState)][:-2]
_STATE_NUMBERS: Final = len(_STATE_FIELDS) + 2
_PROBLEMS: Final = (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError)
_NEWS_AT_ONCE: Final = 500
_NEWS_WAIT_MS: Final = 1_000  # less than the client's time-out of a read
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

    @property
    def quota(self) -> list[str]:
        """The four of the API key."""
        return [f"ccactivity:1:{{{self.key}}}:{each}" for each in ("quota", "tickets", "due", "flying")]

    def of_account(self, *names: str) -> list[str]:
        """Those of the account."""
        return [f"ccactivity:1:{{{self.key}}}:{self.account}:{each}" for each in names]

    def watches_of(self, *members: str) -> list[str]:
        """What members watch."""
        return self.of_account(*(f"w:{member}" for member in members))


class RedisEngine(Engine):
    """See `Engine`. `connect`: gives the client, at first use; it is closed with the engine only if it is `own`."""

    def __init__(self, connect: Callable[[], Redis], names: Names, ledger: Ledger, *, own: bool = True) -> None:
        self.ledger = ledger
        self.names = names
        self._connect = connect
        self._own = own
        self._client: Redis | None = None
        self._member = ""
        self._commands = asyncio.Lock()
        self._known_server = False
        self._scripts: dict[str, Any] = {}

    @property
    def member(self) -> str:
        if not self._member:
            self._member = uuid.uuid4().hex
        return self._member

    @property
    def _server(self) -> Redis:
        if self._client is None:
            self._client = self._connect()
        return self._client

    # --- the quota --------------------------------------------------------------------------------------------------

    async def acquire(self, request: PermitRequest) -> AcquireReply:
        status, wait = await self._call_quota(
            "acquire",
            self.names.of_account("lease"),
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
        names, member = self.names, self.member
        keys = [*names.of_account("lease", "members"), *names.watches_of(member), *names.of_account("snap")]
        arguments = [member, int(candidate), token, _microseconds(lease)]
        told = await self._call_quota("beat", keys, arguments)
        token, left, members, registered, snapshots, news, per_second, per_day, reserve, holder, gone = told
        return BeatReply(
            holder=_text(holder),
            token=token,
            lease_left=left / MICROSECONDS,
            members=members,
            registered=registered,
            snapshots=snapshots,
            news=news,
            limits=Limits.from_reply(float(per_second), float(per_day), float(reserve)),
            gone=[_text(each) for each in gone],
        )

    async def release(self, token: int, *, leave: bool) -> None:
        keys = [*self.names.of_account("members"), *self.names.watches_of(self.member)]
        await self._call_news("release", keys, [self.member, token, int(leave)])

    # --- what is watched, and what was seen -------------------------------------------------------------------------

    async def begin(self) -> tuple[Place, list[str]]:
        number, mark, ids = await self._call_news("begin", self.names.watches_of(self.member), [])
        return Place(number, _text(mark)), [_text(each) for each in ids]

    async def watch(self, wanted: Mapping[str, str]) -> dict[str, str]:
        keys = [*self.names.watches_of(self.member), *self.names.of_account("snap", "ends")]
        pairs = [text for pair in wanted.items() for text in pair]
        return _by_id(wanted, await self._call_news("watch", keys, [self.member, len(wanted), *pairs]))

    async def drop(self, ids: Sequence[str], *, ended: bool) -> None:
        await self._call_news("drop", self.names.watches_of(self.member), [self.member, int(ended), len(ids), *ids])

    async def post(self, kind: str, data: str) -> None:
        await self._call_news("post", [], [self.member, kind, data])

    async def publish(self, token: int, memo: str, looks: Sequence[Look]) -> bool:
        texts = [text for look in looks for text in (look.kind, look.activity_id, look.text)]
        keys = self.names.of_account("snap", "ends", "memo")
        return bool(await self._call_news("publish", keys, [self.member, token, memo, len(looks), *texts]))

    async def snapshots(self, ids: Sequence[str]) -> dict[str, str]:
        (key,) = self.names.of_account("snap")
        return _by_id(ids, await self._ask(lambda: self._server.hmget(key, list(ids))))

    async def take(self, token: int) -> Taken | None:
        members: list[str] = []
        while True:
            keys = [*self.names.of_account("members", "memo"), *self.names.watches_of(*members)]
            reply = await self._call_news("take", keys, [self.member, token, len(members), *members])
            if reply[0] == 0:
                members = [_text(each) for each in reply[1]]
                continue
            if reply[0] < 0:
                return None
            _, number, mark, memo, watches = reply
            texts = [[_text(each) for each in flat] for flat in watches]
            by_member = {
                member: dict(zip(flat[::2], flat[1::2], strict=True))
                for member, flat in zip(members, texts, strict=True)
            }
            return Taken(Place(number, _text(mark)), _text(memo), by_member)

    async def reap(self, token: int, gone: Sequence[str]) -> None:
        keys = [*self.names.of_account("members"), *self.names.watches_of(*gone)]
        await self._call_news("reap", keys, [self.member, token, len(gone), *gone])

    async def news(self, after: Place) -> list[NewsItem]:
        try:
            reply = await self._read_news(after.mark)
        except _PROBLEMS as problem:
            error = _translate(problem)
        else:
            streams = reply.items() if isinstance(reply, dict) else reply or []
            return [_read_item(mark, fields) for _, entries in streams for mark, fields in _flat(entries)]
        raise error

    async def _read_news(self, mark: str) -> Any:
        (key,) = self.names.of_account("news")
        return await self._server.xread({key: mark}, count=_NEWS_AT_ONCE, block=_NEWS_WAIT_MS)

    async def status(self) -> FleetStatus:
        """Return what the server knows, and change nothing; EngineError."""
        status: FleetStatus = await self._ask(self._read_status)
        return status

    async def _read_status(self) -> FleetStatus:
        server, (lease, members) = self._server, self.names.of_account("lease", "members")
        seconds, micro = await server.time()
        now = int(seconds) * MICROSECONDS + int(micro)
        quota = await server.hmget(self.names.quota[0], ["day", "granted", "refunded", "per_day", "shut"])
        day, granted, refunded, per_day, shut = (float(each or 0) for each in quota)
        holder, until = await server.hmget(lease, ["holder", "until"])
        alive: list[Any] = list(await server.zrangebyscore(members, now, "+inf"))
        return FleetStatus(
            members={each: await server.hlen(*self.names.watches_of(each)) for each in map(_text, alive)},
            poller=_text(holder or "") if float(until or 0) > now else "",
            spent=granted - refunded if day == now // (86_400 * MICROSECONDS) else 0.0,
            per_day=math.inf if per_day < 0 else per_day,
            shut=shut > now,
        )

    async def aclose(self) -> None:
        if self._own and self._client is not None:
            await self._client.connection_pool.disconnect()

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

    async def _call_news(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await self._call(name, [*self.names.of_account("lease", "news"), *keys], arguments)

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
            except _PROBLEMS as problem:
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


def _by_id(ids: Iterable[str], texts: Iterable[Any]) -> dict[str, str]:
    return {activity_id: _text(text) for activity_id, text in zip(ids, texts, strict=True) if text}


def _flat(entries: Any) -> Any:
    """The entries of one stream: in RESP3 they are in one more list."""
    return entries[0] if entries and isinstance(entries[0], list) else entries


def _read_item(mark: Any, fields: Mapping[Any, Any]) -> NewsItem:
    texts = {_text(name): _text(value) for name, value in fields.items()}
    return NewsItem(Place(int(texts["n"]), _text(mark)), texts["k"], texts["m"], texts["d"])


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _translate(problem: BaseException) -> EngineError:
    text = escape(str(problem), 120)
    behind = (problem, problem.__cause__, problem.__context__)  # a failed login comes as a ConnectionError
    if any(isinstance(each, AuthenticationError | AuthorizationError | NoPermissionError) for each in behind):
        return EngineError(f"it refuses the login: {text}", lasting=True)
    if isinstance(problem, ReadOnlyError):
        return EngineError("it is a replica, and only the primary will do", lasting=True)
    if isinstance(problem, ResponseError):
        return EngineError(f"it refuses the command: {text}")
    return EngineError(text or type(problem).__name__)
