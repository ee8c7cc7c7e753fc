"""What is done with what the planner finds worth a request, over a client that asks nobody."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import math
import re
import time
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
from support.bodies import QUIET
from support.limiters import RecordingLimiter

from ccactivity.api.auth import Authenticator
from ccactivity.api.client import ApiClient
from ccactivity.api.endpoint import Endpoint
from ccactivity.api.messages import SUCCESSES, Reply, Request
from ccactivity.api.outcome import Outcome, classify, error_from
from ccactivity.errors import BadRequestError, CCActivityError, NotFoundError, PermissionDeniedError
from ccactivity.models import Activity
from ccactivity.polling.hub import Hub, ResumePoint, SnapshotQueue
from ccactivity.polling.pacing import Pacing
from ccactivity.polling.planner import Planner
from ccactivity.polling.poller import Poller
from ccactivity.ratelimit.limiter import Permit, PermitResult
from ccactivity.tokens import source_of

API = Endpoint.parse("https://api.cc.email/v3")
ENDED = {"state": "completed"}
AT_WORK = {"state": "processing", "percent_done": 5}


class FakeClient:
    """Answers after a second: an id by what it `shows` (a status is an error), a list by 400. `asked`: each request."""

    def __init__(self, **shows: dict[str, Any] | int) -> None:
        self.auth = Authenticator(source_of("canary-secret-token"))
        self.shows = shows
        self.asked: list[str] = []
        self.at_once = 0
        self._under_way = 0

    async def ask(
        self, request: Request, decode: Callable[[Outcome], Any], *, background: bool, permit: Permit
    ) -> object:
        key = request.path.removeprefix("/v3/activities").removeprefix("/")
        self.asked.append(key)
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        permit.sent = True
        try:
            await asyncio.sleep(1)
            shown = self.shows.get(key, 404) if request.kind == "get" else 400
            reply = Reply(shown) if isinstance(shown, int) else self._reply(request, shown)
            outcome = classify(reply)
            if reply.status not in SUCCESSES:
                raise error_from(request, outcome)
            return decode(outcome)
        finally:
            self._under_way -= 1
            permit.close()

    def _reply(self, request: Request, shown: dict[str, Any]) -> Reply:
        return Reply(200, body=json.dumps({"activity_id": request.path.rsplit("/", 1)[1], **shown}).encode())


def polling(client: FakeClient, limiter: RecordingLimiter | None = None) -> tuple[Hub, Poller]:
    hub = Hub()
    poller = Poller(
        hub,
        Planner(Pacing()),
        cast("ApiClient", client),
        limiter or RecordingLimiter(),
        endpoint=API,
        decoder=QUIET,
    )
    return hub, poller


def queue_of(
    hub: Hub, *ids: str, grace: float = 0.0, max_staleness: float | None = None, every_poll: bool = False
) -> SnapshotQueue:
    queue = SnapshotQueue(enter=lambda: hub, grace=grace, max_staleness=max_staleness, every_poll=every_poll)
    for activity_id in ids:
        hub.subscribe(queue, activity_id)
    return queue


async def unsubscribe(hub: Hub, queue: SnapshotQueue) -> None:
    for activity_id in tuple(queue.unfinished):
        hub.unsubscribe(queue, activity_id)
    await hub.settled()


async def test_an_end_is_seen_once() -> None:
    """When an activity has ended it is published, counted, and polled no more."""
    client = FakeClient(a=ENDED)
    hub, poller = polling(client)
    queue = queue_of(hub, "a")
    await asyncio.sleep(3600)

    assert ["completed"] == [snapshot.state for snapshot in queue.pending.values()]
    assert (["a"], 1, 0) == (client.asked, poller.finished, hub.watching)


async def test_only_a_change_is_news() -> None:
    """The same snapshot again is no news, nor is one of which only `updated_at` differs."""
    client = FakeClient()
    hub, _ = polling(client)
    queue, every = queue_of(hub, "a", max_staleness=10.0), queue_of(hub, "a", max_staleness=10.0, every_poll=True)
    news = []
    for percent, updated in ((5, None), (5, None), (5, "2026-01-01T00:00:00Z"), (6, "2026-01-01T00:00:00Z")):
        client.shows["a"] = {**AT_WORK, "percent_done": percent, "updated_at": updated}
        await asyncio.sleep(60)
        seen = every.take()
        assert (percent, updated is not None) == (seen.percent_done, seen.updated_at is not None)
        news.append([queue.take().percent_done for _ in range(len(queue.pending))])
    for each in (queue, every):
        await unsubscribe(hub, each)

    assert [[5], [], [], [6]] == news


async def test_at_most_eight_requests_are_under_way() -> None:
    """However many ids have to be asked for, eight at a time are."""
    ids = [f"a{number}" for number in range(30)]
    client = FakeClient(**dict.fromkeys(ids, ENDED))
    hub, poller = polling(client)
    queue_of(hub, *ids)
    await asyncio.sleep(3600)

    assert (8, 30) == (client.at_once, poller.finished)


class ShiftedClock:
    """A loop's real clock, which jumps ahead as it does for a loop that was blocked."""

    def __init__(self) -> None:
        self.shift = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.shift

    async def jump(self, seconds: float) -> None:
        """Let `seconds` pass at once, and then the loop run what is due."""
        self.shift += seconds
        for _ in range(5):
            await asyncio.sleep(0)


