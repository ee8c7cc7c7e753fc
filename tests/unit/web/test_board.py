"""The board: what it follows, what that costs, and what its viewers are told."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any

import attrs
import pytest
from support.vendor import UNKNOWN_ID, VendorFactory, connect

from ccactivity import Activity, ActivitySession, NotFoundError
from ccactivity.sandbox import Life, Sandbox, message, not_found, server_error, unauthorized
from ccactivity.web import Board, PageEvent

SLOW = Life(duration=10_000, progress="none")


async def look_for(board: Board, seconds: float, viewers: int = 1) -> list[PageEvent]:
    """Have viewers look at a board for a time; return what the first of them was told."""
    told: list[list[PageEvent]] = [[] for _ in range(viewers)]

    async def look(events: list[PageEvent]) -> None:
        async with aclosing(board.events()) as stream:
            async for event in stream:
                events.append(event)

    tasks = [asyncio.ensure_future(look(events)) for events in told]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return told[0]


def rows_of(events: list[PageEvent]) -> dict[str, dict[str, Any]]:
    """The rows that a viewer sees after these events."""
    rows = {}
    for event in events:
        for row in json.loads(event.data).get("rows", ()):
            rows[row["key"]] = row
    return rows


def last_status(events: list[PageEvent]) -> dict[str, Any]:
    status: dict[str, Any] = json.loads([event.data for event in events if event.event == "quota"][-1])
    return status


async def test_a_page_that_nobody_opens_costs_nothing(vendor: VendorFactory) -> None:
    """Nothing is asked before somebody looks for the first time."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow(sandbox.submit(SLOW))
        board.follow_all()
        await asyncio.sleep(600)

        assert 0 == sandbox.requests.total()


@pytest.mark.slow
async def test_a_hundred_viewers_cost_no_request_more_than_one() -> None:
    """They look through one watch; and each is told everything."""
    spent = []
    for viewers in (1, 100):
        async with Sandbox(seed=1) as sandbox, ActivitySession(sandbox.token, base_url=sandbox.base_url) as session:
            board = Board(session)
            board.follow([sandbox.submit() for _ in range(50)])
            rows = rows_of(await look_for(board, 100, viewers))
            spent.append(dict(sandbox.requests))
            assert 50 == len(rows)
            await board.aclose()

    assert spent[0] == spent[1]


async def test_looking_is_what_costs(vendor: VendorFactory) -> None:
    """While somebody looks, nothing goes unseen for more than five seconds or so; afterwards it may."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow(sandbox.submit(SLOW))
        await look_for(board, 300)
        looking = sandbox.requests.total()
        await asyncio.sleep(30)
        before = sandbox.requests.total()
        await asyncio.sleep(300)
        afterwards = sandbox.requests.total() - before
        await board.aclose()

    assert 55 <= looking <= 65
    assert afterwards <= looking / 2


async def test_looking_costs_no_longer_what_the_program_watches_as_well(vendor: VendorFactory) -> None:
    """A watch of the program's own shares the board's requests, and is alone again when nobody looks any more."""
    async with vendor() as (sandbox, session):
        activity_id = sandbox.submit(SLOW)
        watching = asyncio.create_task(session.wait(activity_id))
        board = Board(session)
        board.follow(activity_id)
        await look_for(board, 300)
        looking = sandbox.requests.total()
        await asyncio.sleep(30)
        before = sandbox.requests.total()
        await asyncio.sleep(300)
        afterwards = sandbox.requests.total() - before
        await board.aclose()
        watching.cancel()

    assert 55 <= looking <= 65
    assert afterwards <= looking / 2


async def test_who_reloads_the_page_costs_nothing(vendor: VendorFactory) -> None:
    """For a quarter of a minute they are still looking, so the watch goes on as it is."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow(sandbox.submit(SLOW))
        for _ in range(30):
            await look_for(board, 9)
            await asyncio.sleep(1)
        requests = sandbox.requests.total()
        await board.aclose()

    assert 55 <= requests <= 65


