"""What the sandbox makes of the contacts that are uploaded to it."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.sandbox import Life, Vendor, Workload

from .helpers import STRANGER, ask, form, make, post, read, serving, upload

ALL_COMPLETE = Workload(failed_share=0.0, cancelled_share=0.0, timed_out_share=0.0, longest=100.0)
ALL_FAIL = Workload(failed_share=1.0, cancelled_share=0.0, timed_out_share=0.0, longest=100.0)
ENDED = 10_000.0
MAX_BODY_BYTES = 4_000_000


def import_file(vendor: Vendor, file: str | bytes, **options: Any) -> dict[str, Any]:
    """Import a file, and return its activity once it has ended."""
    reply = upload(vendor, **form(file, "l", **options))
    assert 201 == reply.status, reply.body
    return see(vendor, read(reply)["activity_id"])


def import_json(vendor: Vendor, *contacts: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Import contacts, and return the activity once it has ended."""
    reply = post(vendor, "contacts_json_import", {"import_data": contacts, "list_ids": ["l"], **options})
    assert 201 == reply.status, reply.body
    return see(vendor, read(reply)["activity_id"])


def see(vendor: Vendor, activity_id: str) -> dict[str, Any]:
    activity: dict[str, Any] = read(ask(vendor, f"/v3/activities/{activity_id}", ENDED))
    return activity


def complete(**options: Any) -> Vendor:
    """Return a vendor whose jobs all complete."""
    return make(workload=ALL_COMPLETE, **options)


# --- records and lines --------------------------------------------------------------------------------------

FILE = 'email,note\n\na@example.com,"two\nlines"\nbad,\n\n"b@example.com","x\r\ny\rz"\r\nworse,'


@pytest.mark.parametrize(("line_numbers", "lines"), [("physical", [5, 10]), ("record", [3, 5])])
def test_a_line_number_is_that_of_a_line_or_of_a_record(line_numbers: str, lines: list[int]) -> None:
    """A record may take several lines, and a blank line is no record; the counters are the same."""
    vendor = complete(line_numbers=line_numbers)
    activity = import_file(vendor, FILE)

    assert [f"Line {line}: Invalid email address" for line in lines] == activity["activity_errors"]
    assert {
        "items_total_count": 5,
        "person_count": 4,
        "error_count": 0,
        "correctable_count": 2,
        "cannot_add_to_list_count": 0,
    } == activity["status"]
    assert [
        {"email": "a@example.com", "note": "two\nlines"},
        {"email": "b@example.com", "note": "x\r\ny\rz"},
    ] == vendor.rows(activity["activity_id"])


CELLS = st.text(st.characters(codec="utf-8"), max_size=8)
EMAILS = st.sampled_from(["a@example.com", "A@Example.com", "b@example.com", "ß@example.com", "SS@example.com", "bad"])
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


@given(
    st.lists(st.tuples(EMAILS, CELLS, LINE_ENDS, st.lists(LINE_ENDS, max_size=2)), max_size=12),
    st.sampled_from(["physical", "record"]),
)
def test_any_file_is_read_as_it_was_written(rows: list[tuple[str, str, str, list[str]]], line_numbers: str) -> None:
    """Whatever is in its fields, and however its lines end; what is merged is merged, and the last one wins."""
    text, errors, kept = "note,email\n", list[str](), dict[str, dict[str, str]]()
    for number, (email, note, line_end, blank_lines) in enumerate(rows, 2):
        line = number if line_numbers == "record" else len(text.encode().splitlines()) + 1
        text += f"{quoted(note)},{email}{line_end}{''.join(blank_lines)}"
        if text.endswith("\r"):
            text += "\n"  # or the next row could begin with the other half of a line end
        if email == "bad":
            errors.append(f"Line {line}: Invalid email address")
        else:
            kept.pop(email.casefold(), None)
            kept[email.casefold()] = {"note": note, "email": email}
    vendor = complete(line_numbers=line_numbers)
    activity = import_file(vendor, text)

    assert errors == activity["activity_errors"]
    assert list(kept.values()) == vendor.rows(activity["activity_id"])
    assert (len(rows), len(rows) + 1) == (activity["status"]["person_count"], activity["status"]["items_total_count"])
    assert text.encode() == vendor.upload(activity["activity_id"])


def test_cells_and_columns_need_not_match() -> None:
    """A cell without a column is dropped, a column without a cell is empty."""
    vendor = complete()
    activity = import_file(vendor, " email ,first_name\na@example.com\nb@example.com,B,surplus\n")

    assert [{"email": "a@example.com"}, {"email": "b@example.com", "first_name": "B"}] == vendor.rows(
        activity["activity_id"]
    )


