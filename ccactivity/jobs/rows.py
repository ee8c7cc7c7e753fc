"""What one contact of a JSON import may hold, by the vendor's reference of the endpoint. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .._text import escape

__all__ = ["find_problem"]

_PLACES: Final = ("", "home_", "work_", "other_")
_PHONES: Final = ("phone", "home_phone", "work_phone", "mobile_phone", "other_phone")
_MAX_CHARACTERS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("email", "first_name", "last_name", "job_title", "company_name", "anniversary", *_PHONES), 50),
    **{place + field: 50 for place in _PLACES for field in ("city", "state", "zip", "country")},
    **{place + field: 255 for place in _PLACES for field in ("street", "street2")},
    "sms_number": 16,
    "sms_consent_date": 16,
}
_MAX_CUSTOM_CHARACTERS: Final = 255
_MAX_CUSTOM_FIELDS: Final = 25
_MAX_OF_EACH: Final = 3  # addresses, phones
_DAY: Final = re.compile(r"[0-9]{1,4}")
_BIRTHDAY: Final = {"birthday_month": 12, "birthday_day": 31}
_DATE: Final = re.compile(
    r"(?P<m>\d\d?)/(?P<d>\d\d?)/\d{4}|\d{4}([/-])(?P<m2>\d\d?)\3(?P<d2>\d\d?)|(?P<m3>\d)-(?P<d3>\d\d?)-\d{4}"
)


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
    if sum(name.startswith("cf:") for name in row) > _MAX_CUSTOM_FIELDS:
        return f"has more than {_MAX_CUSTOM_FIELDS} custom fields"
    if sum(any(row.get(place + field) for field in ("street", "city", "zip")) for place in _PLACES) > _MAX_OF_EACH:
        return f"has more than {_MAX_OF_EACH} addresses"
    if sum(bool(row.get(phone)) for phone in _PHONES) > _MAX_OF_EACH:
        return f"has more than {_MAX_OF_EACH} phones"
    if explicit and not row.get("sms_consent_date"):
        return "needs an sms_consent_date, as sms_permission_to_send is explicit"
    return None


def _problem_of(name: object, value: object) -> str | None:
    if not isinstance(name, str):
        return "has a key that is not a str"
    if name in _BIRTHDAY:
        good = type(value) in (int, str) and _DAY.fullmatch(str(value)) and 1 <= int(str(value)) <= _BIRTHDAY[name]
        return None if good or value in (None, "") else f"has a {name} that is not from 1 to {_BIRTHDAY[name]}"
    most = _MAX_CUSTOM_CHARACTERS if name.startswith("cf:") else _MAX_CHARACTERS.get(name)
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
