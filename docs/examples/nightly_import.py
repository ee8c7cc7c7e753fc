"""A nightly import: a file is imported under a journal, so that a machine that dies in the middle costs nothing.

    pip install ccactivity
    python nightly_import.py --sandbox                 # offline, with a made-up file
    python nightly_import.py contacts.csv LIST_ID      # with CCACTIVITY_ACCESS_TOKEN in the environment

Have cron or systemd run it again when it was killed: the same command goes on, and no row is imported twice. Its
journal is removed when everything has ended. Rows that were refused are in contacts.rejects.csv, to be corrected.

| exit code | means                                                  |
|-----------|--------------------------------------------------------|
| 0         | all rows were imported                                 |
| 1         | some rows were refused, or some parts failed           |
| 2         | a bad file, a journal of another import, no token      |
| 3         | the API refused, or could not be reached: run it again |
| 130, 143  | interrupted, or told to stop: run it again             |
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from ccactivity import (
    ActivitySession,
    CCActivityError,
    ImportFailedError,
    ImportRefusedError,
    ImportResult,
    JournalError,
)
from ccactivity.sandbox import Sandbox, Workload

SANDBOX_LIST = "5b8f3a2c-0d0e-4c1a-9f43-2f0a7d1e6b11"


async def import_tonight(file: Path, list_id: str) -> ImportResult:
    """Import a file, or go on where the last run was stopped; print how far it is."""
    stop_on_sigterm()
    async with ActivitySession.from_env() as session:
        importing = session.import_file(file, list_ids=[list_id], duplicates="keep-last", journal=journal_of(file))
        try:
            async for step in importing:
                print(f"{step.sent:,} of {step.rows:,} rows sent, {step.percent:.0f}% done", flush=True)
            result = await importing
        except ImportFailedError as error:
            print(f"error: {error}: {'; '.join(map(str, error.errors.values()))}", file=sys.stderr)
            result = error.result
    return result


def journal_of(file: Path) -> Path:
    return file.with_suffix(".journal")


def report(file: Path, result: ImportResult) -> int:
    """Write the refused rows beside the file, say how it went, and remove the journal."""
    print(f"{result.rows:,} rows, {result.refused:,} refused, {result.lost:,} in parts that failed")
    if result.errors:
        rejects = file.with_suffix(".rejects.csv")
        print(f"{result.write_rejects(rejects):,} rows to look at, in {rejects.name}")
    journal_of(file).unlink()  # everything is written down: tomorrow's file is another import
    return 1 if result.refused or result.lost else 0


def stop_on_sigterm() -> None:
    """Let SIGTERM cancel the running task, as Ctrl-C does: what is open is closed."""
    task = asyncio.current_task()
    assert task is not None
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def make_up_contacts(file: Path) -> None:
    rows = [f"reader-{number}@example.org,Ada" for number in range(1, 90_001)]
    rows[41] = "nobody at example.org,Ada"
    file.write_text("\n".join(["email,first_name", *rows, ""]))


def main() -> int:
    parser = argparse.ArgumentParser(description="Import a file, and go on where the last run was stopped.")
    parser.add_argument("file", nargs="?", type=Path, help="CSV file with a header")
    parser.add_argument("list_id", nargs="?", help="the contact list to import into")
    parser.add_argument("--sandbox", action="store_true", help="offline, with a made-up file")
    options = parser.parse_args()
    if not options.sandbox and options.list_id is None:
        parser.error("give a file and the id of a contact list, or --sandbox")
    with ExitStack() as stack:
        if options.sandbox:
            quick = Workload(median=1, sigma=0.3, delay=(0, 0.5), failed_share=0, cancelled_share=0, timed_out_share=0)
            vendor = stack.enter_context(Sandbox(workload=quick))
            os.environ.update(vendor.env)
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            options.file, options.list_id = Path(folder, "contacts.csv"), SANDBOX_LIST
            make_up_contacts(options.file)
        try:
            return report(options.file, asyncio.run(import_tonight(options.file, options.list_id)))
        except (ImportRefusedError, JournalError, OSError, ValueError) as error:
            parser.error(str(error))
        except CCActivityError as error:
            print("; ".join([f"error: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            return 130
        except asyncio.CancelledError:
            return 143


if __name__ == "__main__":
    sys.exit(main())
