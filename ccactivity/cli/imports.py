"""The command `import`: a file is checked, sent and followed, and its refused rows are told by their lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import attrs

from ccactivity import (
    Activity,
    CCActivityError,
    Import,
    ImportFailedError,
    ImportRefusedError,
    ImportResult,
    RowError,
    plan_import,
)
from ccactivity._text import escape

from .batch.follow import follow
from .exit_codes import ExitCode, UsageError, exit_code, print_error, usage_errors
from .output import print_json, print_note
from .session import SessionOpening

__all__ = ["check", "import_"]

_MAX_SHOWN: Final = 20  # problems or refused rows, for people; JSON and the file of rejects have all
_ALL_AT_ONCE: Final = 1_000_000


def check(file: Path, *, as_json: bool, **options: Any) -> int:
    """Say what importing a file would do, offline; the exit code is 2 if the vendor would not take all of it."""
    try:
        plan = plan_import(file, **options)
    except ImportRefusedError as error:
        return _refuse(error, as_json=as_json)
    except (OSError, ValueError) as error:
        raise _unusable(file, error) from None
    for warning in plan.warnings:
        print_note(f"note: {escape(warning)}")
    if as_json:
        parts = [attrs.asdict(part, filter=lambda field, _: not field.name.startswith("_")) for part in plan.parts]
        counts = {"rows": plan.rows, "requests": plan.requests, "problems": plan.problem_count}
        print_json({**counts, "duplicates": plan.duplicate_count, "dropped": plan.dropped, "parts": parts})
    else:
        count = f"{len(plan.parts)} part{'' if len(plan.parts) == 1 else 's'}"
        print(f"{plan.rows:,} rows in {count}, about {plan.requests} requests; {plan.problem_count:,} problems")
    if not plan.problem_count:
        return ExitCode.OK
    return _refuse(ImportRefusedError.of(plan.problems, plan.problem_count), as_json=as_json)


def _unusable(file: Path, error: Exception) -> UsageError:
    """Say why a file cannot be read, or with what it cannot be read; and what was sent of it before."""
    text = f"cannot read {str(file)!r}: {error.strerror}" if isinstance(error, OSError) else str(error)
    return UsageError("; ".join([text, *getattr(error, "__notes__", ())]))


def _refuse(error: ImportRefusedError, *, as_json: bool) -> int:
    """Print what is wrong with a file, and return the exit code."""
    if as_json:
        for problem in error.problems:
            print_json(attrs.asdict(problem))
    if not error.problems:
        return print_error(error)
    for problem in error.problems[:_MAX_SHOWN]:
        print_note(f"error: {escape(str(problem))}")
    if error.count > _MAX_SHOWN:
        print_note(f"error: and {error.count - _MAX_SHOWN:,} more problems")
    return ExitCode.USAGE


async def import_(
    opening: SessionOpening,
    file: Path,
    *,
    rejects: Path | None,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Import a file; `options` are those of `ActivitySession.import_file`. Without `wait`, end when all is sent.

    `rejects`: a file for the rows that were refused.
    """
    _check_rejects(rejects, file)
    if not wait:
        options["parts_at_once"] = _ALL_AT_ONCE
    async with opening as (session, _):
        with usage_errors():
            importing = session.import_file(file, **options)
        async with importing:
            parts = _Parts(importing)
            try:
                await parts.begin()
                if not wait:
                    return await _send(parts, as_json=as_json)
                await follow(parts, session.quota, expected=parts.count, as_json=as_json)
                result, errors = await _result_of(importing)
            except ImportRefusedError as error:
                return _refuse(error, as_json=as_json)
            except OSError as error:
                raise _unusable(file, error) from None
    code = _report(result, errors, as_json=as_json)
    return _write_rejects(result, rejects) or code


def _check_rejects(path: Path | None, source: Path) -> None:
    """UsageError, before anything is sent, for a file that could not be written afterwards."""
    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {str(path)!r}: there is no such folder")
    if path is not None and path.exists() and source.exists() and path.samefile(source):
        raise UsageError(f"cannot write {str(path)!r}: it is the file that is imported")