def test_a_quote_that_is_never_closed_swallows_the_rest() -> None:
    """As one long cell, or, beyond what a cell can hold, as a row that cannot be read."""
    vendor = complete()
    short = import_file(vendor, 'email,note\na@example.com,"x\nb@example.com,\n')
    long = import_file(vendor, 'email,note\na@example.com,\nb@example.com,"x\n' + "c@example.com,\n" * 20_000)

    assert [{"email": "a@example.com", "note": "x\nb@example.com,\n"}] == vendor.rows(short["activity_id"])
    assert ["Line 3: No email address or SMS number"] == long["activity_errors"]
    assert (2, 1) == (long["status"]["person_count"], long["status"]["correctable_count"])
    assert [{"email": "a@example.com", "note": ""}] == vendor.rows(long["activity_id"])


# --- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surplus", [0, 1, 500, MAX_BODY_BYTES])
def test_what_lies_beyond_four_megabytes_of_the_body_is_dropped(surplus: int) -> None:
    """The limit is on the body, of which the file is a part; the fields behind the file are read all the same."""
    row = b"a%06d@example.com," + b"x" * 229 + b"\n"
    rows = b"".join(row % number for number in range(2 * MAX_BODY_BYTES // 250))
    head = form(b"", "l")["body"].index(b"\r\n--xyz", 1)
    room = MAX_BODY_BYTES - head - len(b"email,cf:note\n")
    vendor = complete()
    activity = import_file(vendor, b"email,cf:note\n" + rows[: room + surplus])
    whole = room // 250

    assert whole + 1 == activity["status"]["person_count"]
    assert rows[whole * 250 : room].split(b",")[1].decode() == vendor.rows(activity["activity_id"])[-1]["cf:note"]


def test_lines_are_counted_as_a_text_editor_does() -> None:
    """A record of two lines takes two of the 40,000; the one that the limit cuts through is taken as it is."""
    vendor = complete()
    file = "email,note\n" + "".join(f'a{number}@example.com,"x\ny"\n' for number in range(30_000))
    activity = import_file(vendor, file)

    assert 20_000 == activity["status"]["person_count"]
    assert "x\n" == vendor.rows(activity["activity_id"])[-1]["note"]


def test_contacts_beyond_four_megabytes_of_json_are_dropped() -> None:
    """In silence: the rows are those that the counters tell of."""
    vendor = complete()
    contacts = [{"email": f"a{number}@example.com", "street": "x" * 255} for number in range(20_000)]
    activity = import_json(vendor, *contacts)
    rows = vendor.rows(activity["activity_id"])

    assert contacts[: len(rows)] == rows
    assert activity["status"]["person_count"] == len(rows) < 15_000


# --- rows that are refused ----------------------------------------------------------------------------------

GOOD = {"email": "a@example.com"}
CORRECTABLE = ["No email address or SMS number", "Invalid email address", "Invalid birthday", "Invalid anniversary"]


@pytest.mark.parametrize(
    ("contact", "problem"),
    [
        ({"first_name": "A"}, CORRECTABLE[0]),
        *[
            ({"email": email}, CORRECTABLE[1])
            for email in ("a", "a@", "@b.c", "a@b", "a@b.", "a@.c", "a b@c.d", "a@b@c.d", " a@b.c", "a@b.c;d@e.f")
        ],
        ({**GOOD, "birthday_day": "5"}, CORRECTABLE[2]),
        ({**GOOD, "birthday_month": "5"}, CORRECTABLE[2]),
        ({**GOOD, "birthday_month": "13", "birthday_day": "1"}, CORRECTABLE[2]),
        ({**GOOD, "birthday_month": "2", "birthday_day": "30"}, CORRECTABLE[2]),
        ({**GOOD, "birthday_month": "May", "birthday_day": "1"}, CORRECTABLE[2]),
        *[
            ({**GOOD, "anniversary": text}, CORRECTABLE[3])
            for text in ("soon", "01-31-2026", "2026-1/5", "13/1/2026", "2026-02-30", "0000-01-01", "26-01-31")
        ],
        ({"email": "a" * 39 + "@example.com"}, "email is longer than 50 characters"),
        ({**GOOD, "first_name": "x" * 51}, "first_name is longer than 50 characters"),
        ({**GOOD, "street": "x" * 256}, "street is longer than 255 characters"),
        ({**GOOD, "other_city": "x" * 51}, "other_city is longer than 50 characters"),
        ({**GOOD, "cf:shoe": "x" * 256}, "cf:shoe is longer than 255 characters"),
        ({**GOOD, **{f"cf:{number}": "x" for number in range(26)}}, "More than 25 custom fields"),
        (
            {**GOOD, **dict.fromkeys(("phone", "home_phone", "work_phone", "mobile_phone"), "5")},
            "More than 3 phone numbers",
        ),
        (
            {**GOOD, "city": "A", "home_street2": "B", "work_zip": "C", "other_state": "D"},
            "More than 3 street addresses",
        ),
        ({"sms_number": "+1 123 123 1234"}, "Invalid sms_number"),
        ({"sms_number": "1231231234", "sms_consent_date": "soon"}, "Invalid sms_consent_date"),
    ],
)
def test_a_row_is_refused_for_what_the_documents_say(contact: dict[str, str], problem: str) -> None:
    """In a file and in JSON alike; some problems are documented as correctable, and nothing is kept of the row."""
    vendor = complete()
    file = import_file(vendor, f"email,{','.join(contact)}\n,{','.join(contact.values())}\n")
    imports = [file] if "email" not in contact and "sms_number" not in contact else [file, import_json(vendor, contact)]

    for activity in imports:
        assert [f"Line 2: {problem}"] == activity["activity_errors"]
        counts = activity["status"]["person_count"], activity["status"]["error_count"]
        assert (1, problem not in CORRECTABLE) == counts
        assert (problem in CORRECTABLE) == activity["status"]["correctable_count"]
        assert [] == vendor.rows(activity["activity_id"])


@pytest.mark.parametrize(
    "contact",
    [
        {"email": "x" * 38 + "@example.com"},
        {"sms_number": "123-123-1234", "sms_consent_date": "2026-01-31"},
        {**GOOD, "birthday_month": 2, "birthday_day": 29},
        {**GOOD, "birthday_month": "", "first_name": None, "cf:shoe": "x" * 255},
        {**GOOD, **{f"cf:{number}": "x" for number in range(25)}, "street": "x" * 255, "home_city": "x" * 50},
        *[
            {**GOOD, "anniversary": text}
            for text in ("01/31/2026", "1/5/2026", "2026/01/05", "2026/1/5", "2026-01-05", "2026-1-5", "1-5-2026")
        ],
        {**GOOD, "anniversary": "1-05-2026"},
        {**GOOD, "anniversary": "12-31-2026"},
    ],
)
def test_a_row_within_the_rules_is_taken(contact: dict[str, Any]) -> None:
    """As text, without what is null."""
    vendor = complete()
    activity = import_json(vendor, contact)

    assert [] == activity["activity_errors"]
    assert [{name: str(value) for name, value in contact.items() if value is not None}] == vendor.rows(
        activity["activity_id"]
    )


def test_an_explicit_permission_needs_a_date_in_each_row() -> None:
    """Of a file as well as of JSON."""
    vendor = complete()
    file = "email,sms_consent_date\na@example.com,2026-01-31\nb@example.com,\n"
    contacts = [GOOD, {**GOOD, "sms_consent_date": "1/5/2026"}]

    assert ["Line 3: Invalid sms_consent_date"] == import_file(vendor, file, permission="explicit")["activity_errors"]
    assert [] == import_file(vendor, file, permission="not_set")["activity_errors"]
    assert ["Line 2: Invalid sms_consent_date"] == import_json(vendor, *contacts, sms_permission_to_send="explicit")[
        "activity_errors"
    ]


def test_there_may_be_fewer_messages_than_refused_rows() -> None:
    """The counters are the truth of how many."""
    activity = import_file(complete(), "email\n" + "bad\n" * 1_001)

    assert (1_000, 1_001) == (len(activity["activity_errors"]), activity["status"]["correctable_count"])


def test_one_who_has_unsubscribed_joins_no_list() -> None:
    """There is a counter for it and no message, and the contact is taken."""
    vendor = complete()
    vendor.unsubscribed.add("a@example.com")
    activity = import_file(vendor, "email\nA@example.com\nb@example.com\n")

    assert ([], 1) == (activity["activity_errors"], activity["status"]["cannot_add_to_list_count"])
    assert 2 == len(vendor.rows(activity["activity_id"]))


def test_duplicates_are_merged_without_a_word() -> None:
    """By the address in any case, else by the number; the last row wins whole, and the counters know nothing of it."""
    vendor = complete()
    file = "email,sms_number,first_name\na@b.c,,A\n,123-123-1234,S\nA@B.C,,\n,1231231234,T\n"
    activity = import_file(vendor, file)

    assert [("A@B.C", "", ""), ("", "1231231234", "T")] == [
        tuple(row.values()) for row in vendor.rows(activity["activity_id"])
    ]
    assert ([], 4) == (activity["activity_errors"], activity["status"]["person_count"])


# --- jobs ---------------------------------------------------------------------------------------------------


def test_a_job_that_fails_leaves_behind_what_it_came_to() -> None:
    """It has the error of the workload alone, and tells of no row."""
    vendor = make(workload=ALL_FAIL, seed=3)
    file = "email\nbad\n" + "".join(f"a{number}@example.com\n" for number in range(999))
    activity = import_file(vendor, file)
    rows = vendor.rows(activity["activity_id"])

    assert (["The file could not be processed."], 0) == (
        activity["activity_errors"],
        activity["status"]["correctable_count"],
    )
    assert 0 < len(rows) < 999
    assert "a0@example.com" == rows[0]["email"]


def test_the_errors_of_an_upload_appear_as_its_job_goes_on() -> None:
    """Its life is of the workload: only what it tells of is of the rows."""
    vendor = make(
        workload=Workload(median=100.0, sigma=0.0, failed_share=0.0, cancelled_share=0.0, timed_out_share=0.0)
    )
    activity_id = read(upload(vendor, **form("email\n" + "bad\n" * 100, "l")))["activity_id"]
    job = vendor.job(activity_id)
    counts = [
        len(read(ask(vendor, f"/v3/activities/{activity_id}", job.started + now))["activity_errors"])
        for now in (0.0, 50.0, 80.0, 100.0)
    ]

    assert 100.0 == job.life.duration
    assert counts == sorted(counts)
    assert (0, 100) == (counts[0], counts[-1])
    assert any(0 < count < 100 for count in counts)


def test_a_scripted_job_is_what_the_script_says() -> None:
    """It has no upload; an unknown job has none either."""
    vendor = complete()
    scripted = vendor.submit(0.0, Life(errors=["Line 2: x"], error_count=7), kind="contacts_file_import")

    assert (["Line 2: x"], 7) == (
        see(vendor, scripted)["activity_errors"],
        see(vendor, scripted)["status"]["error_count"],
    )
    with pytest.raises(LookupError, match=scripted):
        vendor.rows(scripted)
    with pytest.raises(KeyError):
        vendor.upload(STRANGER)


def test_only_the_newest_uploads_are_kept() -> None:
    """So that a long run does not eat up the memory."""
    vendor = complete(keep_uploads=2 * len("email\na@b.c\n"))
    ids = [import_file(vendor, "email\na@b.c\n")["activity_id"] for _ in range(3)]
    with pytest.raises(LookupError, match="kept"):
        vendor.rows(ids[0])

    assert [[{"email": "a@b.c"}]] * 2 == [vendor.rows(one.upper()) for one in ids[1:]]


@pytest.mark.parametrize("option", [{"line_numbers": "lines"}, {"echo_file_name": "yes"}])
def test_an_unknown_switch_is_refused(option: dict[str, Any]) -> None:
    """A mistake in a script shows where it is made."""
    with pytest.raises(ValueError, match=next(iter(option))):
        make(**option)


# --- the name of the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("echo_file_name", "shown"),
    [("as sent", "contacts 1 of 2 é.csv"), ("rewritten", "add_contacts.csv"), ("absent", None)],
)
@pytest.mark.parametrize("sent", ["contacts 1 of 2 é.csv", "contacts%201%20of%202%20%C3%A9.csv"])
def test_the_name_of_a_file_comes_back_or_not(sent: str, echo_file_name: str, shown: str | None) -> None:
    """Percent-decoded: HTTP libraries encode what they send."""
    activity = import_file(complete(echo_file_name=echo_file_name), "email\na@b.c\n", name=sent)

    assert shown == activity.get("source_file_name")


async def test_an_http_library_can_upload_a_file() -> None:
    """The sandbox has it byte by byte, under the name that it was given."""
    file = b'email,note\r\na@example.com,"x\r\n--y"\r\n\r\n'
    async with serving(workload=ALL_COMPLETE, latency=0.1) as (sandbox, http):
        data = aiohttp.FormData({"list_ids": "l1,l2"})
        data.add_field("file", file, filename="a b.csv", content_type="text/csv")
        async with http.post(sandbox.base_url + "/activities/contacts_file_import", data=data) as response:
            activity = await response.json()

        assert (201, "a b.csv") == (response.status, activity["source_file_name"])
        assert file == sandbox.upload(activity["activity_id"])
        assert [{"email": "a@example.com", "note": "x\r\n--y"}] == sandbox.rows(activity["activity_id"])
