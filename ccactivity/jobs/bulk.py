"""The jobs that name contacts, lists, tags or fields by their ids. Pure.

The limits are those of the vendor's Swagger file, or of its prose where the file says `maxItems: 0`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, ClassVar, Final, Self, cast

import attrs
from attrs.validators import optional

from .._text import escape
from .job import Counted, Ids, Job, as_tuple, check_fields, held_by

__all__ = [
    "AddTags",
    "AddToLists",
    "DeleteContacts",
    "DeleteCustomFields",
    "DeleteLists",
    "DeleteTags",
    "ExportContacts",
    "RemoveFromLists",
    "RemoveTags",
    "Source",
]

_EXCLUDING: Final = ("all_active_contacts", "list_ids")  # the sources from which contacts can be excluded
# The filters of an export that may be combined; any other two exclude each other.
_COMBINED: Final = (
    {"contact_ids", "status"},
    {"list_ids", "status"},
    {"list_ids", "exclude"},
    {"list_ids", "new_subscriber"},
    {"new_subscriber", "exclude"},
)
_STATUSES: Final = ("active", "unsubscribed", "removed")
_NEED_ADDRESS: Final = ("email_optin_", "email_optout_")


def _of_type(kind: type) -> Any:
    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None and type(value) is not kind:  # a bool is no int
            article = "an" if kind is int else "a"
            raise TypeError(f"{field.name} must be {article} {kind.__name__}, not {type(value).__name__}")

    return check


def _names(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(name, str) and name for name in value):
        raise TypeError(f"{field.name} must be a list of names")


def _as_filter(value: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if value is None else as_tuple(value)


def _filter(most: int) -> Any:
    """Validate the ids of a filter: one without any would export everybody."""
    return optional(Ids(most, least=1))


def _given(value: Any) -> dict[str, Any]:
    """What was given, as JSON has it."""
    given = dict(held_by(value))
    for name, held in given.items():
        given[name] = list(held) if isinstance(held, tuple) else _given(held) if isinstance(held, Source) else held
    return given


@attrs.frozen(kw_only=True, repr=False)
class Source(Counted):
    """Which contacts a job is about: exactly one of these.

    `contact_ids`, `list_ids`, `tag_ids`: 500, 50 and 50 in one request; a job with more can be split. `segment_id`: of
    one segment. `engagement_level`: such as "high". `all_active_contacts`, `new_subscriber`: True. `exclude`: ids of
    contacts to leave out, beside `list_ids` or `all_active_contacts` alone.
    """

    contact_ids: tuple[str, ...] = attrs.field(default=(), converter=as_tuple, validator=Ids(500, splits=True))
    list_ids: tuple[str, ...] = attrs.field(default=(), converter=as_tuple, validator=Ids(50, splits=True))
    tag_ids: tuple[str, ...] = attrs.field(default=(), converter=as_tuple, validator=Ids(50, splits=True))
    segment_id: int | None = attrs.field(default=None, validator=_of_type(int))
    engagement_level: str | None = attrs.field(default=None, validator=_of_type(str))
    all_active_contacts: bool = attrs.field(default=False, validator=_of_type(bool))
    new_subscriber: bool = attrs.field(default=False, validator=_of_type(bool))
    exclude: tuple[str, ...] = attrs.field(default=(), converter=as_tuple, validator=Ids(50))

    def __attrs_post_init__(self) -> None:
        names = [field.name for field in attrs.fields(Source) if field.name != "exclude"]
        given = [name for name in _given(self) if name != "exclude"]
        if len(given) != 1:
            raise ValueError(f"a source is exactly one of {', '.join(names)}, not {' and '.join(given) or 'none'}")
        if self.exclude and given[0] not in _EXCLUDING:
            raise ValueError(f"exclude goes with {' or '.join(_EXCLUDING)}, not with {given[0]}")

    @property
    def by(self) -> str:
        """The name of what was given."""
        return next(iter(_given(self)))


@attrs.frozen(kw_only=True, repr=False)
class _OfIds(Job):
    """A job whose body has the names of its fields; but contacts to be left out are an object beside them."""

    @property
    def repeatable(self) -> bool:
        return True

    def body(self) -> dict[str, Any]:
        body = _given(self)
        if exclude := body.get("source", body).pop("exclude", None):
            body["exclude"] = {"contact_ids": exclude}
        return body

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        rest, exclude = _take_exclude(body)
        return cls(**check_fields({**rest, **exclude} if exclude else rest, cls))


@attrs.frozen(kw_only=True, repr=False)
class _OfContacts(_OfIds):
    """A job about the contacts of a source, and what they get or lose."""

    sources: ClassVar[tuple[str, ...]]  # that it can go by
    loses: ClassVar[str] = ""  # the field with what they lose, if it is that

    source: Source

    def __attrs_post_init__(self) -> None:
        if not isinstance(cast("object", self.source), Source):
            raise TypeError(f"source must be a Source, not {type(self.source).__name__}")
        if self.source.by not in self.sources:
            raise ValueError(f"{type(self).__name__} takes no source by {self.source.by}: {', '.join(self.sources)}")

    @property
    def repeatable(self) -> bool:
        return self.source.by == "contact_ids"

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        rest, exclude = _take_exclude(body)
        fields = check_fields(rest, cls)
        if "source" in fields:
            fields["source"] = Source(**exclude, **check_fields(fields["source"], Source, but="exclude"))
        return cls(**fields)

    def split(self) -> tuple[Self, ...]:
        parts = super().split()
        if not self.loses or len({getattr(part, self.loses) for part in parts}) == 1:
            return parts
        if set(getattr(self.source, self.loses)) & set(getattr(self, self.loses)):
            # What the first part has removed, the source of the next one would not find any more.
            raise ValueError(f"{self.loses} cannot be split: the source goes by some of what is removed")
        return parts


_LIST_SOURCES: Final = ("contact_ids", "list_ids", "tag_ids", "engagement_level", "all_active_contacts")
_TAG_SOURCES: Final = ("contact_ids", "list_ids", "tag_ids", "new_subscriber", "all_active_contacts")


@attrs.frozen(kw_only=True, repr=False)
class AddToLists(_OfContacts):
    """Add the contacts of a source to lists, 50 in one request. Any source but `new_subscriber`."""

    kind = "add_list_memberships"
    sources: ClassVar[tuple[str, ...]] = (*_LIST_SOURCES, "segment_id")

    list_ids: tuple[str, ...] = attrs.field(converter=as_tuple, validator=Ids(50, splits=True, least=1))


@attrs.frozen(kw_only=True, repr=False)
class RemoveFromLists(_OfContacts):
    """Remove the contacts of a source from lists, 50 in one request. Any source but `new_subscriber`, `segment_id`."""

    kind = "remove_list_memberships"
    sources: ClassVar[tuple[str, ...]] = _LIST_SOURCES
    loses = "list_ids"

    list_ids: tuple[str, ...] = attrs.field(converter=as_tuple, validator=Ids(50, splits=True, least=1))


@attrs.frozen(kw_only=True, repr=False)
class AddTags(_OfContacts):
    """Give the contacts of a source tags, 50 in one request. Any source but `engagement_level`, `segment_id`."""

    kind = "contacts_taggings_add"
    sources: ClassVar[tuple[str, ...]] = _TAG_SOURCES

    tag_ids: tuple[str, ...] = attrs.field(converter=as_tuple, validator=Ids(50, splits=True, least=1))


@attrs.frozen(kw_only=True, repr=False)
class RemoveTags(_OfContacts):
    """Take tags from the contacts of a source, 50 in one request. Any source but `engagement_level`, `segment_id`."""

    kind = "contacts_taggings_remove"
    sources: ClassVar[tuple[str, ...]] = _TAG_SOURCES
    loses = "tag_ids"

    tag_ids: tuple[str, ...] = attrs.field(converter=as_tuple, validator=Ids(50, splits=True, least=1))


@attrs.frozen(kw_only=True, repr=False)
class DeleteContacts(_OfIds):
    """Delete contacts: those with these ids, 500 in one request, or all of these lists, 50 in one request."""

    kind = "contact_delete"

    contact_ids: tuple[str, ...] = attrs.field(default=(), converter=as_tuple, validator=Ids(500, splits=True))
    list_ids: tuple[str, ...] = attrs.field(default=(), converter=as_tuple, validator=Ids(50, splits=True))

    def __attrs_post_init__(self) -> None:
        if bool(self.contact_ids) == bool(self.list_ids):
            raise ValueError("DeleteContacts takes either contact_ids or list_ids")

    @property
    def repeatable(self) -> bool:
        return bool(self.contact_ids)  # a list may have new contacts by then


@attrs.frozen(kw_only=True, repr=False)
class DeleteLists(_OfIds):
    """Delete lists, 100 in one request; not their contacts."""

    kind = "list_delete"

    list_ids: tuple[str, ...] = attrs.field(converter=as_tuple, validator=Ids(100, splits=True, least=1))


@attrs.frozen(kw_only=True, repr=False)
class DeleteTags(_OfIds):
    """Delete tags, 500 in one request."""

    kind = "contacts_tags_delete"

    tag_ids: tuple[str, ...] = attrs.field(converter=as_tuple, validator=Ids(500, splits=True, least=1))


@attrs.frozen(kw_only=True, repr=False)
class DeleteCustomFields(_OfIds):
    """Delete custom fields, 100 in one request."""

    kind = "custom_fields_delete"

    custom_field_ids: tuple[str, ...] = attrs.field(converter=as_tuple, validator=Ids(100, splits=True, least=1))


@attrs.frozen(kw_only=True, repr=False)
class ExportContacts(_OfIds):
    """Export contacts to a CSV file: all, or those of a filter. It cannot be split: each part would have its own file.

    `contact_ids`: 1 to 500. `list_ids`, `tag_ids`: 1 to 50. `segment_id`: of one segment. `new_subscriber`: those
    of the last 30 days. `status`: "active", "unsubscribed" or "removed". `exclude`: ids of contacts to leave out, 50 at
    most. These may be combined: `status` with `contact_ids` or `list_ids`; `exclude` and `new_subscriber` with each
    other and with `list_ids`.

    `fields`: names of the columns, such as "email_address"; empty for all. What the vendor knows beyond its guide is
    not checked.
    """

    kind = "contact_exports"

    contact_ids: tuple[str, ...] | None = attrs.field(default=None, converter=_as_filter, validator=_filter(500))
    list_ids: tuple[str, ...] | None = attrs.field(default=None, converter=_as_filter, validator=_filter(50))
    tag_ids: tuple[str, ...] | None = attrs.field(default=None, converter=_as_filter, validator=_filter(50))
    segment_id: int | None = attrs.field(default=None, validator=_of_type(int))
    new_subscriber: bool = attrs.field(default=False, validator=_of_type(bool))
    status: str | None = attrs.field(default=None, validator=_of_type(str))
    fields: tuple[str, ...] = attrs.field(default=(), converter=as_tuple, validator=_names)
    exclude: tuple[str, ...] = attrs.field(default=(), converter=as_tuple, validator=Ids(50))

    def __attrs_post_init__(self) -> None:
        if self.status is not None and self.status not in _STATUSES:
            raise ValueError(f"status must be one of {', '.join(_STATUSES)}, not {escape(self.status, 40)!r}")
        for pair in combinations(_given(self), 2):
            if "fields" not in pair and set(pair) not in _COMBINED:
                raise ValueError(f"{pair[0]} and {pair[1]} exclude each other in an export")
        if "email" in self.fields:
            raise ValueError("in fields, the address is called email_address, not email")
        alone = [name for name in self.fields if name.startswith(_NEED_ADDRESS)]
        if alone and "email_address" not in self.fields:
            raise ValueError(f"{escape(alone[0], 40)} in fields needs email_address beside it")

    @property
    def repeatable(self) -> bool:
        return False


def _take_exclude(body: Any) -> tuple[Any, dict[str, Any]]:
    """Take apart a body: all but the contacts to be left out, and these."""
    if not isinstance(body, Mapping) or "exclude" not in body:
        return body, {}
    excluded = body["exclude"]
    if not isinstance(excluded, Mapping) or set(excluded) != {"contact_ids"}:
        raise ValueError("exclude must be an object with contact_ids")
    return {name: value for name, value in body.items() if name != "exclude"}, {"exclude": excluded["contact_ids"]}