async def _send(parts: _Parts, *, as_json: bool) -> int:
    """Print the id of each part once it is sent."""
    sent: set[str] = set()
    async for activity in parts:
        if activity.activity_id not in sent:
            sent.add(activity.activity_id)
            if as_json:
                print_json(activity.as_dict())
            else:
                print(escape(activity.activity_id), flush=True)
        if parts.all_sent:
            return ExitCode.OK
    return _report(*await _result_of(parts.importing), as_json=as_json)


async def _result_of(importing: Import) -> tuple[ImportResult, Mapping[str, CCActivityError]]:
    try:
        return await importing, {}
    except ImportFailedError as failed:
        return failed.result, failed.errors


@attrs.define(eq=False)
class _Parts:
    """The parts of an import as a batch that is watched: the snapshots of each, as they change."""

    importing: Import
    count: int = 0
    all_sent: bool = False
    errors: dict[str, CCActivityError] = attrs.field(factory=dict)
    _seen: dict[str, Activity] = attrs.field(factory=dict)
    _new: list[Activity] = attrs.field(factory=list)

    async def begin(self) -> None:
        """Have the file planned; raises what is wrong with it."""
        await self._step()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.importing.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Activity:
        while not self._new:
            try:
                await self._step()
            except ImportFailedError:  # which the result tells of
                raise StopAsyncIteration from None
        return self._new.pop(0)

    async def _step(self) -> None:
        step = await anext(self.importing)
        self.count, self.all_sent = step.parts, step.sent == step.rows
        self._new += [activity for activity in step.activities if self._seen.get(activity.activity_id) != activity]
        self._seen.update((activity.activity_id, activity) for activity in step.activities)


def _report(result: ImportResult, errors: Mapping[str, CCActivityError], *, as_json: bool) -> int:
    """Print the rows that were refused, the parts that failed and the sums; return the exit code."""
    for part, error in errors.items():
        print_error(error, part)
    if as_json:
        for row in result.errors:
            print_json(attrs.asdict(row))
        counts = {"rows": result.rows, "refused": result.refused, "lost": result.lost}
        print_json({**counts, "repeated": result.repeated, "errors": {part: str(e) for part, e in errors.items()}})
    else:
        _print_refused(result.errors)
        good = result.rows - result.refused - result.lost
        lost = f", {result.lost:,} in parts that failed" if result.lost else ""
        print(f"{result.rows:,} rows: {good:,} imported, {result.refused:,} refused{lost}")
    if result.repeated:
        parts = ", ".join(map(str, result.repeated))
        print_note(f"note: these parts were sent twice, or may have been, which has the effect of once: {parts}")
    if errors and not result.activities:  # nothing was sent at all
        return max(map(exit_code, errors.values()))
    return ExitCode.FAILED if result.refused or result.lost else ExitCode.OK


def _print_refused(errors: Sequence[RowError]) -> None:
    for error in errors[:_MAX_SHOWN]:
        if error.line is None:
            where = f"part {error.part}"
        elif error.exact:
            where = f"line {error.line}"
        else:
            where = "line " + " or ".join(map(str, error.candidates or (error.line,)))
        print(f"{where}: {escape(error.message, 200)}")
    if len(errors) > _MAX_SHOWN:
        print(f"and {len(errors) - _MAX_SHOWN:,} more; --rejects FILE writes all of them")


def _write_rejects(result: ImportResult, path: Path | None) -> int:
    if path is None or not result.errors:
        return ExitCode.OK
    try:
        count = result.write_rejects(path)
    except OSError as error:
        print_error(UsageError(f"cannot write {str(path)!r}: {error.strerror}"))
        return ExitCode.OUTPUT
    except ImportRefusedError as error:  # the file has changed
        return print_error(error)
    print_note(f"rows in {str(path)!r}: {count:,}; correct them, and import that file")
    return ExitCode.OK
