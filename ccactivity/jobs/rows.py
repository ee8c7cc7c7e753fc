"""What the vendor documents of the values of a contact, and the check of one of a JSON import. Pure.

The names and limits hold for a file too, which `imports.columns` checks; they are those of its specification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .._text import escape

__all__ = [
    "ADDRESS_KINDS",
    "MAX_ADDRESSES",
    "MAX_CHARACTERS",
    "MAX_CUSTOM_FIELDS",
    "MAX_PHONES",
    "PHONES",
    "PLACE_PARTS",
    "STREET_PARTS",
    "find_problem",
    "get_longest",
]

ADDRESS_KINDS: Final = ("", "home_", "work_", "other_")
STREET_PARTS: Final = ("street", "street2")
PLACE_PARTS: Final = ("city", "state", "zip", "country")
PHONES: Final = ("phone", "home_phone", "work_phone", "mobile_phone", "other_phone")
MAX_CHARACTERS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("email", "first_name", "last_name", "job_title", "company_name", *PHONES), 50),
    **{f"{kind}{part}": 255 for kind in ADDRESS_KINDS for part in STREET_PARTS},
    **{f"{kind}{part}": 50 for kind in ADDRESS_KINDS for part in PLACE_PARTS},
    "sms_number": 16,
    "sms_consent_date": 16,
}
_MAX_CUSTOM_FIELD_CHARACTERS: Final = 255
# Of one contact.
MAX_CUSTOM_FIELDS: Final = 25
MAX_ADDRESSES: Final = 3
MAX_PHONES: Final = 3

_DAY: Final = re.compile(r"[0-9]{1,4}")
_BIRTHDAY: Final = {"birthday_month": 12, "birthday_day": 31}
_MAX_DATE_CHARACTERS: Final = 50
_DATE: Final = re.compile(r"\d\d?/\d\d?/\d{4}|\d{4}([/-])\d\d?\1\d\d?|\d-\d\d?-\d{4}")


def get_longest(name: str) -> int | None:
    """The most characters of a value; None if the name is unknown, and for what has a form: birthdays and dates."""
    return _MAX_CUSTOM_FIELD_CHARACTERS if name.startswith("cf:") else MAX_CHARACTERS.get(name)


def find_problem(row: Mapping[str, Any], *, explicit: bool) -> str | None:
    """Say what is wrong with a contact, by the name of the field and never by its value; None if nothing is.

    `explicit`: whether the permission to send texts is explicit, so that each contact needs the date of it.
    """
    if not (row.get("email") or row.get("sms_number")):
        return "needs an email or an sms_number"
    for name, value in row.items():
        if problem := _problem_of(name, value):
            return problem
    if (row.get("birthday_month") in (None, "")) != (row.get("birthday_day") in (None, "")):
        return "needs both birthday_month and birthday_day, or none"
    if sum(name.startswith("cf:") for name in row) > MAX_CUSTOM_FIELDS:
        return f"has more than {MAX_CUSTOM_FIELDS} custom fields"
    if sum(any(row.get(kind + part) for part in ("street", "city", "zip")) for kind in ADDRESS_KINDS) > MAX_ADDRESSES:
        return f"has more than {MAX_ADDRESSES} addresses"
    if sum(bool(row.get(phone)) for phone in PHONES) > MAX_PHONES:
        return f"has more than {MAX_PHONES} phones"
    if explicit and not row.get("sms_consent_date"):
        return "needs an sms_consent_date, as sms_permission_to_send is explicit"
    return None


def _problem_of(name: object, value: object) -> str | None:
    if not isinstance(name, str):
        return "has a key that is not a str"
    if name in _BIRTHDAY:
        good = type(value) in (int, str) and _DAY.fullmatch(str(value)) and 1 <= int(str(value)) <= _BIRTHDAY[name]
        return None if good or value in (None, "") else f"has a {name} that is not from 1 to {_BIRTHDAY[name]}"
    most = _MAX_DATE_CHARACTERS if name == "anniversary" else get_longest(name)
    if most is None:
        return f"has a key that the vendor does not know, {escape(name, 60)!r}"
    if value is None:
        return None
    if not isinstance(value, str):
        return f"has a {escape(name, 60)} that is not a str"
    if len(value) > most:
        return f"has a {escape(name, 60)} of more than {most} characters"
    if name == "anniversary" and value and not _DATE.fullmatch(value):
        return "has an anniversary in a form that the vendor does not read, such as 2026-07-31"
    return None
