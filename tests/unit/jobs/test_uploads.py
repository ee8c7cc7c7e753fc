"""The jobs that bring contacts: a file with a name that is a key, or rows."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tokens import shown

from ccactivity.jobs import ImportContacts, ImportFile, make_file_name
from ccactivity.jobs.uploads import MAX_CONTENT_BYTES, MAX_FILE_LINES

LIST = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
CONTENT = b"email\nada@example.com\n"
NAME = "contacts-1of2-3f9c0a17.csv"
ADA = {"email": "ada@example.com"}


def file(content: Any = CONTENT, **options: Any) -> ImportFile:
    return ImportFile(content, **{"file_name": NAME, "list_ids": [LIST], **options})


def rows(*given: Any, **options: Any) -> ImportContacts:
    return ImportContacts(**{"import_data": given or [ADA], "list_ids": [LIST], **options})


def test_a_file_as_it_travels() -> None:
    """A form with the file, and the lists in one part."""
    form = file(list_ids=[LIST, "a"], sms_permission_to_send="explicit").encode()

    assert (NAME, CONTENT, "text/csv") == (form.file_name, form.content, form.content_type)
    assert {"list_ids": f"{LIST},a", "sms_permission_to_send": "explicit"} == form.fields
    assert {"list_ids": LIST} == file().body()


def test_a_file_hides_its_content() -> None:
    """It shows its name and size, wherever it stands."""
    assert f"ImportFile('{NAME}', 22 bytes, 1 list_ids)" == repr(file())
    assert "ada" not in repr(file().encode())
    assert file() == pickle.loads(pickle.dumps(file()))
    assert (file(),) == file().split()
    assert (True, NAME) == (file().repeatable, file().key)


@pytest.mark.parametrize("least", [b"email\na", b"\n\nemail\r\na@b.c", b"email\ra"])
def test_the_smallest_files(least: bytes) -> None:
    """A header and a row, with line ends of any kind."""
    assert least == file(least).content


def test_the_largest_files() -> None:
    """Up to the limits, and not beyond."""
    assert file(b"email\n" + b"a\n" * (MAX_FILE_LINES - 1))
    assert file(b"email\n" + b"a" * (MAX_CONTENT_BYTES - 6))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: file("email\nada@example.com"), TypeError, "content must be bytes, not str"),
        (lambda: file(b""), ValueError, "content has no row below a header"),
        (lambda: file(b"email\n\n \n"), ValueError, "content has no row below a header"),
        (lambda: file(b"email\n" + b"a\n" * MAX_FILE_LINES), ValueError, "40,001 lines, of which .* 40,000"),
        (lambda: file(b"email\nada@" + b"a" * MAX_CONTENT_BYTES), ValueError, "3,990,010 bytes, of which .* 3,990,000"),
        (lambda: file(file_name="my contacts.csv"), ValueError, "file_name must be at most .*'my contacts.csv'"),
        (lambda: file(file_name="contacts.txt"), ValueError, "the last of them .csv"),
        (lambda: file(file_name=".csv"), ValueError, "the last of them .csv"),
        (lambda: file(file_name="a/b.csv"), ValueError, "the last of them .csv"),
        (lambda: file(file_name=f"{'a' * 130}.csv"), ValueError, "at most 124"),
        (lambda: file(file_name=5), ValueError, ".csv, not 5"),
        (lambda: file(list_ids=[]), ValueError, "list_ids must hold at least one id"),
        (lambda: file(list_ids=[str(number) for number in range(51)]), ValueError, "list_ids holds 51 ids"),
        (lambda: file(list_ids=["a,b"]), ValueError, "malformed id in list_ids 'a,b'"),
        (lambda: file(sms_permission_to_send="yes"), ValueError, "one of explicit, not_set, not 'yes'"),
        (lambda: ImportFile.from_body({"list_ids": []}), ValueError, "make an ImportFile of its content"),
        (lambda: rows(import_data=[]), ValueError, "import_data must hold at least one contact"),
        (lambda: rows(import_data=ADA), TypeError, "import_data must be a list of mappings"),
        (lambda: rows(import_data=5), TypeError, "import_data must be a list of mappings"),
        (lambda: rows(ADA, "ada@example.com"), TypeError, "import_data must be a list of mappings"),
        (lambda: rows(ADA, {"first_name": "Ada"}), ValueError, r"import_data\[1\] needs an email"),
        (lambda: rows(ADA, sms_permission_to_send="explicit"), ValueError, r"import_data\[0\] needs an sms_consent"),
    ],
)
def test_what_is_refused(make: Callable[[], object], error: type[Exception], words: str) -> None:
    """What the vendor would refuse, and what it would drop without a word."""
    with pytest.raises(error, match=words) as caught:
        make()

    assert "ada@" not in shown(caught.value)


def test_rows_as_they_travel() -> None:
    """By the vendor's names, and back."""
    job = rows(ADA | {"cf:size": "L"}, sms_permission_to_send="not_set")
    body = {"import_data": [ADA | {"cf:size": "L"}], "list_ids": [LIST], "sms_permission_to_send": "not_set"}

    assert body == job.body()
    assert body == json.loads(job.encode())
    assert job == ImportContacts.from_body(body)
    assert job == pickle.loads(pickle.dumps(job))
    assert "ImportContacts(1 import_data, 1 list_ids, sms_permission_to_send)" == repr(job)
    assert (True, None) == (job.repeatable, job.key)
    assert (job,) == job.split()


