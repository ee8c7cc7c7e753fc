"""The scripts of the fleet keep their rules whatever happens, and the net holds: planted bugs are caught."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import pytest
from redis.asyncio import Redis
from support.redis_server import RedisServer, find_server, run_server

from .fleet_world import FAULTS, BrokenRuleError, FleetWorld
from .test_fleet_watching import run_watch_world

STEPS = 2_000  # of a world: a day has been spent by then in some, and has turned in others

# What a bug is, as a change of the scripts' text; the seed of the world that catches it, and whether that is calm.
BUGS: dict[str, tuple[str, str, int, bool]] = {
    "no fence": ("if background then\n  local lease", "if false then\n  local lease", 1, False),
    "a window of 0.9 s": ("WINDOW = 1.1", "WINDOW = 0.9", 0, False),
    "tokens begin anew": ("token = math.max(highest, now) + 1", "token = (tonumber(held[2]) or 0) + 1", 1, False),
    "nobody is asked for the highest token": ("now >= math.max(q.open, opens)", "true", 24, False),
    "a lease survives a fail-over": ("if held[6] ~= q.run then", "if false then", 44, False),
    "the count is not healed": ("seen_day == q.day and granted > q.granted", "false", 14, False),
    "the count of yesterday is not healed": ("hear_of_day(now, seen[5], seen[6], seen[7])", "", 137, False),
    "open at once when new": (
        "put('last', now)\n  put('open', now + CLOSED)\n  put('day'",
        "put('last', now)\n  put('open', now)\n  put('day'",
        7,
        False,
    ),
    "open at once after a restart": ("put('run', run)\n    put('open', now + CLOSED)", "put('run', run)", 4, False),
    "open at once when the clock goes back": (
        "put('open', now + CLOSED)\n  put('last', now)\n  put('log'",
        "put('last', now)\n  put('log'",
        35,
        False,
    ),
    "a day that turns forgets what is under way": ("redis.call('ZCARD', KEYS[4]), 0", "0, 0", 82, False),
    "the reserve is for all": ("left() <= q.reserved", "false", 2, False),
    "a spent day is not believed": ("put('shut', now + seconds)", "put('shut', now)", 4, False),
    "a pause is not kept": ("math.max(q.open, q.paused)", "q.open", 1, False),
    "all probe at once": ("if probing then", "if false then", 1, False),
    "a refund counts twice": ("put('refunded', q.refunded + 1)", "put('refunded', q.refunded + 2)", 14, False),
    "newcomers go first": ("number(score), ticket)\nend\nif", "number(-score), ticket)\nend\nif", 0, True),
    "a poll may wait for long": ("score = score - HEAD", "score = score", 3, True),
    "a poll may wait for ever": ("OVERDUE = 5", "OVERDUE = 12", 1, True),
    "a slot is not kept for who waits": ("rank < free and ready", "free > 0 and ready", 0, True),
    "who has died keeps their place": ("LATE = 0.3", "LATE = 30", 1, True),
}


async def run_world(server: RedisServer, seed: int, steps: int = STEPS, **options: object) -> Counter[str]:
    async with Redis.from_url(server.url) as client:
        await client.flushall()
        world = FleetWorld(client, seed, **options)  # type: ignore[arg-type]
        await world.run(steps)
        return world.counts


def test_the_rules_hold_whatever_happens(engine: RedisServer) -> None:
    """In 24,000 steps, with each kind of fault, each kind of verdict and days that are spent."""
    counts: Counter[str] = Counter()
    for seed in range(12):
        counts += asyncio.run(run_world(engine, seed))

    assert counts.keys() >= FAULTS.keys() | {"background", "both days", "probes", "take-overs", "QUOTA_EXCEEDED"}


def test_the_queue_is_fair_in_a_calm_world(engine: RedisServer) -> None:
    """Eight processes that ask without a pause: in order, and the poll after five seconds."""
    counts: Counter[str] = Counter()
    for seed in range(3):
        counts += asyncio.run(run_world(engine, seed, calm=True, members=8))

    assert counts["background"] >= 10


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(engine: RedisServer, name: str) -> None:
    """By the world of the seed that is named beside it."""
    old, new, seed, calm = BUGS[name]
    members = 8 if calm else 5

    def spoil(text: str) -> str:
        return text.replace(old, new)

    with pytest.raises(BrokenRuleError):
        asyncio.run(run_world(engine, seed, calm=calm, members=members, spoil=spoil))


def main() -> None:
    """Go on for 200,000 steps, or as many as the command line says, and report what happened in them.

    Three quarters are of the quota, one of watching: each of its steps takes ten times as long.
    """
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    program = find_server()
    assert program is not None, "no server for the fleet was found"
    counts: Counter[str] = Counter()
    with run_server(program) as server:
        for seed in range(steps * 3 // 4 // STEPS):
            counts += asyncio.run(run_world(server, 1_000 + seed))
        print(f"{steps * 3 // 4} steps of the quota, no rule broken: {dict(counts.most_common())}")
        watching, counts = 0, Counter()
        while watching < steps // 4:
            world = run_watch_world(server, 1_000 + watching)
            watching, counts = watching + world.steps, counts + world.counts
        print(f"{watching} steps of watching, no rule broken: {dict(counts.most_common())}")


if __name__ == "__main__":
    main()
