"""A program that imports a file under a journal, to be killed: FILE JOURNAL LIST_ID; the environment names the vendor."""

from __future__ import annotations

import asyncio
import sys

from ccactivity import ActivitySession


async def main(file: str, journal: str, list_id: str) -> None:
    async with ActivitySession.from_env() as session:
        result = await session.import_file(file, list_ids=[list_id], parts_at_once=2, journal=journal)
        print(result.rows, result.refused, result.lost, *(error.row for error in result.errors), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
