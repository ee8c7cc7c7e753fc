"""The base of all jobs: what a job says of itself to whoever submits it. Pure.

1. A job never shows what it holds, only how much of it: its repr is in errors and logs.
2. A list of ids that may be longer than one request takes says so by its validator, `Ids(..., splits=True)`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self

import attrs

from ..api.endpoint import check_id
from ..api.messages import FileForm

__all__ = ["Counted", "Ids", "Job", "as_tuple", "check_fields", "held_by"]


class Counted:
    """Shows how much it holds, and nothing of that."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = []
        for name, value in held_by(self):
            if isinstance(value, tuple):
                shown.append(f"{len(value):,} {name}")
            else:
                shown.append(f"{name}={value!r}" if isinstance(value, Counted) else name)
        return f"{type(self).__name__}({', '.join(shown)})"


class Job(Counted, ABC):
    """Something that the vendor can be asked to do in the background. Two equal jobs ask for the same."""

    __slots__ = ()

    kind: ClassVar[str]
    """The vendor's word for it, the end of the path that it is sent to."""
    holds_contacts: ClassVar[bool] = False
    """Whether it holds what people told of themselves, and not ids alone."""

    @property
    @abstractmethod
    def repeatable(self) -> bool:
        """Whether doing it twice has the effect of doing it once, whatever happens in between."""

    @property
    def key(self) -> str | None:
        """The name by which the list of activities shows that it was queued; None if nothing shows it."""
        return None

    @property
    def rows(self) -> int:
        """How many contacts it brings; of a job that brings none, the length of its longest list of ids."""
        return max((count for _, count, _ in _sizes(self)), default=0)

    @abstractmethod
    def body(self) -> dict[str, Any]:
        """Return what is sent, by the vendor's names."""

    @classmethod
    @abstractmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Make the job that has this body; ValueError or TypeError."""

    def encode(self) -> bytes | FileForm:
        """Return the body as it travels; ValueError if it is more than one request takes."""
        for name, count, most in _sizes(self):
            if count > most:
                raise ValueError(f"{name} holds {count:,} ids, and one request takes {most}: submit what split() gives")
        return json.dumps(self.body()).encode()

    def split(self) -> tuple[Self, ...]:
        """Return jobs that each fit into one request and together do the same; the job alone if it fits.

        ValueError where they would not do the same.
        """
        return tuple(_split(self))


def as_tuple(value: Iterable[str]) -> tuple[str, ...]:
    """Convert a list of strings; what is none is left to the validator, which knows the name of the field."""
    given: Any = value
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping) else given


@attrs.frozen
class Ids:
    """Validates a tuple of ids, of which one request takes `most`; a job with more is refused, or `splits` there."""

    most: int
    splits: bool = attrs.field(default=False, kw_only=True)
    least: int = attrs.field(default=0, kw_only=True)

    def __call__(self, _: object, field: attrs.Attribute[Any], value: object) -> None:
        """Raise TypeError or ValueError, which names the field and the first id that cannot be one."""
        if not isinstance(value, tuple):
            raise TypeError(f"{field.name} must be a list of ids, not {type(value).__name__}")
        for one in value:
            check_id(one, f"id in {field.name}")
        if len(value) < self.least:
            raise ValueError(f"{field.name} must hold at least one id")
        if len(value) > self.most and not self.splits:
            raise ValueError(f"{field.name} holds {len(value):,} ids, and the vendor takes {self.most}")


def check_fields(body: Mapping[str, Any], cls: type[Any], *, but: str = "") -> dict[str, Any]:
    """Return a body as keywords of a class; ValueError or TypeError if it is none, or holds what the class has not.

    `but`: a field that a body holds elsewhere.
    """
    if not isinstance(body, Mapping):
        raise TypeError(f"the body must be an object, not {type(body).__name__}")
    known = [field.name for field in attrs.fields(cls) if field.name != but]
    if unknown := sorted(set(body) - set(known)):
        raise ValueError(f"{cls.__name__} knows no {unknown[0]!r}; it knows {', '.join(known)}")
    return dict(body)


def held_by(value: Any) -> Iterator[tuple[str, Any]]:
    """Give the name and value of each field that holds something."""
    for field in attrs.fields(type(value)):
        held = getattr(value, field.name)
        if held is not None and held is not False and held != ():
            yield field.name, held


def _sizes(value: Any) -> Iterator[tuple[str, int, int]]:
    """Name, length and limit of each list of ids."""
    for field in attrs.fields(type(value)):
        held = getattr(value, field.name)
        if attrs.has(type(held)):
            yield from _sizes(held)
        elif isinstance(field.validator, Ids):
            yield field.name, len(held), field.validator.most


def _split(value: Any) -> list[Any]:
    parts = [value]
    for field in attrs.fields(type(value)):
        held = getattr(value, field.name)
        if attrs.has(type(held)):
            pieces: list[Any] = _split(held)
        elif isinstance(field.validator, Ids) and len(held) > field.validator.most:
            most = field.validator.most
            pieces = [held[start : start + most] for start in range(0, len(held), most)]
        else:
            continue
        parts = [attrs.evolve(part, **{field.name: piece}) for part in parts for piece in pieces]
    return parts
