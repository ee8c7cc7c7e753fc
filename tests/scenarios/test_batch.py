"""Watching many activities: each delivered once, single failures apart, and cheaper than one by one."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any

import pytest
from support.vendor import UNKNOWN_ID, VendorFactory, seconds_since_end
from support.virtual_time import tasks_left

import ccactivity as cc
from ccactivity import sandbox as sb

BUSY_ACCOUNT = sb.Workload(median=60, sigma=0.5, shortest=25, longest=180, lanes=50)
Ids = Iterable[str] | AsyncIterator[str]


@pytest.fixture(scope="module")
def vendor(vendor: VendorFactory) -> VendorFactory:
    """Work on many imports at once, each of which takes a minute or so."""
    return partial(vendor, workload=BUSY_ACCOUNT)


async def ends_of(batch: cc.BatchWatch, into: list[str] | None = None) -> dict[str, str]:
    """Drain a batch; return the end of each id, after checking that it came once, and last."""
    ends: dict[str, str] = {}
    async for snapshot in batch:
        assert snapshot.activity_id not in ends
        if snapshot.done:
            ends[snapshot.activity_id] = str(snapshot.state)
            if into is not None:
                into.append(snapshot.activity_id)
    return ends


def truth_of(sandbox: sb.Sandbox, ids: Iterable[str]) -> dict[str, str]:
    truths = {some: sandbox.truth(some) for some in ids}
    return {some: truth.state for some, truth in truths.items() if truth is not None}


async def handed_over(ids: Iterable[str], pause: float = 0.0) -> AsyncIterator[str]:
    for some in ids:
        await asyncio.sleep(pause)
        yield some


@pytest.mark.parametrize("form", [list, tuple, set, iter, dict.fromkeys, handed_over, lambda ids: (i for i in ids)])
async def test_ids_come_in_any_form(vendor: VendorFactory, form: Callable[[list[str]], Ids]) -> None:
    """A list, a set, a generator or an async generator of ids: each is followed to its true end."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit() for _ in range(12)]
        ends = await ends_of(session.watch_many(form(jobs)))

        assert set(jobs) == set(ends)
        assert truth_of(sandbox, jobs) == ends
        result = await session.wait_many(form(jobs))
        assert set(jobs) == set(result.completed) | set(result.failed)


async def test_ids_are_watched_as_they_are_handed_over(vendor: VendorFactory) -> None:
    """Each id is followed from the moment a worker hands it over; the watch ends after the last one's end."""
    async with vendor() as (sandbox, session):
        jobs: list[str] = []
        exhausted = []

        async def worker() -> AsyncIterator[str]:
            for _ in range(10):
                await asyncio.sleep(60)
                jobs.append(sandbox.submit(sb.Life(duration=30)))
                yield jobs[-1]
            await asyncio.sleep(500)
            exhausted.append(sandbox.now)

        lags = []
        async for snapshot in session.watch_many(worker()):
            if snapshot.done:
                lags.append(seconds_since_end(sandbox, snapshot.activity_id))

        assert 10 == len(lags) == len(jobs)
        assert max(lags) < 40
        assert 1100 <= exhausted[0] <= sandbox.now < 1101


