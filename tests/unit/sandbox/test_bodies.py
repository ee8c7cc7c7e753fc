"""What the vendor requires of the bodies that create jobs."""

from __future__ import annotations

from typing import Any

import pytest

from .helpers import ask, form, make, post, read, upload

BODIES: dict[str, dict[str, Any]] = {
    "add_list_memberships": {"source": {"contact_ids": ["c"] * 500}, "list_ids": ["l"] * 50},
    "contact_delete": {"contact_ids": ["c"] * 500},
    "contact_exports": {},
    "contacts_json_import": {"import_data": [{"email": "a@example.com"}], "list_ids": ["l"]},
    "contacts_taggings_add": {"source": {"all_active_contacts": True}, "tag_ids": ["t"] * 50},
    "contacts_taggings_remove": {"source": {"tag_ids": ["t"]}, "tag_ids": ["t"]},
    "contacts_tags_delete": {"tag_ids": ["t"] * 500},
    "custom_fields_delete": {"custom_field_ids": ["f"] * 100},
    "list_delete": {"list_ids": ["l"] * 100},
    "remove_list_memberships": {"source": {"engagement_level": "least"}, "list_ids": ["l"]},
}


@pytest.mark.parametrize("kind", BODIES)
def test_the_largest_body_of_each_kind_creates_a_job(kind: str) -> None:
    """201, `initialized`, and the activity that its link leads to."""
    vendor = make()
    reply = post(vendor, kind, BODIES[kind])
    activity = read(reply)

    assert (201, "initialized") == (reply.status, activity["state"])
    assert activity == read(ask(vendor, activity["_links"]["self"]["href"]))
    assert 0 == vendor.violations.total


@pytest.mark.parametrize(
    ("kind", "body", "counter", "count"),
    [
        ("contacts_json_import", BODIES["contacts_json_import"], "person_count", 1),
        ("contacts_json_import", BODIES["contacts_json_import"], "items_total_count", 2),
        ("contacts_tags_delete", {"tag_ids": ["t"] * 9}, "items_total_count", 9),
        ("list_delete", {"list_ids": ["l"] * 9}, "list_count", 9),
        ("contact_delete", {"list_ids": ["l"] * 9}, "list_count", 9),
        ("contact_delete", {"contact_ids": ["l"] * 9}, "items_total_count", 9),
        ("contact_exports", {"contact_ids": ["c"] * 9}, "items_total_count", 9),
        ("add_list_memberships", BODIES["add_list_memberships"], "list_count", 50),
        ("add_list_memberships", BODIES["add_list_memberships"], "items_total_count", 500),
    ],
)
def test_a_job_counts_what_it_was_given(kind: str, body: object, counter: str, count: int) -> None:
    """Rows of an import count its header line too."""
    assert count == read(post(make(), kind, body))["status"][counter]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("contacts_json_import", {"import_data": None}),
        ("contacts_json_import", {"import_data": []}),
        ("contacts_json_import", {"import_data": [{"first_name": "No"}]}),
        ("contacts_json_import", {"import_data": ["a@example.com"]}),
        ("contacts_json_import", {"import_data": [{"email": "a"}] * 40_001}),
        ("contacts_json_import", {"import_data": [{"email": {"address": "a@example.com"}}]}),
        ("contacts_json_import", {"import_data": [{"email": "a@example.com", "custom_fields": []}]}),
        ("contacts_json_import", {"import_data": [{"email": "a@example.com", "first_name": 5}]}),
        ("contacts_json_import", {"import_data": [{"email": "a@example.com", "birthday_month": True}]}),
        ("contacts_json_import", {"list_ids": []}),
        ("contacts_json_import", {"list_ids": "l"}),
        ("contacts_json_import", {"list_ids": ["l"] * 51}),
        ("contacts_json_import", {"list_ids": [5]}),
        ("contacts_json_import", {"sms_permission_to_send": "yes"}),
        ("contact_delete", {"contact_ids": ["c"] * 501}),
        ("contact_delete", {"list_ids": ["l"]}),
        ("contact_delete", {"contact_ids": None}),
        ("contact_exports", {"contact_ids": ["c"] * 501}),
        ("contact_exports", {"contact_ids": ["c"], "list_ids": ["l"]}),
        ("contact_exports", {"tag_ids": ["t"], "status": "active"}),
        ("contact_exports", {"list_ids": ["l"], "status": "active", "new_subscriber": True}),
        ("contact_exports", {"status": "everybody"}),
        ("contact_exports", {"segment_id": "57"}),
        ("contact_exports", {"segment_id": True}),
        ("contact_exports", {"new_subscriber": "yes"}),
        ("contact_exports", {"fields": "email_address"}),
        ("contact_exports", {"fields": [5]}),
        ("contact_exports", {"fields": ["first_name", "email_optin_date"]}),
        ("contact_exports", {"exclude": ["c"]}),
        ("contact_exports", {"exclude": {"contact_ids": ["c"] * 51}}),
        ("contact_exports", {"exclude": {"contact_ids": ["c"]}, "status": "active"}),
        ("contact_exports", {"exclude": {"contact_ids": ["c"]}, "contact_ids": ["d"]}),
        ("add_list_memberships", {"exclude": {"contact_ids": ["c"]}}),
        ("add_list_memberships", {"source": {"segment_id": "57"}}),
        ("contacts_taggings_add", {"source": {"new_subscriber": True}, "exclude": {"contact_ids": ["c"]}}),
        ("contacts_taggings_remove", {"source": {"all_active_contacts": "yes"}}),
        ("add_list_memberships", {"source": None}),
        ("add_list_memberships", {"source": {}}),
        ("add_list_memberships", {"source": {"contact_ids": ["c"], "all_active_contacts": True}}),
        ("add_list_memberships", {"list_ids": None}),
        ("remove_list_memberships", {"source": {"segment_id": 5}}),
        ("contacts_taggings_add", {"tag_ids": ["t"] * 51}),
        ("contacts_tags_delete", {"tag_ids": ["t"] * 501}),
        ("custom_fields_delete", {"custom_field_ids": ["f"] * 101}),
        ("list_delete", {"list_ids": ["l"] * 101}),
    ],
)
def test_a_body_against_the_rules_is_a_bad_request(kind: str, change: dict[str, Any]) -> None:
    """Nothing is created, and the violation is counted."""
    vendor = make()
    reply = post(vendor, kind, {**BODIES[kind], **change})

    assert 400 == reply.status
    assert "contacts.api.validation.error" == read(reply)[0]["error_key"]
    assert (1, 0) == (vendor.violations.bad_request, len(vendor.jobs))


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_an_object_is_a_bad_request(body: bytes) -> None:
    """Malformed JSON as well as JSON of another type."""
    assert 400 == ask(make(), "/v3/activities/contact_delete", method="POST", body=body).status


