"""The commands that ask the API: list, get, history and watch. Each returns its exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final, TextIO

from ccactivity import ActivitySession, DecodeError, NotFoundError

from .batch.follow import UnseenCheck, follow
from .exit_codes import ExitCode, UsageError, print_error, read_problem, usage_errors
from .output import ActivityWriter, OutputFormat, SendWriter, print_note
from .session import SessionOpening
from .web import serve_beside

__all__ = ["get", "history", "list_", "watch"]

_MAX_PAGE_SIZE: Final = 500  # rows; the vendor gives no more
_MAX_LINE_CHARACTERS: Final = 65_536
_MAX_IDS_NAMED: Final = 5  # in the error of malformed ids
_MALFORMED: Final = "malformed activity_id "  # as the library's own error begins


async def list_(opening: SessionOpening, form: OutputFormat, *, state: str | None, limit: int | None) -> int:
    """Write the activities of the last ten days, page by page; those in `state`, and at most `limit`, if not None."""
    writer = ActivityWriter(form)
    asked, size = state, min(_MAX_PAGE_SIZE, limit or _MAX_PAGE_SIZE)
    if state == "initialized":  # the vendor cannot be asked for these
        asked, size = None, _MAX_PAGE_SIZE
    async with opening as (session, _):
        with usage_errors():
            activities = session.list_activities(state=asked, page_size=size)
        async for page in activities.pages():
            wanted = page if asked == state else [activity for activity in page if activity.state == state]
            for activity in wanted if limit is None else wanted[: limit - writer.count]:
                writer.write(activity)
            if writer.count == limit:
                break
    writer.finish(if_empty="no activities")
    return ExitCode.OK


async def get(opening: SessionOpening, form: OutputFormat, ids: Sequence[str]) -> int:
    """Write each activity once, in the order of `ids`; an id that does not exist does not stop the others."""
    writer = ActivityWriter(form)
    code = ExitCode.OK
    async with opening as (session, _):
        for activity_id in dict.fromkeys(ids):
            try:
                with usage_errors():
                    activity = await session.get_activity(activity_id)
                writer.write(activity)
            except (NotFoundError, DecodeError) as error:
                code = print_error(error, activity_id)
    return code


async def history(opening: SessionOpening, form: OutputFormat, campaign_activity_id: str) -> int:
    """Write the sends of a campaign activity, the oldest first."""
    writer = SendWriter(form)
    async with opening as (session, _):
        with usage_errors():
            sends = await session.get_send_history(campaign_activity_id)
        for send in sends:
            writer.write(send)
    writer.finish(if_empty="never sent")
    return ExitCode.OK


async def watch(
    opening: SessionOpening,
    ids: Sequence[str],
    *,
    source: str | None,
    everything: bool,
    timeout: float | None,
    max_staleness: float | None,
    as_json: bool,
    web: bool = False,
) -> int:
    """Watch activities until each has ended: those of `ids`, of the file `source`, or `everything` under way.

    `web`: serve a page of them meanwhile.
    """
    line_numbers = _read_ids(source) if source else {}
    wanted = [*ids, *line_numbers]
    if not wanted and not everything:
        if source:
            print_note("no ids, nothing to watch")
            return ExitCode.OK
        raise UsageError("nothing to watch: give ids, --from FILE or --all")
    async with opening as (session, advice):
        if everything:
            wanted += [activity.activity_id async for activity in session.list_activities() if not activity.done]
            if not wanted:
                print_note("everything has ended, nothing to watch")
                return ExitCode.OK
        _check_ids(session, wanted, line_numbers)
        with usage_errors():
            batch_watch = session.watch_many(wanted, timeout=timeout, max_staleness=max_staleness)
        async with serve_beside(session, wanted) if web else nullcontext():
            outcome = await follow(
                batch_watch,
                session.quota,
                expected=len(set(wanted)),
                as_json=as_json,
                unseen_check=None if timeout is None else UnseenCheck(wanted, session.get_activity, timeout / 2),
            )
    for text in dict.fromkeys(filter(None, map(advice, outcome.errors.values()))):
        print_note(text)
    return outcome.exit_code


def _check_ids(session: ActivitySession, ids: Sequence[str], line_numbers: Mapping[str, int]) -> None:
    """Raise UsageError with each malformed id, and its line if it is from a file; it says once what an id may be."""
    bad, rule = [], ""
    for activity_id in dict.fromkeys(ids):
        try:
            session.watch(activity_id)
        except ValueError as error:
            problem, _, rule = str(error).rpartition(": ")
            number = line_numbers.get(activity_id)
            bad.append(problem.removeprefix(_MALFORMED) + (f" (line {number})" if number else ""))
    if bad:
        more = f" and {len(bad) - _MAX_IDS_NAMED} more" if len(bad) > _MAX_IDS_NAMED else ""
        raise UsageError(f"{_MALFORMED}{', '.join(bad[:_MAX_IDS_NAMED])}{more}: {rule}")


def _read_ids(source: str) -> dict[str, int]:
    """Return one id per line of a file, or of stdin for "-", with the number of its line.

    Empty lines, and those that begin with #, are skipped.
    """
    try:
        with nullcontext(sys.stdin) if source == "-" else Path(source).open(encoding="utf-8") as file:
            lines = {line.strip(): number for number, line in enumerate(_bounded_lines(file, source), 1)}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {source!r}: {read_problem(error)}") from None
    return {line: number for line, number in lines.items() if line and not line.startswith("#")}


def _bounded_lines(file: TextIO, source: str) -> Iterator[str]:
    """The lines of a file; UsageError for one that is too long to be kept in memory."""
    number = 1
    while line := file.readline(_MAX_LINE_CHARACTERS + 1):
        if len(line) > _MAX_LINE_CHARACTERS:
            raise UsageError(f"cannot read {source!r}: line {number} is longer than {_MAX_LINE_CHARACTERS} characters")
        yield line
        number += 1