async def test_duplicates_count_once(vendor: VendorFactory) -> None:
    """An id that is given twice, also by an async source, is delivered once."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit() for _ in range(3)]

        assert set(jobs) == set(await ends_of(session.watch_many(jobs * 3)))
        assert set(jobs) == set(await ends_of(session.watch_many(handed_over(jobs * 3, 1.0))))


@pytest.mark.parametrize("wrong", [["a/b"], ["x", "", "../y"], [5], [None], "abc", UNKNOWN_ID, 5, None], ids=repr)
async def test_wrong_ids_are_refused_at_the_call(vendor: VendorFactory, wrong: Any) -> None:
    """Malformed ids are a ValueError that names them, at the call; so is text in the place of many ids."""
    async with vendor() as (sandbox, session):
        with pytest.raises((ValueError, TypeError)) as caught:
            session.watch_many(wrong)
        with pytest.raises((ValueError, TypeError)):
            await session.wait_many(wrong)

    assert [] == sandbox.log
    assert all(repr(some) in str(caught.value) for some in ("a/b", "../y") if isinstance(wrong, list) and some in wrong)


@pytest.mark.parametrize("form", [list, iter, handed_over])
async def test_no_ids_cost_nothing(vendor: VendorFactory, form: Callable[[list[str]], Ids]) -> None:
    """Nothing to watch is nothing to ask for."""
    async with vendor() as (sandbox, session):
        assert {} == await ends_of(session.watch_many(form([])))
        assert cc.BatchResult() == await session.wait_many(form([]))
        assert [] == sandbox.log


async def test_an_id_that_cannot_be_followed_disturbs_nobody(vendor: VendorFactory) -> None:
    """A 404, an expired one and one out of time are in `errors`; a BatchError comes when all else is delivered."""
    ends: list[str] = []
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit() for _ in range(10)]
        slow, gone = sandbox.submit(sb.Life(duration=9e9)), sandbox.submit(sb.Life(duration=9e9))
        sandbox.faults.add(sb.not_found(), where="get", activity_id=gone, after=60)
        sandbox.faults.add(sb.drop_rows(gone), where="list", after=60)
        batch = session.watch_many([UNKNOWN_ID, *jobs, slow, gone], timeout=400)
        with pytest.raises(cc.BatchError) as caught:
            await ends_of(batch, ends)

        assert sorted(jobs) == sorted(ends)
        assert batch.errors == caught.value.errors
        assert {UNKNOWN_ID: cc.NotFoundError, slow: cc.WatchTimeoutError, gone: cc.ActivityExpiredError} == {
            some: type(error) for some, error in batch.errors.items()
        }
        assert 400 <= sandbox.now < 402
    error = caught.value
    assert isinstance(error, cc.CCActivityError)
    assert isinstance(error, ExceptionGroup)
    assert set(error.errors) == set(pickle.loads(pickle.dumps(error)).errors)
    kinds = []
    try:
        raise error
    except* cc.NotFoundError as group:
        kinds.append(len(group.exceptions))
    except* (TimeoutError, cc.ActivityExpiredError) as group:
        kinds.append(len(group.exceptions))
    assert [1, 2] == kinds


async def test_waiting_for_many_raises_nothing_for_single_ids(vendor: VendorFactory) -> None:
    """`wait_many` tells the completed, the failed and the errors apart, each id in one of them."""
    async with vendor() as (sandbox, session):
        good = [sandbox.submit(sb.Life(duration=5)) for _ in range(3)]
        ended: list[Any] = ["failed", "cancelled", "timed_out"]
        bad = [sandbox.submit(sb.Life(duration=5, end=end)) for end in ended]
        result = await session.wait_many([*good, UNKNOWN_ID, *bad], grace=0)

    assert set(good) == set(result.completed)
    assert dict(zip(bad, ended, strict=True)) == {some: one.state for some, one in result.failed.items()}
    assert {UNKNOWN_ID} == set(result.errors)
    assert isinstance(result.errors[UNKNOWN_ID], cc.NotFoundError)


async def test_waiting_for_many_tells_of_each_change(vendor: VendorFactory) -> None:
    """`on_change` is given what `watch_many` yields: the first snapshot of each, each change, each end once."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit(sb.Life(duration=60)) for _ in range(4)]
        told: list[cc.Activity] = []
        waiting = asyncio.create_task(session.wait_many([*jobs, UNKNOWN_ID], on_change=told.append))
        yielded: list[cc.Activity] = []
        with pytest.raises(cc.BatchError):
            async for snapshot in session.watch_many([*jobs, UNKNOWN_ID]):
                yielded.append(snapshot)
        result = await waiting

    assert yielded == told
    assert len(told) > 2 * len(jobs)
    assert result.completed == {snapshot.activity_id: snapshot for snapshot in told if snapshot.done}
    assert {UNKNOWN_ID} == set(result.errors)


@pytest.mark.parametrize("error", [ZeroDivisionError("of mine"), cc.BatchError.of({"x": cc.PagingError("of mine")})])
async def test_what_is_told_of_changes_may_raise(vendor: VendorFactory, error: Exception) -> None:
    """An error of `on_change` ends the call as it is, and nothing runs on."""

    def broken(snapshot: cc.Activity) -> None:
        if snapshot.done:
            raise error

    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit(sb.Life(duration=duration)) for duration in (20, 9e9)]
        with pytest.raises(type(error), match=r"of mine|1 id") as caught:
            await session.wait_many(jobs, on_change=broken)
        asked = len(sandbox.log)
        await asyncio.sleep(600)

        assert error is caught.value
        assert asked == len(sandbox.log)


async def test_what_is_told_of_changes_is_an_ordinary_function(vendor: VendorFactory) -> None:
    """Nobody would await an async one, so it is a TypeError before anything is asked."""

    async def show(_: cc.Activity) -> None: ...

    async with vendor() as (sandbox, session):
        with pytest.raises(TypeError, match="on_change must be an ordinary function"):
            await session.wait_many([sandbox.submit()], on_change=show)

        assert [] == sandbox.log


