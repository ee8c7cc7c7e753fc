"""A nightly check of a batch: waits for hundreds of imports, reports the failures, and ends with an exit code.

    pip install ccactivity
    python batch_monitor.py --sandbox        # offline, with 500 simulated imports
    python batch_monitor.py ids.txt          # one id per line; CCACTIVITY_ACCESS_TOKEN in the environment

| exit code | means                                             |
|-----------|---------------------------------------------------|
| 0         | all have completed, with every row                |
| 1         | some have not, or not in time: see the report     |
| 2         | wrong usage: a malformed id, no token             |
| 3         | the API refused, or could not be reached          |
| 130       | interrupted; the report has what was known        |
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TextIO

from ccactivity import Activity, ActivitySession, BatchError, CCActivityError
from ccactivity.sandbox import Sandbox, Workload

TIMEOUT_S = 4 * 3600.0  # for each import


async def monitor(ids: Sequence[str], report: TextIO) -> bool:
    """Wait for all imports, write the failures to a report, and tell whether there was none."""
    rows = csv.writer(report)
    rows.writerow(("activity_id", "state", "refused_rows", "reasons"))
    ended: Counter[str] = Counter()
    failures = 0
    async with (
        ActivitySession.from_env() as session,
        session.watch_many(ids, timeout=TIMEOUT_S) as watch,
    ):
        with suppress(BatchError):  # `watch.errors` has what it says
            async for activity in watch:
                if not activity.done:
                    continue
                ended[str(activity.state)] += 1
                if activity.partial or not activity.succeeded:
                    failures += 1
                    rows.writerow(as_row(activity))
                if ended.total() % 100 == 0:
                    print(f"{ended.total()} of {len(ids)} have ended", flush=True)
    for activity_id, error in watch.errors.items():
        failures += 1
        rows.writerow((activity_id, "unknown", "", str(error)))
    counts = [f"{count} {state}" for state, count in ended.most_common()]
    print(", ".join([*counts, f"{len(watch.errors)} could not be followed"]))
    print(f"{failures} in {report.name}; {session.quota.spent:.0f} requests were sent")
    return failures == 0


def as_row(activity: Activity) -> tuple[object, ...]:
    refused, reasons = activity.status.refused_count, "; ".join(activity.activity_errors)
    return activity.activity_id, activity.state, refused, reasons


def main() -> int:
    parser = argparse.ArgumentParser(description="Wait for imports, and report those that fail.")
    parser.add_argument("ids", nargs="?", type=Path, help="a file with one id per line")
    parser.add_argument("--report", type=Path, default=Path("failures.csv"))
    parser.add_argument("--sandbox", action="store_true", help="run offline, with simulated imports")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.sandbox:
            quick = Workload(median=2, sigma=0.5, lanes=500, delay=(0, 1), partial_share=0.05)
            vendor = stack.enter_context(Sandbox(workload=quick))
            os.environ.update(vendor.env)
            ids = [vendor.submit() for _ in range(500)]
        elif options.ids is None:
            parser.error("give a file of ids, or --sandbox")
        else:
            ids = options.ids.read_text().split()
        # For you alone, and not printed: what the vendor says of a row may quote the row.
        options.report.touch(mode=0o600)
        report = stack.enter_context(options.report.open("w", newline="", encoding="utf-8"))
        try:
            return 0 if asyncio.run(monitor(ids, report)) else 1
        except ValueError as error:
            parser.error(str(error))
        except CCActivityError as error:
            print(f"error: {error}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is open is closed
    sys.exit(main())
