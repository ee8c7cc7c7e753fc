"""Imports of rows that a program has: as a file where that can hold them, else as JSON."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from support.imports import LISTS, STEADY, addresses, imported, once
from support.tokens import shown
from support.vendor import VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.sandbox import Fault

ROWS: list[dict[str, Any]] = [
    {"email": "a@a.io", "first_name": "Zoë", "cf:size": 7},
    {"email": "b@a.io", "anniversary": date(2026, 11, 24), "first_name": None},
    {"email": "c@a.io", "street": 'a "quoted"\nstreet, 7'},
    {"email": "d@a.io", "street": "an old\rMacintosh"},
]
CSV = (
    "email,first_name,cf:size,anniversary,street\r\n"
    "a@a.io,Zoë,7,,\r\n"
    "b@a.io,,,2026-11-24,\r\n"
    'c@a.io,,,,"a ""quoted""\nstreet, 7"\r\n'
    'd@a.io,,,,"an old\rMacintosh"\r\n'
)


def upload(sandbox: sb.Sandbox, result: cc.ImportResult) -> bytes:
    """What the vendor has got as the one part, its records in the order of the rows."""
    (activity,) = result.activities
    return sandbox.upload(activity.activity_id)


async def test_rows_become_a_file(vendor: VendorFactory) -> None:
    """With a column for each key of any row; what a row lacks is an empty cell."""
    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_contacts(ROWS, list_ids=LISTS)

        assert CSV.encode() == upload(sandbox, result)
        assert (4, 0, None) == (result.rows, result.refused, result.plan)
        assert "contacts_file_import" in sandbox.log[0].target
        with pytest.raises(ValueError, match=r"RowError\.row"):
            result.write_rejects("rejects.csv")


async def test_rows_of_an_async_source(vendor: VendorFactory) -> None:
    """It is read to its end, and closed, before anything is sent."""
    closed = False
    async with vendor(workload=STEADY) as (sandbox, session):

        async def rows() -> AsyncIterator[dict[str, Any]]:
            nonlocal closed
            try:
                for address in addresses(2_500):
                    yield {"email": address}
                    assert 0 == sandbox.requests.total()
            finally:
                closed = True

        result = await session.import_contacts(rows(), list_ids=LISTS)

        assert (2_500, True) == (result.rows, closed)
        assert once(2_500) == await imported(sandbox, session)


async def test_a_source_that_fails(vendor: VendorFactory) -> None:
    """Its error is raised, nothing is sent, and the source is closed."""
    closed = False

    async def rows() -> AsyncIterator[dict[str, Any]]:
        nonlocal closed
        try:
            yield {"email": "a@a.io"}
            yield {"email": b"a"}
        finally:
            closed = True

    async with vendor() as (sandbox, session):
        with pytest.raises(TypeError, match="row 2: email must be a str"):
            await session.import_contacts(rows(), list_ids=LISTS)

        assert (0, True) == (sandbox.requests.total(), closed)


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([], ValueError, "there are no rows"),
        (["a@a.io"], TypeError, "row 1 is no mapping, but str"),
        ([{"email": "a@a.io"}, {7: "a"}], TypeError, "row 2 has a key that is no str"),
        (
            [{"email": "a@a.io", "cf:on": True}],
            TypeError,
            "row 1: cf:on must be a str, an int, a date or None, not bool",
        ),
        ([{"email": "a@a.io", "anniversary": datetime(2026, 1, 1, tzinfo=UTC)}], TypeError, "not datetime"),
        ([{"email": "a\ud800@a.io"}], ValueError, "row 1: email holds a lone surrogate"),
        ([{"first_name": "Zoe"}], cc.ImportRefusedError, "email"),
        ([{"email": "a@a.io", "birthday_day": 40}], cc.ImportRefusedError, "birthday_day"),
        ([{"email": "a@a.io", "home_phone": "7" * 51}], cc.ImportRefusedError, "line 1: has a home_phone of more"),
        ([{"email": "a@a.io", "Home phone": "7"}], cc.ImportRefusedError, "line 1: has a key that the vendor does not"),
    ],
)
async def test_rows_that_cannot_be_sent(
    vendor: VendorFactory, rows: list[Any], error: type[Exception], words: str
) -> None:
    """The error names the row and the key, never a value; nothing is sent."""
    async with vendor() as (sandbox, session):
        with pytest.raises(error, match=words) as caught:
            await session.import_contacts(rows, list_ids=LISTS)

        assert "7777" not in str(caught.value)
        assert "a@a.io" not in shown(caught.value)
        assert 0 == sandbox.requests.total()


@pytest.mark.parametrize("home_phone", [None, "1"])
async def test_rows_are_told_by_their_numbers(vendor: VendorFactory, home_phone: str | None) -> None:
    """As a file and as JSON, whatever line ends are in their cells: nobody has seen the lines of a temporary file."""
    rows = [
        {"email": "a@a.io", "cf:x": "1\n2\r3"},
        {"email": "b at a.io", "cf:x": "1\n2"},
        {"email": "a@a.io", "cf:x": "1\n2"},
        {"email": "c at a.io"},
    ]
    rows += [{"email": "d@a.io", "home_phone": home_phone}] if home_phone else []
    async with vendor(workload=STEADY) as (_, session):
        result = await session.import_contacts(rows, list_ids=LISTS)
        with pytest.raises(cc.ImportRefusedError, match="line 3: email: the same address as in line 1"):
            await session.import_contacts(rows, list_ids=LISTS, duplicates="refuse")
        with pytest.raises(cc.ImportRefusedError, match=r"^line 4: .*neither email|^line 4: needs an email"):
            await session.import_contacts([*rows[:3], {**rows[-1], "email": ""}], list_ids=LISTS)

    assert ((1, 3),) == result.duplicates
    assert [(2, 2), (4, 4)] == sorted((error.row, error.line) for error in result.errors)
    assert {(2, 2), (4, 4)} == {(error.line, error.last_line) for error in result.errors}


async def test_keys_that_cannot_be_sent(vendor: VendorFactory) -> None:
    """They are line 0."""
    async with vendor() as (_, session):
        for rows, words in [
            ([{"first_name": "Zoe"}], "no column email"),
            ([{"email": "a", "Email": "a"}], "there twice"),
        ]:
            with pytest.raises(cc.ImportRefusedError, match=f"line 0: .*{words}"):
                await session.import_contacts(rows, list_ids=LISTS)


@pytest.mark.parametrize("name", ["cf:x", "home_phone"])
async def test_many_rows_with_problems(vendor: VendorFactory, name: str) -> None:
    """A thousand are kept, and all are counted; of duplicates too."""
    async with vendor(workload=STEADY) as (_, session):
        with pytest.raises(cc.ImportRefusedError, match="and 1,497 more") as caught:
            await session.import_contacts([{"email": "a@a.io", name: "x" * 300}] * 1_500, list_ids=LISTS)
        assert (1_000, 1_500) == (len(caught.value.problems), caught.value.count)
        result = await session.import_contacts([{"email": "a@a.io", name: "1"}] * 1_500, list_ids=LISTS)
        assert 1_000 == len(result.duplicates)


async def test_refused_rows(vendor: VendorFactory) -> None:
    """They are told by their numbers, from 1."""
    rows = [{"email": address} for address in ("a@a.io", "b at a.io", "c@a.io")]
    async with vendor(workload=STEADY) as (_, session):
        result = await session.import_contacts(rows, list_ids=LISTS)

    assert [(2, 2, True)] == [(error.row, error.line, error.exact) for error in result.errors]


# --- JSON -------------------------------------------------------------------------------------------------------------


async def test_rows_that_no_file_can_hold(vendor: VendorFactory) -> None:
    """They are sent as JSON, as they are; a row that is refused is not certain, as the vendor says nothing of lines."""
    rows: list[dict[str, Any]] = [
        {"email": "a@a.io", "home_phone": "1"},
        {"email": "b at a.io"},
        {"email": "c@a.io", "cf:size": None},
    ]
    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_contacts(rows, list_ids=LISTS)

        assert rows == json.loads(upload(sandbox, result))["import_data"]
        assert (3, 1) == (result.rows, result.refused)
        assert [(2, False)] == [(error.row, error.exact) for error in result.errors]


@pytest.mark.parametrize("duplicates", ["warn", "keep-last"])
async def test_json_in_several_parts(vendor: VendorFactory, duplicates: Any) -> None:
    """Each row is sent once, unless a later one has its address."""
    cells = {f"cf:{number}": "x" * 255 for number in range(25)}

    def rows() -> Iterator[dict[str, Any]]:
        for address in (*addresses(1_000), "1@A.io"):
            yield {"email": address, "home_city": "Rome", **cells}

    async with vendor(workload=STEADY) as (sandbox, session):
        result = await session.import_contacts(rows(), list_ids=LISTS, duplicates=duplicates)
        sent = [
            row["email"]
            for activity in result.activities
            for row in json.loads(sandbox.upload(activity.activity_id))["import_data"]
        ]

        kept = [*addresses(1_000), "1@A.io"][duplicates == "keep-last" :]
        assert kept == sent
        assert (len(kept), 2, ((1, 1_001),)) == (result.rows, len(result.activities), result.duplicates)


async def test_duplicates_in_json_may_be_refused(vendor: VendorFactory) -> None:
    """With the numbers of the rows."""
    rows = [{"email": "a@a.io", "home_phone": "1"}, {"email": "A@a.io"}]
    async with vendor() as (_, session):
        with pytest.raises(cc.ImportRefusedError, match="line 2: email: the same address as in line 1"):
            await session.import_contacts(rows, list_ids=LISTS, duplicates="refuse")


async def test_json_whose_answer_is_lost(vendor: VendorFactory) -> None:
    """It has no name by which it could be found, so it is sent once more, and the result says so."""
    async with vendor(workload=STEADY) as (sandbox, session):
        sandbox.faults.add(Fault(sb.Reset(), where="post", times=1))
        result = await session.import_contacts([{"email": "a@a.io", "home_phone": "1"}], list_ids=LISTS)

        assert (0, (1,), 2) == (result.lost, result.repeated, sandbox.requests["post"])


# --- the temporary file -----------------------------------------------------------------------------------------------


async def test_the_temporary_file(vendor: VendorFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no name that anybody could open, and is gone with the import."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: set[str] = set()

    def look() -> None:
        names.update(path.name for path in tmp_path.iterdir())

    def rows() -> Iterator[dict[str, Any]]:
        for address in addresses(60_000):
            if address.endswith("000@a.io"):
                look()
            yield {"email": address, "first_name": "x" * 40}

    async with vendor(workload=STEADY) as (_, session):
        importing = session.import_contacts(rows(), list_ids=LISTS)
        waiting = asyncio.ensure_future(importing)
        await asyncio.sleep(5)
        look()
        waiting.cancel()
        await asyncio.wait([waiting])

    assert set() == names
