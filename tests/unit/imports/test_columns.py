"""What is wrong with a header or a row is said by column, and never with what the file says there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.imports.columns import Columns, ImportProblem, find_header_problems, looks_like_address, spell_names
from ccactivity.imports.records import read_fields


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (["Email address", "first_name"], "no column email: rename email address to email"),
        (["E-Mail", "name"], "no column email: rename e-mail to email"),
        (["Mail"], "no column email: rename mail to email"),
        (
            ["email;first_name;last_name"],
            "no column email: the columns are separated by semicolons; convert them to commas",
        ),
        (["email\tfirst_name"], "no column email: the columns are separated by tabs; convert them to commas"),
        (["first_name", "last_name"], "no column email and none sms_number; the columns are first_name, last_name"),
        (
            ["zoe@example.com", "Zoe"],
            "this line holds an address: the file needs a header, such as email,first_name,last_name",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_header_without_an_address(header: list[str], problem: str) -> None:
    """The problem says what to do."""
    assert [(None, problem)] == find_header_problems(header, sms_explicit=False)


@pytest.mark.parametrize("header", [["email"], [" EMAIL ", "Cf:Pet"], ["sms_number", ""], ["Email", "", "", "cf:a@b"]])
def test_a_header_that_will_do(header: list[str]) -> None:
    """Case and space around names do not matter; one of email and sms_number is enough."""
    assert [] == find_header_problems(header, sms_explicit=False)


def test_names_are_sent_in_the_spelling_of_the_vendor() -> None:
    """What it documents is in lower case; the name of a custom field, and what it does not know, is left as it is."""
    names = ["Email", " FIRST_NAME ", "CF:Pet Name", "Home_City", "First Name", "pet"]

    assert ["email", "first_name", "cf:Pet Name", "home_city", "First Name", "pet"] == spell_names(names)


def test_a_column_that_is_there_twice() -> None:
    """It is named once."""
    assert [("email", "this column is there twice")] == find_header_problems(
        ["email", "Email ", "email"], sms_explicit=False
    )


def test_explicit_permission_needs_its_column() -> None:
    """Without a date there is no consent."""
    assert ["sms_consent_date"] == [column for column, _ in find_header_problems(["email"], sms_explicit=True)]
    assert [] == find_header_problems(["email", "sms_consent_date"], sms_explicit=True)


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("firstname", "column firstname is not known to the vendor: did you mean first_name?"),
        ("pet", "column pet is not known to the vendor: a custom field is named cf:pet"),
        ("home_city", "column home_city is documented for JSON imports only: the vendor may not read it in a file"),
        ("", "column 2 has no name"),
    ],
)
def test_a_column_that_is_not_known(name: str, warning: str) -> None:
    """It is a warning: nobody knows which names the vendor reads beside those that are documented."""
    assert [warning] == Columns(["email", name]).warnings


def test_what_is_known_is_no_warning() -> None:
    """Nor is the column of our own."""
    assert [] == Columns(["email", "first_name", "cf:pet", "ccactivity_error"]).warnings


def test_warnings_end() -> None:
    """A file with a thousand columns does not bring a thousand sentences."""
    warnings = Columns(["email", *(f"pet {number}" for number in range(30))]).warnings

    assert 21 == len(warnings)
    assert "10 more columns are not known to the vendor" == warnings[-1]


def row(**values: str) -> dict[str, str]:
    return {"email": "zoe@example.com", **values}


@pytest.mark.parametrize(
    ("values", "column", "problem"),
    [
        (row(email=""), "email", "neither email nor sms_number"),
        (row(email=" ", first_name="Zoe"), "email", "neither email nor sms_number"),
        (row(email="z" * 50 + "@example.com"), "email", "62 characters, and the longest is 50"),
        (row(first_name="é" * 51), "first_name", "51 characters, and the longest is 50"),
        (row(street="s" * 256), "street", "256 characters, and the longest is 255"),
        (row(sms_number="1" * 17), "sms_number", "17 characters, and the longest is 16"),
        ({**row(), "cf:pet": "p" * 256}, "cf:pet", "256 characters, and the longest is 255"),
        (row(anniversary="05-12-2020"), "anniversary", "not a date such as 2026-11-24 or 11/24/2026"),
        (row(anniversary=" 2026-11-24"), "anniversary", "space around the value"),
        (row(anniversary="24.11.2026"), "anniversary", "not a date such as 2026-11-24 or 11/24/2026"),
        (row(birthday_month="13", birthday_day="1"), "birthday_month", "not a number from 1 to 12"),
        (row(birthday_month="1", birthday_day="32"), "birthday_day", "not a number from 1 to 31"),
        (row(birthday_day="5"), "birthday_day", "birthday_month and birthday_day go together, or both are empty"),
        (row(birthday_month="5"), "birthday_day", "birthday_month and birthday_day go together, or both are empty"),
        ({**row(), **{f"cf:{n}": "x" for n in range(26)}}, None, "26 custom fields, and a contact has 25 at most"),
        (
            row(phone="1", home_phone="2", work_phone="3", other_phone="4"),
            None,
            "4 phones, and a contact has 3 at most",
        ),
        (
            row(city="a", home_city="b", work_zip="c", other_state="d"),
            None,
            "4 street addresses, and a contact has 3 at most",
        ),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_row_with_a_problem(values: dict[str, str], column: str | None, problem: str) -> None:
    """Each rule has its sentence; what was written in the row is in none."""
    assert [(column, problem)] == Columns(list(values)).check(list(values.values()))


@pytest.mark.parametrize(
    "values",
    [
        row(),
        row(email="", sms_number="123-123-1234"),
        row(email="strange", first_name="é" * 50),
        row(birthday_month="02", birthday_day="9"),
        {**row(), **{f"cf:{n}": "x" if n < 25 else "" for n in range(26)}},
        row(phone="1", home_phone="2", work_phone="3", other_phone=""),
        *(
            row(anniversary=date)
            for date in ("11/24/2026", "1/4/2026", "2026/11/24", "2026-1-4", "1-4-2026", "1-24-2026")
        ),
        row(no_rule="x" * 10_000),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_row_without_a_problem(values: dict[str, str]) -> None:
    """What the documentation allows is allowed, and what it does not speak of."""
    assert [] == Columns(list(values)).check(list(values.values()))


def test_rows_of_another_length() -> None:
    """Fields too many belong to no column; fields that are missing at the end are empty."""
    columns = Columns(["email", "first_name"])

    assert [(None, "3 fields, and the header has 2")] == columns.check(["zoe@example.com", "Zoe", "x"])
    assert [] == columns.check(["zoe@example.com"])


def test_explicit_permission_needs_a_date_in_each_row() -> None:
    """An empty one is a problem."""
    columns = Columns(["email", "sms_consent_date"], sms_explicit=True)

    assert [] == columns.check(["zoe@example.com", "11/24/2026"])
    assert ["sms_consent_date"] == [column for column, _ in columns.check(["zoe@example.com", " "])]


NAMES = ["email", "first_name", "anniversary", "birthday_month", "birthday_day", "sms_number", "sms_consent_date"]
NAMES += ["cf:pet", "pet", "street", "ccactivity_error", "cf:1", "cf:2"]
VALUES = ["", "", "1", "12", "31", "40", "2026-11-24", "é", "x" * 50, "x" * 51, "x" * 300, " "]
ADDRESSES = ["zoe@example.com", "zoe@example.com", "ZOE@a.b", "z@é.com", "z" * 40 + "@example.com", "zoe", "a@b..c", ""]


@given(st.data())
def test_the_short_cut_finds_no_row_good_that_is_not(data: st.DataObject) -> None:
    """A line that the pattern matches has no problem by the rules, and its address is that of the record."""
    names = data.draw(st.lists(st.sampled_from(NAMES), max_size=6, unique=True))
    names = names if "email" in names else ["email", *names]
    columns = Columns(names, sms_explicit="sms_consent_date" in names and data.draw(st.booleans()))
    quote = '"' if data.draw(st.booleans()) else ""
    lines = []
    for _ in range(data.draw(st.integers(1, 3))):
        values = [data.draw(st.sampled_from(ADDRESSES if name == "email" else VALUES)) for name in names]
        values = values[: data.draw(st.integers(len(names) - 1, len(names)))] + data.draw(
            st.sampled_from([[], [], ["x"]])
        )
        lines.append(quote + f"{quote},{quote}".join(values) + quote)
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))

    found = columns.match("".join(line + end for line in lines).encode(), len(lines))

    if found is not None:
        fields = [read_fields(line.encode()) for line in lines]
        assert [] == [problem for one in fields for problem in columns.check(one)]
        assert [columns.get(one, "email") for one in fields] == [address.decode() for address in found]
        assert all(looks_like_address(columns.get(one, "email")) for one in fields)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["email", "first_name"], b"zoe@example.com,Zo\xc3\xab"),
        (["email", "first_name"], b'"zoe@example.com","Doe, ""Zoe"'.replace(b'""', b"")),
        (["birthday_day", "email", "birthday_month"], b"5,zoe@example.com,12"),
        (["birthday_day", "email", "birthday_month"], b',"zoe@example.com",""'),
        (["email", "birthday_day"], b"zoe@example.com,"),
        (["email", "anniversary", "pet"], b"zoe@example.com,2026-11-24," + b"x" * 1000),
        (["email", "anniversary"], b'zoe@example.com,""'),
    ],
)
def test_the_short_cut_is_taken(names: list[str], line: bytes) -> None:
    """Ordinary rows need no closer look."""
    assert [b"zoe@example.com"] == Columns(names).match(line + b"\r\n", 1)


@pytest.mark.parametrize("names", [["sms_number"], ["email", *(f"cf:{number}" for number in range(26))]])
def test_where_there_is_no_short_cut(names: list[str]) -> None:
    """Without addresses, or with more custom fields than a contact may have, each row is looked at."""
    assert Columns(names).match(b"zoe@example.com" + b"," * (len(names) - 1), 1) is None


@pytest.mark.parametrize(
    "line",
    [b"zoe@example.com,5,", b"zoe@example.com,,5", b"zoe@example.com,5", b"zoe@example.com,5,5,", b"zoe,5,5", b"\n"],
)
def test_a_row_that_needs_a_closer_look(line: bytes) -> None:
    """Half a birthday, another number of fields, a strange address, a blank line."""
    assert Columns(["email", "birthday_month", "birthday_day"]).match(line, 1) is None


def test_what_the_vendor_may_complain_of() -> None:
    """The columns with a problem, and an address of a strange shape."""
    columns = Columns(["email", "anniversary"])

    assert set() == columns.find_suspect(["zoe@example.com", ""])
    assert {"email", "anniversary"} == columns.find_suspect(["zoe@example", "soon"])
    assert {"email"} == columns.find_suspect([" zoe@example.com", ""])


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("a@b.c", True),
        ("é@b.c", True),
        ("a@b", False),
        ("a b@c.d", False),
        ("a@b@c.d", False),
        ("a@b..d", False),
        ("a" * 47 + "@b.c", False),
    ],
)
def test_the_shape_of_an_address(text: str, *, looks: bool) -> None:
    """Something, an at sign, and something with a dot in it; 50 characters at most."""
    assert looks == looks_like_address(text)


def test_a_problem_as_text() -> None:
    """A line, and a column if it is known."""
    assert "line 7: email: strange" == str(ImportProblem(7, "email", "strange"))
    assert "line 7: strange" == str(ImportProblem(7, None, "strange"))