def test_a_job_of_rows_is_frozen() -> None:
    """It holds what was checked, whatever becomes of the rows it was made of, and can be pickled whatever they are."""
    given = dict(ADA)
    job = rows(given, MappingProxyType(ADA))
    given["email"] = 5  # type: ignore[assignment]

    assert [ADA, ADA] == job.body()["import_data"]
    assert job == pickle.loads(pickle.dumps(job))


def test_rows_that_are_too_many_show_none() -> None:
    """Neither in the error, nor in a variable that an error tracker would record."""
    with pytest.raises(ValueError, match="import_data holds") as caught:
        rows(*[ADA] * 40_001).encode()

    assert "ada@" not in shown(caught.value)


def test_too_many_rows_are_split() -> None:
    """By their number, and by their size."""
    for job in (
        rows(*({"email": f"{number}@example.com"} for number in range(40_001))),
        rows(*({"email": f"{number}@example.com", "street": "x" * 200} for number in range(20_000))),
    ):
        with pytest.raises(ValueError, match=r"one request takes 40,000 in 4,000,000: submit what split\(\) gives"):
            job.encode()
        parts = job.split()

        assert 2 == len(parts)
        assert all(len(part.encode()) <= 4_000_000 for part in parts)
        assert job.import_data == sum((part.import_data for part in parts), ())


@given(st.lists(st.sampled_from([f"{name}@example.com" for name in "abcdefgh"]), min_size=1, max_size=40))
def test_rows_of_one_address_stay_together(addresses: list[str]) -> None:
    """And in their order: of these the last one wins, which is true within one job only."""
    padding = {f"cf:{number}": "x" * 250 for number in range(25)}
    copies = 60  # of each row: enough for several parts
    given = [{"email": address, "first_name": str(place)} | padding for place, address in enumerate(addresses * copies)]
    parts = rows(*given).split()

    assert sorted(row["first_name"] for row in given) == sorted(
        row["first_name"] for part in parts for row in part.import_data
    )
    homes: dict[str, set[int]] = {}
    for place, part in enumerate(parts):
        seen: dict[str, int] = {}
        for row in part.import_data:
            homes.setdefault(row["email"], set()).add(place)
            assert seen.get(row["email"], -1) < int(row["first_name"])
            seen[row["email"]] = int(row["first_name"])
    assert all(len(places) == 1 for places in homes.values())


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ({}, r"contacts-1of1-[0-9a-f]{8}\.csv"),
        ({"stem": "my contacts (1).csv", "part": 2, "parts": 3}, r"my-contacts-1-2of3-[0-9a-f]{8}\.csv"),
        ({"stem": "../étoile", "key": "3f9c0a17"}, r"toile-1of1-3f9c0a17\.csv"),
        ({"stem": "...", "key": "3f9c0a17"}, r"contacts-1of1-3f9c0a17\.csv"),
        ({"stem": "a" * 300, "key": "3f9c0a17"}, r"a{60}-1of1-3f9c0a17\.csv"),
    ],
)
def test_names(arguments: dict[str, Any], pattern: str) -> None:
    """Each is one that a file may have, whatever the stem is."""
    name = make_file_name(**arguments)

    assert re.fullmatch(pattern, name)
    assert name == file(file_name=name).key


def test_names_differ() -> None:
    """They are the only key that there is."""
    assert 1000 == len({make_file_name() for _ in range(1000)})


def test_how_many_contacts_an_import_holds() -> None:
    """Lines below the header, or rows; never the lists that they join."""
    assert 2 == file(b"email\r\na@example.com\r\nb@example.com", list_ids=[LIST, "a", "b"]).rows
    assert 3 == rows(ADA, ADA, ADA).rows
