"""Files of contacts, and what tests of imports ask of the vendor afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ccactivity import ActivitySession
from ccactivity.sandbox import Sandbox, Workload

LISTS = ["5b8f3a2c-0d0e-4c1a-9f43-2f0a7d1e6b11"]
ROWS_OF_A_PART = 39_999  # the vendor takes 40,000 lines, one of which is the header
STEADY = Workload(
    median=20.0,
    sigma=0.3,
    silent_share=0.0,
    idle_share=0.0,
    stall_share=0.0,
    failed_share=0.0,
    cancelled_share=0.0,
    timed_out_share=0.0,
)


def addresses(count: int) -> list[str]:
    return [f"{number}@a.io" for number in range(count)]


def contacts(count: int, *, bad: Iterable[int] = ()) -> bytes:
    """A file of so many rows; those with the numbers `bad`, from 1, have no address that the vendor takes."""
    rows = addresses(count)
    for row in bad:
        rows[row - 1] = f"{row - 1} at a.io"
    return "\n".join(["email", *rows, ""]).encode()


async def imported(sandbox: Sandbox, session: ActivitySession) -> Counter[str]:
    """How often each address was imported, by all jobs that the vendor has."""
    found: Counter[str] = Counter()
    async for activity in session.list_activities():
        found.update(row["email"] for row in sandbox.rows(activity.activity_id))
    return found


def once(count: int) -> Counter[str]:
    """What `imported` returns of so many rows that were imported once each."""
    return Counter(addresses(count))
