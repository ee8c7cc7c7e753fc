"""What watching costs and never costs: the smallest workloads of the benchmark, and what a session tells of itself."""

from __future__ import annotations

import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from support.benchmarks import load
from support.vendor import VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import run

economy = load("economy")


@pytest.mark.parametrize(
    "world",
    [
        economy.World(name="one", count=1),
        economy.World(name="ten", count=10),
        economy.World(name="a hundred", count=100),
        economy.World(name="oldest first", count=40, history=700, order="oldest"),
        economy.World(name="shuffled", count=40, history=700, order="shuffled"),
        economy.World(name="stale rows", count=40, stale_rows=30.0),
        economy.World(name="silent", count=40, progress="none"),
        economy.World(name="little left", count=100, left=100),
    ],
    ids=lambda world: world.name,
)
@pytest.mark.slow
def test_nothing_is_refused_lost_or_doubled(world: Any) -> None:
    """Whatever the list looks like and however little is left of the day, each end is reported exactly once."""
    outcomes = [run(economy.ours(world, seed)) for seed in range(2)]

    assert [0, 0] == [outcome.lost for outcome in outcomes]
    assert [0, 0] == [outcome.doubled for outcome in outcomes]
    assert [0, 0] == [outcome.refused for outcome in outcomes]


@pytest.mark.slow
def test_a_higher_price_costs_fewer_requests() -> None:
    """`Pacing.price` is the one knob: four times the price makes clearly fewer requests."""
    world = economy.World(name="", count=60)
    cheap, dear = (run(economy.ours(world, 1, price)).requests for price in (1.0, 4.0))

    assert dear < 0.8 * cheap


def test_an_oracle_needs_a_look_for_each_cluster_of_ends() -> None:
    """The bound: whoever knows every end asks once for those close together, and less often if they may be late."""
    assert 2 == economy.oracle([0.0, 0.1, 100.0, 100.1], 1.0)
    assert 1 == economy.oracle([0.0, 1.0, 2.0], 10.0)


def test_figures_are_written_with_the_command_that_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known is null, and how long the machine took is left out: another run can be compared."""
    monkeypatch.setattr(sys, "argv", ["economy.py", "--only", "N=100, k=8"])
    economy.write_json([{"world": "N=1", "each": 2.0 / 3.0, "p50": math.nan, "refused": 0, "cpu": 1.5}], tmp_path / "x")

    assert json.loads((tmp_path / "x").read_text(encoding="utf-8")) == {
        "command": "nox -s economy -- --only 'N=100, k=8'",
        "rows": [{"world": "N=1", "each": 0.667, "p50": None, "refused": 0}],
    }


async def test_a_session_tells_what_it_is_doing(vendor: VendorFactory) -> None:
    """`stats` counts watches, requests by kind and ends, and tells price and credit."""
    async with vendor() as (sandbox, session):
        before = session.stats
        jobs = [sandbox.submit(sb.Life(duration=20.0 * number)) for number in range(1, 6)]
        watching = set()
        async for _ in session.watch_many(jobs):
            watching.add(session.stats.watching)
        await session.get_activity(jobs[0])
        after = session.stats

        assert (0, 0, None) == (before.watching, before.finished, before.requests_per_finished)
        assert 5 in watching
        assert (0, 5) == (after.watching, after.finished)
        assert {kind: count for kind, count in sandbox.requests.items() if count} == dict(after.requests)
        assert sum(after.requests.values()) / 5 == after.requests_per_finished
        assert 1.0 <= after.price < 1.1
        assert 480 < after.credit <= 500


async def test_without_limits_watching_is_as_eager_as_ever(vendor: VendorFactory) -> None:
    """`Quota.unlimited()` is a budget that never drains: the price is the one that was asked for."""
    async with vendor(per_second=None, per_day=None, quota=cc.Quota.unlimited()) as (sandbox, session):
        assert 1.0 == session.stats.price
        await session.wait(sandbox.submit(sb.Life(duration=600)))

        assert sandbox.now < 660


async def test_each_decision_says_why(vendor: VendorFactory, caplog: pytest.LogCaptureFixture) -> None:
    """One DEBUG line for each request that a watch makes: what, why, and at which price."""
    async with vendor() as (sandbox, session):
        with caplog.at_level(logging.DEBUG, "ccactivity"):
            await session.wait_many([sandbox.submit(sb.Life(duration=30)) for _ in range(5)])
        why = [record.getMessage() for record in caplog.records if "price" in record.getMessage()]

        assert len(sandbox.log) == len(why)
        assert all("expected lag" in line for line in why)


async def test_an_awaited_watch_looks_at_once_beside_thousands(vendor: VendorFactory) -> None:
    """Somebody who awaits a first look does not wait for the pace of the others."""
    async with vendor(workload=sb.Workload(lanes=2000)) as (sandbox, session):
        batch = session.watch_many([sandbox.submit(sb.Life(duration=5000)) for _ in range(600)])
        await anext(batch)
        asked = sandbox.now
        async with await session.watch(sandbox.submit(sb.Life(duration=5000))):
            waited = sandbox.now - asked
        await batch.aclose()

        assert waited < 1.5
