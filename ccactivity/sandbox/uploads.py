"""What an import uploads: how its rows are read, which of them are refused and why, and what is kept of it.

Theory of operation:

1. A file is read as CSV: a quoted line end is part of its record, and a blank line is no row. Only what lies within the
   first 4 MB of the body and the first 40,000 lines of the file is read; what a limit cuts through is taken as it is.
2. A row is refused for the first thing that is wrong with it: it is counted, and told in one message. What the
   documents call correctable is a bad email address, birthday or anniversary, and a row without any address.
3. Rows with the same address in any case are merged without a word, and the last one wins.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice
from typing import Any, NamedTuple

from attrs import frozen

__all__ = ["ContactRow", "Upload", "Uploads", "describe_malformed", "read_contacts", "read_file"]

_MAX_FILE_LINES = 40_000
_MAX_ROW_ERRORS = 1_000  # of one import: the counters tell of more. The real number is not documented
_PHONES = {"phone", "home_phone", "work_phone", "mobile_phone", "other_phone"}
_ADDRESS = {"street": 255, "street2": 255, "city": 50, "state": 50, "zip": 50, "country": 50}
_ADDRESSES = [{place + part for part in _ADDRESS} for place in ("", "home_", "work_", "other_")]
_BIRTHDAY = ("birthday_month", "birthday_day")
_MAX_CHARACTERS = {
    **dict.fromkeys(("email", "first_name", "last_name", "job_title", "company_name", "anniversary"), 50),
    **dict.fromkeys(_PHONES, 50),
    **dict.fromkeys(_BIRTHDAY, 2),
    **{column: _ADDRESS[column.rpartition("_")[2]] for columns in _ADDRESSES for column in columns},
    "sms_number": 16,
    "sms_consent_date": 16,
}
_MAX_CUSTOM_FIELD_CHARACTERS = 255
_MAX_CUSTOM_FIELDS = 25  # of one contact, as the two below
_MAX_ADDRESSES = 3
_MAX_PHONES = 3

_NO_ADDRESS, _BAD_EMAIL = "No email address or SMS number", "Invalid email address"
_BAD_BIRTHDAY, _BAD_ANNIVERSARY = "Invalid birthday", "Invalid anniversary"
_CORRECTABLE = frozenset((_NO_ADDRESS, _BAD_EMAIL, _BAD_BIRTHDAY, _BAD_ANNIVERSARY))

_EMAIL = re.compile(r"[^\s@,;<>\"]+@(?:[^\s@,;<>\".]+\.)+[^\s@,;<>\".]+")  # what is a valid one is not documented
_SMS_NUMBER = re.compile(r"[0-9]{10}|[0-9]{3}-[0-9]{3}-[0-9]{4}")
_DATES = (  # the documented forms, of which MM-DD-YYYY is not one
    re.compile(r"(?P<year>[0-9]{4})(?P<mark>[/-])(?P<month>[0-9]{1,2})(?P=mark)(?P<day>[0-9]{1,2})"),
    re.compile(r"(?P<month>[0-9]{1,2})/(?P<day>[0-9]{1,2})/(?P<year>[0-9]{4})"),
    re.compile(r"(?P<month>[1-9][0-9]?)-(?P<day>[0-9]{1,2})-(?P<year>[0-9]{4})"),
)


class ContactRow(NamedTuple):
    """One row of an import. `line`: the first physical line that it takes; `number`: of the record, blank lines not
    counted. Both are 1 for the header.
    """

    line: int
    number: int
    values: dict[str, str]


@frozen(kw_only=True)
class Upload:
    """The contents of an import: `data` as sent, and `read` for the rows that lie within the limits.

    `explicit`: whether the permission to send texts is, so that each row needs the date of it.
    """

    data: bytes
    read: Callable[[], Iterator[ContactRow]]
    explicit: bool


class Uploads:
    """The uploads of the account: judged when they come, and the newest of them kept, `keep_bytes` at most.

    `unsubscribed`: addresses in lower case.
    """

    def __init__(self, *, line_numbers: str, keep_bytes: int) -> None:
        if line_numbers not in ("physical", "record"):
            raise ValueError("line_numbers is physical or record")
        self.unsubscribed: set[str] = set()
        self._by_record = line_numbers == "record"
        self._keep_bytes = keep_bytes
        self._kept: dict[str, Upload] = {}
        self._kept_bytes = 0

    def judge(self, upload: Upload) -> tuple[int, dict[str, Any]]:
        """Return how many rows an upload has, and what they make of the `Life` of its job."""
        errors: list[str] = []
        rows = refused = correctable = unsubscribed = 0
        for row in upload.read():
            rows += 1
            problem = _find_problem(row.values, explicit=upload.explicit)
            if problem is None:
                unsubscribed += row.values.get("email", "").casefold() in self.unsubscribed
                continue
            refused += 1
            correctable += problem in _CORRECTABLE
            if refused <= _MAX_ROW_ERRORS:
                errors.append(f"Line {row.number if self._by_record else row.line}: {problem}")
        counts = {"error_count": refused - correctable, "correctable_count": correctable}
        return rows, {"errors": errors, **counts, "cannot_add_to_list_count": unsubscribed}

    def keep(self, activity_id: str, upload: Upload) -> None:
        """Keep an upload, and let the oldest ones go if there is no room for it."""
        self._kept[activity_id] = upload
        self._kept_bytes += len(upload.data)
        while self._kept_bytes > self._keep_bytes:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))).data)

    def find(self, activity_id: str) -> Upload:
        """Return the upload of an activity; `LookupError` if it had none or it is no longer kept."""
        if activity_id not in self._kept:
            raise LookupError(f"no upload of {activity_id} is kept")
        return self._kept[activity_id]

    def take(self, activity_id: str, most: int) -> list[dict[str, str]]:
        """Return what the account has of the first so many rows of an upload: none refused, none twice."""
        upload = self.find(activity_id)
        taken: dict[str, dict[str, str]] = {}
        for row in islice(upload.read(), most):
            if _find_problem(row.values, explicit=upload.explicit) is None:
                key = row.values.get("email", "").casefold() or row.values["sms_number"].replace("-", "")
                taken.pop(key, None)
                taken[key] = row.values
        return list(taken.values())


def read_file(data: bytes) -> Iterator[ContactRow]:
    """Yield the header and then the rows of a CSV file. A cell without a column is dropped in silence."""
    reader = csv.reader(islice(io.StringIO(data.decode("utf-8", "replace"), newline=""), _MAX_FILE_LINES))
    columns: list[str] = []
    number, line = 0, 1
    try:
        for cells in reader:
            if cells:
                number += 1
                columns = columns or [cell.strip() for cell in cells]
                yield ContactRow(line, number, dict(zip(columns, cells, strict=False)))
            line = reader.line_num + 1
    except csv.Error:  # a field of more than 128 KiB, as after a quote that is never closed: it takes the rest
        yield ContactRow(line, number + 1, {})


def read_contacts(body: bytes, most: int) -> Iterator[ContactRow]:
    """Yield the first so many contacts of a JSON import, numbered as if below a header."""
    for number, contact in enumerate(json.loads(body)["import_data"][:most], 2):
        yield ContactRow(number, number, {name: str(value) for name, value in contact.items() if value is not None})


def describe_malformed(contact: Any) -> str | None:
    """Say what keeps a contact of a JSON import from being one at all, None if nothing does."""
    if not isinstance(contact, dict) or not (contact.get("email") or contact.get("sms_number")):
        return "A contact needs an email or an sms_number."
    for name, value in contact.items():
        if name not in _MAX_CHARACTERS and not name.startswith("cf:"):
            return f"{name} is not known."
        if value is not None and not isinstance(value, str) and (name not in _BIRTHDAY or type(value) is not int):
            return f"{name} is of the wrong type."
    return None


def _find_problem(row: dict[str, str], *, explicit: bool) -> str | None:
    values = {name: value for name, value in row.items() if value}
    email, sms_number, anniversary = (values.get(name) for name in ("email", "sms_number", "anniversary"))
    month, day = (values.get(name) for name in _BIRTHDAY)
    if not email and not sms_number:
        return _NO_ADDRESS
    if email and not _EMAIL.fullmatch(email):
        return _BAD_EMAIL
    if sms_number and not _SMS_NUMBER.fullmatch(sms_number):
        return "Invalid sms_number"
    if (month or day) and not _is_date(f"2024-{month}-{day}"):  # 29 February is a birthday
        return _BAD_BIRTHDAY
    if anniversary and not _is_date(anniversary):
        return _BAD_ANNIVERSARY
    if (explicit or "sms_consent_date" in values) and not _is_date(values.get("sms_consent_date", "")):
        return "Invalid sms_consent_date"
    return _find_excess(values)


def _find_excess(values: dict[str, str]) -> str | None:
    custom_fields = 0
    for name, value in values.items():
        most = _MAX_CHARACTERS.get(name)
        if most is None and name.startswith("cf:"):
            most = _MAX_CUSTOM_FIELD_CHARACTERS
            custom_fields += 1
        if most is not None and len(value) > most:
            return f"{name} is longer than {most} characters"
    if custom_fields > _MAX_CUSTOM_FIELDS:
        return f"More than {_MAX_CUSTOM_FIELDS} custom fields"
    if len(values.keys() & _PHONES) > _MAX_PHONES:
        return f"More than {_MAX_PHONES} phone numbers"
    if sum(not columns.isdisjoint(values) for columns in _ADDRESSES) > _MAX_ADDRESSES:
        return f"More than {_MAX_ADDRESSES} street addresses"
    return None


def _is_date(text: str) -> bool:
    found = next(filter(None, (form.fullmatch(text) for form in _DATES)), None)
    try:
        return found is not None and bool(date(int(found["year"]), int(found["month"]), int(found["day"])))
    except ValueError:
        return False
