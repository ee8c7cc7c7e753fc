"""The script of faults: which requests have which effect, and how often.

1. A `Fault` says when (`where`, `activity_id`, `skip`, `times`, `after`, `until`, `probability`) and what (`effect`).
   All faults that match one request act on it together, in the order in which they were added.
2. An `Answer` replaces the vendor's, and the request is not carried out: a POST creates nothing. Only the first one
   acts, and before all other effects. `lost_request()` is the answer that never comes.
3. Every other effect changes the vendor's real answer, or acts on its way: the request has been carried out, and a
   POST whose answer is lost has created its job.
4. Refusals by the vendor's own limits and tokens come before any `Answer`; all other effects act on them too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from random import Random
from typing import Any, Literal, get_args

from attrs import define, field, validators

from .effects import Answer, Disconnect, Effect

__all__ = ["Fault", "Faults"]

Where = Literal[
    "activate", "any", "authorize", "device", "export", "file", "get", "history", "list", "other", "post", "token"
]


@define(eq=False)
class Fault:
    """One scripted fault.

    - `where`: "list", "get", "history", "post", "export", "file" (of an export, on another host), "other" (a path that
      the API does not have), "token", "device" or "authorize" (the endpoints of the authorization server), "activate"
      (its page for people), or "any".
    - `activity_id`: only requests for this id (in "history", of a campaign activity; in "post", the kind of job in its
      path), and list pages that show it. An `Answer` with an id never acts on a list: it is given before there is a
      page. None is any.
    - `times`: act on so many requests at most; None is always. `skip`: let so many matching requests pass first.
    - `after`, `until`: act within these seconds since the sandbox started.
    - `probability`: of acting on one request.
    - `hits`: how often it has acted.
    """

    effect: Answer | Effect
    where: Where = field(default="any", kw_only=True, validator=validators.in_(get_args(Where)))
    activity_id: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    skip: int = field(default=0, kw_only=True)
    after: float = field(default=0.0, kw_only=True)
    until: float = field(default=math.inf, kw_only=True)
    probability: float = field(default=1.0, kw_only=True)
    hits: int = field(default=0, init=False)
    _matched: int = field(default=0, init=False)

    def strikes(self, kind: str, ids: Collection[str], *, now: float, reused: bool, random: Random) -> bool:
        """Tell whether the fault acts on a request of this kind about these ids, and count it."""
        if self.where not in ("any", kind) or not self.after <= now < self.until:
            return False
        if self.activity_id is not None and self.activity_id not in ids:
            return False
        if isinstance(self.effect, Disconnect) and not reused:
            return False
        self._matched += 1
        if self._matched <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        if self.probability < 1.0 and random.random() >= self.probability:
            return False
        self.hits += 1
        return True


class Faults:
    """The script: faults in the order in which they act."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, fault: Fault | Answer | Effect, **when: Any) -> Fault:
        """Add a fault, or one made of an effect and the keywords of `Fault`; return it, to read its hits."""
        added = fault if isinstance(fault, Fault) else Fault(fault, **when)
        self._faults.append(added)
        return added

    append = add

    def remove(self, fault: Fault) -> None:
        """Take one fault away."""
        self._faults.remove(fault)

    def clear(self) -> None:
        """Take all faults away."""
        self._faults.clear()
