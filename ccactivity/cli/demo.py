"""A few dozen imports against the sandbox, watched as any others are; needs no account and no network."""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections.abc import AsyncIterator, Iterable

import aiohttp

from ccactivity import ActivitySession, Quota
from ccactivity.sandbox import Sandbox, Workload

from .batch.follow import follow
from .exit_codes import FAILED, OK

__all__ = ["demo"]

# Lives of some seconds, so that the whole takes about half a minute.
_WORKLOAD = Workload(
    median=6.0, sigma=0.7, shortest=2.0, longest=18.0, delay=(0.3, 1.0), lanes=8, update_every=(0.3, 1.5)
)
_PEOPLE = ("Ada", "Grace", "Hedy", "Karen", "Radia")


async def demo(imports: int) -> int:
    """Run the demo and return the exit code: an import that fails is part of the show."""
    loop = asyncio.get_running_loop()
    async with Sandbox(workload=_WORKLOAD, seed=7, latency=0.05) as sandbox:
        print(f"A simulated vendor listens at {sandbox.base_url}, with the limits of the real one.")
        print(f"{imports} imports are submitted to it, and watched from the first one on.\n", flush=True)
        began = loop.time()
        numbers: dict[str, int] = {}
        # Half of the key's requests a second are for watching, the other half for submitting.
        async with ActivitySession(sandbox.token, base_url=sandbox.base_url, quota=Quota(per_second=2)) as session:
            followed = await follow(
                session,
                _submit(sandbox, imports, numbers),
                expected=imports,
                label=lambda activity_id: f"import {numbers[activity_id]:3}",
            )
        _summarize(sandbox, numbers, loop.time() - began)
        return OK if followed.code == FAILED else followed.code


async def _submit(sandbox: Sandbox, imports: int, numbers: dict[str, int]) -> AsyncIterator[str]:
    """Submit imports as any program would, and hand over the id of each."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.token}"}) as http:
        for number in range(1, imports + 1):
            body = {
                "import_data": [{"email": f"{name}.{number}@example.com", "first_name": name} for name in _PEOPLE],
                "list_ids": [str(uuid.UUID(int=number))],
            }
            url = f"{sandbox.base_url}/activities/contacts_json_import"
            async with http.post(url, json=body) as answer:
                created = json.loads(await answer.read())  # its own json() shows the headers when it fails
            numbers[created["activity_id"]] = number
            yield created["activity_id"]
            await asyncio.sleep(0.55)


def _summarize(sandbox: Sandbox, ids: Iterable[str], seconds: float) -> None:
    watching = sandbox.requests["get"] + sandbox.requests["list"]
    # What a loop that asks for each import every five seconds, from when it was submitted, would have sent.
    count = loops = 0
    for activity_id in ids:
        if sandbox.truth(activity_id) is not None:
            count += 1
            job = sandbox.vendor.job(activity_id)
            loops += 1 + math.ceil((job.ended - job.created) / 5)
    print(f"\nAll {count} imports ended within {seconds:.0f} s.")
    print(f"  requests to watch     {watching}, which is {watching / max(1, count):.1f} for each import")
    print(f"  a 5 s loop for each   {loops}, learning of each end 2.5 s late on average")
    print(f"  refused by the vendor {sandbox.violations.total}")
