"""A vendor for the planner alone: it answers each request at once, from a list of ids. No loop, no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from ccactivity.models import Activity
from ccactivity.polling.pacing import Pacing
from ccactivity.polling.pages import ShownPage
from ccactivity.polling.placement import Placement
from ccactivity.polling.planner import FetchOne, FetchPage, Planner, SleepUntil
from ccactivity.ratelimit.quota import Budget

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
FULL = Budget(500.0, 0.2)
_REQUEST_S = 0.3  # from one request to the next


def at(seconds: float) -> datetime:
    """The vendor's wall clock at that loop time."""
    return NOON + timedelta(seconds=seconds)


def snapshot(
    key: str, state: str = "processing", percent: int | None = 10, began: float = -60.0, updated: float = 0.0
) -> Activity:
    """An activity that began and was updated at these loop times."""
    return Activity(
        activity_id=key,
        state=state,
        percent_done=percent,
        created_at=at(began - 10),
        started_at=at(began),
        updated_at=at(updated),
    )


def queued(key: str, created: float = 0.0) -> Activity:
    """An activity that has not begun, created at this loop time."""
    return Activity(
        activity_id=key, state="initialized", percent_done=0, created_at=at(created), updated_at=at(created)
    )


def planner_of(*keys: str) -> Planner:
    """A planner that watches these ids since loop time 0."""
    planner = Planner(Pacing())
    for key in keys:
        planner.watch(key, 0.0)
    return planner


def placement_of(planner: Planner) -> Placement:
    """The planner's memory of pages and queues, for tests of what it costs and whether its sums agree."""
    return planner._placement


def as_sleep(action: FetchOne | FetchPage | SleepUntil) -> SleepUntil:
    """The action, which is to be no request."""
    assert isinstance(action, SleepUntil)
    return action


def as_request(action: FetchOne | FetchPage | SleepUntil) -> FetchOne | FetchPage:
    """The action, which is to be a request."""
    assert not isinstance(action, SleepUntil)
    return action


def next_request_at(planner: Planner, now: float) -> float:
    """When something is asked next if nothing is heard, however often the planner wakes up before."""
    for _ in range(500):
        action = planner.next(now, FULL)
        if not isinstance(action, SleepUntil):
            return now
        assert now < action.when < math.inf
        now = action.when
    raise AssertionError("never asks again")


def requests_of(planner: Planner, until: float, *, took: float) -> Iterator[tuple[float, FetchOne | FetchPage]]:
    """What the planner asks, each with the time at which it is to be answered."""
    now = 0.0
    while now < until:
        action = planner.next(now, FULL)
        if isinstance(action, SleepUntil):
            now = action.when
        else:
            planner.started(action, now)
            now += took
            yield now, action


def fail(planner: Planner, action: FetchOne | FetchPage, now: float) -> None:
    """Report that a request got no answer."""
    if isinstance(action, FetchOne):
        planner.on_failure(action, now)
    else:
        planner.on_page(action, None, now, failed=True)


class World:
    """Answers each request at once: the ids it lists (in pages of `per`), all of them at work, until told otherwise.

    `watched`: ids that the planner was told to watch, and has not been told the end of. `asked`: each request, with
    its time.
    """

    def __init__(self, ids: Iterable[str], *, per: int = 500, pacing: Pacing | None = None) -> None:
        self.planner = Planner(pacing or Pacing())
        self.listed = list(ids)
        self.per = per
        self.states: dict[str, str] = {}
        self.watched: set[str] = set()
        self.asked: list[tuple[float, FetchOne | FetchPage]] = []

    @property
    def actions(self) -> list[FetchOne | FetchPage]:
        return [action for _, action in self.asked]

    def watch(self, *keys: str, now: float = 0.0, max_staleness: float | None = None) -> None:
        for key in keys:
            self.planner.watch(key, now, max_staleness=max_staleness)
        self.watched.update(keys)

    def forget(self, key: str) -> None:
        self.planner.forget(key)
        self.watched.discard(key)

    def see(self, key: str, now: float, *, listed: bool) -> None:
        """Report one activity as it is now."""
        state = self.states.get(key, "processing")
        if state == "completed":
            self.planner.on_terminal(snapshot(key, state, updated=now), now)
            self.watched.discard(key)
        else:
            seen = queued(key) if state == "initialized" else snapshot(key, state, updated=now)
            self.planner.on_activity(seen, now, at(now), listed=listed)

    def answer(self, action: FetchOne | FetchPage, now: float) -> None:
        """Report what the request shows."""
        if isinstance(action, FetchOne):
            self.see(action.activity_id, now, listed=False)
            return
        rows = [key for key in self.listed if action.state in (None, self.states.get(key, "processing"))]
        start = int(action.start.rsplit("=", 1)[1]) if action.start else 0
        size = min(self.per, action.limit)
        part = rows[start : start + size]
        found = [key for key in part if key in self.watched]
        for key in found:
            self.see(key, now, listed=True)
        href = f"/v3/activities?{action.state}&at={start + size}" if start + size < len(rows) else None
        self.planner.on_page(action, ShownPage(found, href, len(part)), now)

    def run(self, now: float, until: float, budget: Budget = FULL) -> float:
        """Do what the planner wants until then, and return the time."""
        for _ in range(100_000):
            action = self.planner.next(now, budget)
            if isinstance(action, SleepUntil):
                assert action.when > now
                now = action.when
            else:
                self.planner.started(action, now)
                self.asked.append((now, action))
                self.answer(action, now)
                now += _REQUEST_S
            if now > until:
                return now
        raise AssertionError("busy loop")