def test_json_beyond_four_megabytes_is_dropped_in_silence() -> None:
    """The import says 201 and holds fewer contacts than were sent."""
    contact = {"email": "a@example.com", "street": "x" * 255}
    activity = read(post(make(), "contacts_json_import", {"import_data": [contact] * 20_000, "list_ids": ["l"]}))

    assert 10_000 < activity["status"]["person_count"] < 15_000


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("contact_exports", {"contact_ids": ["c"], "status": "removed"}),
        ("contact_exports", {"list_ids": ["l"], "status": "active"}),
        ("contact_exports", {"list_ids": ["l"], "new_subscriber": True, "exclude": {"contact_ids": ["c"] * 50}}),
        ("contact_exports", {"tag_ids": ["t"], "new_subscriber": False, "status": None}),
        ("contact_exports", {"segment_id": 57, "fields": ["email_address", "email_optout_date"]}),
        ("contact_exports", {"exclude": {"contact_ids": ["c"]}}),
        ("add_list_memberships", {"source": {"all_active_contacts": True}, "exclude": {"contact_ids": ["c"]}}),
        ("remove_list_memberships", {"source": {"list_ids": ["l"]}, "exclude": {"contact_ids": ["c"]}}),
        ("add_list_memberships", {"source": {"segment_id": 57}}),
    ],
)
def test_what_the_documents_combine_is_taken(kind: str, change: dict[str, Any]) -> None:
    """Filters of an export, and contacts to leave out."""
    vendor = make()

    assert 201 == post(vendor, kind, {**BODIES[kind], **change}).status
    assert 0 == vendor.violations.total


def test_a_file_can_be_imported() -> None:
    """Its name is shown, its header row counts as an item but not as a person."""
    reply = upload(make(), **form('"email",first_name\r\na@example.com,A\r\nb@example.com,B', "l1,l2"))
    activity = read(reply)

    assert (201, "people.csv") == (reply.status, activity["source_file_name"])
    assert (3, 2) == (activity["status"]["items_total_count"], activity["status"]["person_count"])


def test_lines_of_a_file_beyond_the_limit_are_dropped_in_silence() -> None:
    """40,000 lines with the header are 39,999 contacts."""
    activity = read(upload(make(), **form("email\n" + "a@b.c\n" * 50_000, "l")))

    assert 39_999 == activity["status"]["person_count"]


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (form("email\na@b.c", None), 400),
        (form(None, "l"), 400),
        (form("email\na@b.c", ""), 400),
        (form("email\na@b.c", "l," * 51), 400),
        (form("name\nA", "l"), 400),
        (form("", "l"), 400),
        (form("email\na@b.c", "l", permission="yes"), 400),
        (form("Email\na@b.c", "l"), 400),
        (form("\ufeffemail\na@b.c", "l"), 400),
        (form("email\na@b.c", "l", name="people.xls"), 415),
        ({"headers": {"Content-Type": "application/json"}, "body": b"{}"}, 415),
        ({"headers": {"Content-Type": "multipart/form-data"}, "body": b"--"}, 400),
    ],
)
def test_a_wrong_upload_is_refused(parts: dict[str, Any], status: int) -> None:
    """400 for its content, 415 for its type."""
    vendor = make()

    assert status == upload(vendor, **parts).status
    assert (1, 0) == (vendor.violations.bad_request, len(vendor.jobs))
