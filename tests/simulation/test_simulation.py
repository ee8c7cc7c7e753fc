"""A share of the simulation in the suite, another one on each Python; and the same seed gives the same run."""

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
    """Each seed draws its own world; what has to be true is in `checks`."""
    hours, seed = 0.0, FIRST + share
    while hours < HOURS / SHARES:
        report = simulate(seed)
        hours, seed = hours + report.hours, seed + SHARES

        assert not report.findings, str(report)


def runs_of(seeds: list[int]) -> list[tuple[list[str], str]]:
    reports = [simulate(seed) for seed in seeds]
    return [(report.plan, report.trace) for report in reports]


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_seed_can_be_replayed() -> None:
    """In processes of their own, whatever the order of sets, a seed has the same plan and sends the same requests."""
    seeds = [2, 5, 15]
    eager = "from support.eager_tasks import install_if_asked; install_if_asked()"  # as in this process
    code = f"{eager}; from simulation.test_simulation import runs_of; print(runs_of({seeds}))"
    runs = set()
    for hashes in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
        )
        runs.add(child.stdout)

    assert {f"{runs_of(seeds)}\n"} == runs


def test_a_finding_says_how_to_replay_it() -> None:
    """One line of a failing report is the command that shows it again."""
    report = simulate(7)
    report.findings.append("seed 7 at 1.0 s: something")

    assert "replay: nox -s sim -- --seed 7" in str(report)
