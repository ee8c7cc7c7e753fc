"""Engines of the fleet with a clock that a test moves: the same scripts, but for the two lines that ask the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from ccactivity.fleet.ledger import Ledger, Limits
from ccactivity.fleet.redis_engine import Names, RedisEngine
from ccactivity.fleet.scripts import read_script

_CLOCK = "local function clock() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end"
_RUN = "local function server_run() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '' end"
_OURS = {
    _CLOCK: "local function clock() return tonumber(ARGV[#ARGV - 1]) end",
    _RUN: "local function server_run() return ARGV[#ARGV] end",
}

Spoil = Callable[[str], str]


def with_given_clock(text: str) -> str:
    """Return a script that reads clock and run from its last two arguments."""
    for theirs, ours in _OURS.items():
        assert text.count(theirs) <= 1
        text = text.replace(theirs, ours)
    return text


class ClockedEngine(RedisEngine):
    """An engine whose server has the clock and the run that `clock` returns; `spoil` changes its scripts."""

    def __init__(
        self,
        server: Redis,
        names: Names,
        limits: Limits,
        clock: Callable[[], tuple[int, str]],
        *,
        spent: float = 0,
        spoil: Spoil = str,
    ) -> None:
        super().__init__(server, names, Ledger(limits, spent=spent), own_server=False)
        self._clock = clock
        self._spoil = spoil
        self._known_server = True

    def _read_script(self, name: str) -> str:
        return with_given_clock(self._spoil(read_script(name)))

    def _arguments(self, arguments: Sequence[Any]) -> list[Any]:
        return [*arguments, *self._clock()]
