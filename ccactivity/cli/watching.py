"""The command that watches: which ids, and from where; the watching is the library's, the showing that of `screens`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from .batch.follow import follow
from .exit_codes import OK, UsageError
from .output import say
from .session import Connection, connect

__all__ = ["watch"]

_STDIN = "-"


async def watch(
    connection: Connection,
    ids: Sequence[str],
    *,
    source: str | None,
    everything: bool,
    timeout: float | None,
    max_staleness: float | None,
    as_json: bool,
) -> int:
    """Watch activities until each has ended; return the exit code."""
    wanted = [*ids, *(_read(source) if source else ())]
    if not wanted and not everything:
        if source:
            say("no ids, nothing to watch")
            return OK
        raise UsageError("nothing to watch: give ids, --from FILE or --all")
    reach = connect(connection)
    async with reach as session:
        if everything:
            wanted += [activity.activity_id async for activity in session.list_activities() if not activity.done]
            if not wanted:
                say("everything has ended, nothing to watch")
                return OK
        followed = await follow(
            session,
            wanted,
            expected=len(set(wanted)),
            timeout=timeout,
            max_staleness=max_staleness,
            as_json=as_json,
        )
    for advice in dict.fromkeys(filter(None, map(reach.advice, followed.errors.values()))):
        say(advice)
    return followed.code


def _read(source: str) -> list[str]:
    """Return the ids of a file, or of stdin: one a line, empty lines and those beginning with # apart."""
    try:
        if source == _STDIN:
            return _ids(sys.stdin)
        with Path(source).open(encoding="utf-8") as file:
            return _ids(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{source!r} cannot be read: {reason}") from None


def _ids(lines: Iterable[str]) -> list[str]:
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]
