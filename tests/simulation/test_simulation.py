"""A share of the simulation in the suite, another one on each Python; and the same seed gives the same trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .world import simulate

ROOT = Path(__file__).parent.parent.parent
SHARES = 4  # so that several workers may take them
HOURS = 20.0
FIRST = 1000 * sys.version_info.minor  # `nox -s sim` begins at 0, and goes on for longer


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.timeout(120)
@pytest.mark.slow
def test_the_promises_hold_whatever_happens(share: int) -> None:
    """Each seed draws its own world; the invariants are those of `simulation`."""
    hours, seed = 0.0, FIRST + share
    while hours < HOURS / SHARES:
        report = simulate(seed)
        hours, seed = hours + report.hours, seed + SHARES

        assert not report.findings, str(report)


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_seed_can_be_replayed() -> None:
    """In processes of their own, whatever the order of sets, a seed sends the same requests at the same times."""
    seeds = [2, 5]
    code = "from simulation.world import simulate; print([simulate(seed).trace for seed in %r])" % seeds  # noqa: UP031
    traces = set()
    for hashes in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
        )
        traces.add(child.stdout)

    assert {f"{[simulate(seed).trace for seed in seeds]}\n"} == traces


def test_a_finding_says_how_to_replay_it() -> None:
    """One line of a failing report is the command that shows it again."""
    report = simulate(7)
    report.findings.append("seed 7 at 1.0 s: something")

    assert "replay: nox -s sim -- --seed 7" in str(report)
