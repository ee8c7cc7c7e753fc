"""The net holds: bugs that are easily made, planted into the library one at a time, are each caught.

A bug is a function that patches the function or constant it names. It is caught by a seed of the simulation, found by
trying the first two hundred, or by a check that is a test of its own elsewhere, or a world of `nox -s hostile`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any

import attrs
import pytest
from scenarios import test_cancellation, test_fault_answers, test_refresh, test_retries, test_single_calls
from support.vendor import vendor

import ccactivity as cc
from ccactivity import _tasks, testing
from ccactivity.api import client, decoding, endpoint, outcome
from ccactivity.listing import ActivityList
from ccactivity.models import Activity
from ccactivity.polling import failures, forecast, hub, pacing, placement, planner, poller
from ccactivity.ratelimit import limiter, quota
from ccactivity.watch import Watch

from . import test_hostile
from .world import simulate

Patch = pytest.MonkeyPatch
Check = int | Callable[[], Coroutine[Any, Any, None]]
Plant = Callable[[Patch], None]
BUGS: dict[str, tuple[Plant, Check]] = {}


def caught_by(check: Check) -> Callable[[Plant], Plant]:
    """Register a bug with the seed or the test that catches it."""

    def register(plant: Plant) -> Plant:
        BUGS[plant.__name__] = plant, check
        return plant

    return register


async def unsafe_lists() -> None:
    await test_fault_answers.test_lists_of_no_use_cost_no_watch(vendor, test_fault_answers.UNSAFE)


async def evil_link() -> None:
    link = "https://evil.example/v3/activities?cursor=x"
    await test_single_calls.test_a_link_that_leads_away_is_never_followed(vendor, link)


async def links_in_a_circle() -> None:
    async with asyncio.timeout(600):
        await test_single_calls.test_links_in_a_circle_are_an_error_after_what_was_good(vendor, [0])


async def hostile_world(name: str, **smaller: Any) -> None:
    """One seed of a world of the benchmark, and of its sane one, with other options for both."""
    world = test_hostile.WORLDS[name]
    here, sane = [
        test_hostile.hostile.Summary([await world.scene(0, **{**options, **smaller})])
        for options in (world.options, world.sane)
    ]

    assert world.met(here, sane)


# --- requests and replies ---------------------------------------------------------------------------------------------


@caught_by(evil_link)
def links_to_anywhere_are_followed(patch: Patch) -> None:
    def local(_: Any, href: str) -> str:
        return href if href.startswith("/") else "/" + href.split("://", 1)[-1].partition("/")[2]

    patch.setattr(endpoint.Endpoint, "_local", local)


@caught_by(links_in_a_circle)
def a_circle_of_links_is_followed(patch: Patch) -> None:
    async def pages(self: Any) -> AsyncIterator[list[Activity]]:
        request = self._first
        while request is not None:
            page = await self._read(request)
            yield list(page.activities)
            request = self._endpoint.next_request(page.next, request)

    patch.setattr(ActivityList, "pages", pages)


@caught_by(34)
def quota_exceeded_is_taken_for_a_throttle(patch: Patch) -> None:
    real, kinds = outcome._kind_of, outcome.OutcomeKind

    def kind_of(status: int, key: str | None) -> outcome.OutcomeKind:
        kind = real(status, key)
        return kinds.THROTTLED if kind is kinds.QUOTA_EXCEEDED else kind

    patch.setattr(outcome, "_kind_of", kind_of)


@caught_by(38)
def none_becomes_a_word(patch: Patch) -> None:
    real = decoding.Decoder._value_hook

    def value_hook(self: Any, name: str, exact: Any) -> Any:
        return (lambda value, _: str(value)) if exact is str else real(self, name, exact)

    patch.setattr(decoding.Decoder, "_value_hook", value_hook)


@caught_by(2)
def an_unknown_state_is_an_end(patch: Patch) -> None:
    patch.setattr(Activity, "done", property(lambda self: self.state not in ("initialized", "processing")))


@caught_by(48)
def the_token_is_logged(patch: Patch) -> None:
    real = client._Operation.failed

    def failed(self: Any, *failure: Any) -> Exception:
        logging.getLogger("ccactivity").debug("failed with %s", self.token)
        return real(self, *failure)

    patch.setattr(client._Operation, "failed", failed)


@caught_by(partial(test_retries.test_an_hour_without_answers_costs_few_requests, vendor))
def there_are_two_layers_of_retries(patch: Patch) -> None:
    real = client.ApiClient.ask

    async def ask(self: client.ApiClient, *args: Any, **options: Any) -> Any:
        for _ in range(9):
            with suppress(cc.TransportError, cc.ServerError):
                return await real(self, *args, **options)
        return await real(self, *args, **options)

    patch.setattr(client.ApiClient, "ask", ask)


# --- limits -----------------------------------------------------------------------------------------------------------


@caught_by(34)
def midnight_is_that_of_another_zone(patch: Patch) -> None:
    def next_midnight(wall: datetime) -> datetime:
        elsewhere = wall.astimezone(UTC) - timedelta(hours=5)
        return datetime.combine(elsewhere.date() + timedelta(days=1), time(), tzinfo=UTC)

    patch.setattr(quota, "_next_midnight", next_midnight)


@caught_by(7)
def the_window_is_half_a_second(patch: Patch) -> None:
    patch.setattr(quota, "_WINDOW_S", 0.5)


@caught_by(1)
def a_place_in_the_queue_is_not_given_up(patch: Patch) -> None:
    patch.setattr(quota.Quota, "leave", lambda _self, _ticket: None)


@caught_by(2)
def a_hidden_second_send_is_not_paid_for(patch: Patch) -> None:
    real = client._Operation.before_each_send

    async def before_each_send(self: Any) -> str:
        self.permit.sent = False
        return await real(self)

    patch.setattr(client._Operation, "before_each_send", before_each_send)


@caught_by(partial(test_cancellation.test_a_permit_that_was_not_used_comes_back, vendor))
def a_permit_that_was_not_used_is_kept(patch: Patch) -> None:
    patch.setattr(limiter.Permit, "close", lambda _self: None)


@caught_by(partial(test_refresh.test_no_burst_follows_a_refresh, vendor))
def permits_wait_for_a_refresh_and_are_used_all_at_once(patch: Patch) -> None:
    patch.setattr(limiter, "PERMIT_MAX_AGE_S", 1e9)


# asyncio.wait_for is sound from Python 3.12 on, and no bug there.
if sys.version_info < (3, 12):

    @caught_by(test_cancellation.test_a_cancellation_that_meets_the_wake_up_is_heard)
    def wait_for_is_around_the_wait(patch: Patch) -> None:
        async def wait_until_set(event: asyncio.Event, timeout: float) -> None:
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), timeout)

        patch.setattr(_tasks, "wait_until_set", wait_until_set)


# --- watches ----------------------------------------------------------------------------------------------------------


@caught_by(16)
def what_a_page_does_not_show_has_completed(patch: Patch) -> None:
    real = poller.Poller._finish_page

    def finish_page(self: Any, action: Any, result: Any, now: float) -> None:
        real(self, action, result, now)
        for polled in tuple(self._polled.values()):
            if isinstance(result, poller._Seen) and polled.last is not None and polled.looked_at < now:
                missing = attrs.evolve(polled.last, state="completed")
                self._on_activities(poller._Seen((missing,), result.outcome), now)

    patch.setattr(poller.Poller, "_finish_page", finish_page)


@caught_by(5)
def a_failed_look_ends_the_watch(patch: Patch) -> None:
    patch.setattr(poller, "is_transient", lambda _error: False)


@caught_by(unsafe_lists)
def what_a_page_showed_that_turned_lists_off_is_never_asked_for(patch: Patch) -> None:
    real = planner.Planner.on_page

    def on_page(self: Any, *args: Any, **options: Any) -> None:
        enabled, self._lists_enabled = self._lists_enabled, True
        real(self, *args, **options)
        self._lists_enabled = enabled

    patch.setattr(planner.Planner, "on_page", on_page)


@caught_by(2)
def a_terminal_snapshot_is_dropped_when_another_waits(patch: Patch) -> None:
    real = hub.SnapshotQueue.put

    def put(self: hub.SnapshotQueue, activity: Activity) -> None:
        waiting = self.pending.get(activity.activity_id)
        real(self, activity)
        if waiting is not None:
            self.pending[activity.activity_id] = waiting

    patch.setattr(hub.SnapshotQueue, "put", put)


@caught_by(0)
def progress_is_not_told(patch: Patch) -> None:
    patch.setattr(Activity, "changed_from", lambda self, earlier: self.state != earlier.state)


@caught_by(0)
def nothing_bounds_how_long_an_id_goes_unseen(patch: Patch) -> None:
    patch.setattr(pacing.RequestPrice, "ceiling", lambda *_: math.inf)


@caught_by(156)
def what_fails_once_is_an_outage_for_good(patch: Patch) -> None:
    patch.setattr(failures.Failures, "answered", lambda _self: False)


@caught_by(12)
def one_denied_id_ends_every_watch(patch: Patch) -> None:
    def is_denied_everything(_self: Any, _activity_id: str, error: Exception) -> bool:
        return isinstance(error, cc.PermissionDeniedError)

    patch.setattr(poller.Poller, "_is_denied_everything", is_denied_everything)


@caught_by(57)
def a_cancelled_iteration_just_ends(patch: Patch) -> None:
    real = Watch._ready

    async def ready(self: Watch) -> None:
        with suppress(asyncio.CancelledError):
            await real(self)

    patch.setattr(Watch, "_ready", ready)


# --- a world that cannot be trusted -----------------------------------------------------------------------------------


@caught_by(partial(hostile_world, "failing ids: 20 hang, 1 healthy, no lists", seconds=700.0))
def ids_that_hang_take_every_slot(patch: Patch) -> None:
    patch.setattr(planner.Planner, "_may_ask", lambda _self, entry: entry.asked_at is None)


@caught_by(partial(hostile_world, "failing ids: 20 503, 1 healthy, no lists", seconds=700.0))
def probes_go_to_what_has_failed_most(patch: Patch) -> None:
    def probe(self: Any, now: float) -> planner.Action | planner.SleepUntil:
        if now < self._failures.next_probe:
            return planner.SleepUntil(self._failures.next_probe)
        entries = self._placement.ids.values()
        return planner.FetchOne(max(entries, key=lambda entry: entry.failures).activity_id)

    patch.setattr(planner.Planner, "_probe", probe)


@caught_by(190)
def any_start_of_work_is_believed(patch: Patch) -> None:
    def believe_start(self: forecast.Forecast, started: datetime | None, updated: datetime | None, at: float) -> None:
        if started is not None and updated is not None:
            self.started_at = self.first_seen_working = at - (updated - started).total_seconds()

    patch.setattr(forecast.Forecast, "_believe_start", believe_start)


@caught_by(138)
def the_newest_snapshot_has_the_newest_stamp(patch: Patch) -> None:
    real = forecast.Forecast.observe

    def observe(self: forecast.Forecast, activity: Activity, *args: Any, **options: Any) -> bool:
        newest = self.vendor_updated_at
        updated = activity.updated_at or newest
        if updated < newest or not real(self, activity, *args, **options):
            return False
        self.vendor_updated_at = max(updated, newest)
        return True

    patch.setattr(forecast.Forecast, "observe", observe)


@caught_by(148)
def rows_of_a_list_are_no_answers(patch: Patch) -> None:
    real = poller.Poller._on_activities

    def on_activities(self: Any, seen: Any, now: float) -> None:
        answered = self._answered
        real(self, seen, now)
        self._answered = answered or seen.page is None

    patch.setattr(poller.Poller, "_on_activities", on_activities)


@caught_by(partial(hostile_world, "spent day: 23:30, Date 1 h ahead"))
def any_date_is_believed(patch: Patch) -> None:
    patch.setattr(quota, "_MAX_CLOCK_DIFFERENCE_S", math.inf)


@caught_by(partial(hostile_world, "endless list: 30 watched, 30 on no page", watches=21, hidden=21))
def empty_pages_are_kept(patch: Patch) -> None:
    patch.setattr(placement.Placement, "_forget_empty_pages", lambda _self: None)


@caught_by(184)
def a_walk_goes_on_for_ever(patch: Patch) -> None:
    real = placement.Placement._move

    def move(self: Any, cohorts: Any, *pages: Any) -> None:
        for cohort in cohorts:
            cohort.pages_missed = 0
        real(self, cohorts, *pages)

    patch.setattr(placement.Placement, "_move", move)


@caught_by(160)
def ids_are_compared_letter_by_letter(patch: Patch) -> None:
    for module in (decoding, poller):
        patch.setattr(module, "canonical_id", str)


# --- each of them -----------------------------------------------------------------------------------------------------


def fails(check: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Whether a test says anything, by whatever it raises."""
    try:
        testing.run(check())
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 -- a test may fail in any way
        return True
    return False


HOSTILE = [name for name, (_, check) in BUGS.items() if isinstance(check, partial) and check.func is hostile_world]


@pytest.mark.parametrize("bug", HOSTILE)
@pytest.mark.long
def test_a_world_says_nothing_without_the_bug(bug: str) -> None:
    """What was cut down to catch a bug in a second still meets its target."""
    _, check = BUGS[bug]

    assert not isinstance(check, int)
    assert not fails(check)


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.timeout(120)
@pytest.mark.long
def test_a_planted_bug_is_caught(bug: str, monkeypatch: Patch) -> None:
    """What the simulation or the named check says nothing of without the bug, it does with it."""
    plant, check = BUGS[bug]
    with monkeypatch.context() as patch:
        plant(patch)
        patch.setattr(logging.getLogger("ccactivity"), "propagate", False)  # or the suite's own canary sings first
        if isinstance(check, int):
            assert simulate(check).findings
        else:
            assert fails(check)
        gc.collect()  # what a bug left behind complains now, not in the run without it
    if isinstance(check, int):
        assert [] == simulate(check).findings
