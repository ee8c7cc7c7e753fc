"""What an import is made of: parts that are read when their turn has come, from a file or from rows of a program."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final, Literal, get_args

import attrs

from ..jobs import ImportFile, Job
from .linemap import LineMap
from .plan import Duplicates, ImportPlan, SmsPermission, check_choice, check_list_ids
from .planner import plan_import
from .source import FileSource

__all__ = ["ImportOptions", "Parts", "Problems", "file_parts", "stop_if_cancelled"]

Problems = Literal["refuse", "send"]

_log: Final = logging.getLogger("ccactivity")


def _one_of(words: Any, *others: None) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        check_choice(field.name, value, (*get_args(words), *others))

    return check


@attrs.frozen(kw_only=True)
class ImportOptions:
    """What an import is told beside its source; `ActivitySession.import_file` says what each is."""

    list_ids: tuple[str, ...] = attrs.field(converter=check_list_ids)
    sms_permission_to_send: SmsPermission | None = attrs.field(default=None, validator=_one_of(SmsPermission, None))
    duplicates: Duplicates = attrs.field(default="warn", validator=_one_of(Duplicates))
    encoding: str = attrs.field(default="utf-8-sig", validator=lambda _, __, value: FileSource(b"", value))
    problems: Problems = attrs.field(default="refuse", validator=_one_of(Problems))


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


def file_parts(
    source: str | os.PathLike[str] | bytes | BinaryIO, options: ImportOptions, progress: Callable[[int], object]
) -> Parts:
    """Plan the import of a file. It blocks. ImportRefusedError for what the vendor would not take."""
    plan = plan_import(
        source,
        list_ids=options.list_ids,
        encoding=options.encoding,
        sms_permission_to_send=options.sms_permission_to_send,
        duplicates=options.duplicates,
        progress=progress,
    )
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
