"""What others' trouble and wrong clocks may cost the healthy: the benchmark's figures, for one world of each class."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load() -> ModuleType:
    path = Path(__file__).parent.parent.parent / "benchmarks" / "hostile.py"
    spec = importlib.util.spec_from_file_location("hostile", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hostile"] = module
    spec.loader.exec_module(module)
    return module


hostile = _load()
WORLDS = {world.name: world for world in hostile.WORLDS}
SANE = {world.scene: world for world in hostile.WORLDS if world.scene is not hostile.read_endless_list}
SEEDS = range(2)


def summary(world: Any, options: Any) -> Any:
    return hostile.Summary([hostile.job(world.scene, options, seed) for seed in SEEDS])


@pytest.mark.parametrize("world", SANE.values(), ids=lambda world: world.scene.__name__)
@pytest.mark.slow
def test_a_sane_world_meets_the_targets(world: Any) -> None:
    """What a world is compared with is no excuse: everything is told there, and soon."""
    sane = summary(world, world.sane)

    assert world.met(sane, sane)
