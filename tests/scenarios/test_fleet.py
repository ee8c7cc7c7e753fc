"""Many sessions of one key, in one virtual loop, over a real server: they spend what one would, and miss nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from typing import Any

import attrs
import pytest
from support.fleet_engines import VirtualFleet, VirtualServer
from support.redis_server import RedisServer
from support.vendor import UNKNOWN_ID, connect, most_in_a_second, seconds_since_end
from support.virtual_time import virtual_loop

from ccactivity import (
    Activity,
    ActivityExpiredError,
    ActivitySession,
    AuthenticationError,
    FleetUnavailableError,
    NotFoundError,
    Quota,
    QuotaExceededError,
)
from ccactivity.events import ActivityChanged, RequestEnded, WatchEnded
from ccactivity.polling.tuning import Tuning
from ccactivity.sandbox import Life, Sandbox, Violations, Workload, not_found
from ccactivity.testing import record


@attrs.define
class Fleet:
    """A vendor, and the sessions of one key."""

    sandbox: Sandbox
    server: VirtualServer
    sessions: list[ActivitySession]
    fleets: list[VirtualFleet]

    async def join(self, **options: Any) -> ActivitySession:
        fleet = VirtualFleet(self.server, **options)
        session = await connect(self.sandbox, fleet=fleet).__aenter__()
        self.sessions.append(session)
        self.fleets.append(fleet)
        return session

    async def kill(self, session: ActivitySession) -> None:
        """What `kill -9` leaves of a process: it asks nothing more, and nobody is told."""
        place = self.sessions.index(session)
        engine = self.fleets[place].engine
        assert engine is not None
        engine.killed = True
        del self.sessions[place], self.fleets[place]
        await session.aclose()

    @property
    def requests(self) -> int:
        return sum(sum(session.stats.requests.values()) for session in self.sessions)

    def pollers(self) -> list[ActivitySession]:
        return [session for session in self.sessions if (stats := session.stats.fleet) and stats.polling]


@asynccontextmanager
async def fleet_of(
    engine: RedisServer, size: int, *, allowed: tuple[str, ...] = (), **options: Any
) -> AsyncIterator[Fleet]:
    async with Sandbox(**{"latency": 0.06, **options}) as sandbox:
        fleet = Fleet(sandbox, VirtualServer(engine.url), [], [])
        for _ in range(size):
            await fleet.join()
        try:
            yield fleet
        finally:
            for session in fleet.sessions:
                await session.aclose()
    assert Violations() == attrs.evolve(sandbox.violations, **dict.fromkeys(allowed, 0)), sandbox.violations


async def test_one_session_of_a_fleet_does_what_it_does_alone(engine: RedisServer) -> None:
    async with fleet_of(engine, 1) as fleet:
        (session,) = fleet.sessions
        activity_id = fleet.sandbox.submit(Life(duration=20.0))
        states = [snapshot.state async for snapshot in session.watch(activity_id)]

        assert "completed" == states[-1]
        assert 1 == session.stats.finished


async def test_all_that_watch_one_activity_share_one_poller(engine: RedisServer) -> None:
    """Each gets each change and the end once; the requests are those of one."""
    async with fleet_of(engine, 4) as fleet:
        activity_id = fleet.sandbox.submit(Life(duration=60.0))

        async def follow(session: ActivitySession) -> list[str]:
            return [str(snapshot.state) async for snapshot in session.watch(activity_id)]

        followed = await asyncio.gather(*map(follow, fleet.sessions))

        assert all(states[-1] == "completed" and states.count("completed") == 1 for states in followed), followed
        assert 1 == len(fleet.pollers())
        (alone,) = [session for session in fleet.sessions if session.stats.requests]
        assert alone in fleet.pollers()
        assert [1] * 4 == [session.stats.finished for session in fleet.sessions]


async def test_single_calls_of_all_share_one_quota(engine: RedisServer) -> None:
    async with fleet_of(engine, 4) as fleet:
        activity_id = fleet.sandbox.submit(Life(duration=60.0))
        calls = [session.get_activity(activity_id) for session in fleet.sessions for _ in range(10)]
        await asyncio.gather(*calls)

        assert 4 == most_in_a_second(fleet.sandbox)
        await asyncio.sleep(2.0)
        assert [40] * 4 == [session.quota.spent for session in fleet.sessions]


async def test_what_cannot_be_followed_is_said_to_each(engine: RedisServer) -> None:
    async with fleet_of(engine, 2) as fleet:
        for session in fleet.sessions:
            with pytest.raises(NotFoundError) as caught:
                await session.wait(UNKNOWN_ID, grace=0.0)
            assert 404 == caught.value.status
            assert caught.value.path.endswith(UNKNOWN_ID)


async def test_each_look_is_told_to_whoever_wants_each(engine: RedisServer) -> None:
    async with fleet_of(engine, 2) as fleet:
        one, other = fleet.sessions
        activity_id = fleet.sandbox.submit(Life(duration=100, progress="none", update_every=1000))
        changes = asyncio.create_task(states_of(one, activity_id))
        looks = [str(snapshot.state) async for snapshot in other.watch(activity_id, every_poll=True)]

        assert ["processing", "completed"] == await changes
        assert fleet.requests == len(looks) > 3


async def states_of(session: ActivitySession, activity_id: str) -> list[str]:
    return [str(snapshot.state) async for snapshot in session.watch(activity_id)]


async def ends_of(session: ActivitySession, ids: list[str]) -> list[str]:
    """The ids of a batch in the order in which their ends are told."""
    return [snapshot.activity_id async for snapshot in session.watch_many(ids) if snapshot.done]


async def test_a_killed_poller_is_replaced_and_no_end_lost_or_told_twice(engine: RedisServer) -> None:
    """Within a lease and a little; what the dead process alone watched is let go after ten seconds."""
    async with fleet_of(engine, 3) as fleet:
        ids = [fleet.sandbox.submit(Life(duration=20.0 + 2 * number)) for number in range(40)]
        await asyncio.sleep(3.0)
        told = [asyncio.create_task(ends_of(session, ids)) for session in fleet.sessions]
        for _ in range(2):
            await asyncio.sleep(10.0)
            (poller,) = fleet.pollers()
            place = fleet.sessions.index(poller)
            told.pop(place).cancel()
            await fleet.kill(poller)
            began = virtual_loop().time()
            async with asyncio.timeout_at(began + 3.3):
                while not fleet.pollers():  # noqa: ASYNC110 -- it is a fact about time
                    await asyncio.sleep(0.1)
        (ends,) = [await each for each in told]

        assert sorted(ids) == sorted(ends)


async def test_a_poller_that_closes_is_replaced_at_once(engine: RedisServer) -> None:
    async with fleet_of(engine, 2) as fleet:
        activity_id = fleet.sandbox.submit(Life(duration=30.0))
        await asyncio.sleep(3.0)
        (poller,) = fleet.pollers()
        (other,) = [session for session in fleet.sessions if session is not poller]
        told = asyncio.create_task(states_of(other, activity_id))
        await asyncio.sleep(5.0)
        fleet.sessions.remove(poller)
        await poller.aclose()
        await asyncio.sleep(0.1)

        assert other in fleet.pollers()
        assert "completed" == (await told)[-1]


async def test_nobody_asks_for_what_nobody_watches_any_more(engine: RedisServer) -> None:
    """Also what a process watched that is gone without a word."""
    async with fleet_of(engine, 3) as fleet:
        ids = [fleet.sandbox.submit(Life(duration=5_000.0)) for _ in range(3)]
        await asyncio.sleep(3.0)
        tasks = [
            asyncio.create_task(states_of(session, each)) for session, each in zip(fleet.sessions, ids, strict=True)
        ]
        await asyncio.sleep(20.0)
        (poller,) = fleet.pollers()
        dies, leaves = [session for session in fleet.sessions if session is not poller]
        for session in (dies, leaves, poller):
            tasks[fleet.sessions.index(session)].cancel()
        await fleet.kill(dies)
        await asyncio.sleep(15.0)
        before = len(fleet.sandbox.log)
        await asyncio.sleep(600.0)

        assert before == len(fleet.sandbox.log)


async def test_while_the_engine_is_away_nobody_sends_and_watches_go_on_later(
    engine: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with fleet_of(engine, 2) as fleet:
        activity_id = fleet.sandbox.submit(Life(duration=40.0))
        told = [asyncio.create_task(states_of(session, activity_id)) for session in fleet.sessions]
        await asyncio.sleep(10.0)
        fleet.server.away = True
        await asyncio.sleep(1.0)
        before = len(fleet.sandbox.log)
        began = virtual_loop().time()
        with pytest.raises(FleetUnavailableError, match="the server is away"):
            await fleet.sessions[0].get_activity(activity_id)
        assert virtual_loop().time() - began == pytest.approx(10.0, abs=0.1)
        await asyncio.sleep(120.0)
        assert before == len(fleet.sandbox.log)
        assert all(not session.stats.fleet.connected for session in fleet.sessions if session.stats.fleet)
        fleet.server.away = False

        assert ["completed"] * 2 == [(await each)[-1] for each in told]
    words = [(record.levelname, record.getMessage()[:20]) for record in caplog.records if "engine at" in record.message]
    assert 2 * [("WARNING", "the fleet's engine a")] + 2 * [("INFO", "the fleet's engine a")] == words


@pytest.mark.long
@pytest.mark.parametrize("loss", ["flush", "restart", "watches", "news"])
async def test_what_the_engine_loses_is_told_it_again(engine: RedisServer, loss: str) -> None:
    """And nothing is lost: neither the count of the day, nor a watch, nor an end."""
    async with fleet_of(engine, 3) as fleet:
        ids = [fleet.sandbox.submit(Life(duration=20.0 + number)) for number in range(30)]
        told = [asyncio.create_task(ends_of(session, ids)) for session in fleet.sessions]
        await asyncio.sleep(25.0)
        with engine.client() as client:
            if loss == "flush":
                client.flushall()
            elif loss == "restart":
                client.flushall()
                fleet.server.run += 1
            else:
                for key in client.keys("*:w:*" if loss == "watches" else "*:news"):
                    client.delete(key)
        ends = [await each for each in told]
        await asyncio.sleep(2.0)

        assert [sorted(ids)] * 3 == [sorted(each) for each in ends]
        assert {len(fleet.sandbox.log)} == {session.quota.spent for session in fleet.sessions}


async def test_a_dead_token_is_the_business_of_its_process_alone(engine: RedisServer) -> None:
    """Its watches end with the error; another process polls for the others."""
    async with fleet_of(engine, 0, allowed=("bad_token",)) as fleet:
        activity_id = fleet.sandbox.submit(Life(duration=40.0))
        async with connect(fleet.sandbox, "not-a-token", fleet=VirtualFleet(fleet.server)) as bad:
            await asyncio.sleep(3.0)
            assert bad.stats.fleet is not None
            assert bad.stats.fleet.polling
            good = await fleet.join()
            told = asyncio.create_task(states_of(good, activity_id))
            with pytest.raises(AuthenticationError):
                await bad.wait(activity_id)

            assert "completed" == (await told)[-1]
            assert not bad.stats.fleet.polling


async def test_a_fleet_leaves_nothing_without_an_end(engine: RedisServer) -> None:
    async with fleet_of(engine, 2) as fleet:
        activity_id = fleet.sandbox.submit(Life(duration=20.0))
        await asyncio.gather(*(states_of(session, activity_id) for session in fleet.sessions))
        with engine.client() as client:
            texts = b" ".join(client.dump(key) or b"" for key in client.scan_iter())
            assert all(client.pttl(key) > 0 for key in client.scan_iter())
        assert fleet.sandbox.token.encode() not in texts
    with engine.client() as client:
        assert all(client.pttl(key) > 0 for key in client.scan_iter())


@pytest.mark.slow
@pytest.mark.long
async def test_two_accounts_on_one_key_share_the_quota_and_have_a_poller_each(engine: RedisServer) -> None:
    """An account with few watches beside one with many learns of its ends at most twice as late as alone."""
    few = Workload(lanes=50)

    async def lag_of_few(*, others: int) -> float:
        with engine.client() as client:
            client.flushall()
        async with (
            Sandbox(latency=0.06, workload=few) as small,
            Sandbox(latency=0.06, workload=few, seed=1) as large,
        ):
            server = VirtualServer(engine.url)
            many = [large.submit(Life(duration=30.0 + number / 5)) for number in range(others)]
            ids = [small.submit(Life(duration=40.0 + 20 * number)) for number in range(10)]
            lags: list[float] = []
            async with (
                connect(small, fleet=VirtualFleet(server, account="small")) as one,
                connect(large, fleet=VirtualFleet(server, account="large")) as other,
            ):
                busy = asyncio.create_task(ends_of(other, many))
                async for snapshot in one.watch_many(ids):
                    if snapshot.done:
                        lags.append(seconds_since_end(small, snapshot.activity_id))
                busy.cancel()
                await asyncio.wait([busy])
                times = sorted(line.time for line in (*small.log, *large.log))
                polled = [bool(session.stats.requests) for session in (one, other)]
            assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[4:], strict=False))
            assert [True, bool(others)] == polled
            return max(lags)

    alone, beside = await lag_of_few(others=0), await lag_of_few(others=5_000)

    assert beside <= 2 * alone, (alone, beside)


async def test_a_first_look_is_made_at_once_by_whoever_polls(engine: RedisServer) -> None:
    """`await watch` of any process, also while hundreds of others wait for theirs."""
    async with fleet_of(engine, 2) as fleet:
        jobs = [fleet.sandbox.submit(Life(duration=4_000.0)) for _ in range(50)]
        await asyncio.sleep(3.0)
        (poller,) = fleet.pollers()
        (other,) = [session for session in fleet.sessions if session is not poller]
        many = asyncio.create_task(ends_of(poller, jobs[:-1]))
        await asyncio.sleep(5.0)
        began = virtual_loop().time()
        watch = await other.watch(jobs[-1])

        assert virtual_loop().time() - began <= 1.0
        assert {"queued", "initialized", "processing"} & {str((await anext(watch)).state)}
        await watch.aclose()
        many.cancel()
        await asyncio.wait([many])


async def test_news_that_was_missed_is_read_from_what_is_true(engine: RedisServer) -> None:
    """A member whose place in the news is wrong notices, and gets each state."""
    async with fleet_of(engine, 3) as fleet:
        jobs = [fleet.sandbox.submit(Life(duration=10.0 + number)) for number in range(8)]
        told = [asyncio.create_task(ends_of(session, jobs)) for session in fleet.sessions]
        await asyncio.sleep(6.0)
        with engine.client() as client:
            for _ in range(3):
                client.xtrim("ccactivity:1:{default}:default:news", maxlen=0)
                client.hincrby("ccactivity:1:{default}:default:lease", "news", 5)
                await asyncio.sleep(3.0)

        assert [sorted(jobs)] * 3 == [sorted(await each) for each in told]


async def test_what_cannot_be_polled_here_is_polled_elsewhere(engine: RedisServer) -> None:
    """A process that is no candidate watches as any other, and says so once if there is nobody who polls."""
    async with fleet_of(engine, 0) as fleet:
        watcher = await fleet.join(candidate=False)
        job = fleet.sandbox.submit(Life(duration=30.0))
        told = asyncio.create_task(states_of(watcher, job))
        await asyncio.sleep(20.0)
        assert [] == fleet.pollers()
        assert [] == fleet.sandbox.log
        poller = await fleet.join()

        assert "completed" == (await told)[-1]
        assert [poller] == fleet.pollers()


async def test_what_is_seen_longer_than_it_is_kept_is_expired_for_each(engine: RedisServer) -> None:
    async with fleet_of(engine, 2) as fleet:
        job = fleet.sandbox.submit(Life(duration=100_000.0))
        told = [asyncio.create_task(states_of(session, job)) for session in fleet.sessions]
        await asyncio.sleep(30.0)
        fleet.sandbox.faults.add(not_found(), where="get", activity_id=job)
        results = await asyncio.gather(*told, return_exceptions=True)

        assert [ActivityExpiredError] * 2 == [type(each) for each in results], results


async def test_what_was_learned_is_handed_over(engine: RedisServer) -> None:
    async with fleet_of(engine, 2) as fleet:
        jobs = [fleet.sandbox.submit(Life(duration=15.0)) for _ in range(8)]
        await asyncio.sleep(3.0)
        (poller,) = fleet.pollers()
        (other,) = [session for session in fleet.sessions if session is not poller]
        await ends_of(other, jobs)
        fleet.sessions.remove(poller)
        await poller.aclose()
        await asyncio.sleep(1.0)
        with engine.client() as client:
            memo = client.get("ccactivity:1:{default}:default:memo")
        assert memo is not None
        assert len(memo) < 4_096
        learned = json.loads(memo)["statistics"]["typical_duration"]
        publisher = other._membership._publisher  # type: ignore[union-attr]

        assert learned != Tuning().first_duration_s
        assert learned == publisher.poller.to_memo()["statistics"]["typical_duration"]


async def test_an_engine_that_is_too_slow_is_named_once_and_nothing_is_sent_late(
    engine: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A permit is good for a tenth of a second: what comes later goes back, and the day's count with it."""
    async with fleet_of(engine, 1) as fleet:
        (session,) = fleet.sessions
        job = fleet.sandbox.submit(Life(duration=500.0))
        await session.get_activity(job)
        fleet.server.latency = 0.2
        call = asyncio.create_task(session.get_activity(job))
        await asyncio.sleep(30.0)
        assert 1 == len(fleet.sandbox.log)
        fleet.server.latency = 0.05
        await call
        fleet.server.latency = 0.0
        await asyncio.sleep(3.0)

        assert 2 == len(fleet.sandbox.log) == session.quota.spent
    assert 1 == sum("takes 0.20 s for an answer" in record.getMessage() for record in caplog.records)


