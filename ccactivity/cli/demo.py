"""A few dozen imports against the sandbox, watched with plain lines; needs no account and no network."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp

from ccactivity import Activity, ActivitySession, Quota
from ccactivity.sandbox import Sandbox, Workload

__all__ = ["run"]

# Lives of some seconds, so that the whole takes about half a minute.
_WORKLOAD = Workload(
    median=6.0, sigma=0.7, shortest=2.0, longest=18.0, delay=(0.3, 1.0), lanes=8, update_every=(0.3, 1.5)
)
_PEOPLE = ("Ada", "Grace", "Hedy", "Karen", "Radia")


def run(imports: int) -> int:
    """Run the demo and return the exit code."""
    return asyncio.run(_demo(imports))


async def _demo(imports: int) -> int:
    loop = asyncio.get_running_loop()
    async with Sandbox(workload=_WORKLOAD, seed=7, latency=0.05) as sandbox:
        print(f"A simulated vendor listens at {sandbox.base_url}; it allows 4 requests a second, as the real one does.")
        print(f"{imports} imports are submitted, and watched from the first one on.\n")
        began = loop.time()
        numbers: dict[str, int] = {}
        shown: dict[str, tuple[object, int]] = {}
        ended: dict[str, Activity] = {}
        # Half of the key's requests a second are for watching, the other half for submitting.
        async with ActivitySession(sandbox.token, base_url=sandbox.base_url, quota=Quota(per_second=2)) as session:
            async for activity in session.watch_many(_submit(sandbox, imports, numbers)):
                mark = (activity.state, (activity.percent_done or 0) // 25)
                if shown.get(activity.activity_id) != mark:
                    shown[activity.activity_id] = mark
                    print(f"{loop.time() - began:6.1f} s  import {numbers[activity.activity_id]:3}  {_line(activity)}")
                if activity.done:
                    ended[activity.activity_id] = activity
        _summarize(sandbox, ended, loop.time() - began)
        return 0 if len(ended) == imports else 1


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
                created = await answer.json()
            numbers[created["activity_id"]] = number
            yield created["activity_id"]
            await asyncio.sleep(0.55)


def _line(activity: Activity) -> str:
    text = f"{activity.state or '?':<11}"
    if not activity.done:
        return f"{text} {activity.percent_done or 0:3} %"
    refused = activity.status.refused_count
    if activity.partial:
        text += f" but {refused} {'row was' if refused == 1 else 'rows were'} refused"
    return text + (f": {activity.activity_errors[0]}" if activity.activity_errors else "")


def _summarize(sandbox: Sandbox, ended: dict[str, Activity], seconds: float) -> None:
    outcome = Counter(str(activity.state) for activity in ended.values())
    partial = sum(activity.partial for activity in ended.values())
    watching = sandbox.requests["get"] + sandbox.requests["list"]
    # What a loop that asks for each import every five seconds, from when it was submitted, would have sent.
    loops = 0
    for activity_id, activity in ended.items():
        truth = sandbox.truth(activity_id)
        if truth is not None and activity.created_at is not None:
            age = (activity.completed_at or activity.created_at) - activity.created_at
            loops += 1 + math.ceil(age.total_seconds() / 5)
    print(f"\nAll {len(ended)} imports ended within {seconds:.0f} s.")
    print("  how they ended        " + ", ".join(f"{count} {state}" for state, count in outcome.most_common()))
    print(f"                        {partial} of them completed with rows refused")
    print(f"  requests to watch     {watching}, which is {watching / max(1, len(ended)):.1f} for each import")
    print(f"  a 5 s loop for each   {loops}, and it would have learnt of each end 2.5 s late on average")
    print(f"  refused by the vendor {sandbox.violations.total}")
