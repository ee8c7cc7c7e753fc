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
| 130, 143  | interrupted, or told to stop                      |

The report is written however it ends: each import that did not complete with every row, as far as is known.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ccactivity import Activity, ActivitySession, CCActivityError
from ccactivity.sandbox import Sandbox, Workload

TIMEOUT_S = 4 * 3600.0  # for each import


async def wait_for(ids: Sequence[str], seen: dict[str, Activity]) -> Mapping[str, CCActivityError]:
    """Wait until each import has ended or cannot be followed; return why those cannot.

    `seen` is given the newest snapshot of each import: it is there if the wait ends early.
    """
    stop_on_sigterm()
    ended = 0

    def take(activity: Activity) -> None:
        nonlocal ended
        seen[activity.activity_id] = activity
        ended += activity.done
        if activity.done and ended % 100 == 0:
            print(f"{ended} of {len(ids)} have ended", flush=True)

    async with ActivitySession.from_env() as session:
        result = await session.wait_many(ids, timeout=TIMEOUT_S, on_change=take)
    print(f"{session.quota.spent:.0f} requests were sent")
    return result.errors


def failures(
    ids: Sequence[str],
    seen: Mapping[str, Activity],
    errors: Mapping[str, CCActivityError],
) -> Iterator[tuple[object, ...]]:
    """Yield a row of the report for each import that did not complete, or lost rows."""
    for activity_id in dict.fromkeys(ids):
        activity = seen.get(activity_id)
        if activity is None or not activity.done:
            state = activity.state if activity else "unknown"
            yield activity_id, state, "", errors.get(activity_id, "was not seen to end")
        elif activity.partial or not activity.succeeded:
            reasons = "; ".join(activity.activity_errors)
            yield activity_id, activity.state, activity.status.refused_count, reasons


def write_report(rows: Sequence[tuple[object, ...]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        report = csv.writer(file)
        report.writerow(("activity_id", "state", "refused_rows", "reasons"))
        report.writerows(rows)


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
    ids: list[str] = []
    seen: dict[str, Activity] = {}
    errors: Mapping[str, CCActivityError] = {}
    code = 0
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
            options.report.chmod(0o600)  # also if it was there already
            errors = asyncio.run(wait_for(ids, seen))
        except (OSError, ValueError) as error:
            parser.error(str(error))
        except CCActivityError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 3
        except KeyboardInterrupt:
            code = 130
        except asyncio.CancelledError:
            code = 143
    rows = list(failures(ids, seen, errors))
    write_report(rows, options.report)
    ended = [activity for activity in seen.values() if activity.done]
    completed = sum(activity.succeeded for activity in ended)
    print(f"{completed} completed, {len(ended) - completed} failed, {len(errors)} could not be followed")
    print(f"{len(rows)} to look at, in {options.report}")
    return code or (1 if rows else 0)


if __name__ == "__main__":
    sys.exit(main())
