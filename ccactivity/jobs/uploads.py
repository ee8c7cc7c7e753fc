"""The jobs that bring contacts: a CSV file, or rows of JSON. Pure.

What is over a limit is refused here, because the vendor drops it without a word: whatever comes after the first 4 MB of
a request, or after line 40,000 of a file (vendor's Swagger file).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Literal, Self, cast, get_args

import attrs

from .._text import escape
from ..api.messages import FileForm
from .job import Ids, Job, as_tuple, check_fields
from .rows import find_problem

__all__ = [
    "MAX_CONTENT_BYTES",
    "MAX_FILE_LINES",
    "MAX_LISTS",
    "MAX_ROWS",
    "ImportContacts",
    "ImportFile",
    "SmsPermission",
]

# "MB" is not defined, so it is the smaller one.
_MAX_BODY_BYTES: Final = 4_000_000
# Of what is around a file or rows: the frame of a form, the ids of 50 lists.
_MAX_FRAME_BYTES: Final = 10_000
MAX_CONTENT_BYTES: Final = _MAX_BODY_BYTES - _MAX_FRAME_BYTES
"""Of a file, or of rows of JSON."""
MAX_FILE_LINES: Final = 40_000
"""Of a file to import: physical lines, the header included."""
MAX_ROWS: Final = 40_000
"""Of JSON."""
MAX_LISTS: Final = 50
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}\.csv")
SmsPermission = Literal["explicit", "not_set"]
_PERMISSIONS: Final = get_args(SmsPermission)


def _permission(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and value not in _PERMISSIONS:
        raise ValueError(f"{field.name} must be one of {', '.join(_PERMISSIONS)}, not {escape(repr(value), 40)}")


@attrs.frozen(repr=False)
class ImportFile(Job):
    """Import contacts from the bytes of a CSV file, which fits into one request.

    `content`: at most 3.99 MB, and 40,000 lines with the header. `file_name`: of letters, digits, '.', '_' and '-',
    ending in .csv, and of no other import (`make_file_name` makes one): the vendor shows it in the list of activities,
    so by it a submission is found again whose answer was lost. `list_ids`: 1 to 50 lists that the contacts join.
    `sms_permission_to_send`: "explicit", if each row has an sms_consent_date, or "not_set"; None sends nothing of it.

    `ActivitySession.import_file` takes files of any size.
    """

    kind: ClassVar[str] = "contacts_file_import"
    holds_contacts: ClassVar[bool] = True

    content: bytes = attrs.field()
    file_name: str = attrs.field(kw_only=True)
    list_ids: tuple[str, ...] = attrs.field(converter=as_tuple, validator=Ids(MAX_LISTS, least=1), kw_only=True)
    sms_permission_to_send: str | None = attrs.field(default=None, kw_only=True, validator=_permission)

    @content.validator
    def _check_content(self, _: object, content: object) -> None:
        problem = _find_problem_of_content(content)
        del content  # error trackers record the variables of a frame
        if problem is not None:
            raise problem

    @file_name.validator
    def _check_file_name(self, _: object, file_name: object) -> None:
        if not isinstance(file_name, str) or not _FILE_NAME.fullmatch(file_name):
            shown = escape(repr(file_name), 80)
            form = "at most 124 letters, digits, '.', '_' and '-', the last of them .csv"
            raise ValueError(f"file_name must be {form}, not {shown}")

    @property
    def repeatable(self) -> bool:
        return True

    @property
    def key(self) -> str:
        return self.file_name

    @property
    def rows(self) -> int:
        """The lines below the header."""
        return len(self.content.splitlines()) - 1

    def body(self) -> dict[str, Any]:
        """Return what is sent beside the file, by the vendor's names."""
        permission = self.sms_permission_to_send
        body = {"list_ids": ",".join(self.list_ids)}
        return body if permission is None else {**body, "sms_permission_to_send": permission}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """The body of JSON of a file import is a ValueError: there is none."""
        raise ValueError(f"a file has no body with {', '.join(body)}: make an {cls.__name__} of its content")

    def encode(self) -> FileForm:
        return FileForm(self.file_name, self.content, "text/csv", self.body())

    def __repr__(self) -> str:
        return f"ImportFile({self.file_name!r}, {len(self.content):,} bytes, {len(self.list_ids)} list_ids)"


