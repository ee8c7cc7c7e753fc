"""One id's trouble is its own: what fails for one activity keeps nobody else waiting, and is said once."""

from __future__ import annotations

import asyncio
import logging

import pytest
from support.vendor import VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb


async def test_what_cannot_be_looked_at_says_so_once(vendor: VendorFactory, caplog: pytest.LogCaptureFixture) -> None:
    """A watch whose looks all fail goes on, and one WARNING after ten minutes names it; its neighbour is told of."""
    async with vendor() as (sandbox, session):
        bad, good = sandbox.submit(sb.Life(duration=9e9)), sandbox.submit(sb.Life(duration=3600))
        sandbox.faults.add(sb.html(200), activity_id=bad, where="get")
        sandbox.faults.add(sb.forbidden(), where="list")
        watching = asyncio.ensure_future(session.wait(bad))
        with caplog.at_level(logging.WARNING, "ccactivity"):
            end = await session.wait(good)
        warnings = [record.getMessage() for record in caplog.records if bad in record.getMessage()]
        looks = [line for line in sandbox.log if bad in line.target]
        watching.cancel()

    assert end.succeeded
    assert len(warnings) == 1
    assert "for 10 minutes, still trying" in warnings[0]
    assert 60 < len(looks) < 80


async def test_a_403_of_some_ends_no_watch_of_others(vendor: VendorFactory) -> None:
    """Once anything was answered, a list for one, an id that is forbidden is that id's error."""
    async with vendor() as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=60)) for _ in range(20)]
        denied = [sandbox.submit(sb.Life(duration=60)) for _ in range(5)]
        sandbox.faults.add(sb.drop_rows(*denied), where="list")
        for each in denied:
            sandbox.faults.add(sb.forbidden(), activity_id=each, where="get")
        result = await session.wait_many([*ids, *denied])

    assert set(ids) == {*result.completed}
    assert dict.fromkeys(denied, cc.PermissionDeniedError) == {key: type(e) for key, e in result.errors.items()}


@pytest.mark.parametrize("lists", [True, False])
async def test_an_id_in_another_case_is_watched(vendor: VendorFactory, lists: bool) -> None:
    """A UUID in upper case is answered in lower case: it is the same, and is handed out as the user wrote it."""
    async with vendor() as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=100 + 10 * number)).upper() for number in range(5)]
        if not lists:
            sandbox.faults.add(sb.forbidden(), where="list")
        first = await session.get_activity(ids[0])
        result = await session.wait_many(ids)

    assert ids[0] == first.activity_id
    assert set(ids) == {*result.completed} == {one.activity_id for one in result.completed.values()}
