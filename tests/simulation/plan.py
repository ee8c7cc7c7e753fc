"""The plan of one simulation: all that is drawn from a seed before its world starts. It sends and awaits nothing.

A workload, latencies, faults with their intensities, other users of the key, a wall clock that is set, people who leave
and come back, sessions that are closed, and a time at which all faults end. A seed draws the same plan each time; what
is drawn while the world runs is drawn from `Plan.random`, after that.

There are two kinds of faults: what breaks, and what is wrong while nothing is broken (clocks, some ids, the list).
Where only the second kind is drawn, every healthy job's progress and end has to be told as promptly as ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal

import attrs
from support.wrong_vendor import STAMPS, Offset, WrongDate, WrongStamps, make_list_endless

import ccactivity as cc
from ccactivity import sandbox as sb

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
LARGE_QUOTA = 10_000  # requests a day; a small one may have to wait for the next day


@attrs.define(eq=False)
class Job:
    """One import. `activity_id`: its id, as soon as it was submitted.

    `vanishes`: it is not found from some time on. `denied`: a GET of it is forbidden. `failing`: a GET of it fails.
    """

    life: sb.Life
    activity_id: str = ""
    vanishes: bool = False
    denied: bool = False
    failing: bool = False

    @property
    def allowed_errors(self) -> tuple[type[BaseException], ...]:
        """The errors with which a watch of it may end."""
        gone = (cc.ActivityExpiredError, cc.NotFoundError) if self.vanishes else ()
        return (*gone, cc.PermissionDeniedError) if self.denied else gone

    @property
    def is_healthy(self) -> bool:
        """Whether it can be asked for like any other."""
        return not (self.vanishes or self.denied or self.failing)


@attrs.frozen
class Follow:
    """A person who comes after so many seconds and watches a job to its end, leaving and coming back before.

    `rounds`: how each stay but the last ends, and after how many seconds ("cancel") or snapshots (the others).
    `upper`: they write the id in upper case.
    """

    after: float
    job: Job
    rounds: list[tuple[str, float]]
    options: dict[str, Any]
    upper: bool = False

    @property
    def asked_id(self) -> str:
        """The id as they write it."""
        return self.job.activity_id.upper() if self.upper else self.job.activity_id


@attrs.frozen
class WaitForMany:
    """A person who comes after so many seconds and waits for all of these."""

    after: float
    jobs: list[Job]


@attrs.frozen
class SingleCall:
    """A person who comes after so many seconds, makes one call, and gives up after `timeout` seconds."""

    after: float
    timeout: float


@attrs.frozen
class PlannedFault:
    """A fault, with the keywords of `sandbox.Fault`; `job`: it acts on this one alone.

    `effect`: or what makes it when the sandbox is there and all jobs were submitted.
    """

    effect: sb.Answer | sb.Effect | Callable[[sb.Sandbox], sb.Effect]
    job: Job | None
    keywords: dict[str, Any]

    def add_to(self, sandbox: sb.Sandbox) -> None:
        """Add it, when all jobs were submitted."""
        effect = self.effect(sandbox) if callable(self.effect) else self.effect
        sandbox.faults.add(effect, activity_id=self.job and self.job.activity_id, **self.keywords)


@attrs.frozen
class Event:
    """Something that happens once: `amount` is in seconds for "clock", in requests for "others"."""

    time: float
    kind: Literal["heal", "clock", "expire token", "reopen", "others"]
    amount: float = 0.0

    def __str__(self) -> str:
        words = {
            "clock": f"clock {self.amount:+.0f} s",
            "expire token": "the token expires",
            "reopen": "another session",
        }
        return words.get(self.kind, self.kind)


class Plan:
    """What is drawn from one seed.

    `start`: the UTC time at which the world starts. `sandbox`: keywords of `Sandbox`. `refresh_time`: seconds that a
    new token takes. `horizon`: seconds within which people come. `heal_time`: seconds after which most faults end.
    `endless`: jobs that no page shows of a list without an end; None where it has one. `refuses_lists`: there
    are none. `is_prompt`: nothing keeps the client from telling what becomes of healthy jobs at once.
    """

    def __init__(self, seed: int) -> None:
        self.random = draw = Random(f"simulation {seed}")
        self._notes: list[tuple[Job | None, str]] = []
        self.jobs: list[Job] = []
        self.people: list[Follow | WaitForMany | SingleCall] = []
        self.faults: list[PlannedFault] = []
        self.damages_connections = False
        self.endless: tuple[Job, ...] | None = None
        self.refuses_lists = False

        self.start = datetime(2026, 3, 7, tzinfo=UTC) + timedelta(seconds=draw.choice([12.0, 22.5, 23.9]) * HOUR)
        self.per_day = draw.choice([LARGE_QUOTA, LARGE_QUOTA, LARGE_QUOTA, 600])
        self.sandbox = self._draw_sandbox(seed)
        self.refresh_time = draw.choice([0.0, 0.2, 6.0])
        self.horizon = draw.uniform(0.3, 3.0) * HOUR
        self._draw_people()
        self.heal_time = self.horizon * draw.uniform(0.2, 0.7)
        themes = draw.choice([BREAKING, WRONG, (*BREAKING, *WRONG)])
        drawn = draw.sample(themes, draw.randint(0, 4))
        for theme in drawn:
            theme(self, self.heal_time)
        self.events = self._draw_events()
        self.sets_the_clock = any(event.kind == "clock" for event in self.events)
        busy = self.sets_the_clock or any(event.kind == "others" for event in self.events)
        self.is_prompt = self.per_day == LARGE_QUOTA and not busy and all(theme in WRONG for theme in drawn)

    def describe(self) -> list[str]:
        """Say what the plan is, when all jobs were submitted."""
        return [text if job is None else f"{job.activity_id[:8]}{text}" for job, text in self._notes]

    def note(self, text: str, job: Job | None = None) -> None:
        """Add a line to the description, of this job if there is one."""
        self._notes.append((job, text))

    def add_fault(
        self,
        effect: sb.Answer | sb.Effect | Callable[[sb.Sandbox], sb.Effect],
        job: Job | None = None,
        **keywords: Any,
    ) -> None:
        """Plan a fault; its effect may be made when the sandbox is there."""
        self.faults.append(PlannedFault(effect, job, keywords))

    def hide(self, *jobs: Job, **keywords: Any) -> None:
        """Plan that lists do not show these jobs."""
        self.add_fault(lambda _: sb.drop_rows(*(job.activity_id for job in jobs)), where="list", **keywords)

    def make_endless(self, sandbox: sb.Sandbox) -> None:
        """Have the list go on for ever, until most faults end, if that is planned; when all jobs were submitted."""
        if self.endless is not None:
            make_list_endless(sandbox, hidden={job.activity_id for job in self.endless}, until=self.heal_time)

    def _draw_sandbox(self, seed: int) -> dict[str, Any]:
        draw = self.random
        order, stale = draw.choice(["newest", "oldest", "shuffled"]), draw.choice([0.0, 0.0, 20.0])
        history, latency = draw.choice([0, 10, 1200]), draw.choice([0.0, 0.06, 0.4, 3.0])
        workload = sb.Workload(lanes=draw.choice([3, 50]))
        self.note(f"{self.per_day} a day, {order} first, lists {stale} s late, {history} old ones, latency {latency} s")
        return {
            "seed": seed,
            "latency": latency,
            "per_day": self.per_day,
            "order": order,
            "stale_rows": stale,
            "history": history,
            "workload": workload,
        }

    def _draw_people(self) -> None:
        draw = self.random
        for _ in range(draw.choice([1, 2, 4, 8, 16])):
            job = Job(_draw_life(draw))
            self.jobs.append(job)
            for _ in range(draw.choice([1, 1, 1, 2])):
                rounds, options = _draw_rounds(draw), _draw_options(draw)
                self.note(f" {job.life.duration:.0f} s {job.life.end}: {rounds} {options}", job)
                self.people.append(Follow(draw.choice([0.0, draw.uniform(0, 600)]), job, rounds, options))
        if draw.random() < 0.3:
            some = draw.sample(self.jobs, draw.randint(1, len(self.jobs)))
            self.people.append(WaitForMany(draw.uniform(0, 60), some))
        for _ in range(draw.choice([0, 3, 10])):
            self.people.append(SingleCall(draw.uniform(0, self.horizon), draw.choice([0.01, 1.0, 3000.0])))
        if draw.random() < 0.3:
            when = draw.uniform(0, self.horizon)
            self.people += [SingleCall(when, 3000.0) for _ in range(draw.randint(4, 12))]

    def _draw_events(self) -> list[Event]:
        draw, heal = self.random, self.heal_time
        events = [Event(heal, "heal")]
        if draw.random() < 0.3:
            for _ in range(draw.randint(1, 3)):
                step = draw.choice([-HOUR, HOUR, -8 * HOUR, 8 * HOUR, 13 * HOUR, 0.5])
                events.append(Event(draw.uniform(0, heal), "clock", step))
        if draw.random() < 0.3:
            events += [Event(draw.uniform(0, heal), "expire token") for _ in range(draw.randint(1, 3))]
        if draw.random() < 0.3:
            events += [Event(draw.uniform(0, heal), "reopen") for _ in range(draw.randint(1, 3))]
        if draw.random() < 0.3:
            begin, seconds, rate = draw.uniform(0, heal), draw.choice([5, 60, 200]), draw.choice([1, 3, 4])
            end = min(heal, begin + seconds)
            self.note(f"others: {rate} a second from {begin:.0f} to {end:.0f} s")
            while begin < end:
                events.append(Event(begin, "others", rate))
                begin += 1.0
        return sorted(events, key=lambda event: event.time)


def _draw_life(draw: Random) -> sb.Life:
    return sb.Life(
        duration=math.exp(draw.uniform(math.log(15), math.log(2 * HOUR))),
        end=draw.choice(["completed", "completed", "failed", "cancelled", "timed_out"]),
        delay=draw.choice([0.0, 5.0, 300.0]),
        progress=draw.choice(["linear", "linear", "none", "late_tail", "stall"]),
        update_every=draw.choice([1.0, 15.0, math.inf]),
    )


def _draw_options(draw: Random) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw.random() < 0.2:
        options["max_staleness"] = draw.choice([30.0, 120.0])
    if draw.random() < 0.15:
        options["timeout"] = draw.uniform(60, 2 * HOUR)
    if draw.random() < 0.1:
        options["every_poll"] = True
    return options


def _draw_rounds(draw: Random) -> list[tuple[str, float]]:
    kinds = ["break", "aclose", "drop"]
    return [
        ("cancel", math.exp(draw.uniform(-5, 7))) if draw.random() < 0.5 else (draw.choice(kinds), draw.randint(1, 4))
        for _ in range(draw.choice([0, 0, 1, 2, 5]))
    ]


# --- what breaks, each until a time -----------------------------------------------------------------------------------


def _draw_share(draw: Random) -> float:
    return draw.choice([0.03, 0.1, 0.3])


def _passing_failures(plan: Plan, until: float) -> None:
    draw = plan.random
    for _ in range(draw.randint(1, 3)):
        effect: Any = draw.choice(
            [
                *(sb.server_error(status) for status in (500, 502, 503, 504)),
                sb.message(408, "slow"),
                sb.html(502),
                sb.html(200),
                sb.empty(200),
                sb.ok("[1, 2"),
                sb.ok([]),
            ]
        )
        plan.note(f"{effect} for some")
        plan.add_fault(effect, probability=_draw_share(draw), until=until)


def _outage(plan: Plan, until: float) -> None:
    begin = plan.random.uniform(0, until / 2)
    end = min(until, begin + plan.random.uniform(2, 30) * MINUTE)
    effect: Any = plan.random.choice([sb.server_error(503), sb.Reset(), sb.Hang(), sb.html(200), sb.throttled()])
    plan.note(f"{effect} from {begin:.0f} to {end:.0f} s")
    plan.add_fault(effect, after=begin, until=end)


def _broken_connections(plan: Plan, until: float) -> None:
    draw = plan.random
    effects: list[Any] = [
        sb.Reset(),
        sb.Reset(hard=False),
        sb.Reset(after=0.5),
        sb.Reset(after=0.5, chunked=True),
        sb.Hang(),
        sb.Hang(after=0.5),
        sb.Cut(),
        sb.Drip(pause=2.0, size=64),
        sb.Drip(pause=2.0, size=32, head=True),
        sb.Raw(b"garbage\r\n\r\n"),
        sb.Raw(b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n"),
    ]
    for effect in draw.sample(effects, draw.randint(1, 4)):
        plan.note(f"{effect} for some")
        plan.damages_connections = True
        plan.add_fault(effect, probability=_draw_share(draw), until=until)


def _dead_connections(plan: Plan, until: float) -> None:
    plan.note("connections closed as we send")
    plan.damages_connections = True
    plan.add_fault(sb.Disconnect(), probability=plan.random.choice([0.2, 0.7]), until=until)


def _slowness(plan: Plan, until: float) -> None:
    effect = sb.Delay(plan.random.choice([0.5, 3.0, 15.0]))
    plan.note(f"{effect} for some")
    plan.add_fault(effect, probability=_draw_share(plan.random), until=until)


def _throttles(plan: Plan, until: float) -> None:
    effect = plan.random.choice([sb.throttled(), sb.throttled({"Retry-After": "3"}), sb.message(429, "no")])
    plan.note(f"{effect} for some")
    plan.add_fault(effect, probability=plan.random.choice([0.02, 0.08]), until=until)


def _spent_day(plan: Plan, until: float) -> None:
    if not plan.damages_connections:
        begin = plan.random.uniform(0, until)
        plan.note(f"quota_exceeded at {begin:.0f} s")
        plan.add_fault(sb.quota_exceeded(), after=begin, until=until, times=1)


def _odd_lists(plan: Plan, until: float) -> None:
    some = plan.random.sample(plan.jobs, len(plan.jobs) // 2 or 1)
    answers = [sb.forbidden(), sb.message(400, "no")]
    links = [
        "https://evil.example/v3/activities?cursor=x",
        "/v3/activities?limit=500",
        "/v3/activities/{actvity_id}",
    ]
    # By name: the repr of an edit of pages is another one in each process.
    effects: list[tuple[str, Any]] = [
        *[(str(answer), answer) for answer in answers],
        (f"{len(some)} rows are missing", None),
        ("rows stand twice", sb.duplicate_rows()),
        *[(f"the next link is {link}", sb.next_link(link)) for link in links],
    ]
    name, effect = plan.random.choice(effects)
    plan.note(f"lists: {name}")
    if effect is None:
        plan.hide(*some, until=until)
    else:
        plan.add_fault(effect, where="list", until=until)


def _odd_activities(plan: Plan, until: float) -> None:
    draw = plan.random
    for job in draw.sample(plan.jobs, min(3, len(plan.jobs))):
        effect: Any = draw.choice(
            [
                sb.Patch({"state": "paused"}),
                sb.Patch({"state": None, "percent_done": "12", "updated_at": "completed"}),
                sb.Patch({"percent_done": 140, "status": None, "activity_errors": None}),
                sb.Patch({"percent_done": None, "source_file_name": None, "updated_at": None}),
                sb.wrong_id(),
            ]
        )
        plan.note(f": {effect}", job)
        where = "get" if effect == sb.wrong_id() else "any"
        plan.add_fault(effect, job, where=where, until=until)


def _absences(plan: Plan, until: float) -> None:
    draw = plan.random
    job = draw.choice(plan.jobs)
    plan.note(" is absent once", job)
    plan.add_fault(sb.not_found(), job, where="get", skip=1, times=1)
    if len(plan.jobs) > 1 and draw.random() < 0.5:
        gone = draw.choice([other for other in plan.jobs if other is not job])
        gone.vanishes = True
        plan.note(" vanishes", gone)
        after = draw.uniform(0, until)
        plan.add_fault(sb.not_found(), gone, where="get", after=after)
        plan.hide(gone, after=after)


# --- what is wrong while nothing is broken ----------------------------------------------------------------------------


def _some_but_one(plan: Plan, most: int) -> list[Job]:
    """Draw jobs of which at least one is left alone, none where there is only one."""
    others = [job for job in plan.jobs[1:] if job.is_healthy]
    return plan.random.sample(others, min(len(others), plan.random.randint(1, most)))


def _failing_ids(plan: Plan, until: float) -> None:
    draw = plan.random
    effect: Any = draw.choice([sb.server_error(503), sb.html(), sb.wrong_id(), sb.Hang()])
    some = _some_but_one(plan, 8)
    shown = draw.choice(["lists show them", "lists do not", "no lists"])
    for job in some:
        job.failing = True
        plan.note(f": each GET is {effect}, {shown}", job)
        plan.add_fault(effect, job, where="get", until=until)
    if shown == "lists do not":
        plan.hide(*some, until=until)
    elif shown == "no lists":
        plan.refuses_lists = True
        plan.add_fault(sb.forbidden(), where="list", until=until)


def _draw_offset(draw: Random) -> tuple[Offset, dict[str, Any]]:
    """Draw by how much a clock is wrong, and keywords of the fault that makes it so."""
    seconds = draw.choice([60.0, HOUR, 5 * HOUR, 5 * DAY, 9 * DAY]) * draw.choice([1, -1])
    how = draw.choice(["constant", "jumping", "first minutes", "once", "in the end"])
    times: dict[str, dict[str, Any]] = {
        "first minutes": {"until": draw.choice([60.0, 600.0])},
        "once": {"skip": draw.randint(0, 20), "times": 1},
        "in the end": {"after": draw.uniform(60, 1800)},
    }
    return Offset(seconds, jumping=how == "jumping"), times.get(how, {})


def _wrong_stamps(plan: Plan, until: float) -> None:
    offset, when = _draw_offset(plan.random)
    fields = plan.random.choice([("started_at",), ("updated_at",), STAMPS])
    fixed = plan.random.choice([None, None, None, "2199-01-01T00:00:00.000Z"])
    effect = WrongStamps(fields, offset, fixed)
    plan.note(f"{effect} {when}")
    plan.add_fault(effect, **{"until": until, **when})


def _wrong_dates(plan: Plan, until: float) -> None:
    offset, when = _draw_offset(plan.random)
    plan.note(f"the Date is wrong: {offset} {when}")
    plan.add_fault(lambda sandbox: WrongDate(offset, lambda: sandbox.wall), **{"until": until, **when})


def _denied_ids(plan: Plan, _until: float) -> None:
    some = _some_but_one(plan, 6)
    for job in some:
        job.denied = True
        plan.note(": each GET is forbidden", job)
        plan.add_fault(sb.forbidden(), job, where="get")
    if plan.random.random() < 0.5:
        plan.hide(*some)


def _endless_list(plan: Plan, _until: float) -> None:
    plan.endless = tuple(plan.random.sample(plan.jobs, plan.random.randint(0, len(plan.jobs))))
    plan.note(f"the list never ends, and {len(plan.endless)} are on none of its pages")


def _upper_case(plan: Plan, _until: float) -> None:
    share = plan.random.choice([0.5, 1.0])
    for place, person in enumerate(plan.people):
        if isinstance(person, Follow) and plan.random.random() < share:
            plan.note(" is asked for in upper case", person.job)
            plan.people[place] = attrs.evolve(person, upper=True)


BREAKING = (
    _passing_failures,
    _outage,
    _broken_connections,
    _dead_connections,
    _slowness,
    _throttles,
    _spent_day,
    _odd_lists,
    _odd_activities,
    _absences,
)
WRONG = (_failing_ids, _wrong_stamps, _wrong_dates, _denied_ids, _endless_list, _upper_case)
