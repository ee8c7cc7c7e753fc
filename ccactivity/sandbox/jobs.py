"""The bulk jobs of the account, and how the API shows each of them.

Each kind of job documents counters and links of its own (reference of the bulk activities endpoints): imports never
report `items_completed_count`, deleting custom fields reports no counters at all, and only exports and tag jobs have a
`results` link. An activity does not say of which kind it is.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any

from attrs import define, evolve, field, frozen

from .lifecycle import ENDINGS, Life, Snapshot, Workers, Workload

__all__ = ["JOB_KINDS", "RETENTION_S", "Job", "JobKind", "Jobs"]

RETENTION_S = 10 * 86_400.0  # how long an activity stays visible (activity status page)
_HISTORY_DAYS = 8.0
_HISTORY_TEMPLATES = 64

_ID_FACTOR = 0x9E3779B1  # odd, so that multiplying by it permutes the 32-bit numbers
_ID_INVERSE = pow(_ID_FACTOR, -1, 1 << 32)
_ID_OFFSET = 40_503
_ACTIVITY_NODE = "fa163e3d9194"
_RESULTS_NODE = "fa163e6b01c1"  # not the activity's: nothing promises that both ids agree

_ITEM_COUNTERS = ("items_total_count", "items_completed_count")
_IMPORT_COUNTERS = (
    "items_total_count",
    "person_count",
    "error_count",
    "correctable_count",
    "cannot_add_to_list_count",
)


@frozen(kw_only=True)
class JobKind:
    """One kind of bulk job: the counters it documents, where its results are, and how it writes time."""

    counters: tuple[str, ...]
    results: str | None = None
    milliseconds: bool = True


# The results of tag jobs are documented as a link without an example: this path is made up, so that only those who
# follow the link get there. The results of exports have the route that production code uses.
_TAG_JOB = JobKind(counters=_ITEM_COUNTERS, results="/v3/activities/{}/results", milliseconds=False)

JOB_KINDS = {
    "add_list_memberships": JobKind(counters=(*_ITEM_COUNTERS, "list_count")),
    "contact_delete": JobKind(counters=("list_count", *_ITEM_COUNTERS)),
    "contact_exports": JobKind(counters=_ITEM_COUNTERS, results="/v3/contact_exports/{}"),
    "contacts_file_import": JobKind(counters=_IMPORT_COUNTERS),
    "contacts_json_import": JobKind(counters=_IMPORT_COUNTERS),
    "contacts_taggings_add": _TAG_JOB,
    "contacts_taggings_remove": _TAG_JOB,
    "contacts_tags_delete": _TAG_JOB,
    "custom_fields_delete": JobKind(counters=()),
    "list_delete": JobKind(counters=("list_count",), milliseconds=False),
    "remove_list_memberships": JobKind(counters=(*_ITEM_COUNTERS, "list_count")),
}
_HISTORY_KINDS = ("contacts_json_import", "contacts_file_import", "contact_exports", "contacts_taggings_add")


@define(kw_only=True, eq=False)
class Job:
    """One job. Times are seconds on the sandbox's clock; `rows` is how many contacts or other items it has.

    `activity_id`: under which the API knows it. `kind`: as in the path that creates it. `life`: what happens to it,
    with the speed of the sandbox applied. `lists`: how many lists it names. `file_name`: of an import's file.
    """

    number: int
    kind: str
    life: Life
    created: float
    started: float
    rows: int
    lists: int = 1
    file_name: str | None = None
    activity_id: str = field(init=False)
    _text: str = field(default="", init=False, repr=False)
    _text_from: float = field(default=math.inf, init=False, repr=False)
    _text_until: float = field(default=-math.inf, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.activity_id = _id_of(self.number, _ACTIVITY_NODE)

    @property
    def ended(self) -> float:
        """When the job ends."""
        return self.started + self.life.duration

    def state(self, now: float) -> str:
        """Return the state alone; cheaper than all of it."""
        elapsed = self._elapsed(now)
        if elapsed < 0:
            return "initialized"
        return "processing" if elapsed < self.life.duration else self.life.end

    def text(self, now: float, start_ms: int) -> str:
        """Return the activity object as JSON, kept until it next changes.

        `start_ms`: the wall time of second 0, in milliseconds since 1970.
        """
        if not self._text_from <= now < self._text_until:
            seen = self.life.at(self._elapsed(now))
            self._text = self._render(seen, start_ms)
            self._text_from, self._text_until = now, self.started + seen.until
        return self._text

    def _elapsed(self, now: float) -> float:
        # At the very moment of the end a difference of two floats may fall short of the duration.
        return self.life.duration if now >= self.ended else now - self.started

    def _render(self, seen: Snapshot, start_ms: int) -> str:
        # Written by hand: a page holds 500 of these, and an encoder would take three times as long.
        kind, queued, ended = JOB_KINDS[self.kind], seen.state == "initialized", seen.state in ENDINGS

        def stamp(seconds: float) -> str:
            return _iso_time(int(start_ms + seconds * 1000), milliseconds=kind.milliseconds)

        parts = [f'{{"activity_id":"{self.activity_id}","state":"{seen.state}"']
        if not queued:
            parts.append(f'"started_at":"{stamp(self.started)}"')
        updated = stamp(self.created if queued else self.started + seen.updated)
        if ended:
            parts.append(f'"completed_at":"{updated}"')
        parts.append(f'"created_at":"{stamp(self.created)}","updated_at":"{updated}"')
        if self.file_name is not None:
            parts.append(f'"source_file_name":{json.dumps(self.file_name)}')
        errors = self.life.errors
        shown = errors if ended else errors[: int(len(errors) * seen.done)]
        parts.append(f'"percent_done":{seen.percent_done},"activity_errors":{json.dumps(shown) if shown else "[]"}')
        if kind.counters:
            counters = ",".join([f'"{name}":{self._counter(name, seen)}' for name in kind.counters])
            parts.append(f'"status":{{{counters}}}')
        links = f'"self":{{"href":"/v3/activities/{self.activity_id}"}}'
        if kind.results is not None:
            links += f',"results":{{"href":"{kind.results.format(_id_of(self.number, _RESULTS_NODE))}"}}'
        parts.append(f'"_links":{{{links}}}}}')
        return ",".join(parts)

    def _counter(self, name: str, seen: Snapshot) -> int:
        match name:
            case "items_total_count":  # an import counts the header row of its file
                return self.rows + 1 if "person_count" in JOB_KINDS[self.kind].counters else self.rows
            case "person_count":
                return self.rows
            case "list_count":
                return self.lists
            case "items_completed_count":
                return int(self.rows * seen.done)
            case _:
                count: int = getattr(self.life, name)
                return count if seen.state in ENDINGS else int(count * seen.done)


def _iso_time(epoch_ms: int, *, milliseconds: bool) -> str:
    hours, rest = divmod(epoch_ms, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole = f"{_iso_hour(hours)}{minutes:02d}:{rest // 1000:02d}"
    return f"{whole}.{rest % 1000:03d}Z" if milliseconds else f"{whole}Z"


@lru_cache(maxsize=1024)
def _iso_hour(hours: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:")


def _scatter(number: int) -> int:
    # A permutation: ids do not sort in creation order, and an id gives back its number without a table, which 20,000
    # older activities would otherwise need.
    return (number + _ID_OFFSET) * _ID_FACTOR % (1 << 32)


def _id_of(number: int, node: str) -> str:
    return f"{_scatter(number):08x}-cc52-11ea-9dad-{node}"


def _number_of(some_id: str, node: str) -> int | None:
    try:
        number = (int(some_id[:8], 16) * _ID_INVERSE - _ID_OFFSET) % (1 << 32)
    except ValueError:
        return None
    return number if _id_of(number, node) == some_id else None


class Jobs:
    """All jobs of the account, in creation order: `history` older ones that have ended, then those submitted.

    The older ones were created over the eight days before the start, so that a run of a day or so keeps them listed.
    They are made when they are first asked for.
    """

    def __init__(self, *, random: Random, workload: Workload, speed: float, history: int, order: str) -> None:
        if order not in _LIST_ORDERS:
            raise ValueError(f"order is one of {', '.join(_LIST_ORDERS)}")
        self._random = random
        self._workload = workload
        self._speed = speed
        self._workers = Workers(workload.lanes)
        self._history = history
        self._made: dict[int, Job] = {}  # of the history
        self._submitted: list[Job] = []
        self._starts: list[float] = []
        self._templates = [self._draw_template() for _ in range(_HISTORY_TEMPLATES if history else 0)]
        self._history_margin = max((life.delay + life.duration for _, life, _ in self._templates), default=0.0)
        self._sort_key = _LIST_ORDERS[order]
        self._listing = sorted((self._sort_key(number), number) for number in range(history))

    def __len__(self) -> int:
        return self._history + len(self._submitted)

    def submit(
        self,
        now: float,
        kind: str,
        *,
        rows: int | None,
        lists: int,
        file_name: str | None,
        life: Life | None,
        outcome: Mapping[str, Any] | None = None,
    ) -> Job:
        """Create a job `now`, never earlier than the one before; what is None is drawn.

        `outcome`: what is different in its life if it completes, as the rows of an upload decide.
        """
        if kind not in JOB_KINDS:
            raise ValueError(f"kind is one of {', '.join(JOB_KINDS)}")
        rows = self._random.randint(20, 5000) if rows is None else rows
        life = (self._workload.draw(self._random, rows=rows) if life is None else life).faster(self._speed)
        if outcome is not None and life.end == "completed":
            life = evolve(life, **outcome)
        number, started = len(self), self._workers.start(now, life)
        job = Job(
            number=number,
            kind=kind,
            life=life,
            created=now,
            started=started,
            rows=rows,
            lists=lists,
            file_name=file_name,
        )
        self._submitted.append(job)
        insort(self._starts, started)
        insort(self._listing, (self._sort_key(number), number))
        return job

    def find(self, activity_id: str) -> Job | None:
        """Return the job of an activity id, in any case and however old."""
        return self._find(_number_of(activity_id.lower(), _ACTIVITY_NODE))

    def find_export(self, export_id: str) -> Job | None:
        """Return the export whose results have this id."""
        job = self._find(_number_of(export_id, _RESULTS_NODE))
        return job if job is not None and job.kind == "contact_exports" else None

    def queued(self, now: float) -> int:
        """Return how many jobs wait in the queue."""
        return len(self._starts) - bisect_right(self._starts, now)

    def listed(self, now: float, *, oldest: float, state: str | None, after: Job | None) -> Iterator[Job]:
        """Yield, in the list's order, the jobs created from `oldest` to `now` that are in `state`, None for any.

        `after`: begin with the job that comes after this one.
        """
        begin = 0 if after is None else bisect_right(self._listing, (self._sort_key(after.number), after.number))
        for index in range(begin, len(self._listing)):
            number = self._listing[index][1]
            if number < self._history and state is not None and self._template(number)[1].end != state:
                continue  # it has ended, in another state: no need to make it
            job = self._at(number)
            if oldest <= job.created <= now and (state is None or job.state(now) == state):
                yield job

    def _find(self, number: int | None) -> Job | None:
        return self._at(number) if number is not None and number < len(self) else None

    def _at(self, number: int) -> Job:
        if number >= self._history:
            return self._submitted[number - self._history]
        if number not in self._made:
            kind, life, rows = self._template(number)
            age = self._history_margin + (self._history - number) * _HISTORY_DAYS * 86_400 / self._history
            self._made[number] = Job(
                number=number, kind=kind, life=life, created=-age, started=-age + life.delay, rows=rows
            )
        return self._made[number]

    def _template(self, number: int) -> tuple[str, Life, int]:
        return self._templates[_scatter(number) % len(self._templates)]

    def _draw_template(self) -> tuple[str, Life, int]:
        rows = self._random.randint(20, 5000)
        life = self._workload.draw(self._random, rows=rows).faster(self._speed)
        return self._random.choice(_HISTORY_KINDS), life, rows


_LIST_ORDERS: dict[str, Callable[[int], int]] = {
    "newest": lambda number: -number,
    "oldest": lambda number: number,
    "shuffled": _scatter,
}