async def test_an_unknown_id_does_not_disturb_the_others(vendor: VendorFactory) -> None:
    """Its row says why; it is asked for no more."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow([UNKNOWN_ID, activity_id := sandbox.submit(Life(duration=60))])
        rows = rows_of(await look_for(board, 100))
        only_unknown = Board(session)
        only_unknown.follow(UNKNOWN_ID)
        alone = rows_of(await look_for(only_unknown, 100))
        for each in (board, only_unknown):
            await each.aclose()

    for row in (rows[UNKNOWN_ID], alone[UNKNOWN_ID]):
        assert ("failed", "not followed") == (row["section"], row["state"])
        assert ["There is no such activity, or it is older than the ten days for which the vendor keeps one."] == row[
            "errors"
        ]
    assert "ended" == rows[activity_id]["section"]


async def test_another_error_of_one_id_is_told_as_it_is(vendor: VendorFactory) -> None:
    """An activity that the token may not read, for instance."""
    async with vendor() as (sandbox, session):
        activity_id, other = sandbox.submit(SLOW), sandbox.submit(SLOW)
        sandbox.faults.add(message(403, "not yours"), activity_id=activity_id)
        sandbox.faults.add(server_error(500), where="list")
        board = Board(session)
        board.follow([activity_id, other])
        rows = rows_of(await look_for(board, 200))
        await board.aclose()

    assert "HTTP 403" in rows[activity_id]["errors"][0]
    assert "running" == rows[other]["section"]


async def test_what_concerns_the_session_stands_on_the_page(vendor: VendorFactory) -> None:
    """A token that is refused ends the watch, not the page; half a minute later it is tried again."""
    async with vendor() as (sandbox, session):
        fault = sandbox.faults.add(unauthorized())
        board = Board(session)
        board.follow(activity_id := sandbox.submit(Life(duration=50)))
        refused = await look_for(board, 20)
        sandbox.faults.remove(fault)
        healed = await look_for(board, 60)
        await board.aclose()

    assert "Watching has stopped: " in last_status(refused)["problem"]
    assert "HTTP 401" in last_status(refused)["problem"]
    assert None is last_status(healed)["problem"]
    assert "ended" == rows_of(healed)[activity_id]["section"]


@pytest.mark.parametrize("everything", [False, True])
async def test_a_token_source_that_fails_stands_on_the_page(
    vendor: VendorFactory, caplog: pytest.LogCaptureFixture, everything: bool
) -> None:
    """By the name of its error, which may say anything; it is logged once, and the watch begins again."""
    works = False

    async def token() -> str:
        if not works:
            raise KeyError("canary-secret")
        return sandbox.token

    async with vendor() as (sandbox, _), connect(sandbox, token) as session:
        activity_id = sandbox.submit(Life(duration=50))
        board = Board(session)
        board.follow_all() if everything else board.follow(activity_id)
        failed = await look_for(board, 50)
        works = True
        healed = await look_for(board, 130)
        await board.aclose()

    problem = last_status(failed)["problem"]
    assert problem.endswith(": KeyError.")
    assert [problem] == [record.getMessage() for record in caplog.records if record.exc_info]
    assert None is last_status(healed)["problem"]
    assert activity_id in rows_of(healed)


# --- what is followed ---------------------------------------------------------------------------------------------


async def test_what_can_be_followed(vendor: VendorFactory) -> None:
    """An id, a snapshot, anything that names an activity, or many of them; at any time, and as often as one likes."""

    @attrs.frozen
    class Submitted:
        activity_id: str

    async with vendor() as (sandbox, session):
        ids = [sandbox.submit(Life(duration=20)) for _ in range(6)]
        board = Board(session)
        board.follow(ids[0])
        board.follow(await session.get_activity(ids[1]))
        board.follow(Submitted(ids[2]))  # type: ignore[arg-type]  # only what has an id by design is in the signature
        board.follow(each for each in ids[:4])
        task = asyncio.ensure_future(look_for(board, 100))
        await asyncio.sleep(5)
        board.follow(ids[4])
        await asyncio.sleep(60)
        board.follow(ids[5])
        rows = rows_of(await task)
        again = sandbox.requests.total()
        board.follow(await session.get_activity(ids[0]))
        await asyncio.sleep(60)
        assert again + 1 == sandbox.requests.total(), "what has ended is not watched"
        await board.aclose()

    assert ids == list(rows)
    assert {"ended"} == {row["section"] for row in rows.values()}


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("exists", [True, False])
async def test_what_is_followed_while_a_watch_ends_is_watched(vendor: VendorFactory, turns: int, exists: bool) -> None:
    """So many turns of the loop after the last one has ended, or was found not to exist."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow(last := sandbox.submit(Life(duration=5)) if exists else UNKNOWN_ID)
        task = asyncio.ensure_future(look_for(board, 200))
        with suppress(NotFoundError):
            async for _ in session.watch(last):
                pass
        for _ in range(turns):
            await asyncio.sleep(0)
        board.as_dict()
        board.follow(activity_id := sandbox.submit(Life(duration=5)))
        rows = rows_of(await task)
        await board.aclose()

    assert [True, True] == [row["over"] for row in rows.values()]
    assert "completed" == rows[activity_id]["state"]


