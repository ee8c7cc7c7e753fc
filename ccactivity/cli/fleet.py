"""The fleet that a command is part of, and the command fleet status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ccactivity._text import escape

from .exit_codes import UsageError, usage_errors
from .login_store import variable
from .output import print_json

if TYPE_CHECKING:
    from ccactivity.fleet import RedisFleet

__all__ = ["find_fleet", "status"]


def find_fleet(url: str | None) -> RedisFleet | None:
    """Return the fleet at `url`, else at CCACTIVITY_FLEET_URL, None without either.

    Its key and account are CCACTIVITY_FLEET_KEY and CCACTIVITY_FLEET_ACCOUNT. UsageError for what is no URL, and
    without the extra `fleet`.
    """
    url = url or variable("FLEET_URL")
    if not url:
        return None
    try:
        from ccactivity.fleet import RedisFleet  # noqa: PLC0415 -- only who is part of a fleet has redis-py
    except ImportError:
        raise UsageError('a fleet needs more packages: pip install "ccactivity[cli,fleet]"') from None
    with usage_errors():
        return RedisFleet(url, key=variable("FLEET_KEY") or "default", account=variable("FLEET_ACCOUNT") or "default")


async def status(url: str | None, *, as_json: bool) -> int:
    """Show who is part of a fleet, who polls, and what is spent."""
    fleet = find_fleet(url)
    if fleet is None:
        raise UsageError("which fleet? Give a URL, or set CCACTIVITY_FLEET_URL")
    found = await fleet.status()
    if as_json:
        members = dict(found.members)
        print_json({"members": members, "poller": found.poller or None, "spent": found.spent, "per_day": found.per_day})
        return 0
    spent = f"{found.spent:g} of {found.per_day:g} requests spent today (UTC)"
    print(spent + (", and the vendor says that no more are left" if found.shut else ""))
    for member, watching in sorted(found.members.items()):
        print(f"{escape(member)}  watches {watching}{'  polls' if member == found.poller else ''}")
    if not found.members:
        print("no process is part of the fleet")
    return 0
