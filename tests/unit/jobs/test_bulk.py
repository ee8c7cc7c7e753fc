"""The jobs that name things by their ids: their bodies, what they refuse, and how they are split."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.jobs import (
    KINDS,
    AddTags,
    AddToLists,
    DeleteContacts,
    DeleteCustomFields,
    DeleteLists,
    DeleteTags,
    ExportContacts,
    Job,
    RemoveFromLists,
    RemoveTags,
    Source,
)
from ccactivity.sandbox import Request
from ccactivity.sandbox.bodies import read_bulk_request

A, B, C = "358f6a5e-21f6-11ea-a1cb-fa163e56c9b0", "5bbf758c-d8ce-11e9-8d3a-fa163e56c9b0", "04fe9a-a579-43c5"
CONTACTS = Source(contact_ids=[A])


def many(count: int) -> list[str]:
    return [f"id-{number}" for number in range(count)]


BODIES: list[tuple[Job, dict[str, Any]]] = [
    (DeleteContacts(contact_ids=[A, B]), {"contact_ids": [A, B]}),
    (DeleteContacts(list_ids=(A,)), {"list_ids": [A]}),
    (DeleteLists(list_ids=[A]), {"list_ids": [A]}),
    (DeleteTags(tag_ids=iter([A])), {"tag_ids": [A]}),
    (DeleteCustomFields(custom_field_ids=[A]), {"custom_field_ids": [A]}),
    (AddToLists(source=CONTACTS, list_ids=[B]), {"source": {"contact_ids": [A]}, "list_ids": [B]}),
    (AddToLists(source=Source(segment_id=12), list_ids=[B]), {"source": {"segment_id": 12}, "list_ids": [B]}),
    (
        RemoveFromLists(source=Source(engagement_level="high"), list_ids=[B]),
        {"source": {"engagement_level": "high"}, "list_ids": [B]},
    ),
    (
        AddTags(source=Source(list_ids=[A], exclude=[C]), tag_ids=[B]),
        {"source": {"list_ids": [A]}, "exclude": {"contact_ids": [C]}, "tag_ids": [B]},
    ),
    (AddTags(source=Source(new_subscriber=True), tag_ids=[B]), {"source": {"new_subscriber": True}, "tag_ids": [B]}),
    (
        RemoveTags(source=Source(all_active_contacts=True, exclude=[A]), tag_ids=[B]),
        {"source": {"all_active_contacts": True}, "exclude": {"contact_ids": [A]}, "tag_ids": [B]},
    ),
    (RemoveTags(source=Source(tag_ids=[A]), tag_ids=[B]), {"source": {"tag_ids": [A]}, "tag_ids": [B]}),
    (ExportContacts(), {}),
    (ExportContacts(contact_ids=[A], status="removed"), {"contact_ids": [A], "status": "removed"}),
    (ExportContacts(list_ids=[A], status="active"), {"list_ids": [A], "status": "active"}),
    (ExportContacts(segment_id=0), {"segment_id": 0}),
    (ExportContacts(tag_ids=[A]), {"tag_ids": [A]}),
    (
        ExportContacts(list_ids=[A], new_subscriber=True, exclude=[B]),
        {"list_ids": [A], "new_subscriber": True, "exclude": {"contact_ids": [B]}},
    ),
    (
        ExportContacts(fields=["email_address", "email_optin_date", "cf:anything"]),
        {"fields": ["email_address", "email_optin_date", "cf:anything"]},
    ),
]


@pytest.mark.parametrize(("job", "body"), BODIES)
def test_body(job: Job, body: dict[str, Any]) -> None:
    """A job is its body and back, by the vendor's names; and it is the same after a pickle."""
    assert body == job.body()
    assert job == KINDS[job.kind].from_body(json.loads(json.dumps(body)))
    assert job == pickle.loads(pickle.dumps(job))
    assert hash(job) == hash(pickle.loads(pickle.dumps(job)))
    assert body == json.loads(job.encode())  # type: ignore[arg-type]
    assert (job,) == job.split()


@pytest.mark.parametrize(("job", "body"), BODIES)
def test_the_vendor_takes_it(job: Job, body: dict[str, Any]) -> None:
    """The sandbox, which knows nothing of these classes, reads each of the bodies."""
    request = Request(
        method="POST",
        target=f"/v3/activities/{job.kind}",
        headers={"content-type": "application/json"},
        body=json.dumps(body).encode(),
    )

    assert read_bulk_request(job.kind, request)


@pytest.mark.parametrize(("job", "_"), BODIES)
def test_a_job_shows_how_much_it_holds_and_nothing_of_it(job: Job, _: object) -> None:
    """Its repr is in errors and logs."""
    assert [] == [one for one in (A, B, C, "high", "removed", "12") if one in repr(job)]
    assert type(job).__name__ in repr(job)


def test_repr() -> None:
    """Counts, and the names of what was given."""
    job = AddTags(source=Source(list_ids=many(50), exclude=[A]), tag_ids=many(2))

    assert "AddTags(source=Source(50 list_ids, 1 exclude), 2 tag_ids)" == repr(job)
    assert "ExportContacts(status)" == repr(ExportContacts(status="active"))


