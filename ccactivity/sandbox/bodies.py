"""What the vendor requires of the bodies that create jobs; it creates none, and forgives nothing that is
documented.

The tables restate the reference of the bulk activities endpoints. Over-long imports are the vendor's own trap
and are kept: what lies behind the first 4 MB, or behind line 40,000 of a file, is dropped in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email import message_from_bytes, policy
from email.message import Message
from typing import Any

from attrs import field, frozen

from .messages import Reply, Request, error_array

__all__ = ["Order", "Refused", "read_order"]

_MEGABYTES = 4_000_000
_MOST_ROWS = 40_000


class Refused(Exception):
    """The body breaks a documented rule; `reply` says which."""

    def __init__(self, message: str, status: int = 400) -> None:
        key = "contacts.api.validation.error" if status == 400 else "contacts.api.unsupported_media_type"
        super().__init__(message)
        self.reply: Reply = error_array(status, key, message)


@frozen(kw_only=True)
class Order:
    """What a body asks for. `rows` is None when only the account knows how many contacts are meant."""

    rows: int | None
    lists: int = 1
    file_name: str | None = None


@frozen(kw_only=True)
class _Rule:
    """Limits on arrays of ids: `required` ones (1 to so many), `one_of` of which there is exactly one,
    `optional` ones; and the same for the inside of `source`.
    """

    required: Mapping[str, int] = field(factory=dict)
    one_of: Mapping[str, int] = field(factory=dict)
    optional: Mapping[str, int] = field(factory=dict)
    source: Mapping[str, int] = field(factory=dict)


_ANY = 0  # in a rule: a value that is not an array of ids, of which only the presence counts
_TAG_SOURCE = {
    "contact_ids": 500,
    "list_ids": 50,
    "tag_ids": 50,
    "all_active_contacts": _ANY,
    "new_subscriber": _ANY,
}
_LIST_SOURCE = {
    "contact_ids": 500,
    "list_ids": 50,
    "tag_ids": 50,
    "all_active_contacts": _ANY,
    "engagement_level": _ANY,
}

_RULES = {
    "add_list_memberships": _Rule(required={"list_ids": 50}, source={**_LIST_SOURCE, "segment_id": _ANY}),
    "contact_delete": _Rule(one_of={"contact_ids": 500, "list_ids": 50}),
    "contact_exports": _Rule(optional={"contact_ids": 500, "list_ids": 50, "tag_ids": 50}),
    "contacts_taggings_add": _Rule(required={"tag_ids": 50}, source=_TAG_SOURCE),
    "contacts_taggings_remove": _Rule(required={"tag_ids": 50}, source=_TAG_SOURCE),
    "contacts_tags_delete": _Rule(required={"tag_ids": 500}),
    "custom_fields_delete": _Rule(required={"custom_field_ids": 100}),
    "list_delete": _Rule(required={"list_ids": 100}),
    "remove_list_memberships": _Rule(required={"list_ids": 50}, source=_LIST_SOURCE),
}


def read_order(kind: str, request: Request) -> Order:
    """Return what the body of a POST to `/activities/<kind>` asks for, or raise `Refused`."""
    if kind == "contacts_file_import":
        return _read_file(request)
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise Refused("The JSON is malformed.") from None
    if not isinstance(body, dict):
        raise Refused("The body must be an object.")
    if kind == "contacts_json_import":
        return _read_import(body, len(request.body))
    return _read_ids(body, _RULES[kind])


def _read_import(body: dict[str, Any], size: int) -> Order:
    lists = _ids(body, "list_ids", 50)
    contacts = body.get("import_data")
    if not isinstance(contacts, list) or not contacts:
        raise Refused("import_data must be a non-empty array.")
    if len(contacts) > _MOST_ROWS:
        raise Refused("import_data holds more than 40,000 contacts.")
    for contact in contacts:
        if not isinstance(contact, dict) or not (contact.get("email") or contact.get("sms_number")):
            raise Refused("A contact needs an email or an sms_number.")
    if body.get("sms_permission_to_send", "not_set") not in ("explicit", "not_set"):
        raise Refused("sms_permission_to_send is explicit or not_set.")
    kept = len(contacts) if size <= _MEGABYTES else max(1, len(contacts) * _MEGABYTES // size)
    return Order(rows=kept, lists=len(lists))


def _read_ids(body: dict[str, Any], rule: _Rule) -> Order:
    named = {name: _ids(body, name, most) for name, most in rule.required.items()}
    lists = len(named.get("list_ids", ())) or 1
    if rule.source:
        source = body.get("source")
        if not isinstance(source, dict):
            raise Refused("source must be an object.")
        named = _exactly_one(source, rule.source)
    elif rule.required:
        (ids,) = named.values()
        return Order(rows=len(ids), lists=lists)
    elif rule.one_of:
        named = _exactly_one(body, rule.one_of)
        lists = len(named.get("list_ids", ())) or 1
    else:
        named = {name: _ids(body, name, most) for name, most in rule.optional.items() if name in body}
    return Order(rows=len(named["contact_ids"]) if "contact_ids" in named else None, lists=lists)


def _exactly_one(body: dict[str, Any], options: Mapping[str, int]) -> dict[str, list[str]]:
    given = [name for name in options if body.get(name) not in (None, False)]
    if len(given) != 1:
        raise Refused(f"Exactly one of {', '.join(options)} is needed.")
    (name,) = given
    return {name: _ids(body, name, options[name])} if options[name] else {}


def _ids(body: dict[str, Any], name: str, most: int) -> list[str]:
    ids = body.get(name)
    if not isinstance(ids, list) or not all(isinstance(one, str) and one for one in ids):
        raise Refused(f"{name} must be an array of ids.")
    if not 1 <= len(ids) <= most:
        raise Refused(f"{name} must hold 1 to {most} ids.")
    return ids


def _read_file(request: Request) -> Order:
    parts = _parts(request)
    file, lists = parts.get("file"), parts.get("list_ids")
    if file is None or lists is None:
        raise Refused("file and list_ids are needed.")
    name = file.get_filename() or ""
    if not name.lower().endswith(".csv"):
        raise Refused("The file must be a .csv.", 415)
    ids = [one for one in _payload(lists).decode("utf-8", "replace").split(",") if one.strip()]
    if not 1 <= len(ids) <= 50:
        raise Refused("list_ids must hold 1 to 50 ids, separated by commas.")

    lines = _payload(file)[:_MEGABYTES].decode("utf-8", "replace").splitlines()[:_MOST_ROWS]
    columns = [column.strip(' "') for column in lines[0].split(",")] if lines else []
    if "email" not in columns and "sms_number" not in columns:
        raise Refused("The file needs a column email or sms_number.")
    return Order(rows=len(lines) - 1, lists=len(ids), file_name=name)


def _parts(request: Request) -> dict[str, Message[str, str]]:
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise Refused("The body must be multipart/form-data.", 415)
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1", "replace")
    message = message_from_bytes(head + request.body, policy=policy.HTTP)
    named: dict[str, Message[str, str]] = {}
    for part in message.iter_parts():
        named[str(part.get_param("name", header="content-disposition"))] = part
    return named


def _payload(part: Message[str, str]) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""
