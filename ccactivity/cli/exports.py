"""The command export: has contacts exported, or takes an export that there is, and saves its file.

The file goes to disk or to stdout; progress is drawn on stderr, where it is a terminal, and whatever is for people goes
there too if the file is on stdout.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ccactivity import Activity, ActivityFailedError, ActivitySession, ExportFile
from ccactivity._text import escape
from ccactivity.jobs import ExportContacts

from .exit_codes import ExitCode, UsageError, print_error, usage_errors
from .output import print_json, print_note
from .session import SessionOpening

__all__ = ["export"]

Show = Callable[[str, float | None], None]
"""Shows what is going on, and the share of it that is done, None if nobody knows."""
_STDOUT: Final = "-"
_WRONG_TARGETS: Final = frozenset(
    {
        errno.EACCES,
        errno.EINVAL,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


async def export(
    opening: SessionOpening,
    activity_id: str | None,
    *,
    lists: Sequence[str],
    everyone: bool,
    output: str,
    overwrite: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Save an export to the file `output`, `-` for stdout: of `lists`, of `everyone`, or that of an activity."""
    if [activity_id is not None, bool(lists), everyone].count(True) != 1:
        raise UsageError("export what? Give either --list ID, or --all, or the id of an export that there is")
    if output == _STDOUT and as_json:
        raise UsageError("--json and -o - are mutually exclusive")
    path = None if output == _STDOUT else Path(output)
    try:
        if path is not None:
            _check_output(path, overwrite=overwrite)
        async with opening as (session, _):
            activity_id = activity_id or await _submit(session, lists)
            with _progress() as show, _advice_if_interrupted(activity_id):
                activity = await _completed(session, activity_id, timeout, show)
                file = await _save(session, activity, path, overwrite=overwrite, show=show)
    except ActivityFailedError as error:
        print_error(error)
        return ExitCode.FAILED
    except FileExistsError:  # now, or at the end
        problem = "is there already; --overwrite replaces it"
    except OSError as error:
        if error.errno not in _WRONG_TARGETS:
            raise
        problem = str(error.strerror)
    else:
        _report(activity, file, as_json=as_json)
        return ExitCode.OK
    raise UsageError(f"cannot write {output!r}: {problem}")


def _check_output(path: Path, *, overwrite: bool) -> None:
    """Raise what would go wrong at the end, before the vendor is put to work."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no file that could be replaced, but a device, a pipe or a folder")
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "is in what is no folder")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "is in a folder that cannot be written to")


async def _submit(session: ActivitySession, lists: Sequence[str]) -> str:
    with usage_errors():
        job = ExportContacts(list_ids=lists) if lists else ExportContacts()
    activity_id = (await session.submit(job)).activity_id
    print_note(f"submitted {escape(activity_id)}")
    return activity_id


@contextmanager
def _advice_if_interrupted(activity_id: str) -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        print_note(f"the export is kept for ten days: ccactivity export {escape(activity_id)} -o FILE")
        raise


async def _completed(session: ActivitySession, activity_id: str, timeout: float | None, show: Show) -> Activity:
    """Return the activity once it has completed."""
    with usage_errors():
        watch = session.watch(activity_id, timeout=timeout)
    async for activity in watch:
        show("exporting", activity.progress)
    activity.raise_for_state()
    return activity


async def _save(
    session: ActivitySession, activity: Activity, path: Path | None, *, overwrite: bool, show: Show
) -> ExportFile | None:
    if path is not None:
        expected = activity.status.items_total_count
        with usage_errors():
            return await session.save_export(
                activity,
                path,
                overwrite=overwrite,
                on_progress=lambda _, records: show("saving", records / expected if expected else None),
            )
    with usage_errors():
        opened = session.open_export(activity)
    async with opened as chunks:
        async for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    return None


def _report(activity: Activity, file: ExportFile | None, *, as_json: bool) -> None:
    if file is None:
        return
    if as_json:
        counts = {"bytes": file.bytes, "records": file.records, "expected": file.expected}
        print_json({"activity_id": activity.activity_id, "path": str(file.path), **counts})
        return
    differs = "" if file.expected in (None, file.records) else f" (the export counted {file.expected:,})"
    print(f"saved {file.records:,} contacts, {file.bytes:,} bytes, to {str(file.path)!r}{differs}")


@contextmanager
def _progress() -> Iterator[Show]:
    """Draw a bar on stderr while the block lasts; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _, __: None
        return
    from rich.console import Console  # noqa: PLC0415 -- only a terminal needs it
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415 -- the same

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        task = progress.add_task("exporting", total=None)

        def show(text: str, share: float | None) -> None:
            total = None if share is None else 1.0
            progress.update(task, description=text, total=total, completed=min(share or 0.0, 1.0), refresh=True)

        yield show
