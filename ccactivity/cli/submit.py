"""The command that submits a job, whose body is that of the vendor's reference. What deletes is confirmed first."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from ccactivity import SubmissionUnknownError
from ccactivity.jobs import KINDS, Job

from .exit_codes import ExitCode, UsageError, read_problem, usage_errors
from .output import ActivityWriter, OutputFormat
from .session import SessionOpening

__all__ = ["submit"]

_DELETING: Final = ("contact_delete", "contacts_tags_delete", "custom_fields_delete", "list_delete")
_MAX_IDS_NAMED: Final = 5  # of activities that a lost submission may be


async def submit(opening: SessionOpening, kind: str, body: str, *, yes: bool, form: OutputFormat) -> int:
    """Submit a job, in parts if it is more than one request takes, and write the activity of each.

    `body`: JSON, or "-" to read it from stdin. `yes`: whether a deletion needs no confirmation.
    """
    with usage_errors():
        parts = KINDS[kind].from_body(_read_body(body)).split()
    if kind in _DELETING and not yes and not _confirmed(parts, asks=body != "-"):
        print("nothing was submitted", file=sys.stderr)
        return ExitCode.FAILED
    writer = ActivityWriter(form)
    async with opening as (session, _):
        for part in parts:
            try:
                writer.write(await session.submit(part, queue=False))  # a person can come back when there is room
            except SubmissionUnknownError as error:
                if ids := [candidate.activity_id for candidate in error.candidates[:_MAX_IDS_NAMED]]:
                    error.add_note(f"look at {', '.join(ids)}")
                raise
    return ExitCode.OK


def _read_body(body: str) -> Any:
    try:
        return json.loads(sys.stdin.read() if body == "-" else body)
    except UnicodeDecodeError as error:
        problem = f"cannot read '-': {read_problem(error)}"
    except (json.JSONDecodeError, RecursionError) as error:
        # Never the text itself: it may hold people.
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        problem = f"the body is not JSON{where}"
    raise UsageError(problem)


def _confirmed(parts: tuple[Job, ...], *, asks: bool) -> bool:
    """Ask a person on a terminal; UsageError if there is none."""
    if not asks or not sys.stdin.isatty():
        raise UsageError("a deletion needs --yes where nobody can be asked")
    print(f"{', '.join(map(repr, parts))}: this cannot be undone. Type yes to go on: ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() == "yes"
