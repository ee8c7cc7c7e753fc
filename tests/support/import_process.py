"""A program that imports a file under a journal, to be killed or measured: FILE LIST_ID [JOURNAL].

It prints the rows, those refused and those lost, the peak of its memory in MB, and the numbers of the refused rows.
"""

from __future__ import annotations

import asyncio
import resource
import sys

from ccactivity import ActivitySession, Quota


async def main(file: str, list_id: str, journal: str | None = None) -> None:
    async with ActivitySession.from_env(quota=Quota(per_second=100, per_day=100_000)) as session:
        result = await session.import_file(file, list_ids=[list_id], parts_at_once=2, journal=journal)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = ",".join(str(error.row) for error in result.errors)
    print(result.rows, result.refused, result.lost, f"{peak:.1f}", rows, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