async def test_the_time_limit_of_an_id_begins_when_it_is_handed_over(vendor: VendorFactory) -> None:
    """`timeout` is for each id: a late one has all of it."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit(sb.Life(duration=9e9)) for _ in range(2)]
        result = await session.wait_many(handed_over(jobs, 50), timeout=80)

        assert set(jobs) == set(result.errors)
        assert 180 == pytest.approx(sandbox.now, abs=1)


async def test_a_dead_token_is_raised_once_and_as_itself(vendor: VendorFactory) -> None:
    """What concerns the session ends the batch with that one error, and no BatchError."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit(sb.Life(duration=600)) for _ in range(30)]
        waiting = asyncio.create_task(session.wait_many(jobs))
        batch = session.watch_many(jobs)
        watching = asyncio.create_task(ends_of(batch))
        await asyncio.sleep(60)
        sandbox.expire_token()
        errors = await asyncio.gather(waiting, watching, return_exceptions=True)
        asked = len(sandbox.log)
        await asyncio.sleep(600)

        assert [cc.AuthenticationError] * 2 == [type(error) for error in errors]
        assert asked == len(sandbox.log)
        assert {} == await ends_of(batch)


async def test_a_source_that_raises_is_heard(vendor: VendorFactory) -> None:
    """An error of the source of ids reaches whoever watches, as it is, and nothing runs on."""
    async with vendor() as (sandbox, session):

        async def broken() -> AsyncIterator[str]:
            yield sandbox.submit(sb.Life(duration=5))
            await asyncio.sleep(20)
            raise LookupError("no more disk")

        for use in (session.wait_many, lambda ids: ends_of(session.watch_many(ids))):
            with pytest.raises(LookupError, match="no more disk"):
                await use(broken())
        asked = len(sandbox.log)
        await asyncio.sleep(600)

        assert asked == len(sandbox.log)


@pytest.mark.parametrize("bad", ["no id", "", None])
@pytest.mark.parametrize("is_generator", [True, False])
async def test_a_source_that_gives_a_malformed_id_is_closed(
    vendor: VendorFactory, bad: Any, is_generator: bool
) -> None:
    """Its error reaches whoever watches when the source, a generator or an iterator of another kind, is closed."""
    closed: list[str] = []

    async def worker() -> AsyncGenerator[Any, None]:
        try:
            yield sandbox.submit(sb.Life(duration=5))
            yield bad
            yield sandbox.submit(sb.Life(duration=5))
        finally:
            await asyncio.sleep(1)
            closed.append("worker")

    class Iterator:
        """Has neither `asend` nor `athrow`."""

        def __init__(self) -> None:
            self._generator = worker()
            self.aclose = self._generator.aclose

        def __aiter__(self) -> Iterator:
            return self

        async def __anext__(self) -> Any:
            return await anext(self._generator)

    async with vendor() as (sandbox, session):
        with pytest.raises((ValueError, TypeError)):
            await session.wait_many(worker() if is_generator else Iterator())

        assert ["worker"] == closed


@pytest.mark.parametrize("how", ["break", "cancel", "aclose", "close the session"])
async def test_leaving_a_batch_frees_everything(vendor: VendorFactory, how: str) -> None:
    """After a break, a cancellation or a close nothing is asked, no task is left, and the source is closed."""
    closed = []
    async with vendor() as (sandbox, session):

        async def worker() -> AsyncIterator[str]:
            try:
                while True:
                    yield sandbox.submit(sb.Life(duration=9e9))
                    await asyncio.sleep(3)
            finally:
                closed.append(how)

        batch = session.watch_many(worker())
        if how == "break":
            async for _ in batch:
                break
            del batch
        else:
            task = asyncio.create_task(ends_of(batch))
            await asyncio.sleep(31)
            if how == "cancel":
                task.cancel()
            await (session.aclose() if how == "close the session" else batch.aclose())
            outcome = await asyncio.gather(task, return_exceptions=True)
            kinds: dict[str, type] = {"cancel": asyncio.CancelledError, "aclose": dict}
            assert kinds.get(how, cc.SessionClosedError) is type(outcome[0])
        await asyncio.sleep(10)
        asked = len(sandbox.log)
        await asyncio.sleep(900)

        assert asked == len(sandbox.log)
        assert [how] == closed
        assert [] == tasks_left()


