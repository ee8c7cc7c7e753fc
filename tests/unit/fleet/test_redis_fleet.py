"""The options of a fleet, its connections, and servers that cannot be its engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from support.redis_server import RedisServer

from ccactivity import ActivitySession, FleetUnavailableError
from ccactivity.fleet import FleetStats, RedisFleet


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "either a url or a client"),
        ({"url": "redis://a", "client": Redis()}, "either a url or a client"),
        ({"url": "http://a"}, "redis://"),
        ({"url": "redis://a", "key": "two words"}, "key must be"),
        ({"url": "redis://a", "key": ""}, "key must be"),
        ({"url": "redis://a", "account": "a}b"}, "account must be"),
        ({"url": "redis://a", "lease": 0.5}, "lease must be at least 1"),
        ({"url": "redis://a", "lease": 61}, "lease must be at most 60"),
        ({"url": "redis://a", "patience": -1}, "patience must be at least 0"),
        ({"url": "redis://a?socket_timeout=60"}, "socket_timeout must be"),
        ({"client": Redis(socket_connect_timeout=2)}, "socket_timeout must be"),
        ({"client": Redis(socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 3))}, "retry must be"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], says: str) -> None:
    if options.get("client") is not None and says.startswith("socket_timeout"):
        options["client"].connection_pool.connection_kwargs["socket_timeout"] = None
    with pytest.raises(ValueError, match=says):
        RedisFleet(**options)


def test_nothing_shows_a_password() -> None:
    fleet = RedisFleet("redis://user:CANARY-password@cache:6380/2", key="k", account="a")

    assert "<RedisFleet at cache:6380, key 'k', account 'a'>" == repr(fleet)
    assert "CANARY" not in repr(vars(fleet))


def test_connections_are_the_same_with_every_version_of_the_library() -> None:
    """What differs between versions of redis-py is said in full, and what it would repeat is not."""
    fleet = RedisFleet("redis://cache")
    options = fleet._connect().connection_pool.connection_kwargs

    assert (2.0, 2.0, 2, 0, False, []) == tuple(
        options[name]
        for name in (
            "socket_timeout",
            "socket_connect_timeout",
            "protocol",
            "health_check_interval",
            "retry_on_timeout",
            "retry_on_error",
        )
    )
    assert 0 == options["retry"]._retries
    assert 2 == fleet._connect().connection_pool.max_connections


async def call(fleet: RedisFleet) -> None:
    """A single call of a session that is part of the fleet; nothing is ever sent to the vendor."""
    async with ActivitySession("CANARY-token", base_url="http://127.0.0.1:9", fleet=fleet) as session:
        await session.get_activity("a")


@pytest.mark.real_time
async def test_a_wrong_password_is_said_at_once(engine: RedisServer) -> None:
    with engine.client() as client:
        client.config_set("requirepass", "right")
        try:
            async with asyncio.timeout(5.0):
                with pytest.raises(FleetUnavailableError, match="it refuses the login") as caught:
                    await call(RedisFleet(engine.url.replace("unix://", "unix://:CANARY-wrong@")))
                with pytest.raises(FleetUnavailableError, match="cannot be used"):
                    await call(RedisFleet(engine.url))
        finally:
            client.config_set("requirepass", "")
    assert "CANARY" not in str(caught.value)


@pytest.mark.real_time
async def test_a_replica_is_said_at_once(engine: RedisServer) -> None:
    with engine.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            async with asyncio.timeout(5.0):
                with pytest.raises(FleetUnavailableError, match="it is a replica"):
                    await call(RedisFleet(engine.url))
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.real_time
async def test_a_client_of_the_caller_is_used_and_not_closed(engine: RedisServer) -> None:
    """For instance one of Sentinel's; in either protocol."""
    for protocol in (2, 3):
        options: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2, "retry": Retry(NoBackoff(), 0)}
        async with Redis.from_url(engine.url, protocol=protocol, **options) as client:
            fleet = RedisFleet(client=client)
            async with ActivitySession("CANARY-token", fleet=fleet) as session:
                async with asyncio.timeout(10.0):
                    while not (session.stats.fleet and session.stats.fleet.polling):  # noqa: ASYNC110 -- it has no event
                        await asyncio.sleep(0.05)
                await asyncio.sleep(1.2)  # a read of news in vain
                assert isinstance(session.stats.fleet, FleetStats)
                assert session.stats.fleet.connected
            assert await client.ping()


@pytest.mark.real_time
async def test_a_session_has_two_connections(engine: RedisServer) -> None:
    async with ActivitySession("CANARY-token", fleet=RedisFleet(engine.url)) as session:
        await asyncio.sleep(2.5)
        with engine.client() as client:
            assert 2 + 1 == len(client.client_list())  # one is that of the question
        assert session.stats.fleet is not None
    with engine.client() as client:
        assert 1 == len(client.client_list())
