"""What one contact of a JSON import may hold."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ccactivity.jobs.rows import find_problem

ADA = {"email": "ada@example.com"}


@pytest.mark.parametrize(
    "row",
    [
        ADA,
        {"sms_number": "123-123-1234"},
        ADA | {"first_name": "A" * 50, "street": "S" * 255, "home_street2": "S" * 255, "work_zip": "1"},
        ADA | {"birthday_month": 12, "birthday_day": "31"},
        ADA | {"birthday_month": None, "birthday_day": ""},
        ADA | {"first_name": None},
        ADA | {f"cf:{number}": "x" * 255 for number in range(25)},
        ADA | {"phone": "1", "home_phone": "2", "work_phone": "3", "other_phone": ""},
        *[ADA | {"anniversary": date} for date in ("07/31/2026", "7/1/2026", "2026/07/31", "2026/7/1", "2026-07-31")],
        *[ADA | {"anniversary": date} for date in ("2026-7-1", "7-1-2026", "7-31-2026", "")],
    ],
)
def test_good_rows(row: dict[str, Any]) -> None:
    """Up to each limit, and in each form of a date that the vendor names."""
    assert find_problem(row, explicit=False) is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "needs an email or an sms_number"),
        ({"email": "", "first_name": "Ada"}, "needs an email or an sms_number"),
        ({"email": {"address": "ada@example.com"}}, "has a email that is not a str"),
        (ADA | {"custom_fields": []}, "has a key that the vendor does not know, 'custom_fields'"),
        (ADA | {"home country": "GB"}, "'home country'"),
        (ADA | {5: "x"}, "has a key that is not a str"),
        (ADA | {"email": "a" * 51}, "has a email of more than 50 characters"),
        (ADA | {"street": "a" * 256}, "has a street of more than 255 characters"),
        (ADA | {"sms_number": "1" * 17}, "has a sms_number of more than 16 characters"),
        (ADA | {"cf:size": "a" * 256}, "has a cf:size of more than 255 characters"),
        (ADA | {"cf:size": 5}, "has a cf:size that is not a str"),
        (ADA | {f"cf:{number}": "" for number in range(26)}, "has more than 25 custom fields"),
        (ADA | {"birthday_day": 1}, "needs both birthday_month and birthday_day, or none"),
        (ADA | {"birthday_month": 1, "birthday_day": ""}, "needs both birthday_month"),
        (ADA | {"birthday_month": 13, "birthday_day": 1}, "has a birthday_month that is not from 1 to 12"),
        (ADA | {"birthday_month": 1, "birthday_day": 0}, "has a birthday_day that is not from 1 to 31"),
        (ADA | {"birthday_month": True, "birthday_day": 1}, "has a birthday_month that is not"),
        (ADA | {"birthday_month": "May", "birthday_day": 1}, "has a birthday_month that is not"),
        (ADA | {"birthday_month": "9" * 5000, "birthday_day": 1}, "has a birthday_month that is not"),
        (ADA | {"birthday_month": "001234", "birthday_day": 1}, "has a birthday_month that is not"),
        (ADA | {"birthday_month": Decimal(5), "birthday_day": 1}, "has a birthday_month that is not"),
        (ADA | {"birthday_month": "\u0665", "birthday_day": 1}, "has a birthday_month that is not"),
        (ADA | {"anniversary": "31.7.2026"}, "has an anniversary in a form"),
        (ADA | {"anniversary": "07-31-2026"}, "has an anniversary in a form"),
        (ADA | {"anniversary": "2026/07-31"}, "has an anniversary in a form"),
        (ADA | {f"{place}city": "x" for place in ("", "home_", "work_", "other_")}, "has more than 3 addresses"),
        (ADA | dict.fromkeys(("phone", "home_phone", "work_phone", "mobile_phone"), "1"), "more than 3 phones"),
    ],
)
def test_bad_rows(row: dict[str, Any], words: str) -> None:
    """The problem is told by the field's name, and never by its value."""
    problem = find_problem(row, explicit=False)

    assert problem is not None
    assert words in problem
    assert "@" not in problem


def test_explicit_permission_needs_its_date() -> None:
    """Of each contact."""
    assert "sms_consent_date" in str(find_problem(ADA, explicit=True))
    assert find_problem(ADA | {"sms_consent_date": "2026-07-31"}, explicit=True) is None