async def test_a_slow_consumer_misses_no_end(vendor: VendorFactory) -> None:
    """However slowly a batch is read, the terminal snapshot of each comes once."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit() for _ in range(40)]
        ends: Counter[str] = Counter()
        async for snapshot in session.watch_many(jobs):
            ends[snapshot.activity_id] += snapshot.done
            await asyncio.sleep(20)

    assert dict.fromkeys(jobs, 1) == dict(ends)


async def test_a_cancelled_iteration_of_a_batch_can_be_resumed(vendor: VendorFactory) -> None:
    """`asyncio.timeout` around `anext` loses no terminal snapshot."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit() for _ in range(20)]
        batch, ends, over = session.watch_many(jobs), Counter[str](), False
        while not over:
            try:
                async with asyncio.timeout(0.7):
                    snapshot = await anext(batch)
                ends[snapshot.activity_id] += snapshot.done
            except TimeoutError:
                pass
            except StopAsyncIteration:
                over = True

    assert dict.fromkeys(jobs, 1) == dict(ends)


@pytest.mark.parametrize("options", [{}, {"order": "oldest", "history": 300}, {"order": "shuffled", "history": 900}])
@pytest.mark.slow
async def test_two_hundred_imports_cost_fewer_requests_than_imports(
    vendor: VendorFactory, options: dict[str, Any]
) -> None:
    """One list page tells of hundreds: watching 200 imports takes fewer than 200 requests and loses none."""
    async with vendor(**options) as (sandbox, session):
        jobs = [sandbox.submit() for _ in range(200)]
        lags, ends = [], {}
        async for snapshot in session.watch_many(jobs):
            if snapshot.done:
                lags.append(seconds_since_end(sandbox, snapshot.activity_id))
                ends[snapshot.activity_id] = str(snapshot.state)
        asked = len(sandbox.log)

        assert 200 == len(lags)
        assert truth_of(sandbox, jobs) == ends
        assert sum(lags) / len(lags) < 30
        assert asked == session.quota.spent
        assert asked < (200 if not options else 600)


@pytest.mark.parametrize("effect", [sb.forbidden(), sb.message(400, "No lists for you.")], ids=repr)
@pytest.mark.slow
async def test_where_lists_are_refused_single_requests_go_on(
    vendor: VendorFactory, effect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A 403 or 400 for the list stops sweeps for the session, with one warning; every id is still followed."""
    async with vendor() as (sandbox, session):
        refused = sandbox.faults.add(effect, where="list")
        jobs = [sandbox.submit() for _ in range(60)]
        with caplog.at_level(logging.WARNING, "ccactivity"):
            ends = await ends_of(session.watch_many(jobs))

        assert truth_of(sandbox, jobs) == ends
        assert set(jobs) == set(ends)
        assert 1 == refused.hits == len([record for record in caplog.records if record.name.startswith("ccactivity")])


@pytest.mark.parametrize("options", [{}, {"stale_rows": 20.0}, {"stale_rows": 20.0, "order": "oldest", "history": 600}])
@pytest.mark.slow
async def test_nothing_is_concluded_from_an_absent_row(vendor: VendorFactory, options: dict[str, Any]) -> None:
    """An id that no list shows is asked for alone; lists that lag behind neither lose nor revive anything."""
    async with vendor(**options) as (sandbox, session):
        jobs = [sandbox.submit() for _ in range(60)]
        sandbox.faults.add(sb.drop_rows(*jobs[:5]), where="list")
        sandbox.faults.add(sb.duplicate_rows(), where="list")
        ends = await ends_of(session.watch_many(jobs))

        assert set(jobs) == set(ends)
        assert truth_of(sandbox, jobs) == ends
        assert 0 < sandbox.requests["list"]


async def test_a_broken_hour_loses_nothing(vendor: VendorFactory) -> None:
    """Errors, garbage, resets and hangs on a third of all answers: every id comes to its end, once."""
    effects: list[sb.Answer | sb.Effect] = [
        sb.server_error(502),
        sb.throttled(),
        sb.html(),
        sb.Cut(0.7),
        sb.Reset(),
        sb.Reset(after=0.5),
        sb.Hang(),
    ]
    async with vendor() as (sandbox, session):
        for effect in effects:
            sandbox.faults.add(effect, probability=0.06)
        sandbox.faults.add(sb.Disconnect(), probability=0.06)
        jobs = [sandbox.submit() for _ in range(100)]
        ends = await ends_of(session.watch_many(jobs))

        assert set(jobs) == set(ends)
        assert truth_of(sandbox, jobs) == ends
        assert len(sandbox.log) == session.quota.spent
