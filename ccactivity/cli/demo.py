"""The command `demo`: a few dozen imports against the sandbox, watched like any others; needs no account or network."""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Final

import aiohttp

from ccactivity import ActivitySession, Quota
from ccactivity.sandbox import Sandbox, Workload

from .batch.follow import follow
from .exit_codes import ExitCode

__all__ = ["demo"]

# Imports that take some seconds each, so that the whole takes about half a minute.
_WORKLOAD: Final = Workload(
    median=6.0, sigma=0.7, shortest=2.0, longest=18.0, delay=(0.3, 1.0), lanes=8, update_every=(0.3, 1.5)
)
_FIRST_NAMES: Final = ("Ada", "Grace", "Hedy", "Karen", "Radia")
_SUBMIT_INTERVAL_S: Final = 0.55  # twice a second: the other half of the key's requests is for watching
_LOOP_INTERVAL_S: Final = 5.0


async def demo(imports: int) -> int:
    """Run the demo and return the exit code: an import that fails is part of the show."""
    loop = asyncio.get_running_loop()
    async with Sandbox(workload=_WORKLOAD, seed=7, latency=0.05) as sandbox:
        print(f"A simulated vendor listens at {sandbox.base_url}, with the limits of the real one.")
        print(f"{imports} imports are submitted to it, and watched from the first one on.\n", flush=True)
        began = loop.time()
        numbers: dict[str, int] = {}
        async with ActivitySession(sandbox.token, base_url=sandbox.base_url, quota=Quota(per_second=2)) as session:
            outcome = await follow(
                session.watch_many(_submit(sandbox, imports, numbers)),
                session.quota,
                expected=imports,
                label=lambda activity_id: f"import {numbers[activity_id]:3}",
            )
        _print_summary(sandbox, numbers, loop.time() - began)
        return ExitCode.OK if outcome.exit_code is ExitCode.FAILED else outcome.exit_code


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


def _print_summary(sandbox: Sandbox, ids: Iterable[str], seconds: float) -> None:
    requests = sandbox.requests["get"] + sandbox.requests["list"]
    jobs = [sandbox.vendor.job(activity_id) for activity_id in ids if sandbox.truth(activity_id) is not None]
    # What a loop that asks for each import from when it was submitted would have sent.
    loop_requests = sum(1 + math.ceil((job.ended - job.created) / _LOOP_INTERVAL_S) for job in jobs)
    print(f"\nAll {len(jobs)} imports ended within {seconds:.0f} s.")
    print(f"  requests to watch     {requests}, which is {requests / max(1, len(jobs)):.1f} for each import")
    print(f"  a 5 s loop for each   {loop_requests}, learning of each end 2.5 s late on average")
    print(f"  refused by the vendor {sandbox.violations.total}")
