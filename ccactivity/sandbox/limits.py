"""What is checked before any question is answered: request limits, access tokens, headers. Violations are counted.

The limits are kept naively on purpose, by a plain log of arrivals and a count for each UTC day, so that they can judge
a client's own bookkeeping (developer site, page on rate limits: 4 a second, 10,000 a day to 00:00 UTC). A refused
request uses up neither limit: it only counts as a violation. Every other request uses up both, whatever its answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from random import Random

from attrs import asdict, define

from .messages import Reply, Request, error_object

__all__ = ["AccessTokens", "Limits", "Violations", "missing_headers"]

_DEFAULT_USER_AGENTS = ("python", "aiohttp", "httpx", "urllib")


@define
class Violations:
    """What a well-behaved client never does, counted. Counting refuses nothing by itself.

    - `over_per_second`: requests beyond the limit of a sliding second; each was refused as `throttled`.
    - `over_per_day`: requests beyond the day's limit whose callers could not know it yet: the first one, and those
      sent before its refusal had arrived.
    - `after_quota_exceeded`: any request of that UTC day after a caller has been told `quota_exceeded`.
    - `bad_token`: requests with no token, one never issued, or one that had been refused before. The first refusal of
      an expired token is not a violation: nobody can know it before.
    - `unknown_path`: a path or method that the API does not have.
    - `bad_request`: answered 400 or 415, except for a bad cursor.
    - `bad_cursor`: a cursor that was not issued, or was changed, re-encoded, or accompanied by other parameters.
    - `missing_headers`: a GET without an Accept that names the documented type, without Cache-Control, or without a
      User-Agent of its own.
    - `token_in_url`: a request target that contains a token.
    - `credentials_elsewhere`: a token, a cookie or a Referer sent to the host that only keeps the files of exports.
    - `oauth_over_per_second`: requests to the token and device endpoints beyond one a second; each was refused.
    """

    over_per_second: int = 0
    over_per_day: int = 0
    after_quota_exceeded: int = 0
    bad_token: int = 0
    unknown_path: int = 0
    bad_request: int = 0
    bad_cursor: int = 0
    missing_headers: int = 0
    token_in_url: int = 0
    oauth_over_per_second: int = 0
    credentials_elsewhere: int = 0

    @property
    def total(self) -> int:
        """The sum of all."""
        return sum(asdict(self).values())


class Limits:
    """Both request limits, and what callers were told of them. `None` for a limit turns it off."""

    def __init__(
        self, start: datetime, *, per_second: int | None, per_day: int | None, spent_today: int, violations: Violations
    ) -> None:
        self._start = start
        self._per_second = per_second
        self._per_day = per_day
        self._violations = violations
        self._recent: list[float] = []
        self._spent = {start.date(): spent_today}
        self._told_at: dict[date, float] = {}

    def spent(self, now: float) -> int:
        """Return how many requests count for the UTC day of `now`."""
        return self._spent.get(self._day(now), 0)

    def refusal(self, now: float) -> Reply | None:
        """Admit one request that arrives `now`, or return its refusal."""
        day = self._day(now)
        if self._told_at.get(day, math.inf) < now:
            self._violations.after_quota_exceeded += 1
        if self._per_day is not None and self._spent.get(day, 0) >= self._per_day:
            if self._told_at.get(day, math.inf) >= now:
                self._violations.over_per_day += 1
            return error_object(429, "quota_exceeded", "Limit Exceeded")

        self._recent = [arrival for arrival in self._recent if now - arrival < 1.0]
        if self._per_second is not None and len(self._recent) >= self._per_second:
            self._violations.over_per_second += 1
            return error_object(429, "throttled", "Too Many Requests")

        self._recent.append(now)
        self._spent[day] = self._spent.get(day, 0) + 1
        return None

    def tell_exceeded(self, now: float, known: float) -> None:
        """Note that callers know from `known` on that the quota of the day of `now` is spent."""
        self._told_at.setdefault(self._day(now), known)

    def _day(self, now: float) -> date:
        return (self._start + timedelta(seconds=now)).date()


class AccessTokens:
    """The access tokens in circulation. Each lives `life` seconds; `None` is for ever."""

    def __init__(self, random: Random, *, life: float | None, violations: Violations) -> None:
        self._random = random
        self._life = math.inf if life is None else life
        self._violations = violations
        self._ends: dict[str, float] = {}
        self._refused_at: dict[str, float] = {}
        self._scopes: dict[str, frozenset[str]] = {}

    def issue(self, now: float) -> str:
        """Return a new token, easy to find wherever it should not be. Earlier ones live on until their own end."""
        token = f"sandbox-token-{self._random.getrandbits(256):064x}"
        self._ends[token] = now + self._life
        return token

    def admit(self, token: str, end: float, scopes: Iterable[str]) -> None:
        """Take a token that was made elsewhere into circulation, until its end, for these scopes alone."""
        self._ends[token] = end
        self._scopes[token] = frozenset(scopes)

    def lacks(self, authorization: str, scope: str) -> bool:
        """Tell whether a live token was granted without this scope; one that was issued here has them all."""
        return scope not in self._scopes.get(authorization.partition(" ")[2], (scope,))

    def end(self, tokens: Iterable[str], now: float) -> None:
        """End the life of these tokens."""
        self._ends.update({token: min(self._ends[token], now) for token in tokens})

    def expire(self, now: float) -> None:
        """End the life of every token issued so far."""
        self._ends = {token: min(end, now) for token, end in self._ends.items()}

    def refusal(self, authorization: str, now: float, known: float) -> Reply | None:
        """Return None if the Authorization header has a live token, else the 401, which its caller has at `known`."""
        scheme, _, token = authorization.partition(" ")
        end = self._ends.get(token) if scheme.lower() == "bearer" else None
        if end is not None and now < end:
            return None
        if end is None or self._refused_at.setdefault(token, known) < now:
            self._violations.bad_token += 1
        # As seen on a real 401.
        headers = {"WWW-Authenticate": "Bearer realm=api.cc.email", "x-amzn-ErrorType": "UnauthorizedException"}
        return error_object(401, "unauthorized", "Unauthorized", headers)

    def found_in(self, text: str) -> bool:
        """Tell whether any token ever issued occurs in `text`."""
        return "access_token=" in text or any(token in text for token in self._ends)


def missing_headers(request: Request, accepted: Iterable[str]) -> bool:
    """Tell whether a GET lacks a header that the vendor's samples send.

    These are an Accept that names one of `accepted`, a Cache-Control, and a User-Agent that says who is calling.
    """
    agent = request.headers.get("user-agent", "").lower()
    accept = request.headers.get("accept", "")
    return (
        not any(kind in accept for kind in accepted)
        or "cache-control" not in request.headers
        or not agent
        or agent.startswith(_DEFAULT_USER_AGENTS)
    )
