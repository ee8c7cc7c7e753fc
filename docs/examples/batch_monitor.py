"""A nightly check: waits for hundreds of imports, reports the failures, ends with an exit code.

    pip install ccactivity
    python batch_monitor.py --sandbox    # offline, with 500 simulated imports
    python batch_monitor.py ids.txt      # with CCACTIVITY_ACCESS_TOKEN in the environment

| exit code | means                                             |
|-----------|---------------------------------------------------|
| 0         | all have completed, with every row                |
| 1         | some have not, or not in time: see the report     |
| 2         | wrong usage: a malformed id, no token             |
| 3         | the API refused, or could not be reached          |
| 130, 143  | interrupted or told to stop; there is no report   |
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ccactivity import Activity, ActivitySession, BatchResult, CCActivityError
from ccactivity.sandbox import Sandbox, Workload

TIMEOUT_S = 4 * 3600.0  # for each import


async def wait_for(ids: Sequence[str]) -> BatchResult:
    """Wait until each import has ended or cannot be followed, and show how far it is."""
    stop_on_sigterm()
    ended = 0

    def show_progress(activity: Activity) -> None:
        nonlocal ended
        ended += activity.done
        if activity.done and ended % 100 == 0:
            print(f"{ended} of {len(ids)} have ended", flush=True)

    async with ActivitySession.from_env() as session:
        result = await session.wait_many(ids, timeout=TIMEOUT_S, on_change=show_progress)
    print(f"{session.quota.spent:.0f} requests were sent")
    return result


def write_report(result: BatchResult, path: Path) -> int:
    """Write a line for each import that did not complete, or lost rows; return their number."""
    partial = [activity for activity in result.completed.values() if activity.partial]
    failures = [*result.failed.values(), *partial]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("activity_id", "state", "refused_rows", "reasons"))
        for activity in failures:
            refused, reasons = activity.status.refused_count, "; ".join(activity.activity_errors)
            rows.writerow((activity.activity_id, activity.state, refused, reasons))
        for activity_id, error in result.errors.items():
            rows.writerow((activity_id, "unknown", "", error))
    return len(failures) + len(result.errors)


def stop_on_sigterm() -> None:
    """Let SIGTERM cancel the running task, as Ctrl-C does: what is open is closed."""
    task = asyncio.current_task()
    assert task is not None
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def main() -> int:
    parser = argparse.ArgumentParser(description="Wait for imports, and report those that fail.")
    parser.add_argument("ids", nargs="?", type=Path, help="a file with one id per line")
    parser.add_argument("--report", type=Path, default=Path("failures.csv"))
    parser.add_argument("--sandbox", action="store_true", help="offline, with simulated imports")
    options = parser.parse_args()
    if not options.sandbox and options.ids is None:
        parser.error("give a file of ids, or --sandbox")
    with ExitStack() as stack:
        try:
            if options.sandbox:
                quick = Workload(median=0.5, sigma=0.4, lanes=500, delay=(0, 1), partial_share=0.05)
                vendor = stack.enter_context(Sandbox(workload=quick))
                os.environ.update(vendor.env)
                ids = [vendor.submit() for _ in range(500)]
            else:
                ids = options.ids.read_text().split()
            # For you alone, and not printed: what the vendor says of a row may quote the row.
            options.report.touch(mode=0o600)
            result = asyncio.run(wait_for(ids))
        except (OSError, ValueError) as error:
            parser.error(str(error))
        except CCActivityError as error:
            print(f"error: {error}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            return 130
        except asyncio.CancelledError:
            return 143
    failures = write_report(result, options.report)
    counts = (len(result.completed), len(result.failed), len(result.errors))
    print("{} completed, {} failed, {} could not be followed".format(*counts))
    print(f"{failures} to look at, in {options.report}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