async def test_what_could_not_be_followed_can_be_followed_again(vendor: VendorFactory) -> None:
    """By the same id, beside others that are under way."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow([activity_id := sandbox.submit(Life(duration=90)), sandbox.submit(SLOW)])
        fault = sandbox.faults.add(not_found(), activity_id=activity_id)
        broken = sandbox.faults.add(server_error(500), where="list")
        before = rows_of(await look_for(board, 40))
        sandbox.faults.remove(fault)
        sandbox.faults.remove(broken)
        board.follow(activity_id)
        after = rows_of(await look_for(board, 100))
        await board.aclose()

    assert ("not followed", "completed") == (before[activity_id]["state"], after[activity_id]["state"])


async def test_wrong_arguments(vendor: VendorFactory) -> None:
    """A malformed id is named, and none of the others is followed then."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        with pytest.raises(ValueError, match="malformed activity_id 'a/b'"):
            board.follow([sandbox.submit(), "a/b"])
        assert [] == board.as_dict()["rows"]
        with pytest.raises(TypeError, match="session must be an ActivitySession, not str"):
            Board("token")  # type: ignore[arg-type]
        for wrong, named in ((5, "int"), ([None], "NoneType"), (b"id", "int")):
            with pytest.raises(TypeError, match=f"follow an id, an Activity or many of them, not {named}"):
                board.follow(wrong)  # type: ignore[arg-type]


async def test_follow_all_follows_the_account(vendor: VendorFactory) -> None:
    """What is in the list, ended or not, and what is new in it a minute later; while nobody looks it is not read."""
    async with vendor(history=5) as (sandbox, session):
        old = sandbox.submit(Life(duration=400))
        board = Board(session)
        task = asyncio.ensure_future(look_for(board, 200))
        await asyncio.sleep(1)
        board.follow_all()
        board.follow_all()
        await asyncio.sleep(20)
        new = sandbox.submit(Life(duration=10))
        rows = rows_of(await task)
        await asyncio.sleep(20)
        lists = sandbox.requests["list"]
        sandbox.submit(SLOW)
        await asyncio.sleep(1_000)
        assert 7 == len(board.as_dict()["rows"])
        await board.aclose()

    assert 7 == len(rows)
    assert ("running", "ended") == (rows[old]["section"], rows[new]["section"])
    assert lists >= 4


