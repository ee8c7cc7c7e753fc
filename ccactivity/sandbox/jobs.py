"""What the account's bulk jobs are and how the API shows them; knows no requests, limits or paging.

Each kind of job documents counters and links of its own (reference of the bulk activities endpoints): imports
never report `items_completed_count`, deleting custom fields reports no counters at all, and only exports and
tag jobs have a `results` link. An activity does not say of which kind it is.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random

from attrs import define, field, frozen

from .lifecycle import ENDINGS, Lanes, Life, Snapshot, Workload

__all__ = ["KINDS", "Job", "Jobs", "Kind"]

_HISTORY_DAYS = 8.0
_LIVES_OF_HISTORY = 64
_ODD = 0x9E3779B1
_INVERSE = pow(_ODD, -1, 1 << 32)
_FIRST = 40_503

_NODE = "fa163e3d9194"
_RESULTS_NODE = "fa163e6b01c1"  # not the activity's: nothing promises that both ids agree

_ITEMS = ("items_total_count", "items_completed_count")
_IMPORT = (
    "items_total_count",
    "person_count",
    "error_count",
    "correctable_count",
    "cannot_add_to_list_count",
)


@frozen(kw_only=True)
class Kind:
    """One kind of bulk job: the counters it documents, where its results are, and how it writes time."""

    counters: tuple[str, ...]
    results: str | None = None
    milliseconds: bool = True


# The results of exports have the route that production code uses. Those of tag jobs are documented as a link
# with no example: this path is made up, to be followed, not known.
KINDS = {
    "add_list_memberships": Kind(counters=(*_ITEMS, "list_count")),
    "contact_delete": Kind(counters=("list_count", *_ITEMS)),
    "contact_exports": Kind(counters=_ITEMS, results="/v3/contact_exports/{}"),
    "contacts_file_import": Kind(counters=_IMPORT),
    "contacts_json_import": Kind(counters=_IMPORT),
    "contacts_taggings_add": Kind(counters=_ITEMS, results="/v3/activities/{}/results", milliseconds=False),
    "contacts_taggings_remove": Kind(counters=_ITEMS, results="/v3/activities/{}/results", milliseconds=False),
    "contacts_tags_delete": Kind(counters=_ITEMS, results="/v3/activities/{}/results", milliseconds=False),
    "custom_fields_delete": Kind(counters=()),
    "list_delete": Kind(counters=("list_count",), milliseconds=False),
    "remove_list_memberships": Kind(counters=(*_ITEMS, "list_count")),
}
_KINDS_OF_HISTORY = (
    "contacts_json_import",
    "contacts_file_import",
    "contact_exports",
    "contacts_taggings_add",
)


@define(kw_only=True, eq=False)
class Job:
    """One job. Times are seconds on the sandbox's clock; `rows` is how many contacts or other items it has.

    `activity_id`: under which the API knows it. `kind`: as in the path that creates it. `life`: what happens
    to it, with its durations as they are lived. `lists`: how many lists it names. `file_name`: of an import's
    file.
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
    _since: float = field(default=math.inf, init=False, repr=False)
    _until: float = field(default=-math.inf, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.activity_id = _id_of(self.number, _NODE)

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
        if not self._since <= now < self._until:
            seen = self.life.at(self._elapsed(now))
            self._text = self._written(seen, start_ms)
            self._since, self._until = now, self.started + seen.until
        return self._text

    def _elapsed(self, now: float) -> float:
        # At the very moment of the end a difference of two floats may fall short of the duration.
        return self.life.duration if now >= self.ended else now - self.started

    def _written(self, seen: Snapshot, start_ms: int) -> str:
        # Written by hand: a page holds 500 of these, and an encoder would take three times as long.
        kind, waiting, over = KINDS[self.kind], seen.state == "initialized", seen.state in ENDINGS
        digits = slice(None if kind.milliseconds else -4)

        def stamp(seconds: float) -> str:
            return _stamp(int(start_ms + seconds * 1000), digits)

        parts = [f'{{"activity_id":"{self.activity_id}","state":"{seen.state}"']
        if not waiting:
            parts.append(f'"started_at":"{stamp(self.started)}"')
        updated = stamp(self.created if waiting else self.started + seen.updated)
        if over:
            parts.append(f'"completed_at":"{updated}"')
        parts.append(f'"created_at":"{stamp(self.created)}","updated_at":"{updated}"')
        if self.file_name is not None:
            parts.append(f'"source_file_name":{json.dumps(self.file_name)}')
        errors = self.life.errors
        shown = errors if over else errors[: int(len(errors) * seen.done)]
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
                return self.rows + 1 if "person_count" in KINDS[self.kind].counters else self.rows
            case "person_count":
                return self.rows
            case "list_count":
                return self.lists
            case "items_completed_count":
                return int(self.rows * seen.done)
            case _:
                count: int = getattr(self.life, name)
                return count if seen.state in ENDINGS else int(count * seen.done)


def _stamp(milliseconds: int, digits: slice) -> str:
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{_hour(hours)}{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"[digits] + "Z"


@lru_cache(maxsize=1024)
def _hour(hours: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:")


def _scattered(number: int) -> int:
    # This permutes the 32-bit numbers: ids do not sort in creation order, and the number can be had back
    # without a table, which 20,000 older activities would otherwise need.
    return (number + _FIRST) * _ODD % (1 << 32)


def _id_of(number: int, node: str) -> str:
    return f"{_scattered(number):08x}-cc52-11ea-9dad-{node}"


def _number_of(some_id: str, node: str) -> int | None:
    head = some_id[:8]
    try:
        number = (int(head, 16) * _INVERSE - _FIRST) % (1 << 32)
    except ValueError:
        return None
    return number if _id_of(number, node) == some_id else None


class Jobs:
    """All jobs of the account, in creation order: `history` older ones that have ended, then those submitted.

    The older ones were created over the eight days before the start, so that a run of a day or so keeps them
    listed. They are made when they are first asked for.
    """

    def __init__(self, *, random: Random, workload: Workload, speed: float, history: int, order: str) -> None:
        if order not in _ORDERS:
            raise ValueError(f"order is one of {', '.join(_ORDERS)}")
        self._random = random
        self._workload = workload
        self._speed = speed
        self._history = history
        self._old: dict[int, Job] = {}
        self._live: list[Job] = []
        self._lanes = Lanes(workload.lanes)
        self._starts: list[float] = []
        self._pool = [self._old_life() for _ in range(_LIVES_OF_HISTORY if history else 0)]
        self._before = max((life.delay + life.duration for _, life, _ in self._pool), default=0.0)
        self._key = _ORDERS[order]
        self._places = sorted((self._key(number), number) for number in range(history))

    def __len__(self) -> int:
        return self._history + len(self._live)

    def submit(
        self, now: float, kind: str, *, rows: int | None, lists: int, file_name: str | None, life: Life | None
    ) -> Job:
        """Create a job `now`, never earlier than the one before; what is None is drawn."""
        if kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")
        rows = self._random.randint(20, 5000) if rows is None else rows
        drawn = self._workload.draw(self._random, rows=rows) if life is None else life
        lived = drawn.faster(self._speed)
        number = len(self)
        job = Job(
            number=number,
            kind=kind,
            life=lived,
            created=now,
            started=self._lanes.start(now, lived),
            rows=rows,
            lists=lists,
            file_name=file_name,
        )
        self._live.append(job)
        insort(self._starts, job.started)
        insort(self._places, (self._key(number), number))
        return job

    def find(self, activity_id: str) -> Job | None:
        """Return the job of an activity id, however old."""
        return self._known(_number_of(activity_id, _NODE))

    def find_export(self, export_id: str) -> Job | None:
        """Return the export whose results have this id."""
        job = self._known(_number_of(export_id, _RESULTS_NODE))
        return job if job is not None and job.kind == "contact_exports" else None

    def queued(self, now: float) -> int:
        """Return how many jobs wait in the queue."""
        return len(self._starts) - bisect_right(self._starts, now)

    def listed(self, now: float, *, oldest: float, state: str | None, after: Job | None) -> Iterator[Job]:
        """Yield, in the list's order, the jobs created between `oldest` and `now` that are in `state`
        (None: in any), beginning behind the job `after`.
        """
        place = 0 if after is None else bisect_right(self._places, (self._key(after.number), after.number))
        for index in range(place, len(self._places)):
            number = self._places[index][1]
            if number < self._history and (state == "processing" or state not in (None, self._pooled(number)[1].end)):
                continue  # it ended, in another state: that much is known without making it
            job = self._at(number)
            if oldest <= job.created <= now and (state is None or job.state(now) == state):
                yield job

    def _known(self, number: int | None) -> Job | None:
        return self._at(number) if number is not None and number < len(self) else None

    def _at(self, number: int) -> Job:
        if number >= self._history:
            return self._live[number - self._history]
        if number not in self._old:
            kind, life, rows = self._pooled(number)
            created = self._created(number)
            self._old[number] = Job(
                number=number, kind=kind, life=life, created=created, started=created + life.delay, rows=rows
            )
        return self._old[number]

    def _pooled(self, number: int) -> tuple[str, Life, int]:
        return self._pool[_scattered(number) % len(self._pool)]

    def _created(self, number: int) -> float:
        return -self._before - (self._history - number) * _HISTORY_DAYS * 86_400 / self._history

    def _old_life(self) -> tuple[str, Life, int]:
        rows = self._random.randint(20, 5000)
        life = self._workload.draw(self._random, rows=rows).faster(self._speed)
        return self._random.choice(_KINDS_OF_HISTORY), life, rows


_ORDERS: dict[str, Callable[[int], int]] = {
    "newest": lambda number: -number,
    "oldest": lambda number: number,
    "shuffled": _scattered,
}
