"""What an import is made of: parts that are read when their turn has come, from a file or from rows of a program."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from ..jobs import ImportFile, Job
from .linemap import LineMap
from .plan import ImportOptions, ImportPlan
from .planner import plan_source
from .source import FileSource

__all__ = ["Parts", "file_parts", "stop_if_cancelled"]

_log: Final = logging.getLogger("ccactivity")


@attrs.frozen(kw_only=True)
class Parts:
    """What is imported, in parts that are numbered from 1.

    `rows`: how many each has. `read`: reads one, to be sent by a name, and says where its rows are; it blocks.
    `identity`: what makes it this import and no other, for a journal. `stem`: with which the names of files begin.
    `plan`: of a file that can be read again. `duplicates`: as in `ImportPlan`. `exact`: whether it is known how the
    vendor counts lines.
    """

    rows: Sequence[int]
    read: Callable[[int, str], tuple[Job, LineMap]]
    identity: Mapping[str, Any] = attrs.field(factory=dict)
    stem: str = "contacts"
    plan: ImportPlan | None = None
    duplicates: tuple[tuple[int, int], ...] = ()
    exact: bool = True


def stop_if_cancelled() -> Callable[[int], None]:
    """Return a `progress` for `file_parts`, which ends the thread of it when the task that runs now is cancelled."""
    task = asyncio.current_task()

    def check(_: int) -> None:
        if task is not None and task.cancelling():
            raise InterruptedError("the import was cancelled")  # which nobody sees: the task ends as cancelled

    return check


def file_parts(source: FileSource, options: ImportOptions, progress: Callable[[int], object]) -> Parts:
    """Plan the import of a file. It blocks. ImportRefusedError for what the vendor would not take."""
    plan = plan_source(source, options, progress)
    if options.problems == "refuse":
        plan.raise_for_problems()
    for warning in plan.warnings:
        _log.warning("%s", warning)

    def read(number: int, file_name: str) -> tuple[Job, LineMap]:
        part = plan.read_part(number)
        permission = options.sms_permission_to_send
        job = ImportFile(
            part.content, file_name=file_name, list_ids=options.list_ids, sms_permission_to_send=permission
        )
        return job, part.line_map

    cuts = [(part.start, part.end, part.rows) for part in plan.parts]
    identity = {
        "source": plan.sha256,
        **attrs.asdict(options, filter=attrs.filters.exclude("problems")),
        "parts": len(cuts),
        "cuts": hashlib.sha256(repr(cuts).encode()).hexdigest()[:16],
    }
    stem = "contacts" if plan.path is None else plan.path.stem
    return Parts(
        rows=[part.rows for part in plan.parts],
        read=read,
        identity=identity,
        stem=stem,
        plan=plan,
        duplicates=plan.duplicates,
    )
