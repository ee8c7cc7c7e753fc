"""The bodies of the requests that create jobs: what the vendor requires of them, and what they ask for.

The tables restate the reference of the bulk activities endpoints. As at the real vendor, an import that is too long
loses rows without an error: whatever comes after the first 4 MB of the body, or after line 40,000 of a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from email import message_from_string, policy
from email.message import Message
from functools import partial
from itertools import combinations, islice
from typing import Any, NamedTuple
from urllib.parse import unquote

from attrs import field, frozen

from .messages import Reply, Request, error_array
from .uploads import Upload, describe_malformed, read_contacts, read_file

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
    """What a body asks for. `rows` is None when only the account knows how many contacts that are, or the upload."""

    rows: int | None = None
    lists: int = 1
    file_name: str | None = None
    upload: Upload | None = None


_Options = Mapping[str, int | type]  # the most ids of an array, or the type of another value


@frozen(kw_only=True)
class _ArrayRule:
    """What a body holds: all of `required`, exactly one of `one_of`, and exactly one of `source` inside that object."""

    required: Mapping[str, int] = field(factory=dict)
    one_of: _Options = field(factory=dict)
    source: _Options = field(factory=dict)


_CONTACTS: _Options = {"contact_ids": 500, "list_ids": 50, "tag_ids": 50}
_SOURCE: _Options = {**_CONTACTS, "all_active_contacts": bool}
_TAG_SOURCE: _Options = {**_SOURCE, "new_subscriber": bool}
_LIST_SOURCE: _Options = {**_SOURCE, "engagement_level": str}
_EXCLUDABLE = ("all_active_contacts", "list_ids")  # sources from which contacts can be excluded
_MAX_EXCLUDED = 50

_ARRAY_RULES = {
    "add_list_memberships": _ArrayRule(required={"list_ids": 50}, source={**_LIST_SOURCE, "segment_id": int}),
    "contact_delete": _ArrayRule(one_of={"contact_ids": 500, "list_ids": 50}),
    "contacts_taggings_add": _ArrayRule(required={"tag_ids": 50}, source=_TAG_SOURCE),
    "contacts_taggings_remove": _ArrayRule(required={"tag_ids": 50}, source=_TAG_SOURCE),
    "contacts_tags_delete": _ArrayRule(required={"tag_ids": 500}),
    "custom_fields_delete": _ArrayRule(required={"custom_field_ids": 100}),
    "list_delete": _ArrayRule(required={"list_ids": 100}),
    "remove_list_memberships": _ArrayRule(required={"list_ids": 50}, source=_LIST_SOURCE),
}

_EXPORT_FILTERS: _Options = {**_CONTACTS, "segment_id": int, "new_subscriber": bool, "status": str}
_COMBINABLE = (
    {"contact_ids", "status"},
    {"list_ids", "status"},
    {"list_ids", "exclude"},
    {"list_ids", "new_subscriber"},
    {"new_subscriber", "exclude"},
)
_STATUSES = ("active", "unsubscribed", "removed")


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
        return _read_json_import(body, request.body)
    return _read_export(body) if kind == "contact_exports" else _read_arrays(body, _ARRAY_RULES[kind])


def _read_json_import(body: dict[str, Any], data: bytes) -> BulkRequest:
    lists = _check_ids(body, "list_ids", 50)
    contacts = body.get("import_data")
    if not isinstance(contacts, list) or not contacts:
        raise InvalidBodyError("import_data must be a non-empty array.")
    if len(contacts) > _MAX_IMPORT_ROWS:
        raise InvalidBodyError("import_data holds more than 40,000 contacts.")
    for contact in contacts:
        if problem := describe_malformed(contact):
            raise InvalidBodyError(problem)
    explicit = _read_permission(body.get("sms_permission_to_send", "not_set"))
    kept = min(len(contacts), max(1, len(contacts) * _MAX_IMPORT_BYTES // len(data)))
    upload = Upload(data=data, read=partial(read_contacts, data, kept), explicit=explicit)
    return BulkRequest(lists=len(lists), upload=upload)


def _read_export(body: dict[str, Any]) -> BulkRequest:
    given = _find_given(body, (*_EXPORT_FILTERS, "exclude"))
    for pair in combinations(given, 2):
        if set(pair) not in _COMBINABLE:
            raise InvalidBodyError(f"{' and '.join(pair)} exclude each other.")
    named = {name: _check(body, name, _EXPORT_FILTERS[name]) for name in given if name != "exclude"}
    _check_exclude(body)
    if "status" in given and body["status"] not in _STATUSES:
        raise InvalidBodyError(f"status is one of {', '.join(_STATUSES)}.")
    fields = body.get("fields") or []
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise InvalidBodyError("fields must be an array of names.")
    if "email_address" not in fields and any(name.startswith(("email_optin", "email_optout")) for name in fields):
        raise InvalidBodyError("Fields about opting in or out need email_address.")
    return BulkRequest(rows=len(named["contact_ids"]) if "contact_ids" in named else None)


def _read_arrays(body: dict[str, Any], rule: _ArrayRule) -> BulkRequest:
    named = {name: _check_ids(body, name, maximum) for name, maximum in rule.required.items()}
    lists = len(named.get("list_ids", ())) or 1
    if rule.source:
        source = body.get("source")
        if not isinstance(source, dict):
            raise InvalidBodyError("source must be an object.")
        named = _exactly_one(source, rule.source)
        if _check_exclude(body) and not named.keys() & _EXCLUDABLE:
            raise InvalidBodyError(f"exclude needs a source by {' or '.join(_EXCLUDABLE)}.")
    elif rule.one_of:
        named = _exactly_one(body, rule.one_of)
        lists = len(named.get("list_ids", ())) or 1
    else:
        (ids,) = named.values()
        return BulkRequest(rows=len(ids), lists=lists)
    return BulkRequest(rows=len(named["contact_ids"]) if "contact_ids" in named else None, lists=lists)


def _find_given(body: dict[str, Any], names: Iterable[str]) -> list[str]:
    """Return those of the names that the body has; null and false are as if they were left out."""
    return [name for name in names if body.get(name) not in (None, False)]


def _exactly_one(body: dict[str, Any], options: _Options) -> dict[str, list[str]]:
    given = _find_given(body, options)
    if len(given) != 1:
        raise InvalidBodyError(f"Exactly one of {', '.join(options)} is needed.")
    return {given[0]: _check(body, given[0], options[given[0]])}


def _check(body: dict[str, Any], name: str, rule: int | type) -> list[str]:
    if isinstance(rule, int):
        return _check_ids(body, name, rule)
    if type(body[name]) is not rule:
        raise InvalidBodyError(f"{name} is of the wrong type.")
    return []


def _check_exclude(body: dict[str, Any]) -> bool:
    exclude = body.get("exclude")
    if exclude is None:
        return False
    if not isinstance(exclude, dict):
        raise InvalidBodyError("exclude must be an object.")
    return bool(_check_ids(exclude, "contact_ids", _MAX_EXCLUDED))


def _check_ids(body: dict[str, Any], name: str, maximum: int) -> list[str]:
    ids = body.get(name)
    if not isinstance(ids, list) or not all(isinstance(one, str) and one for one in ids):
        raise InvalidBodyError(f"{name} must be an array of ids.")
    if not 1 <= len(ids) <= maximum:
        raise InvalidBodyError(f"{name} must hold 1 to {maximum} ids.")
    return ids


def _read_permission(text: object) -> bool:
    if text not in ("explicit", "not_set"):
        raise InvalidBodyError("sms_permission_to_send is explicit or not_set.")
    return text == "explicit"


# --- files --------------------------------------------------------------------------------------------------


class _FormPart(NamedTuple):
    """A part of a form. `file_name`: empty if it has none; `begin`: where in the body its data begins."""

    data: bytes
    file_name: str
    begin: int


def _read_file_import(request: Request) -> BulkRequest:
    parts = _form_parts(request)
    if "file" not in parts or "list_ids" not in parts:
        raise InvalidBodyError("file and list_ids are needed.")
    file, lists = parts["file"], parts["list_ids"].data.decode("utf-8", "replace")
    if not file.file_name.lower().endswith(".csv"):
        raise InvalidBodyError("The file must be a .csv.", 415)
    ids = [one for one in lists.split(",") if one.strip()]
    if not 1 <= len(ids) <= 50:
        raise InvalidBodyError("list_ids must hold 1 to 50 ids, separated by commas.")
    permission = parts.get("sms_permission_to_send")
    explicit = permission is not None and _read_permission(permission.data.decode("utf-8", "replace"))

    data = file.data[: max(0, _MAX_IMPORT_BYTES - file.begin)]
    header = next(read_file(data), None)
    if header is None or not header.values.keys() & {"email", "sms_number"}:
        raise InvalidBodyError("The file needs a column email or sms_number.")
    upload = Upload(data=file.data, read=lambda: islice(read_file(data), 1, None), explicit=explicit)
    return BulkRequest(lists=len(ids), file_name=file.file_name, upload=upload)


def _form_parts(request: Request) -> dict[str, _FormPart]:
    form = _headers_of(f"Content-Type: {request.headers.get('content-type', '')}")
    if form.get_content_type() != "multipart/form-data":
        raise InvalidBodyError("The body must be multipart/form-data.", 415)
    delimiter = f"\r\n--{form.get_boundary()}".encode("latin-1", "replace")
    position = -2  # of a piece in the body, which has no line end before the first
    parts = {}
    for piece in (b"\r\n" + request.body).split(delimiter):
        head, _, data = piece.partition(b"\r\n\r\n")
        headers = _headers_of(head.decode("utf-8", "replace").strip())
        name = headers.get_param("name", header="content-disposition")
        file_name = unquote(headers.get_filename(""))
        parts[str(name)] = _FormPart(data, file_name, position + len(head) + 4)
        position += len(piece) + len(delimiter)
    return parts


def _headers_of(text: str) -> Message[str, str]:
    return message_from_string(text + "\r\n\r\n", policy=policy.HTTP)
