"""Deterministic simulation: the real client against the sandbox in virtual time, with everything drawn from a seed.

`simulate(seed)` draws a `Plan` and lives through it. Meanwhile and at the end it checks what has to be true whatever
happened: see `checks`. A finding names the seed. `nox -s sim -- --seed N` replays it, with the plan; `--hours H` goes
on until so many hours were simulated. The same seed gives the same trace on the same Python and aiohttp, with
PYTHONHASHSEED fixed.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import math
import random
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import attrs
from support.token_sources import RefreshingSource
from support.wrong_vendor import ignore_case_of_ids

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import VirtualTimeLoop, run, utc_now

from .checks import (
    CountingQuota,
    LogChecks,
    Promptness,
    SeenRequest,
    Traffic,
    check_batch,
    check_error,
    check_nothing_left,
    check_rules,
    check_snapshot,
    check_walks,
    open_descriptors,
)
from .plan import DAY, HOUR, LARGE_QUOTA, MINUTE, Event, Follow, Job, Plan, SingleCall, WaitForMany

__all__ = ["Report", "simulate"]

# Within so many seconds of its end, or of that of the faults, a watch has to have ended.
_END_KNOWN_WITHIN_S = 40 * MINUTE
_MOST_FINDINGS = 8  # of one seed
_OTHER_USER = {"Accept": "application/json", "Cache-Control": "no-cache", "User-Agent": "others/1"}
# What a single call may raise while there are faults, beside what only odd lists and closed sessions bring.
_PASSING_ERRORS = (cc.TransportError, cc.ServerError, cc.ThrottledError, cc.QuotaExceededError, cc.DecodeError)
_CALL_ERRORS = (*_PASSING_ERRORS, cc.SessionClosedError, cc.UnsafeLinkError, cc.PagingError, cc.ResponseError)


@attrs.define
class Report:
    """What became of one seed."""

    seed: int
    findings: list[str] = attrs.field(factory=list)
    plan: list[str] = attrs.field(factory=list)
    hours: float = 0.0
    requests: int = 0
    trace: str = ""

    def __str__(self) -> str:
        return "\n".join([*self.findings, f"replay: nox -s sim -- --seed {self.seed}"])


class World:
    """One seed's world while it lasts."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.plan = Plan(report.seed)
        self.random = self.plan.random
        self.quota = CountingQuota(per_day=self.plan.per_day)
        steps = [(event.time, event.amount) for event in self.plan.events if event.kind == "clock"]
        self.traffic = Traffic(self.quota, self.plan.start, steps)
        self.sandbox: sb.Sandbox
        self.session: cc.ActivitySession
        self.tokens = RefreshingSource(refresh_time=self.plan.refresh_time)
        self.closing = False
        self.healed_at = math.inf
        self.day_spent = False
        self.spent_until = -math.inf  # the end of the last day that was spent
        self.sessions = 0
        self.told_something: set[cc.ActivitySession] = set()
        self.end_known_within = _END_KNOWN_WITHIN_S if self.plan.per_day == LARGE_QUOTA else DAY
        self._known_findings: set[str] = set()

    async def live(self) -> None:
        """Live through the plan."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        async with sb.Sandbox(**self.plan.sandbox) as self.sandbox:
            self.tokens.attach(self.sandbox)
            for job in self.plan.jobs:
                job.activity_id = self.sandbox.submit(job.life)
            ignore_case_of_ids(self.sandbox)
            self.plan.make_endless(self.sandbox)
            self._record_traffic()
            self.session = self._open()
            self.report.plan += self.plan.describe()
            for fault in self.plan.faults:
                fault.add_to(self.sandbox)
            people = [asyncio.create_task(self._come(person)) for person in self.plan.people]
            try:
                await self._happen(loop)
                await self._heal(people)
            finally:
                for task in people:
                    task.cancel()
                await asyncio.gather(*people, return_exceptions=True)
                await self.session.aclose()
            self._check()
        self._found(check_nothing_left(loop, self.quota))

    def finding(self, text: str) -> None:
        """Note that something is wrong, each thing once."""
        key = text[:60]
        if key not in self._known_findings and len(self._known_findings) < _MOST_FINDINGS:
            self._known_findings.add(key)
            now = self.sandbox.now if hasattr(self, "sandbox") else 0.0
            self.report.findings.append(f"seed {self.report.seed} at {now:.1f} s: {text}")

    def _found(self, findings: Iterator[str]) -> None:
        for text in findings:
            self.finding(text)

    def _check(self) -> None:
        """Look at everything that must be true at any time."""
        self._found(self.traffic.findings(self.sandbox.now))
        self._found(check_rules(self.sandbox.violations))
        self._found(check_walks(self.traffic.requests, self.sessions))

    def _error(self, error: BaseException, allowed: tuple[type[BaseException], ...], where: str) -> None:
        self._found(check_error(error, allowed, where))

    def _somebody_leaves(self) -> None:
        self.traffic.leaving_times.append(self.sandbox.now)

    # --- the vendor's side --------------------------------------------------------------------------------------------

    def _record_traffic(self) -> None:
        vendor, handle = self.sandbox.vendor, self.sandbox.vendor.handle

        def recording(request: sb.Request, now: float, *, transit: float = 0.0) -> sb.Reply:
            reply = handle(request, now, transit=transit)
            seen = SeenRequest(now, request.method, request.target, vendor.log[-1].status)
            if reply.status == 429 and b'"quota_exceeded"' in reply.body and reply.body.endswith(b"}"):
                delays = [effect.seconds for effect in reply.wire if isinstance(effect, sb.Delay)]
                if len(delays) == len(reply.wire):  # nothing else happens to it on its way
                    seen.known_at = now + 2 * transit + sum(delays)
                    date = parsedate_to_datetime(reply.headers["Date"])
                    seen.date_ahead = (date - vendor.wall(now + transit)).total_seconds()
                self.day_spent, self.spent_until = True, self.traffic.end_of_day(now)
            self.traffic.requests.append(seen)
            return reply

        vendor.handle = recording  # type: ignore[method-assign]
        self._handle_unrecorded = handle

    def _others(self, count: int) -> None:
        """Let other users of the key send so many requests at once."""
        headers = {**_OTHER_USER, "Authorization": f"Bearer {self.tokens.token}"}
        for _ in range(count):
            request = sb.Request(method="GET", target="/v3/activities?limit=1", headers=headers)
            self._handle_unrecorded(request, self.sandbox.now)

    # --- people -------------------------------------------------------------------------------------------------------

    async def _come(self, person: Follow | WaitForMany | SingleCall) -> None:
        await asyncio.sleep(person.after)
        match person:
            case Follow():
                await self._follow(person)
            case WaitForMany():
                await self._wait_for_many(person.jobs)
            case SingleCall():
                await self._call(person.timeout)

    async def _follow(self, person: Follow) -> None:
        for kind, amount in [*person.rounds, ("stay", math.inf)]:
            while True:
                how = await self._watch(person, kind, amount)
                if how != "closed":
                    break
                await asyncio.sleep(1.0)
            if how == "ended":
                return
            await asyncio.sleep(self.random.choice([0.0, 0.01, 5.0, 120.0]))

    async def _watch(self, person: Follow, kind: str, amount: float) -> str:
        """Watch for one round; return "ended", "left", or "closed" if the session was."""
        session, job = self.session, person.job
        allowed = (*job.allowed_errors, *([cc.WatchTimeoutError] if "timeout" in person.options else []))
        try:
            watch = session.watch(person.asked_id, **person.options)
            if kind == "cancel":
                return await self._iterate_and_cancel(watch, person, amount)
            return await self._iterate(watch, person, kind, amount)
        except cc.SessionClosedError:
            if session is self.session and not self.closing:
                self.finding("SessionClosedError from a session that is open")
            return "closed"
        except Exception as error:  # noqa: BLE001 -- whatever comes is to be judged
            self._error(error, (*allowed, *self._errors_of(session)), f"a watch ({kind})")
            return "ended"

    def _errors_of(self, session: cc.ActivitySession) -> tuple[type[BaseException], ...]:
        """The errors with which each watch may end: nothing but denials at first looks like a token without rights."""
        denied = any(job.denied for job in self.plan.jobs)
        return (cc.PermissionDeniedError,) if denied and session not in self.told_something else ()

    async def _iterate_and_cancel(self, watch: cc.Watch, person: Follow, after: float) -> str:
        task = asyncio.ensure_future(self._iterate(watch, person, "stay", math.inf))
        await asyncio.wait([task], timeout=after)
        if not task.done():
            self._somebody_leaves()
            task.cancel()
            if self.random.random() < 0.3:
                task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return "left"

    async def _iterate(self, watch: cc.Watch, person: Follow, kind: str, amount: float) -> str:
        count = ends = 0
        session, job, pause = self.session, person.job, self.random.choice([0.0, 0.0, 0.0, 90.0])
        started = self.sandbox.vendor.job(job.activity_id).started
        news = Promptness(job.life, self.sandbox.now - started, len(self.plan.jobs) if self.plan.refuses_lists else 0)
        if kind == "aclose":
            await watch
        async for snapshot in watch:
            count += 1
            self.told_something.add(session)
            self._found(check_snapshot(snapshot, person.asked_id, ended=ends > 0))
            if self.plan.is_prompt and job.is_healthy:
                self._found(news.check(snapshot, self.sandbox.now - started, pause))
            if snapshot.done:
                ends += 1
                self._check_end(job, snapshot)
            elif count >= amount and kind in ("break", "aclose", "drop"):
                self._somebody_leaves()
                if kind == "aclose":
                    await watch.aclose()
                return "left"
            await asyncio.sleep(pause)
        if ends != 1:
            self.finding(f"a watch ended with {ends} terminal snapshots")
        return "ended"

    def _check_end(self, job: Job, snapshot: cc.Activity) -> None:
        truth = self.sandbox.truth(job.activity_id)
        if truth is None or truth.state != snapshot.state:
            self.finding(f"a watch ended with {snapshot.state}, the truth is {truth}")
            return
        no_telling = self.plan.sets_the_clock or self.plan.per_day < LARGE_QUOTA  # when a spent day is over for us
        if self.healed_at <= self.sandbox.now and not (self.day_spent and no_telling):
            late = self.sandbox.now - max(truth.ended_at, self.healed_at, self.spent_until)
            if late > self.end_known_within:
                self.finding(f"an end was seen {late:.0f} s late")

    async def _wait_for_many(self, jobs: list[Job]) -> None:
        result: cc.BatchResult | None = None
        while result is None:
            session = self.session
            try:
                result = await session.wait_many([job.activity_id for job in jobs])
            except cc.SessionClosedError:
                await asyncio.sleep(1.0)
            except Exception as error:  # noqa: BLE001 -- whatever comes is to be judged
                self._error(error, self._errors_of(session), "wait_many")
                return
        self._found(check_batch(result, jobs, self.sandbox))

    async def _call(self, timeout: float) -> None:
        """Make a single call of any kind."""
        job = self.random.choice(self.plan.jobs)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: self.session.get_activity(job.activity_id),
            lambda: self.session.get_send_history(self.sandbox.vendor.campaign_activity_id),
        ]
        if self.plan.endless is None:  # else it would take the whole day
            size = self.random.choice([3, 50, 500])
            calls.append(lambda: self.session.list_activities(page_size=size)._all())
        chosen = self.random.choice(calls)
        try:
            async with asyncio.timeout(timeout):
                await chosen()
        except TimeoutError:
            self._somebody_leaves()
        except Exception as error:  # noqa: BLE001 -- whatever comes is to be judged
            self._error(error, _CALL_ERRORS, "a single call")

    # --- what happens -------------------------------------------------------------------------------------------------

    async def _happen(self, loop: VirtualTimeLoop) -> None:
        """Let the events of the plan happen, each at its time."""
        for event in self.plan.events:
            if (wait := event.time - self.sandbox.now) > 0:
                await asyncio.sleep(wait)
            if event.kind != "others":
                self.report.plan.append(f"{event.time:.1f} s: {event}")
                self._check()
            await self._do(event, loop)

    async def _do(self, event: Event, loop: VirtualTimeLoop) -> None:
        match event.kind:
            case "clock":
                loop.step_utc(event.amount)
            case "expire token":
                # A token that was never accepted is an error, after one refresh: it is not the vendor's way to end it.
                if any(line.status == 200 and line.time > self.tokens.issued_at for line in self.sandbox.log):
                    self.sandbox.expire_token()
            case "reopen":
                await self._reopen()
            case "others":
                self._others(int(event.amount))

    def _open(self) -> cc.ActivitySession:
        self.sessions += 1
        return cc.ActivitySession(
            self.tokens, base_url=self.sandbox.base_url, quota=self.quota, now=utc_now, timeout=20.0
        )

    async def _reopen(self) -> None:
        """Close the session and open another one, with the same key."""
        self.closing = True
        self._somebody_leaves()
        old, self.session = self.session, self._open()
        await old.aclose()
        self.closing = False

    async def _heal(self, people: list[asyncio.Task[None]]) -> None:
        """End the faults, and see everybody come to their end."""
        self._end_faults()
        self.healed_at = self.sandbox.now
        pending = await self._wait_for_people(people)
        for task in people:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self._error(error, (), "a person")
        if pending:
            passed = self.sandbox.now - self.healed_at
            self.finding(f"{len(pending)} watches have not ended {passed:.0f} s after the healing")
        self._check()
        await self._call_once_more()
        if all(task.done() for task in people):
            if any(self.quota.queued):
                self.finding(f"tickets left in the queues: {self.quota.queued}")
            if watching := self.session.stats.watching:
                self.finding(f"{watching} activities are still watched")

    def _end_faults(self) -> None:
        """End all faults but those of jobs that are gone or denied, and the one answer that the day is spent."""
        lasting = {job.activity_id for job in self.plan.jobs if job.vanishes or job.denied}
        for fault in self.sandbox.faults:
            once = isinstance(fault.effect, sb.Answer) and fault.times == 1
            if fault.activity_id not in lasting and not once:
                self.sandbox.faults.remove(fault)

    async def _wait_for_people(self, people: list[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        """Wait as long as everybody may take; return those who took longer."""
        now = self.sandbox.now
        running = [job.life for job in self.plan.jobs if not self.sandbox.truth(job.activity_id)]
        last_end = max(self.sandbox.vendor.job(job.activity_id).ended for job in self.plan.jobs)
        remaining = min(last_end - now, sum(life.duration + life.delay for life in running))
        timeout = max(0.0, remaining) + self.end_known_within + HOUR + max(0.0, self.plan.horizon - now)
        _, pending = await asyncio.wait(people, timeout=timeout)
        if pending and (self.day_spent or self.plan.per_day < LARGE_QUOTA):
            _, pending = await asyncio.wait(people, timeout=26 * HOUR)
        return pending

    async def _call_once_more(self) -> None:
        try:
            async with asyncio.timeout(10 * MINUTE):
                await self.session.get_send_history(self.sandbox.vendor.campaign_activity_id)
        except Exception as error:  # noqa: BLE001 -- whatever comes is to be judged
            spent = self.day_spent or self.quota.people_spent_the_day(utc_now())
            excused = spent or self.plan.sets_the_clock
            self._error(error, (cc.QuotaExceededError,) if excused else (), "the call at the end")


@contextmanager
def _logging_checked(found: Callable[[str], None]) -> Iterator[None]:
    """Check what is logged, DEBUG included."""
    handler = LogChecks(found)
    loggers = [logging.getLogger(name) for name in ("ccactivity", "asyncio", "aiohttp")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextmanager
def _jitter_of(seed: int) -> Iterator[None]:
    """Have the waits between retries drawn from the seed too."""
    before = random.getstate()
    random.seed(f"jitter {seed}")
    try:
        yield
    finally:
        random.setstate(before)


def simulate(seed: int) -> Report:
    """Live through one seed."""
    report = Report(seed)
    world = World(report)
    ended_at = 0.0

    async def main() -> None:
        nonlocal ended_at
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: world.finding(f"{context['message']}: {context.get('exception')!r}")
        )
        try:
            await world.live()
        finally:
            ended_at = loop.time()

    descriptors = open_descriptors()
    with _jitter_of(seed), _logging_checked(world.finding):
        try:
            run(main(), debug=False, utc_start=world.plan.start)
        except Exception as error:  # noqa: BLE001 -- a deadlock, or a fault of the machine: whoever runs it has to see it
            world.finding(f"the run ended with {type(error).__name__}: {str(error)[:500]}")
            report.plan.append("".join(traceback.format_exception(error)))
    if open_descriptors() > descriptors:
        gc.collect()
    if (more := open_descriptors() - descriptors) > 0:
        world.finding(f"{more} connections left")
    report.hours = ended_at / HOUR
    report.requests = len(world.traffic.requests)
    lines = "\n".join(f"{seen.time:.6f} {seen.method} {seen.target} {seen.status}" for seen in world.traffic.requests)
    report.trace = hashlib.sha256(lines.encode()).hexdigest()[:16]
    return report