@pytest.mark.parametrize(
    ("job", "repeatable"),
    [
        (DeleteContacts(contact_ids=[A]), True),
        (DeleteContacts(list_ids=[A]), False),  # which may have new contacts by then
        (DeleteLists(list_ids=[A]), True),
        (AddTags(source=CONTACTS, tag_ids=[A]), True),
        (AddTags(source=Source(list_ids=[A]), tag_ids=[A]), False),
        (RemoveFromLists(source=Source(all_active_contacts=True), list_ids=[A]), False),
        (ExportContacts(contact_ids=[A]), False),
    ],
)
def test_what_may_be_repeated(job: Job, repeatable: bool) -> None:
    """What names its contacts does the same a second time. None of these shows in the list of activities."""
    assert repeatable is job.repeatable
    assert job.key is None


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: DeleteLists(list_ids=A), TypeError, "list_ids must be a list of ids, not str"),
        (lambda: DeleteLists(list_ids=5), TypeError, "list_ids must be a list of ids, not int"),  # type: ignore[arg-type]
        (lambda: DeleteLists(list_ids={A: 1}), TypeError, "list_ids must be a list of ids, not dict"),
        (lambda: DeleteLists(list_ids=[]), ValueError, "list_ids must hold at least one id"),
        (lambda: DeleteLists(list_ids=[A, "my list"]), ValueError, "malformed id in list_ids 'my list'"),
        (lambda: DeleteLists(list_ids=[A, 7]), TypeError, "id in list_ids must be a str, not int"),  # type: ignore[list-item]
        (DeleteContacts, ValueError, "either contact_ids or list_ids"),
        (lambda: DeleteContacts(contact_ids=[A], list_ids=[A]), ValueError, "either contact_ids or list_ids"),
        (Source, ValueError, "exactly one of contact_ids, .* not none"),
        (lambda: Source(contact_ids=[A], segment_id=1), ValueError, "not contact_ids and segment_id"),
        (lambda: Source(contact_ids=[A], exclude=[B]), ValueError, "exclude goes with all_active_contacts or list_ids"),
        (lambda: Source(list_ids=[A], exclude=many(51)), ValueError, "exclude holds 51 ids, and the vendor takes 50"),
        (lambda: Source(segment_id=True), TypeError, "segment_id must be an int, not bool"),
        (lambda: Source(segment_id="12"), TypeError, "segment_id must be an int, not str"),  # type: ignore[arg-type]
        (lambda: Source(engagement_level=1), TypeError, "engagement_level must be a str, not int"),  # type: ignore[arg-type]
        (lambda: Source(all_active_contacts=1), TypeError, "all_active_contacts must be a bool, not int"),  # type: ignore[arg-type]
        (
            lambda: AddTags(source=Source(segment_id=1), tag_ids=[A]),
            ValueError,
            "AddTags takes no source by segment",
        ),
        (lambda: AddToLists(source=Source(new_subscriber=True), list_ids=[A]), ValueError, "no source by new_subs"),
        (lambda: RemoveFromLists(source=Source(segment_id=1), list_ids=[A]), ValueError, "no source by segment_id"),
        (lambda: AddTags(source={"contact_ids": [A]}, tag_ids=[A]), TypeError, "source must be a Source, not dict"),  # type: ignore[arg-type]
        (
            lambda: ExportContacts(contact_ids=many(501)),
            ValueError,
            "contact_ids holds 501 ids, and the vendor",
        ),
        (lambda: ExportContacts(list_ids=[]), ValueError, "list_ids must hold at least one id"),
        (lambda: ExportContacts(status="Active"), ValueError, "status must be one of active, .* not 'Active'"),
        (lambda: ExportContacts(status=5), TypeError, "status must be a str"),  # type: ignore[arg-type]
        (lambda: ExportContacts(contact_ids=[A], list_ids=[A]), ValueError, "contact_ids and list_ids exclude each"),
        (lambda: ExportContacts(tag_ids=[A], status="active"), ValueError, "tag_ids and status exclude each other"),
        (lambda: ExportContacts(list_ids=[A], status="active", exclude=[A]), ValueError, "status and exclude exclude"),
        (lambda: ExportContacts(segment_id=1, new_subscriber=True), ValueError, "segment_id and new_subscriber"),
        (lambda: ExportContacts(fields=["email"]), ValueError, "called email_address, not email"),
        (lambda: ExportContacts(fields=["email_optout_reason"]), ValueError, "email_optout_reason in fields needs"),
        (lambda: ExportContacts(fields="email_address"), TypeError, "fields must be a list of names"),
        (lambda: ExportContacts(fields=[""]), TypeError, "fields must be a list of names"),
    ],
)
def test_what_is_refused(make: Callable[[], object], error: type[Exception], words: str) -> None:
    """When it is made: the field, its limit, and the first value that is none."""
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("kind", "body", "error", "words"),
    [
        ("list_delete", [], TypeError, "the body must be an object, not list"),
        ("list_delete", {"lists": [A]}, ValueError, "DeleteLists knows no 'lists'; it knows list_ids"),
        ("list_delete", {}, TypeError, "list_ids"),
        ("contact_exports", {"file_type": "CSV"}, ValueError, "ExportContacts knows no 'file_type'"),
        ("contact_exports", {"exclude": [A]}, ValueError, "exclude must be an object with contact_ids"),
        ("contact_exports", {"exclude": {"list_ids": [A]}}, ValueError, "exclude must be an object with contact_ids"),
        ("contact_exports", [], TypeError, "the body must be an object"),
        ("contacts_taggings_add", {"tag_ids": [A]}, TypeError, "source"),
        ("contacts_taggings_add", {"tag_ids": [A], "source": [A]}, TypeError, "must be an object, not list"),
        ("contacts_taggings_add", {"tag_ids": [A], "source": {"ids": [A]}}, ValueError, "Source knows no 'ids'"),
        ("contacts_taggings_add", {"tag_ids": [A], "source": {"exclude": [A]}}, ValueError, "knows no 'exclude'"),
    ],
)
def test_which_bodies_are_refused(kind: str, body: Any, error: type[Exception], words: str) -> None:
    """What is not the body of its kind is not made into another one."""
    with pytest.raises(error, match=words):
        KINDS[kind].from_body(body)