def pauses_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "ccactivity.loop"]


@pytest.mark.real_time
@pytest.mark.parametrize(("ids", "watched"), [("a", "1 activity was"), ("abc", "3 activities were")])
async def test_a_loop_that_did_not_run_is_said_once(
    ids: str, watched: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that was blocked for over five seconds while something was watched is one warning for each time."""
    clock = ShiftedClock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock)
    hub, _ = polling(FakeClient(**dict.fromkeys(ids, AT_WORK)))
    queue = queue_of(hub, *ids)
    counts = []
    for seconds in (0.0, 5.0, 7.3, 0.0, 4.0, 30.0, 0.0):
        await clock.jump(seconds)
        counts.append(len(pauses_of(caplog)))
    await unsubscribe(hub, queue)
    await clock.jump(7.3)

    assert [0, 0, 1, 1, 1, 2, 2] == counts
    first, _ = pauses_of(caplog)
    found = re.fullmatch(rf"the event loop did not run for at least (.*) s while {watched} watched; blocking .*", first)
    assert found is not None
    assert 6.8 <= float(found[1]) <= 7.4
    assert {logging.WARNING} == {record.levelno for record in caplog.records if record.name == "ccactivity.loop"}


async def test_a_clock_of_a_test_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of virtual time is not cut into half seconds, which would make the tests of users slow."""
    timers: list[float] = []
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def counted(when: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *arguments, **options)

    monkeypatch.setattr(loop, "call_at", counted)
    hub, _ = polling(FakeClient(a=AT_WORK))
    queue = queue_of(hub, "a")
    await asyncio.sleep(3600)
    await unsubscribe(hub, queue)

    assert 3 < len(timers) < 1000


async def test_a_first_look_that_somebody_awaits_is_no_background() -> None:
    """An id that is prioritized is asked for as by a single call; one that is being looked at is not asked again."""
    client, limiter = FakeClient(a=AT_WORK), RecordingLimiter()
    hub, _ = polling(client, limiter)
    queue = queue_of(hub, "a")
    hub.prioritize("a")
    await asyncio.sleep(0.5)
    hub.prioritize("a")
    await asyncio.sleep(1)
    await unsubscribe(hub, queue)

    assert ([False], ["a"]) == (limiter.asked, client.asked)


@pytest.mark.parametrize("shown", [AT_WORK, 404])
async def test_only_a_first_look_is_prioritized(shown: dict[str, Any] | int) -> None:
    """What was seen already, or waits to be asked for again after a 404, is not looked at out of turn."""
    client, limiter = FakeClient(a=shown), RecordingLimiter()
    hub, _ = polling(client, limiter)
    queue = queue_of(hub, "a", grace=10.0, max_staleness=20.0)
    await asyncio.sleep(1.5)
    hub.prioritize("a")
    await asyncio.sleep(0.4)
    at_first = list(limiter.asked)
    await asyncio.sleep(25)

    assert [True] == at_first
    assert {True} == set(limiter.asked)
    assert 1 < len(client.asked)
    await unsubscribe(hub, queue)


@pytest.mark.parametrize("stays", [None, 50.0])
async def test_the_strictest_of_those_who_stay_counts(stays: float | None) -> None:
    """When who wanted it closely has left, the id is asked for as seldom as if they had never been there."""
    asked = []
    for closely in (False, True):
        client = FakeClient(a=AT_WORK)
        hub, _ = polling(client)
        queue = queue_of(hub, "a", max_staleness=stays)
        await asyncio.sleep(10)
        if closely:
            await unsubscribe(hub, queue_of(hub, "a", max_staleness=2.0))
        client.asked.clear()
        await asyncio.sleep(300)
        asked.append(len(client.asked))
        await unsubscribe(hub, queue)

    assert asked[0] == pytest.approx(asked[1], abs=1)


async def test_who_leaves_after_a_404_has_nothing_asked_sooner() -> None:
    """An id that is asked for again at a certain time keeps it, and goes on with what those who stay want."""
    client = FakeClient()
    hub, _ = polling(client)
    queue, strict = queue_of(hub, "a", grace=100.0), queue_of(hub, "a", grace=100.0, max_staleness=1.5)
    await asyncio.sleep(3.5)  # the next look is at 4.6
    asked = len(client.asked)
    await unsubscribe(hub, strict)
    await asyncio.sleep(0.5)
    assert asked == len(client.asked)
    client.shows["a"] = AT_WORK
    await asyncio.sleep(60)

    assert 1 <= len(client.asked) - asked < 10
    await unsubscribe(hub, queue)


async def test_a_first_look_on_a_spent_day_waits_with_the_others() -> None:
    """Where single calls get no permit any more, who awaits a first look waits for a background permit."""
    client, limiter = FakeClient(a=ENDED), RecordingLimiter(spent=True)
    hub, poller = polling(client, limiter)
    queue_of(hub, "a")
    hub.prioritize("a")
    await asyncio.sleep(60)

    assert ([False, True], 1) == (limiter.asked, poller.finished)


async def test_a_permit_for_which_there_is_no_use_goes_back() -> None:
    """What is best is chosen when the permit is there: if nothing is worth a request by then, nothing is sent."""
    client, limiter = FakeClient(a=AT_WORK), RecordingLimiter(waits=5.0)
    hub, _ = polling(client, limiter)
    queue = queue_of(hub, "a")
    await asyncio.sleep(4.9)
    known = Activity(activity_id="a", state="processing", percent_done=1)
    again = queue_of(hub)
    again.resume_points["a"] = ResumePoint(known, 4.9)
    hub.subscribe(again, "a")
    await asyncio.sleep(0.2)
    asked = list(client.asked)
    for each in (queue, again):
        await unsubscribe(hub, each)

    assert ([], [PermitResult.NOT_SENT]) == (asked, limiter.results)


@pytest.mark.parametrize(
    ("shown", "kind"), [(404, NotFoundError), (400, BadRequestError), (403, PermissionDeniedError)]
)
async def test_what_is_said_of_one_activity_ends_its_watches(shown: int, kind: type[CCActivityError]) -> None:
    """An id that the vendor rejects cannot be followed; the others are."""
    hub, poller = polling(FakeClient(a=shown, b=ENDED))
    queue = queue_of(hub, "a", "b")
    await asyncio.sleep(60)

    assert {"a": kind} == {key: type(error) for key, error in queue.failures.items()}
    assert (None, 1) == (queue.aborted, poller.finished)


async def test_who_is_denied_everything_may_read_nothing() -> None:
    """Three activities denied one after the other, and none answered, end all watches: the token may not read any."""
    client = FakeClient(**dict.fromkeys("abcdef", 403))
    hub, _ = polling(client)
    queue = queue_of(hub, *"abcdef")
    await asyncio.sleep(60)

    assert PermissionDeniedError is type(queue.aborted)
    assert (2, 0) == (len(queue.failures), hub.watching)


async def test_what_is_said_of_the_session_ends_all_watches() -> None:
    """A refused token is about who asks: nothing can be followed any more."""
    hub, _ = polling(FakeClient(a=401, b=ENDED))
    queue = queue_of(hub, "a", "b")
    await asyncio.sleep(60)

    assert 401 == getattr(queue.aborted, "status", None)
    assert ({}, 0) == (queue.failures, hub.watching)


async def test_a_transient_failure_ends_one_look() -> None:
    """A look that was not answered is made again, and nobody hears of it."""
    client = FakeClient(a=503)
    hub, poller = polling(client)
    queue = queue_of(hub, "a")
    await asyncio.sleep(60)
    client.shows["a"] = ENDED
    await asyncio.sleep(120)

    assert ({}, None, 1) == (queue.failures, queue.aborted, poller.finished)
    assert 4 <= len(client.asked) <= 8


async def test_a_fault_of_ours_ends_all_watches(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody has foreseen, such as a user's clock that raises, reaches each consumer, and a log."""

    class BrokenLimiter(RecordingLimiter):
        def budget(self) -> Any:
            raise ZeroDivisionError("this clock")

    hub, _ = polling(FakeClient(a=ENDED), BrokenLimiter())
    queue = queue_of(hub, "a", "b")
    await asyncio.sleep(1)

    assert ZeroDivisionError is type(queue.aborted)
    assert 0 == hub.watching
    assert "polling failed unexpectedly" in caplog.text


async def test_a_look_that_nobody_waits_for_is_cancelled() -> None:
    """When the last subscriber leaves, what is on its way is given up, and its permit is settled."""
    client, limiter = FakeClient(a=ENDED), RecordingLimiter()
    hub, poller = polling(client, limiter)
    queue = queue_of(hub, "a")
    await asyncio.sleep(0.5)
    await unsubscribe(hub, queue)
    ended_at = asyncio.get_running_loop().time()
    await asyncio.sleep(10)

    assert (0.5, 0) == (ended_at, poller.finished)
    assert (["a"], [PermitResult.NO_ANSWER]) == (client.asked, limiter.results)


@pytest.mark.parametrize(
    ("shown", "percent", "looked_at", "gives_up_at"), [(AT_WORK, 5, 1.0, -math.inf), (404, None, 0.0, 11.0)]
)
async def test_what_is_known_outlasts_the_last_subscriber(
    shown: dict[str, Any] | int, percent: int | None, looked_at: float, gives_up_at: float
) -> None:
    """The last to leave is told what was seen and when, or until when an id that was not seen has its grace."""
    hub, _ = polling(FakeClient(a=shown))
    queue = queue_of(hub, "a", grace=10.0)
    await asyncio.sleep(1.5)
    await unsubscribe(hub, queue)
    known = queue.resume_points["a"]

    assert percent == (known.activity and known.activity.percent_done)
    assert (looked_at, gives_up_at) == (known.looked_at, known.gives_up_at)


async def test_a_resume_point_does_not_replace_what_is_newer() -> None:
    """Where others have watched on meanwhile, who comes back gets their last snapshot, and nothing is asked for it."""
    client = FakeClient(a=AT_WORK)
    hub, _ = polling(client)
    queue, again = queue_of(hub, "a"), queue_of(hub)
    await asyncio.sleep(1.5)
    old = Activity(activity_id="a", state="processing", percent_done=1)
    again.unfinished["a"], again.resume_points["a"] = old, ResumePoint(old, 0.5)
    hub.subscribe(again, "a")
    got = [snapshot.percent_done for snapshot in again.pending.values()]
    for each in (queue, again):
        await unsubscribe(hub, each)

    assert ([5], ["a"]) == (got, client.asked)


async def test_a_late_activity_appears_within_its_grace() -> None:
    """A 404 is asked for again within the grace, and an activity that appears is watched to its end."""
    client = FakeClient()
    hub, poller = polling(client)
    queue = queue_of(hub, "a", grace=10.0)
    await asyncio.sleep(4)
    client.shows["a"] = ENDED
    await asyncio.sleep(60)

    assert ({}, 1) == (queue.failures, poller.finished)


class Marker:
    """Something of a web request's."""


@pytest.mark.real_time
async def test_nothing_is_kept_of_the_context_in_which_polling_began() -> None:
    """A web request that happens to be the first to watch is not kept alive by whoever watches after it."""
    variable: contextvars.ContextVar[Marker] = contextvars.ContextVar("request")
    hub, _ = polling(FakeClient(a=AT_WORK))
    queues, kept = [], []

    async def request() -> None:
        marker = Marker()
        variable.set(marker)
        kept.append(weakref.ref(marker))
        queues.append(queue_of(hub, "a"))

    await asyncio.create_task(request())
    await asyncio.sleep(0.01)
    gc.collect()

    assert [None] == [marker() for marker in kept]
    await unsubscribe(hub, queues[0])
