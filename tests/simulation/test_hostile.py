"""What others' trouble and wrong clocks may cost the healthy: the benchmark's figures, for one world of each class."""

from __future__ import annotations

from typing import Any

import pytest
from support.benchmarks import load

hostile = load("hostile")
WORLDS = {world.name: world for world in hostile.WORLDS}
SANE = {world.scene: world for world in hostile.WORLDS if world.scene is not hostile.read_endless_list}
TARGETS = (
    "failing ids: 2 503, 10 healthy, no lists",
    "failing ids: 2 hang, 1 healthy, without the failing",
    "failing ids: 20 hang, 30 healthy, no lists",
    "outage: an hour of 503 for 30 watches",
    "clocks: started_at 5 days early, one watch",
    "clocks: updated_at 9 days ahead, first minute, one watch",
    "clocks: Date 6 h ahead, thirty",
    "clocks: updated_at in 2199 once, thirty",
    "progress: the vendor's clock goes back 1 h, max_staleness 30 s",
    "forbidden: 200 good, 5 with 403, lists",
    "spent day: 23:30, Date 1 h ahead",
    "endless list: 30 watched, 10 on no page",
    "upper case: 10 watched, lists",
)
SEEDS = range(2)


def summary(world: Any, options: Any) -> Any:
    return hostile.Summary([hostile.job(world.scene, options, seed) for seed in SEEDS])


@pytest.mark.parametrize("world", SANE.values(), ids=lambda world: world.scene.__name__)
@pytest.mark.slow
@pytest.mark.long
def test_a_sane_world_meets_the_targets(world: Any) -> None:
    """What a world is compared with is no excuse: everything is told there, and soon."""
    sane = summary(world, world.sane)

    assert world.met(sane, sane)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.slow
@pytest.mark.long
def test_a_hostile_world_costs_the_healthy_little(name: str) -> None:
    """The target of each class, in one of its worlds; `nox -s hostile` has them all."""
    world = WORLDS[name]
    here, sane = summary(world, world.options), summary(world, world.sane)

    assert world.met(here, sane), hostile.show(world, here, sane)