async def test_a_closed_session_is_noticed_where_nothing_is_under_way(vendor: VendorFactory) -> None:
    """By the next look at the list: then viewers are let go."""
    async with vendor(history=2) as (_, session):
        board = Board(session)
        board.follow_all()
        task = asyncio.ensure_future(look_for(board, 1_000))
        await asyncio.sleep(10)
        await session.aclose()
        await asyncio.wait_for(task, 70)

    assert board.closed
    assert "end" not in [event.event for event in task.result()]


async def test_a_closed_session_is_noticed_where_all_has_ended(vendor: VendorFactory) -> None:
    """Within a second: there is no watch to say so."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow(sandbox.submit(Life(duration=1)))
        task = asyncio.ensure_future(look_for(board, 1_000))
        await asyncio.sleep(60)
        assert not session.closed
        await session.aclose()
        await asyncio.wait_for(task, 2)

    assert board.closed and session.closed


async def test_a_list_that_cannot_be_read_is_told(vendor: VendorFactory) -> None:
    """The page says so, and reads it again a minute later."""
    async with vendor() as (sandbox, session):
        fault = sandbox.faults.add(message(403, "no"), where="list")
        board = Board(session)
        board.follow_all()
        task = asyncio.ensure_future(look_for(board, 100))
        await asyncio.sleep(10)
        sandbox.faults.remove(fault)
        sandbox.submit(SLOW)
        events = await task
        await board.aclose()

    problems = [json.loads(event.data)["problem"] for event in events if event.event == "quota"]
    assert any("The list of activities cannot be read: " in problem for problem in problems if problem)
    assert None is problems[-1]
    assert 1 == len(rows_of(events))


# --- what viewers are told ----------------------------------------------------------------------------------------


async def test_viewers_are_told_four_times_a_second_at_most(vendor: VendorFactory) -> None:
    """However often something changes; the newest of each row, and what is last is told."""
    async with vendor() as (_, session):
        board = Board(session)
        task = asyncio.ensure_future(look_for(board, 12))
        for percent in range(1_000):
            await asyncio.sleep(0.01)
            board.follow(Activity(activity_id="one", state="failed", percent_done=percent // 10))
        events = await task

    changes = [event for event in events if event.event == "change"]
    assert 38 <= len(changes) <= 41
    assert 0.99 == rows_of(changes)["one"]["progress"]


async def test_events_go_on_where_a_viewer_left(vendor: VendorFactory) -> None:
    """By the id of the last event that they got."""
    async with vendor() as (_, session):
        board = Board(session, title="Tonight")
        board.follow(Activity(activity_id="one", state="completed"))
        (first, *_) = await look_for(board, 1)
        board.follow(Activity(activity_id="two", state="completed"))
        async with aclosing(board.events(first.id)) as stream:
            event = await anext(stream)

    assert ("snapshot", "change") == (first.event, event.event)
    assert ["two"] == list(rows_of([event]))
    assert "<Board 'Tonight', 2 rows>" == repr(board)


async def test_json_is_fresh_without_a_viewer(vendor: VendorFactory) -> None:
    """Whoever asks for it begins the watch, which costs what any watch costs."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow(sandbox.submit(Life(duration=20)))
        assert ["waiting"] == [row["section"] for row in board.as_dict()["rows"]]
        await asyncio.sleep(60)
        assert ["ended"] == [row["section"] for row in board.as_dict()["rows"]]
        assert sandbox.requests.total() < 10
        assert json.dumps(board.as_dict())


async def test_a_closed_board_asks_nothing(vendor: VendorFactory) -> None:
    """Neither for what is followed later, nor because somebody looks."""
    async with vendor() as (sandbox, session), AsyncExitStack() as stack:
        board = Board(session)
        stack.push_async_callback(board.aclose)
        board.follow(sandbox.submit(SLOW))
        await look_for(board, 10)
        await board.aclose()
        before = sandbox.requests.total()
        board.follow(sandbox.submit(SLOW))
        board.follow_all()
        events = await look_for(board, 100)

        assert before == sandbox.requests.total()
        assert ["snapshot", "quota", "end"] == [event.event for event in events]
