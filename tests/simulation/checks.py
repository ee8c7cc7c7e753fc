"""The checks of a simulation: what has to be true whatever happened. Each of them returns what is wrong, in words.

1. What the vendor saw from us was paid for: requests <= permits, also those that the HTTP library made by itself.
2. No more than 4 of them in any second, no more than a day's, and none after `quota_exceeded` before the day is over:
   the vendor's, or where its Date and our own clock differ by much, whichever they say is over first. What other users
   of the key did is theirs, and is not counted.
3. Each watch ends once, with the true terminal state, or with an error that the plan allows.
4. After the faults have ended each watch ends, within a bound, and a single call works.
5. At the end there is no task, timer, connection or ticket left.
6. No secret is in a log record or an error.
7. Where clocks, some ids or the list are wrong, and nothing else, what the other jobs do is told within a bound, and a
   list without an end is not read for ever.
"""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import attrs
from support.canary import secrets_in, texts_of

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import VirtualTimeLoop

from .plan import DAY, Job

_CLOCK_ERROR_S = 1e-6  # of times that are compared
_CLOCKS_AGREE_WITHIN_S = 900.0  # or it is unknown whose midnight counts, and one probe after the other finds out
_PROBES_APART_S = 600.0
_SHOWN_TRACEBACK = 300  # characters
# What a healthy job does is told within so many seconds, and within this share of the time that it has been at work.
_TOLD_WITHIN_S = 120.0
# Where lists are refused, each id is looked at by itself, and may wait for ten seconds times their number; a fifth more
# as the day's budget drains.
_TOLD_WITHIN_S_FOR_EACH = 12.0
_TOLD_WITHIN_SHARE = 1 / 4
_MOST_ENDLESS_PAGES = 300  # of a list without an end, that one session reads
_LINEAR = sb.Life(duration=1.0).progress
_UNIVERSAL_RULES = ("unknown_path", "bad_request", "bad_cursor", "missing_headers", "token_in_url")


@attrs.define
class SeenRequest:
    """One request of ours as the vendor saw it.

    `known_at`: when we knew of quota_exceeded, if it said so, with a Date that was ahead by so many seconds.
    """

    time: float
    method: str
    target: str
    status: int
    known_at: float = math.inf
    date_ahead: float = 0.0


class CountingQuota(cc.Quota):
    """Counts its permits apart from its own ledger, and those that somebody waited for by the UTC day."""

    permits = 0

    def __init__(self, *, per_day: float) -> None:
        super().__init__(per_day=per_day)
        self._awaited: Counter[date] = Counter()

    def grant(self, ticket: Any, now: float, wall: datetime) -> Any:
        """Count a permit."""
        self.permits += 1
        self._awaited[wall.astimezone(UTC).date()] += not ticket.background
        return super().grant(ticket, now, wall)

    def people_spent_the_day(self, wall: datetime) -> bool:
        """Tell whether single calls alone used up the part of the day that watches leave to them."""
        return self._awaited[wall.date()] >= min(self.reserve, self.per_day / 10)

    def refund(self, *args: Any, **options: Any) -> None:
        """Count it back."""
        self.permits -= 1
        super().refund(*args, **options)

    @property
    def queued(self) -> list[int]:
        """How many tickets are in each queue."""
        return [len(queue) for queue in self._queues]


