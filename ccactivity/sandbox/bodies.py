"""The bodies of the requests that create jobs: what the vendor requires of them, and what they ask for.

The tables restate the reference of the bulk activities endpoints. As at the real vendor, an import that is too long
loses rows without an error: whatever comes after its first 4 MB, or after line 40,000 of a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email import message_from_bytes, policy
from email.message import Message
from typing import Any

from attrs import field, frozen

from .messages import Reply, Request, error_array

__all__ = ["BulkRequest", "InvalidBodyError", "read_bulk_request"]

_MAX_IMPORT_BYTES = 4_000_000
_MAX_IMPORT_ROWS = 40_000


class InvalidBodyError(Exception):
    """The body breaks a documented rule; `reply` says which."""

    def __init__(self, message: str, status: int = 400) -> None:
        key = "contacts.api.validation.error" if status == 400 else "contacts.api.unsupported_media_type"
        super().__init__(message)
        self.reply: Reply = error_array(status, key, message)


@frozen(kw_only=True)
class BulkRequest:
    """What a body asks for. `rows` is None when only the account knows how many contacts that are."""

    rows: int | None
    lists: int = 1
    file_name: str | None = None


@frozen(kw_only=True)
class _ArrayRule:
    """The arrays of ids that a body may hold, each with the most ids in it.

    All of `required`, exactly one of `one_of`, any of `optional`, and exactly one of `source` inside that object.
    """

    required: Mapping[str, int] = field(factory=dict)
    one_of: Mapping[str, int] = field(factory=dict)
    optional: Mapping[str, int] = field(factory=dict)
    source: Mapping[str, int] = field(factory=dict)


_NOT_AN_ARRAY = 0  # in the place of a maximum: a value of another type, which only has to be there
_SOURCE = {"contact_ids": 500, "list_ids": 50, "tag_ids": 50, "all_active_contacts": _NOT_AN_ARRAY}
_TAG_SOURCE = {**_SOURCE, "new_subscriber": _NOT_AN_ARRAY}
_LIST_SOURCE = {**_SOURCE, "engagement_level": _NOT_AN_ARRAY}

_ARRAY_RULES = {
    "add_list_memberships": _ArrayRule(required={"list_ids": 50}, source={**_LIST_SOURCE, "segment_id": _NOT_AN_ARRAY}),
    "contact_delete": _ArrayRule(one_of={"contact_ids": 500, "list_ids": 50}),
    "contact_exports": _ArrayRule(optional={"contact_ids": 500, "list_ids": 50, "tag_ids": 50}),
    "contacts_taggings_add": _ArrayRule(required={"tag_ids": 50}, source=_TAG_SOURCE),
    "contacts_taggings_remove": _ArrayRule(required={"tag_ids": 50}, source=_TAG_SOURCE),
    "contacts_tags_delete": _ArrayRule(required={"tag_ids": 500}),
    "custom_fields_delete": _ArrayRule(required={"custom_field_ids": 100}),
    "list_delete": _ArrayRule(required={"list_ids": 100}),
    "remove_list_memberships": _ArrayRule(required={"list_ids": 50}, source=_LIST_SOURCE),
}


def read_bulk_request(kind: str, request: Request) -> BulkRequest:
    """Return what the body of a POST to `/activities/<kind>` asks for, or raise `InvalidBodyError`."""
    if kind == "contacts_file_import":
        return _read_file_import(request)
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise InvalidBodyError("The JSON is malformed.") from None
    if not isinstance(body, dict):
        raise InvalidBodyError("The body must be an object.")
    if kind == "contacts_json_import":
        return _read_json_import(body, len(request.body))
    return _read_arrays(body, _ARRAY_RULES[kind])


def _read_json_import(body: dict[str, Any], size: int) -> BulkRequest:
    lists = _check_ids(body, "list_ids", 50)
    contacts = body.get("import_data")
    if not isinstance(contacts, list) or not contacts:
        raise InvalidBodyError("import_data must be a non-empty array.")
    if len(contacts) > _MAX_IMPORT_ROWS:
        raise InvalidBodyError("import_data holds more than 40,000 contacts.")
    for contact in contacts:
        if not isinstance(contact, dict) or not (contact.get("email") or contact.get("sms_number")):
            raise InvalidBodyError("A contact needs an email or an sms_number.")
    if body.get("sms_permission_to_send", "not_set") not in ("explicit", "not_set"):
        raise InvalidBodyError("sms_permission_to_send is explicit or not_set.")
    kept = len(contacts) if size <= _MAX_IMPORT_BYTES else max(1, len(contacts) * _MAX_IMPORT_BYTES // size)
    return BulkRequest(rows=kept, lists=len(lists))


def _read_arrays(body: dict[str, Any], rule: _ArrayRule) -> BulkRequest:
    named = {name: _check_ids(body, name, maximum) for name, maximum in rule.required.items()}
    lists = len(named.get("list_ids", ())) or 1
    if rule.source:
        source = body.get("source")
        if not isinstance(source, dict):
            raise InvalidBodyError("source must be an object.")
        named = _exactly_one(source, rule.source)
    elif rule.required:
        (ids,) = named.values()
        return BulkRequest(rows=len(ids), lists=lists)
    elif rule.one_of:
        named = _exactly_one(body, rule.one_of)
        lists = len(named.get("list_ids", ())) or 1
    else:
        named = {name: _check_ids(body, name, maximum) for name, maximum in rule.optional.items() if name in body}
    return BulkRequest(rows=len(named["contact_ids"]) if "contact_ids" in named else None, lists=lists)


def _exactly_one(body: dict[str, Any], options: Mapping[str, int]) -> dict[str, list[str]]:
    given = [name for name in options if body.get(name) not in (None, False)]
    if len(given) != 1:
        raise InvalidBodyError(f"Exactly one of {', '.join(options)} is needed.")
    (name,) = given
    return {name: _check_ids(body, name, options[name])} if options[name] else {}


def _check_ids(body: dict[str, Any], name: str, maximum: int) -> list[str]:
    ids = body.get(name)
    if not isinstance(ids, list) or not all(isinstance(one, str) and one for one in ids):
        raise InvalidBodyError(f"{name} must be an array of ids.")
    if not 1 <= len(ids) <= maximum:
        raise InvalidBodyError(f"{name} must hold 1 to {maximum} ids.")
    return ids


def _read_file_import(request: Request) -> BulkRequest:
    parts = _form_parts(request)
    file, lists = parts.get("file"), parts.get("list_ids")
    if file is None or lists is None:
        raise InvalidBodyError("file and list_ids are needed.")
    name = file.get_filename() or ""
    if not name.lower().endswith(".csv"):
        raise InvalidBodyError("The file must be a .csv.", 415)
    ids = [one for one in _payload(lists).decode("utf-8", "replace").split(",") if one.strip()]
    if not 1 <= len(ids) <= 50:
        raise InvalidBodyError("list_ids must hold 1 to 50 ids, separated by commas.")

    lines = _payload(file)[:_MAX_IMPORT_BYTES].decode("utf-8", "replace").splitlines()[:_MAX_IMPORT_ROWS]
    columns = [column.strip(' "') for column in lines[0].split(",")] if lines else []
    if "email" not in columns and "sms_number" not in columns:
        raise InvalidBodyError("The file needs a column email or sms_number.")
    return BulkRequest(rows=len(lines) - 1, lists=len(ids), file_name=name)


def _form_parts(request: Request) -> dict[str, Message[str, str]]:
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise InvalidBodyError("The body must be multipart/form-data.", 415)
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1", "replace")
    message = message_from_bytes(head + request.body, policy=policy.HTTP)
    return {str(part.get_param("name", header="content-disposition")): part for part in message.iter_parts()}


def _payload(part: Message[str, str]) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""
