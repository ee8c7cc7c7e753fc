"""The lease: whether this process may poll, told its own monotonic time and the answers of the engine. Pure.

1. Only a beat that was answered, and named this member as the holder, lets it poll; an unanswered one never does.
2. The holder gives up by itself when the last such beat was *sent* two thirds of a lease ago: before the engine gives
   the lease to another one.
3. None of this has to be exact. Who polls by mistake gets no permit, since the engine knows the last take-over.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

from .ledger import Limits

__all__ = ["BeatReply", "Lease"]

_BEATS_PER_LEASE: Final = 3.0
_MAX_BEAT_INTERVAL_S: Final = 1.0  # a server that lost its memory waits for 1.5 s, so that everyone tells theirs
_GIVE_UP_SHARE: Final = 2.0 / 3.0
_NO_CANDIDATE_S: Final = 60.0  # after an error that concerns this process alone, such as a dead token
_MIN_RETRY_S, _MAX_RETRY_S = 0.1, 1.0


@attrs.frozen(kw_only=True)
class BeatReply:
    """The fleet as of a beat.

    `holder`: the member that polls, empty if none does; `token`: the number of its take-over, which only rises.
    `lease_left`: seconds. `members`: those alive. `registered`: ids that the engine knows this member to watch.
    `snapshots`: how many it holds. `news`: the number of the last. `limits`: those of the holder. `gone`: members that
    have given no sign of life for too long; for the holder alone.
    """

    holder: str
    token: int
    lease_left: float
    members: int
    registered: int
    snapshots: int
    news: int
    limits: Limits
    gone: list[str]


@attrs.define(eq=False)
class Lease:
    """What one member knows of the lease. Times are loop time, in seconds.

    `member`: its name. `length`: of the lease. `willing`: whether it may ever poll. `token`: that of its own take-over
    while it polls, else 0. `seen`: the highest token that it was told, of any member.
    """

    member: str
    length: float
    willing: bool = True
    token: int = 0
    seen: int = 0
    last: BeatReply | None = None
    _gives_up_at: float = -math.inf
    _barred_until: float = -math.inf
    _failures: int = 0

    @property
    def polling(self) -> bool:
        """Whether this process polls."""
        return self.token > 0

    @property
    def interval(self) -> float:
        """Seconds between two beats."""
        return min(self.length / _BEATS_PER_LEASE, _MAX_BEAT_INTERVAL_S)

    def is_candidate(self, now: float) -> bool:
        """Whether the next beat may take the lease over."""
        return self.willing and now >= self._barred_until

    def gives_up_at(self) -> float:
        """When it has to stop, unless another beat is answered before."""
        return self._gives_up_at if self.polling else math.inf

    def answered(self, reply: BeatReply, sent_at: float, now: float) -> float:
        """A beat that was sent then was answered. Returns in how many seconds the next one is due."""
        self.last, self._failures = reply, 0
        self.seen = max(self.seen, reply.token)
        self._gives_up_at = sent_at + self.length * _GIVE_UP_SHARE
        mine = reply.holder == self.member and now < self._gives_up_at and self.is_candidate(now)
        self.token = reply.token if mine else 0
        if not reply.holder and self.is_candidate(now):
            return min(self.interval, _MIN_RETRY_S * 2)  # nobody may take over yet
        # Whoever waits for the lease of another asks again when that is over.
        left = reply.lease_left if reply.holder and not mine else self.interval
        return max(sent_at - now + min(self.interval, left), 0.0)

    def failed(self, now: float, chance: float) -> float:
        """A beat was not answered. Returns in how many seconds to try again; `chance` (0 to 1) spreads the members."""
        self._failures += 1
        self.expire(now)
        longest = min(_MAX_RETRY_S, _MIN_RETRY_S * 2.0 ** min(self._failures, 10))
        return _MIN_RETRY_S + chance * (longest - _MIN_RETRY_S)

    def expire(self, now: float) -> None:
        """Give up, if it is time to."""
        if now >= self._gives_up_at:
            self.token = 0

    def lost(self) -> None:
        """Another one has it, or what only it knew is gone."""
        self.token = 0

    def bar(self, now: float) -> None:
        """Leave polling to others for a while: this process cannot."""
        self.token, self._barred_until = 0, now + _NO_CANDIDATE_S
