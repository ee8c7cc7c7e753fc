"""Whoever watches in a fleet gets what they should, whatever happens, and the net holds: planted bugs are caught."""

from __future__ import annotations

import logging

import pytest
from support.redis_server import RedisServer

from ccactivity import testing

from .fleet_watching import TOKEN, WATCH_FAULTS, WatchWorld
from .fleet_world import BrokenRuleError

WATCH_STEPS = 1_000  # calls of the server in one world, which are a minute or two
MAX_WORLDS = 12

# What a bug is, as a change of the scripts' text; the one fault of the worlds that catch it ("": all, "-": none), and
# what is said of it then.
WATCH_BUGS: dict[str, tuple[str, str, str, str]] = {
    "what is watched is not told": ("post('watch', ARGV[1], cjson.encode(added))", "", "", "not asked for"),
    "what is left is not told": ("if ARGV[2] ~= '1' and #ids > 0 then", "if false then", "-", "after its last watch"),
    "the dead go on to watch": ("if score and score < now then", "if false then", "kill", "after its last watch"),
    "old data goes on to watch": ("redis.call('HKEYS', KEYS[3])}", "{}}", "restore", "asked for"),
    "who takes over sees no watches": ("redis.call('HGETALL', KEYS[4 + i])", "{}", "", "not asked for|is not told"),
    "an end is not told": ("if kind ~= 'r' then post", "if kind == 'a' then post", "", "not told"),
    "an error is not told": ("if kind ~= 'r' then post", "if kind ~= 'l' then post", "", "not told"),
    "an end that is known is not told": ("snapshots + 1] = snapshot\n", "snapshots + 1] = ''\n", "", "not told"),
    "an end is forgotten": ("END_KEPT = 600", "END_KEPT = 0", "-", "after its end was told"),
    "an end is replaced": ("if known == 't' then", "if false then", "stop", "the end of"),
    "anyone may publish": ("holds_lease(ARGV[1], ARGV[2]), 1\n", "true, 1\n", "stop", "was replaced by"),
    "a token is in the news": ("{id, text}", f"{{id, text .. '{TOKEN}'}}", "", "the token is on the server"),
    "a token is in the memo": ("KEYS[5], ARGV[3]", f"KEYS[5], ARGV[3] .. '{TOKEN}'", "", "the token is on the server"),
    "news has no end": ("redis.call('PEXPIRE', KEYS[2], NEWS_KEPT_MS)", "", "", "no time to live"),
    "watches have no end": ("redis.call('PEXPIRE', KEYS[3], WATCHES_KEPT_MS)", "", "", "no time to live"),
    "snapshots have no end": ("redis.call('PEXPIRE', KEYS[3], KEPT_MS)", "", "", "no time to live"),
    "members have no end": ("for i = 5, 8 do redis.call('PEXPIRE', KEYS[i], KEPT_MS) end", "", "", "no time to live"),
    "a quota has no end": ("for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], KEPT_MS) end", "", "", "no time to live"),
}


def run_watch_world(server: RedisServer, seed: int, steps: int = WATCH_STEPS, **options: object) -> WatchWorld:
    """Run one world to its end; BrokenRuleError."""
    with server.client() as client:
        client.flushall()

    async def run() -> WatchWorld:
        world = WatchWorld(server, seed, **options)  # type: ignore[arg-type]
        await world.run(steps)
        return world

    return testing.run(run())


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the thousands of lines of a world out of the way: they take half of the time."""
    caplog.set_level(logging.ERROR, "ccactivity")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 5))])
def test_watches_get_what_they_should_whatever_happens(engine: RedisServer, seed: int) -> None:
    """In a thousand calls of the server; the faults that one world begins with are others than those of the next."""
    world = run_watch_world(engine, seed)

    kinds = list(WATCH_FAULTS)[2 * seed :][:2]
    assert world.counts.keys() >= {*kinds, "watched", "left", "calls", "requests"}
    assert world.steps >= WATCH_STEPS


@pytest.mark.long
@pytest.mark.parametrize("name", WATCH_BUGS)
def test_a_planted_bug_of_watching_is_caught(engine: RedisServer, name: str) -> None:
    """For the reason that is named beside it, by one of the first worlds; which one depends on the order of sets."""
    old, new, fault, says = WATCH_BUGS[name]
    faults = {"": WATCH_FAULTS, "-": {}}.get(fault, {fault: 1})

    def spoil(text: str) -> str:
        return text.replace(old, new)

    with pytest.raises(BrokenRuleError, match=says):
        for seed in range(MAX_WORLDS):
            run_watch_world(engine, seed, spoil=spoil, faults=faults)
