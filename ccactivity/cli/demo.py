"""The command `demo`: a few dozen imports against the sandbox, watched like any others; needs no account or network."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Final

import aiohttp

from ccactivity import ActivitySession, CCActivityError, Quota
from ccactivity.sandbox import Sandbox, Workload

from .batch.follow import follow
from .exit_codes import ExitCode
from .web import serve_beside

__all__ = ["demo"]

# Imports that take some seconds each, so that thirty take half a minute. Each tells of its progress until its end:
# while the last one is silent, the time that is left can only be guessed, and the guess would stand still.
_WORKLOAD: Final = Workload(
    median=4.0,
    sigma=0.4,
    shortest=2.0,
    longest=8.0,
    delay=(0.2, 0.6),
    lanes=5,
    update_every=(0.3, 1.2),
    silent_share=0.0,
    idle_share=0.0,
)
_SEED: Final = 14
_FIRST_NAMES: Final = ("Ada", "Grace", "Hedy", "Karen", "Radia")
_SUBMIT_INTERVAL_S: Final = 0.55  # twice a second: the other half of the key's requests is for watching
_LOOP_INTERVAL_S: Final = 5.0


async def demo(imports: int, *, web: bool = False) -> int:
    """Run the demo and return the exit code: an import that fails is part of the show. `web`: on a page, too."""
    loop = asyncio.get_running_loop()
    numbers: dict[str, int] = {}
    learnt_at: dict[str, float] = {}
    async with Sandbox(workload=_WORKLOAD, seed=_SEED, latency=0.05) as sandbox:
        print(f"A simulated vendor listens at {sandbox.base_url}, with the limits of the real one.")
        print(f"{imports} imports are submitted to it, and watched from the first one on.\n", flush=True)
        began = loop.time()
        quota = Quota(per_second=2)
        notes: list[asyncio.Task[None]] = []
        async with (
            ActivitySession(sandbox.token, base_url=sandbox.base_url, quota=quota) as session,
            serve_beside(session, (), title="Demo: simulated imports") if web else nullcontext() as board,
        ):

            async def submitted() -> AsyncIterator[str]:
                async for activity_id in _submit(sandbox, imports, numbers):
                    if board is not None:
                        board.follow(activity_id)
                    notes.append(loop.create_task(_note_end(sandbox, session, activity_id, learnt_at)))
                    yield activity_id

            outcome = await follow(
                session.watch_many(submitted()),
                quota,
                expected=imports,
                label=lambda activity_id: f"import {numbers[activity_id]:3}",
            )
            await asyncio.gather(*notes)
        _print_summary(sandbox, learnt_at, loop.time() - began)
        return ExitCode.OK if outcome.exit_code is ExitCode.FAILED else outcome.exit_code


async def _note_end(sandbox: Sandbox, session: ActivitySession, activity_id: str, learnt_at: dict[str, float]) -> None:
    """Note when the session learns that an import has ended. A second watch of an activity costs no request."""
    with suppress(CCActivityError):  # which the batch reports
        async for _ in session.watch(activity_id):
            pass
        learnt_at[activity_id] = sandbox.now


async def _submit(sandbox: Sandbox, imports: int, numbers: dict[str, int]) -> AsyncIterator[str]:
    """Submit imports as any program would, number them from 1, and hand over the id of each."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.token}"}) as http:
        for number in range(1, imports + 1):
            body = {
                "import_data": [{"email": f"{name}.{number}@example.com", "first_name": name} for name in _FIRST_NAMES],
                "list_ids": [str(uuid.UUID(int=number))],
            }
            url = f"{sandbox.base_url}/activities/contacts_json_import"
            async with http.post(url, json=body) as response:
                created = json.loads(await response.read())  # the errors of response.json() would show the token
            numbers[created["activity_id"]] = number
            yield created["activity_id"]
            await asyncio.sleep(_SUBMIT_INTERVAL_S)


def _print_summary(sandbox: Sandbox, learnt_at: Mapping[str, float], seconds: float) -> None:
    """Print what watching took beside what a loop that asks for each import would have taken.

    The loop begins when an import is submitted, and meets no limit.
    """
    jobs = [sandbox.vendor.job(activity_id) for activity_id in learnt_at]
    lags = [learnt - job.ended for learnt, job in zip(learnt_at.values(), jobs, strict=True)]
    waits = [math.ceil((job.ended - job.created) / _LOOP_INTERVAL_S) for job in jobs]
    loop_lags = [job.created + wait * _LOOP_INTERVAL_S - job.ended for job, wait in zip(jobs, waits, strict=True)]
    requests = sandbox.requests["get"] + sandbox.requests["list"]
    print(f"\nAll {len(jobs)} imports ended within {seconds:.0f} s. Lag is the time from an end to the news of it.\n")
    print(f"{'':22}  {'requests':>8}  {'mean lag':>8}  {'longest lag':>11}")
    _print_costs("this watch", requests, lags)
    _print_costs(f"a {_LOOP_INTERVAL_S:.0f} s loop for each", len(jobs) + sum(waits), loop_lags)
    print(f"{'refused by the vendor':22}  {sandbox.violations.total:8}")


def _print_costs(name: str, requests: int, lags: Sequence[float]) -> None:
    mean, longest = (f"{value:.1f} s" for value in (statistics.fmean(lags), max(lags)))
    print(f"{name:22}  {requests:8}  {mean:>8}  {longest:>11}")