@attrs.define
class Traffic:
    """The requests of ours in the order in which they arrived.

    `start`: UTC time of the vendor's start. `leaving_times`: when somebody left; an answer that was on its way to them
    was not read. `clock_steps`: when our wall clock was set, and by how many seconds; then our own count of the day may
    differ.
    """

    quota: CountingQuota
    start: datetime
    clock_steps: list[tuple[float, float]]
    requests: list[SeenRequest] = attrs.field(factory=list)
    leaving_times: list[float] = attrs.field(factory=list)

    def findings(self, now: float) -> Iterator[str]:
        """Compare what was sent with what was permitted."""
        if len(self.requests) > self.quota.permits:
            yield f"{len(self.requests)} requests, {self.quota.permits} permits"
        if not self.clock_steps:
            yield from self._over_a_day(now)
        yield from self._over_a_second()
        yield from self._after_quota_exceeded()

    def _day(self, time: float, ahead: float = 0.0) -> int:
        midnight = self.start.replace(hour=0, minute=0, second=0)
        return int((time + ahead + (self.start - midnight).total_seconds()) // DAY)

    def end_of_day(self, time: float, ahead: float = 0.0) -> float:
        """When the day is over that this time is in, by the vendor's clock or one that is ahead of it."""
        midnight = self.start.replace(hour=0, minute=0, second=0)
        return (self._day(time, ahead) + 1) * DAY - (self.start - midnight).total_seconds() - ahead

    def _over_a_day(self, now: float) -> Iterator[str]:
        days = Counter(self._day(seen.time) for seen in self.requests)
        if (today := days[self._day(now)]) > self.quota.spent:
            yield f"{today} requests today, {self.quota.spent} in the ledger"
        for count in days.values():
            if count > self.quota.per_day:
                yield f"{count} requests in a day of {self.quota.per_day}"

    def _over_a_second(self) -> Iterator[str]:
        times = [seen.time for seen in self.requests]
        for early, late in zip(times, times[4:], strict=False):
            if late - early < 1.0:
                yield f"5 requests within {late - early:.3f} s, the last at {late:.3f} s"
                return

    def _after_quota_exceeded(self) -> Iterator[str]:
        quiet_until, day = math.inf, -1
        for place, seen in enumerate(self.requests):
            first = seen.known_at + _CLOCK_ERROR_S
            if first == math.inf or any(seen.time <= when <= first for when in self.leaving_times):
                continue
            is_probe = day == self._day(seen.time) and seen.time >= quiet_until - _CLOCK_ERROR_S
            quiet_until, day = self._end_by_clocks(seen), self._day(seen.time)
            if is_probe:
                quiet_until = min(quiet_until, seen.known_at + _PROBES_APART_S)
            for late in self.requests[place:]:
                if first < late.time < quiet_until - _CLOCK_ERROR_S:
                    yield f"a request at {late.time:.3f} s, quota_exceeded was known at {seen.known_at:.3f} s"
                    return

    def _end_by_clocks(self, seen: SeenRequest) -> float:
        """When the day is over that the vendor called spent: by its Date, unless our own clock differs by much."""
        own_ahead = sum(step for when, step in self.clock_steps if when <= seen.known_at)
        by_date = self.end_of_day(seen.time, seen.date_ahead)
        by_own = self.end_of_day(seen.known_at, own_ahead)
        return by_date if abs(by_date - by_own) <= _CLOCKS_AGREE_WITHIN_S else min(by_date, by_own)


def check_walks(requests: list[SeenRequest], sessions: int) -> Iterator[str]:
    """Look for walks along a list without an end, by so many sessions one after the other."""
    count = sum("cursor=endless-" in seen.target for seen in requests)
    if count > sessions * _MOST_ENDLESS_PAGES:
        yield f"too many pages of a list without an end were read: {count}"


def check_rules(violations: sb.Violations) -> Iterator[str]:
    """Look for violations of rules that nobody has to be told before."""
    for name in _UNIVERSAL_RULES:
        if count := getattr(violations, name):
            yield f"{count} violations of {name}"


def check_error(error: BaseException, allowed: tuple[type[BaseException], ...], where: str) -> Iterator[str]:
    """Judge an error that came out of the library."""
    if secrets_in("".join(traceback.format_exception(error)), repr(error), repr(error.args)):
        yield f"a secret in {type(error).__name__} of {where}"
    if not isinstance(error, allowed):
        yield f"{where} ended with {type(error).__name__}: {str(error)[:200]}"


def check_snapshot(snapshot: cc.Activity, asked_id: str, *, ended: bool) -> Iterator[str]:
    """Judge a snapshot of a watch that has `ended` already or not, of an id as its user wrote it."""
    if ended:
        yield "a snapshot after the terminal one"
    if snapshot.activity_id != asked_id:
        yield f"a snapshot of {snapshot.activity_id}, {asked_id} was asked for"
    if "None" in snapshot.as_dict().values():
        yield "None has become a word"


@attrs.define
class Promptness:
    """Judges how late the news of one job are in one stay. Times are in seconds since its work began.

    `told_at`: of the last snapshot, plus the pause of its reader; before the first, when the stay began. `changes_at`:
    when what was told is no longer true. `asked_singly`: ids that no list shows.
    """

    life: sb.Life
    told_at: float
    asked_singly: int
    changes_at: float = -math.inf

    def check(self, snapshot: cc.Activity, now: float, pause: float) -> Iterator[str]:
        """Judge the next snapshot, after which the reader pauses for so many seconds."""
        since = max(self.told_at, self.changes_at)
        within = max(_TOLD_WITHIN_S, _TOLD_WITHIN_S_FOR_EACH * self.asked_singly)
        if (late := now - since) > within + _TOLD_WITHIN_SHARE * max(0.0, since):
            yield f"{snapshot.state} was told {late:.0f} s late, of a job that was {since:.0f} s at work"
        self.told_at, self.changes_at = now + pause, self.life.duration
        if snapshot.state == "processing" and self.life.progress == _LINEAR and self.life.update_every < math.inf:
            share = ((snapshot.percent_done or 0) + 1) / 100
            self.changes_at = min(self.life.duration, share * self.life.duration + self.life.update_every)


def check_batch(result: cc.BatchResult, jobs: list[Job], sandbox: sb.Sandbox) -> Iterator[str]:
    """Judge what became of all ids of a batch."""
    for job in jobs:
        found = [part[job.activity_id] for part in (result.completed, result.failed) if job.activity_id in part]
        states = [str(activity.state) for activity in found]
        truth = sandbox.truth(job.activity_id)
        if job.activity_id in result.errors:
            yield from check_error(result.errors[job.activity_id], job.allowed_errors, "wait_many")
        elif truth is None or states != [truth.state]:
            yield f"wait_many says {states}, the truth is {truth}"


def check_nothing_left(loop: VirtualTimeLoop, quota: CountingQuota) -> Iterator[str]:
    """Look for what a closed session has left."""
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        yield f"tasks left: {[str(task.get_coro()) for task in left]}"
    if any(quota.queued):
        yield f"tickets left in the queues: {quota.queued}"
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    if ours := [repr(handle) for handle in timers if "aiohttp/" not in repr(handle)]:
        yield f"timers left: {ours[:3]}"


def open_descriptors() -> int:
    """Return how many files and sockets this process has open, 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


class LogChecks(logging.Handler):
    """Looks for secrets and errors in what is logged."""

    def __init__(self, found: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one record."""
        if secrets_in(*texts_of(record)):
            self._found(f"a secret in a record of {record.name}")
        elif record.levelno >= logging.ERROR:
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
            self._found(f"logged as an error by {record.name}: {record.getMessage()} {trace[-_SHOWN_TRACEBACK:]}")