def _as_rows(value: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Convert a list of rows to copies, which nobody else changes; what is none is left to the validator."""
    rows: Any = as_tuple(cast("Any", value))
    return tuple(dict(row) if isinstance(row, Mapping) else row for row in rows) if isinstance(rows, tuple) else rows


@attrs.frozen(kw_only=True, repr=False)
class ImportContacts(Job):
    """Import contacts that are rows of JSON, which can hold more than the columns of a file.

    `import_data`: mappings by the vendor's names, such as `{"email": ..., "first_name": ..., "cf:size": ...}`; 40,000
    or 4 MB in one request, and with more the job can be split. `list_ids`, `sms_permission_to_send`: as in
    `ImportFile`. A submission whose answer was lost is sent again, as nothing shows whether it was queued; import a
    file if you can.
    """

    kind: ClassVar[str] = "contacts_json_import"
    holds_contacts: ClassVar[bool] = True

    import_data: tuple[Mapping[str, Any], ...] = attrs.field(converter=_as_rows)
    list_ids: tuple[str, ...] = attrs.field(converter=as_tuple, validator=Ids(MAX_LISTS, least=1))
    sms_permission_to_send: str | None = attrs.field(default=None, validator=_permission)

    def __attrs_post_init__(self) -> None:
        problem = _find_problem_of_rows(self.import_data, explicit=self.sms_permission_to_send == "explicit")
        if problem is not None:
            raise problem

    @property
    def repeatable(self) -> bool:
        return True

    @property
    def rows(self) -> int:
        return len(self.import_data)

    def body(self) -> dict[str, Any]:
        permission = self.sms_permission_to_send
        body = {"import_data": [dict(row) for row in self.import_data], "list_ids": list(self.list_ids)}
        return body if permission is None else {**body, "sms_permission_to_send": permission}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        return cls(**check_fields(body, cls))

    def encode(self) -> bytes:
        body = _to_json(self.body())
        if len(self.import_data) <= MAX_ROWS and len(body) <= _MAX_BODY_BYTES:
            return body
        size = f"{len(self.import_data):,} contacts in {len(body):,} bytes"
        del body  # error trackers record the variables of a frame
        most = f"{MAX_ROWS:,} in {_MAX_BODY_BYTES:,}"
        raise ValueError(f"import_data holds {size}, and one request takes {most}: submit what split() gives")

    def split(self) -> tuple[Self, ...]:
        """Return jobs that each fit into one request; rows of one address stay together, in their order."""
        groups: dict[object, list[Mapping[str, Any]]] = {}
        for row in self.import_data:
            address = row.get("email") or row.get("sms_number")
            groups.setdefault(address.casefold() if isinstance(address, str) else address, []).append(row)
        parts: list[list[Mapping[str, Any]]] = [[]]
        left, rows_left = MAX_CONTENT_BYTES, MAX_ROWS
        for group in groups.values():
            size = sum(len(_to_json(dict(row))) + 1 for row in group)
            if parts[-1] and (size > left or len(group) > rows_left):
                parts.append([])
                left, rows_left = MAX_CONTENT_BYTES, MAX_ROWS
            parts[-1] += group
            left, rows_left = left - size, rows_left - len(group)
        return tuple(attrs.evolve(self, import_data=part) for part in parts) if len(parts) > 1 else (self,)


def _find_problem_of_content(content: object) -> Exception | None:
    if not isinstance(content, bytes):
        return TypeError(f"content must be bytes, not {type(content).__name__}")
    if len(content) > MAX_CONTENT_BYTES:
        return ValueError(f"content has {len(content):,} bytes, of which the vendor would read {MAX_CONTENT_BYTES:,}")
    lines = content.splitlines()
    if len(lines) > MAX_FILE_LINES:
        return ValueError(f"content has {len(lines):,} lines, of which the vendor would read {MAX_FILE_LINES:,}")
    if sum(1 for line in lines if line.strip()) < 2:
        return ValueError("content has no row below a header")
    return None


def _find_problem_of_rows(rows: object, *, explicit: bool) -> Exception | None:
    if not isinstance(rows, tuple) or not all(isinstance(row, Mapping) for row in rows):
        return TypeError("import_data must be a list of mappings")
    if not rows:
        return ValueError("import_data must hold at least one contact")
    for number, row in enumerate(rows):
        if problem := find_problem(row, explicit=explicit):
            return ValueError(f"import_data[{number}] {problem}")
    return None


def _to_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