async def test_the_limits_of_who_polls_count_and_others_say_that_theirs_differ_once(
    engine: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with Sandbox(latency=0.06, per_second=10) as sandbox:
        server = VirtualServer(engine.url)
        job = sandbox.submit(Life(duration=500.0))
        partner, usual = Quota(10, 250_000), Quota()
        async with connect(sandbox, fleet=VirtualFleet(server), quota=partner) as one:
            await asyncio.sleep(3.0)
            async with connect(sandbox, fleet=VirtualFleet(server), quota=usual) as other:
                await asyncio.sleep(5.0)
                await asyncio.gather(*(session.get_activity(job) for session in (one, other) for _ in range(10)))

        assert 8 <= most_in_a_second(sandbox) <= 10
        assert Violations() == sandbox.violations
    assert 1 == sum("not to the limits of this process" in record.getMessage() for record in caplog.records)


async def test_what_a_former_fleet_has_spent_is_taken_from_whoever_knows(engine: RedisServer) -> None:
    """A day that is spent is an error for single calls, with the instant at which it is over."""
    async with Sandbox(latency=0.06, spent_today=9_998) as sandbox:
        job = sandbox.submit(Life(duration=500.0))
        server = VirtualServer(engine.url)
        async with (
            connect(sandbox, fleet=VirtualFleet(server)) as one,
            connect(sandbox, fleet=VirtualFleet(server), quota=Quota(spent=9_998)) as other,
        ):
            await asyncio.sleep(4.0)
            for session in (one, other):
                await session.get_activity(job)
            for session in (one, other):
                with pytest.raises(QuotaExceededError) as caught:
                    await session.get_activity(job)
                assert datetime(2026, 1, 2, tzinfo=UTC) == caught.value.resets_at
        assert Violations() == sandbox.violations


async def test_without_limits_nobody_waits(engine: RedisServer) -> None:
    async with Sandbox(per_second=None, per_day=None) as sandbox:
        job = sandbox.submit(Life(duration=20.0))
        fleet = VirtualFleet(VirtualServer(engine.url))
        async with connect(sandbox, fleet=fleet, quota=Quota.unlimited()) as session:
            await asyncio.sleep(3.0)
            began = virtual_loop().time()
            await asyncio.gather(*(session.get_activity(job) for _ in range(50)))
            assert virtual_loop().time() - began < 0.1
            assert "completed" == (await states_of(session, job))[-1]


@pytest.mark.long
async def test_calls_that_are_cancelled_cost_what_was_sent(engine: RedisServer) -> None:
    """At any moment: while they wait, in the moment of the grant, or under way. No permit is lost or used twice."""
    async with fleet_of(engine, 3, latency=0.05) as fleet:
        chance = Random(7)
        job = fleet.sandbox.submit(Life(duration=5_000.0))
        fleet.server.latency = 0.01
        await asyncio.sleep(3.0)
        calls = []
        for _ in range(300):
            call = asyncio.create_task(chance.choice(fleet.sessions).get_activity(job))
            asyncio.get_running_loop().call_later(
                chance.choice((0.01, 0.02, 0.03, 0.5, 2.0)) + chance.random() / 50, call.cancel
            )
            calls.append(call)
            await asyncio.sleep(chance.expovariate(4.0))
        results = await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(5.0)

        assert {asyncio.CancelledError, Activity} == {type(each) for each in results}
        assert 4 >= most_in_a_second(fleet.sandbox)
        assert [len(fleet.sandbox.log)] * 3 == [session.quota.spent for session in fleet.sessions]
        assert sum(isinstance(each, Activity) for each in results) < len(fleet.sandbox.log) < 300


async def test_snapshots_that_the_engine_has_lost_are_there_for_who_comes_later(engine: RedisServer) -> None:
    """An eviction takes one key: who polls has seen what was in it, and nobody is asked again."""
    async with fleet_of(engine, 1) as fleet:
        (session,) = fleet.sessions
        job = fleet.sandbox.submit(Life(duration=2_000.0, progress="none", update_every=1_000))
        told = asyncio.create_task(states_of(session, job))
        await asyncio.sleep(10.0)
        with engine.client() as client:
            client.delete("ccactivity:1:{default}:default:snap")
        await asyncio.sleep(2.0)
        asked = len(fleet.sandbox.log)
        watch = await (await fleet.join()).watch(job)
        assert "processing" == (await anext(watch)).state
        assert asked == len(fleet.sandbox.log)
        await watch.aclose()
        told.cancel()
        await asyncio.wait([told])


async def test_requests_are_told_where_they_are_sent_and_watches_where_they_are(engine: RedisServer) -> None:
    """Summed over the processes, each request and each change is told once, and each process tells of its watches."""
    async with fleet_of(engine, 3) as fleet:
        events = [record(session) for session in fleet.sessions]
        activity_id = fleet.sandbox.submit(Life(duration=60.0))
        await asyncio.gather(*[session.wait(activity_id) for session in fleet.sessions])
        (poller,) = [place for place, session in enumerate(fleet.sessions) if session.stats.requests]
        requests = [event for told in events for event in told if isinstance(event, RequestEnded)]
        changes = [event for told in events for event in told if isinstance(event, ActivityChanged)]

        assert len(fleet.sandbox.log) == len(requests) == sum(type(event) is RequestEnded for event in events[poller])
        assert {(activity_id,)} == {event.activity_ids for event in requests}
        assert 3 == requests[-1].serves
        assert ["completed"] == [event.activity.state for event in changes if event.activity.done]
        assert 3 * [["completed"]] == [
            [event.outcome for event in told if isinstance(event, WatchEnded)] for told in events
        ]
