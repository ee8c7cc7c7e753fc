"""What a vendor that misbehaves for hours costs: ends told, lag and requests, beside the same world without it.

Each world runs over real HTTP against the sandbox, in virtual time, with the same seeds as the sane one beside it. A
row says whether its target is met; the program's exit code is 1 if one is not.

    nox -s hostile                      # all of it, ten minutes on two cores
    nox -s hostile -- --only clocks     # worlds whose name holds this
    nox -s hostile -- --quick           # two seeds of the worlds that say most
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import attrs

# Its own neighbours, also where PYTHONPATH names another copy of the package and of the tests.
sys.path[:0] = [str(Path(__file__).parent.parent / "tests"), str(Path(__file__).parent)]

from hostile_scenes import (  # noqa: E402
    DATE_WORLDS,
    DAY,
    FAILING,
    HOUR,
    MINUTE,
    STAMP_WORLDS,
    Run,
    clocks,
    endless_list,
    failing_ids,
    forbidden_ids,
    outage,
    progress,
    read_endless_list,
    spent_day,
    upper_case,
)

from ccactivity.testing import run  # noqa: E402

NEVER = float("inf")


class Summary(NamedTuple):
    """All seeds of a world."""

    runs: Sequence[Run]

    @property
    def ends(self) -> int:
        return sum(one.ends for one in self.runs)

    @property
    def told(self) -> int:
        return sum(len(one.lags) for one in self.runs)

    @property
    def lags(self) -> list[float]:
        return sorted(lag for one in self.runs for lag in one.lags)

    @property
    def requests(self) -> float:
        return sum(one.requests for one in self.runs) / len(self.runs)

    @property
    def measure(self) -> float:
        return max(one.measure for one in self.runs)

    def at(self, share: float) -> float:
        """Return a quantile of the lags; what was never told is infinitely late."""
        lags = [*self.lags, *[NEVER] * (self.ends - self.told)]
        return lags[min(len(lags) - 1, int(share * len(lags)))] if lags else 0.0


Scene = Callable[..., Coroutine[Any, Any, Run]]


@attrs.frozen(kw_only=True)
class World:
    """A scene with its options, beside the same scene with the options of the sane one.

    `met`: whether a summary, beside the sane one, meets the target. `measure`: what `Run.measure` is.
    """

    name: str
    scene: Scene
    options: Mapping[str, Any]
    sane: Mapping[str, Any]
    target: str
    met: Callable[[Summary, Summary], bool]
    measure: str = ""
    seeds: int = 10
    quick: bool = False


# --- the worlds and their targets -----------------------------------------------------------------------------------


def all_told(here: Summary, _sane: Summary) -> bool:
    return here.told == here.ends and not any("doubled" in one.note for one in here.runs)


def p95_twice(here: Summary, sane: Summary) -> bool:
    return all_told(here, sane) and here.at(0.95) <= 2 * sane.at(0.95)


def few_requests(here: Summary, _sane: Summary) -> bool:
    return max(one.requests for one in here.runs) <= 300


def prompt_alone(here: Summary, sane: Summary) -> bool:
    return all_told(here, sane) and here.at(1.0) <= 15.0 and here.requests <= 1.5 * sane.requests


def prompt_thirty(here: Summary, sane: Summary) -> bool:
    return all_told(here, sane) and here.at(0.95) <= 20.0 and here.requests <= 1.5 * sane.requests


def progress_goes_on(here: Summary, sane: Summary) -> bool:
    return here.measure <= 2 * sane.measure and here.requests <= 1.5 * sane.requests


def good_told(here: Summary, sane: Summary) -> bool:
    return all_told(here, sane)


def within_minutes(here: Summary, sane: Summary) -> bool:
    return all_told(here, sane) and here.at(1.0) <= sane.at(1.0) + 15 * MINUTE and here.measure <= 10


def few_pages(here: Summary, sane: Summary) -> bool:
    return all_told(here, sane) and here.requests <= sane.requests + 200 and here.measure <= 20


def ends_with_an_error(here: Summary, _sane: Summary) -> bool:
    return all("PagingError" in one.note for one in here.runs) and here.measure <= 10_001


def as_written(here: Summary, sane: Summary) -> bool:
    return p95_twice(here, sane) and here.measure == 0


def _failing_worlds() -> Iterable[World]:
    for lists in ("lists", "without the failing", "no lists"):
        for healthy in (1, 10, 30):
            for kind in FAILING:
                for failing in (1, 2, 5, 20) if kind != "another id" else (2,):
                    yield World(
                        name=f"failing ids: {failing} {kind}, {healthy} healthy, {lists}",
                        scene=failing_ids,
                        options={"kind": kind, "failing": failing, "healthy": healthy, "lists": lists},
                        sane={"healthy": healthy, "lists": lists},
                        target="all told, p95 <= 2 x",
                        met=p95_twice,
                        seeds=5 if healthy > 1 else 10,
                        quick=failing == 2 and (healthy == 10 or kind == "hang"),
                    )
    for kind in ("503", "HTML"):
        yield World(
            name=f"outage: an hour of {kind} for 30 watches",
            scene=outage,
            options={"watches": 30, "fault": kind},
            sane={"watches": 30},
            target="<= 300 requests",
            met=few_requests,
            seeds=4,
            quick=True,
        )


def _clock_worlds() -> Iterable[World]:
    for watches in (1, 30):
        for name in (*STAMP_WORLDS, *DATE_WORLDS, "updated_at in 2199 once"):
            alone = watches == 1
            yield World(
                name=f"clocks: {name}, {'one watch' if alone else 'thirty'}",
                scene=clocks,
                options={"watches": watches, "name": name},
                sane={"watches": watches},
                target=f"{'max <= 15' if alone else 'p95 <= 20'} s, requests <= 1.5 x",
                met=prompt_alone if alone else prompt_thirty,
                quick=alone,
            )


def _progress_worlds() -> Iterable[World]:
    for name in ("one updated_at 1 h ahead", "one updated_at in 2199", "the vendor's clock goes back 1 h"):
        for watches, staleness in ((1, None), (1, 30.0), (30, None)):
            usual = {"watches": watches, "max_staleness": staleness}
            who = "thirty" if watches > 1 else "max_staleness 30 s" if staleness else "one watch"
            yield World(
                name=f"progress: {name}, {who}",
                scene=progress,
                options={**usual, "name": name},
                sane=usual,
                target="longest silence <= 2 x, requests <= 1.5 x",
                met=progress_goes_on,
                measure="longest silence, s",
                seeds=6,
                quick=watches == 1,
            )


def _other_worlds() -> Iterable[World]:
    for forbidden, lists in ((5, True), (60, True), (5, False)):
        yield World(
            name=f"forbidden: 200 good, {forbidden} with 403, {'lists' if lists else 'no lists'}",
            scene=forbidden_ids,
            options={"good": 200, "forbidden": forbidden, "lists": lists},
            sane={"good": 200, "lists": lists},
            target="all good ones told",
            met=good_told,
            seeds=3,
            quick=lists,
        )
    late = {"watches": 5, "begin": "23:30"}
    early = {"watches": 5, "begin": "23:55"}
    for name, usual, wrong in (
        ("23:30, Date 1 h ahead", late, {"date": HOUR}),
        ("23:30, Date 1 h behind", late, {"date": -HOUR}),
        ("23:30, Date 5 days ahead", late, {"date": 5 * DAY}),
        ("23:55, Date 10 min ahead", early, {"date": 600.0}),
        ("23:30, own clock 1 h ahead", late, {"clock_error": HOUR}),
        ("23:30, own clock 1 h behind", late, {"clock_error": -HOUR}),
    ):
        yield World(
            name=f"spent day: {name}",
            scene=spent_day,
            options={**usual, **wrong},
            sane=usual,
            target="<= 15 min later, <= 10 requests in vain",
            met=within_minutes,
            measure="requests after quota_exceeded",
            seeds=4,
            quick=True,
        )
    for watches, hidden in ((30, 10), (30, 30), (300, 100)):
        usual = {"watches": watches, "hidden": hidden}
        yield World(
            name=f"endless list: {watches} watched, {hidden} on no page",
            scene=endless_list,
            options={**usual, "endless": True},
            sane=usual,
            target="all told, <= 200 more requests, <= 20 pages held",
            met=few_pages,
            measure="pages held",
            seeds=3,
            quick=watches == 30,
        )
    yield World(
        name="endless list: await list_activities()",
        scene=read_endless_list,
        options={"endless": True},
        sane={},
        target="PagingError after 10,000 pages",
        met=ends_with_an_error,
        measure="pages read",
        seeds=1,
    )
    for watches, lists in ((1, True), (10, True), (10, False)):
        usual = {"watches": watches, "lists": lists}
        yield World(
            name=f"upper case: {watches} watched, {'lists' if lists else 'no lists'}",
            scene=upper_case,
            options={**usual, "upper": True},
            sane=usual,
            target="all told, as they were written",
            met=as_written,
            measure="other ids told",
            seeds=5,
            quick=True,
        )


WORLDS = (*_failing_worlds(), *_clock_worlds(), *_progress_worlds(), *_other_worlds())


# --- running and showing --------------------------------------------------------------------------------------------

HEAD = """| world | seeds | told | lag mean | p95 | max | requests | sane: mean | p95 | max | requests | target | met |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|---|"""


def _keep_quiet() -> None:
    logging.getLogger("ccactivity").addHandler(logging.NullHandler())
    logging.getLogger("ccactivity").propagate = False


def job(scene: Scene, options: Mapping[str, Any], seed: int) -> Run:
    """Run one seed of a scene."""
    random.seed(f"jitter {seed}")
    return run(scene(seed, **options))


def _figures(summary: Summary) -> str:
    lags = summary.lags
    mean = _seconds(statistics.fmean(lags)) if lags else "-"
    p95, most = (_seconds(summary.at(share)) if summary.ends else "-" for share in (0.95, 1.0))
    return f"{mean} | {p95} | {most} | {summary.requests:.0f}"


def _seconds(value: float) -> str:
    return "never" if value == NEVER else f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


def show(world: World, here: Summary, sane: Summary) -> str:
    """Return the row of a world."""
    name = world.name
    if world.measure:
        name += f" ({world.measure}: {_seconds(here.measure)}, sane {_seconds(sane.measure)})"
    notes = {one.note for one in here.runs if one.note}
    if notes:
        name += f" [{', '.join(sorted(notes)[:2])}]"
    met = "yes" if world.met(here, sane) else "NO"
    figures = f"{len(here.runs)} | {here.told} / {here.ends} | {_figures(here)} | {_figures(sane)}"
    return f"| {name} | {figures} | {world.target} | {met} |"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="worlds whose name holds this")
    parser.add_argument("--seeds", type=int, default=0, help="so many seeds instead of each world's own number")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--quick", action="store_true", help="two seeds of the worlds that say most")
    options = parser.parse_args()
    worlds = [world for world in WORLDS if options.only in world.name and (world.quick or not options.quick)]
    count = options.seeds or (2 if options.quick else 0)
    missed = 0
    print(HEAD, flush=True)
    with ProcessPoolExecutor(2, initializer=_keep_quiet) as pool:
        known: dict[str, Summary] = {}

        def measure(world: World, keywords: Mapping[str, Any]) -> Summary:
            seeds = range(options.first, options.first + (count or world.seeds))
            key = f"{world.scene.__name__} {sorted(keywords.items())} {seeds}"
            if key not in known:
                known[key] = Summary(list(pool.map(partial(job, world.scene, keywords), seeds)))
            return known[key]

        for world in worlds:
            sane = measure(world, world.sane)
            here = measure(world, world.options)
            missed += not world.met(here, sane)
            print(show(world, here, sane), flush=True)
    print(f"\n{len(worlds)} worlds, {missed} miss their target")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
