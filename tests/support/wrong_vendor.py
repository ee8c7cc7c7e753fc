"""A vendor that is there, and whose word cannot be trusted: wrong stamps and Dates, lists without an end, other case.

`WrongStamps` and `WrongDate` are effects of a `sandbox.Fault`; the others are put around a sandbox, once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import attrs

from ccactivity import sandbox as sb

STAMPS = ("created_at", "started_at", "updated_at", "completed_at")
_LIST_PATH = "/v3/activities"
_ROWS_OF_A_PAGE = 50


@attrs.define
class Offset:
    """By how many seconds a clock is wrong; `jumping`: in turns ahead by that much and behind by it."""

    seconds: float
    jumping: bool = False
    _sign: int = attrs.field(default=1, init=False, repr=False)

    def next(self) -> float:
        """Return by how many seconds it is wrong this time."""
        wrong = self._sign * self.seconds
        if self.jumping:
            self._sign = -self._sign
        return wrong


@attrs.frozen
class WrongStamps:
    """An effect: these fields of activities are wrong by an offset; `fixed`: they say this instead."""

    fields: tuple[str, ...]
    offset: Offset
    fixed: str | None = None

    def apply(self, reply: sb.Reply, activity_id: str | None, /) -> sb.Reply:
        """Return the reply with wrong stamps."""
        seconds = self.offset.next()
        return sb.Patch(lambda row: {**row, **self._wrong(row, seconds)}).apply(reply, activity_id)

    def _wrong(self, row: dict[str, Any], seconds: float) -> dict[str, str]:
        return {name: self.fixed or shifted(row[name], seconds) for name in self.fields if row.get(name)}


@attrs.frozen
class WrongDate:
    """An effect: the Date header is wrong by an offset. `wall`: the right time."""

    offset: Offset
    wall: Callable[[], datetime] = attrs.field(repr=False)

    def apply(self, reply: sb.Reply, _activity_id: str | None, /) -> sb.Reply:
        """Return the reply with a wrong Date."""
        wrong = self.wall() + timedelta(seconds=self.offset.next())
        return reply.with_headers({"Date": format_datetime(wrong, usegmt=True)})


def shifted(stamp: str, seconds: float) -> str:
    """Return a stamp of the vendor's that is so many seconds later; what is no stamp stays as it is."""
    try:
        wrong = datetime.fromisoformat(stamp) + timedelta(seconds=seconds)
    except ValueError:
        return stamp
    return wrong.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def surround(
    sandbox: sb.Sandbox,
    before: Callable[[sb.Request, float], sb.Request],
    after: Callable[[sb.Request, float, sb.Reply], sb.Reply],
) -> None:
    """Change each request before the vendor has it, and each of its replies; both get the time too."""
    handle = sandbox.vendor.handle

    def surrounded(request: sb.Request, now: float, *, transit: float = 0.0) -> sb.Reply:
        return after(request, now, handle(before(request, now), now, transit=transit))

    sandbox.vendor.handle = surrounded  # type: ignore[method-assign]


def ignore_case_of_ids(sandbox: sb.Sandbox) -> None:
    """Find activities by their ids in any case; they are answered in lower case."""

    def lower(request: sb.Request, _now: float) -> sb.Request:
        one = request.method == "GET" and request.path.startswith(f"{_LIST_PATH}/")
        return attrs.evolve(request, target=request.target.lower()) if one else request

    surround(sandbox, lower, lambda _request, _now, reply: reply)


def make_list_endless(
    sandbox: sb.Sandbox, *, hidden: Collection[str] = (), after: float = 0.0, until: float = float("inf")
) -> None:
    """After its first page the list goes on and on: each page has a new next link, and rows of nobody's.

    `hidden`: no page shows these. `after`, `until`: only within these seconds since the sandbox started.
    """
    count = 0

    def is_endless(request: sb.Request) -> bool:
        return request.path == _LIST_PATH and "cursor=endless-" in request.query

    def first_page(request: sb.Request, _now: float) -> sb.Request:
        return attrs.evolve(request, target=f"{_LIST_PATH}?limit=500") if is_endless(request) else request

    def go_on(request: sb.Request, now: float, reply: sb.Reply) -> sb.Reply:
        nonlocal count
        begins = request.path == _LIST_PATH and "state=" not in request.query and after <= now < until
        if not (begins or is_endless(request)):
            return reply
        count += 1
        href = f"{_LIST_PATH}?cursor=endless-{count:08d}" if begins else None
        rows = [_row_of_nobody(count, number) for number in range(_ROWS_OF_A_PAGE)] if is_endless(request) else None
        for effect in (sb.next_link(href), sb.drop_rows(*hidden or [""]), sb.Edit(lambda page: _with_rows(page, rows))):
            reply = effect.apply(reply, None)
        return reply

    surround(sandbox, first_page, go_on)


def _with_rows(page: Any, rows: list[dict[str, Any]] | None) -> Any:
    return page if rows is None or not isinstance(page, dict) else {**page, "activities": rows}


def _row_of_nobody(page: int, number: int) -> dict[str, Any]:
    stamp = "2026-01-01T11:00:00.000Z"
    some_id = f"{page:08x}-{number:04x}-11ea-9dad-000000000000"
    return {"activity_id": some_id, "state": "completed", "created_at": stamp, "updated_at": stamp, "percent_done": 100}
