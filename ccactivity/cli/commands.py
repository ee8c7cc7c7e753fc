"""The commands that ask once: list, get, history."""

from __future__ import annotations

from collections.abc import Sequence

from ccactivity import DecodeError, NotFoundError

from .exit_codes import OK, arguments, complain
from .output import Activities, Form, Sends, say
from .session import Connection, connect

__all__ = ["get", "history", "list_"]

_PAGE = 500


async def list_(connection: Connection, form: Form, *, state: str | None, limit: int | None) -> int:
    """Write the activities of the last ten days, as they come."""
    rows = Activities(form)
    async with connect(connection) as session:
        with arguments():
            activities = session.list_activities(state=state, page_size=min(_PAGE, limit or _PAGE))
        async for page in activities.pages():
            for activity in page if limit is None else page[: limit - rows.count]:
                rows.add(activity)
            if rows.count == limit:
                break
    _end(rows, form, "no activities")
    return OK


async def get(connection: Connection, form: Form, ids: Sequence[str]) -> int:
    """Write single activities, in the order in which they were asked for. One that is not there stops nobody."""
    rows = Activities(form)
    code = OK
    async with connect(connection) as session:
        for activity_id in dict.fromkeys(ids):
            try:
                with arguments():
                    activity = await session.get_activity(activity_id)
                rows.add(activity)
            except (NotFoundError, DecodeError) as error:
                code = complain(error)
    return code


async def history(connection: Connection, form: Form, campaign_activity_id: str) -> int:
    """Write the sends of a campaign activity, the oldest first."""
    rows = Sends(form)
    async with connect(connection) as session:
        with arguments():
            sends = await session.get_send_history(campaign_activity_id)
        for send in sends:
            rows.add(send)
    _end(rows, form, "never sent")
    return OK


def _end(rows: Activities | Sends, form: Form, nothing: str) -> None:
    rows.begin()
    if form is Form.TABLE and not rows.count:
        say(nothing)