@pytest.mark.parametrize(
    ("job", "sizes"),
    [
        (DeleteContacts(contact_ids=many(12_000)), [500] * 24),
        (DeleteContacts(contact_ids=many(501)), [500, 1]),
        (DeleteContacts(list_ids=many(51)), [50, 1]),
        (DeleteLists(list_ids=many(201)), [100, 100, 1]),
        (DeleteTags(tag_ids=many(1000)), [500, 500]),
        (DeleteCustomFields(custom_field_ids=many(101)), [100, 1]),
    ],
)
def test_split(job: Any, sizes: list[int]) -> None:
    """As few jobs as can be, each within the limit; together they have all ids, in order."""
    (name,) = job.body()
    parts = [part.body()[name] for part in job.split()]

    assert sizes == [len(part) for part in parts]
    assert list(getattr(job, name)) == [one for part in parts for one in part]
    assert all(part.encode() for part in job.split())
    with pytest.raises(ValueError, match=rf"{name} holds [\d,]+ ids, and one request takes \d+: submit what split"):
        job.encode()


@given(st.integers(1, 1200), st.integers(1, 120))
def test_a_split_gives_each_contact_each_tag_once(contacts: int, tags: int) -> None:
    """Two lists over their limits make a job for each pair of parts."""
    job = AddTags(source=Source(contact_ids=many(contacts)), tag_ids=many(tags))
    parts = job.split()

    assert -(-contacts // 500) * -(-tags // 50) == len(parts)
    assert contacts * tags == sum(len(part.source.contact_ids) * len(part.tag_ids) for part in parts)
    assert all(part.encode() for part in parts)


def test_a_split_keeps_what_is_left_out() -> None:
    """Each part excludes the same contacts."""
    job = AddToLists(source=Source(list_ids=many(60), exclude=[A]), list_ids=[B])

    assert [(A,), (A,)] == [part.source.exclude for part in job.split()]


@pytest.mark.parametrize(
    "job",
    [
        RemoveFromLists(source=Source(list_ids=["id-3"]), list_ids=many(51)),
        RemoveTags(source=Source(tag_ids=["id-50"]), tag_ids=many(51)),
    ],
)
def test_what_would_not_find_its_contacts_any_more_is_not_split(job: Job) -> None:
    """The first part empties the list that the second one would go by."""
    with pytest.raises(ValueError, match="cannot be split: the source goes by some of what is removed"):
        job.split()


@pytest.mark.parametrize(
    ("job", "parts"),
    [
        (RemoveFromLists(source=Source(list_ids=["other"]), list_ids=many(51)), 2),
        (RemoveFromLists(source=Source(list_ids=many(51)), list_ids=["id-3"]), 2),
        (RemoveTags(source=Source(list_ids=["id-3"]), tag_ids=many(51)), 2),
        (AddTags(source=Source(tag_ids=["id-3"]), tag_ids=many(51)), 2),
        (AddToLists(source=Source(segment_id=1), list_ids=many(101)), 3),
    ],
)
def test_what_finds_them_is(job: Job, parts: int) -> None:
    """Whether they are removed or added, in whatever order the parts are worked on."""
    assert parts == len(job.split())


def test_kinds() -> None:
    """The eleven of the vendor, each by its own name."""
    assert 11 == len(KINDS)
    assert all(kind == job.kind for kind, job in KINDS.items())


@pytest.mark.parametrize(
    ("job", "rows"),
    [
        (DeleteContacts(contact_ids=many(300)), 300),
        (AddTags(source=Source(contact_ids=many(40)), tag_ids=[A, B]), 40),
        (ExportContacts(status="active"), 0),
    ],
    ids=["contacts", "of a source", "nothing"],
)
def test_how_many_ids_a_job_holds(job: Job, rows: int) -> None:
    """Its longest list of ids."""
    assert rows == job.rows
