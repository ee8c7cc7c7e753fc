"""The vendor's own SDK against the sandbox, and against this client: a third opinion on what the API says.

Run by `nox -s conformance`, in an environment of its own; the suite does not know this folder. The SDK is generated
from the vendor's Swagger file, and its models are strict: they refuse what that file does not allow.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any, Final

import attrs
import pytest
from constant_contact_api_client import ApiClient, BulkActivitiesApi, Configuration, EmailSchedulingApi
from constant_contact_api_client.exceptions import ApiException, NotFoundException
from constant_contact_api_client.models.create_import_json_activity_request import CreateImportJSONActivityRequest

from ccactivity import Activity, ActivitySession, ActivityStatus, Quota, SendRecord
from ccactivity.sandbox import Life, Sandbox, Workload

LISTS: Final = ["f4ab800a-5adf-11e9-ba6a-fa163e6b01c1", "06a11efa-5ae0-11e9-9cc7-fa163e6b01c1"]
KINDS: Final = (
    "add_list_memberships",
    "contact_delete",
    "contact_exports",
    "contacts_file_import",
    "contacts_json_import",
    "contacts_taggings_add",
    "contacts_taggings_remove",
    "contacts_tags_delete",
    "custom_fields_delete",
    "list_delete",
    "remove_list_memberships",
)
ENDINGS: Final = ("completed", "failed", "cancelled", "timed_out")
FILTERS: Final = (None, "processing", *ENDINGS)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """An un-faulted sandbox with jobs of each kind, in each state."""
    workload = Workload(lanes=100, failed_share=0.0, cancelled_share=0.0, timed_out_share=0.0)
    with Sandbox(history=120, workload=workload, per_second=None, per_day=None) as sandbox:
        for kind in KINDS:
            sandbox.submit(Life(duration=3600, update_every=3600), kind=kind)
            sandbox.submit(Life(delay=3600), kind=kind)
            for end in ENDINGS:
                errors = ("Line 2: Invalid email address",) if end != "completed" else ()
                sandbox.submit(
                    Life(duration=0.001, end=end, errors=errors, error_count=len(errors)), kind=kind, rows=10
                )
        sandbox.add_history(LISTS[0], {"count": 5, "segment_ids": [57]}, {"reason_code": 12})
        time.sleep(0.1)
        yield sandbox
        assert sandbox.violations.bad_request == 0
        assert sandbox.violations.unknown_path == 0


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[ApiClient]:
    with ApiClient(Configuration(host=sandbox.base_url, access_token=sandbox.token)) as client:
        yield client


@pytest.fixture
def bulk(client: ApiClient) -> BulkActivitiesApi:
    return BulkActivitiesApi(client)


def link(value: Any) -> str | None:
    return None if value is None else value.href


def alike(theirs: Any, ours: Activity) -> None:
    """Compare an activity field by field."""
    for field in attrs.fields(Activity):
        name = field.name
        if name in ("raw", "status", "self_url", "results_url", "activity_errors"):
            continue
        assert getattr(theirs, name) == getattr(ours, name), name
    assert tuple(theirs.activity_errors or ()) == ours.activity_errors
    for field in attrs.fields(ActivityStatus):
        assert getattr(theirs.status, field.name, None) == getattr(ours.status, field.name), field.name
    assert link(theirs.links.var_self) == ours.self_url
    assert link(getattr(theirs.links, "results", None)) == ours.results_url


def ask(sandbox: Sandbox, question: Any) -> Any:
    async def main() -> Any:
        async with ActivitySession(sandbox.token, base_url=sandbox.base_url, quota=Quota.unlimited()) as session:
            return await question(session)

    return asyncio.run(main())


@pytest.mark.parametrize("state", FILTERS)
def test_both_read_the_same_page(sandbox: Sandbox, bulk: BulkActivitiesApi, state: str | None) -> None:
    theirs = bulk.get_all_activities(limit=500, state=state).activities
    ours = ask(sandbox, lambda session: session.list_activities(state=state))
    assert len(theirs) == len(ours) > 0
    for one, other in zip(theirs, ours, strict=True):
        alike(one, other)


def test_the_pages_of_both_have_the_same_next_link(sandbox: Sandbox, bulk: BulkActivitiesApi) -> None:
    page = bulk.get_all_activities(limit=10)
    assert len(page.activities) == 10
    assert page.links.next.href.startswith("/v3/activities?cursor=")


def test_both_read_the_same_activity(sandbox: Sandbox, bulk: BulkActivitiesApi) -> None:
    ours = ask(sandbox, lambda session: session.list_activities())
    for activity in ours[:100]:
        theirs = bulk.get_activity_by_id(activity.activity_id)
        alike(theirs, ask(sandbox, lambda session, key=activity.activity_id: session.get_activity(key)))


@pytest.mark.parametrize("campaign", ["1ead98be-dfa0-4e04-81f7-5f1534d42e9c", LISTS[0], LISTS[1]])
def test_both_read_the_same_send_history(sandbox: Sandbox, client: ApiClient, campaign: str) -> None:
    theirs = EmailSchedulingApi(client).get_email_campaign_activity_send_history(campaign)
    ours: list[SendRecord] = ask(sandbox, lambda session: session.get_send_history(campaign))
    for one, other in zip(theirs, ours, strict=True):
        assert (one.send_id, one.count, one.run_date) == (other.send_id, other.count, other.run_date)
        assert (one.send_status, one.reason_code) == (other.send_status, other.reason_code)
        assert tuple(one.contact_list_ids or ()) == other.contact_list_ids
        assert tuple(one.segment_ids or ()) == other.segment_ids


def test_the_sdk_imports_json(sandbox: Sandbox, bulk: BulkActivitiesApi) -> None:
    contacts = [{"email": f"reader{number}@example.com", "first_name": "Ann"} for number in range(3)]
    request = CreateImportJSONActivityRequest.from_dict({"import_data": contacts, "list_ids": LISTS})
    made = bulk.create_import_json_activity(request)
    assert made.state == "initialized"
    assert made.status.person_count == 3
    alike(
        bulk.get_activity_by_id(made.activity_id), ask(sandbox, lambda session: session.get_activity(made.activity_id))
    )


def test_the_sdk_imports_a_file(sandbox: Sandbox, bulk: BulkActivitiesApi, tmp_path: Any) -> None:
    file = tmp_path / "contacts.csv"
    file.write_text("email,first_name\nann@example.com,Ann\nbob@example.com,Bob\n")
    made = bulk.create_csv_import_activity(file=str(file), list_ids=",".join(LISTS))
    assert made.status.person_count == 2
    assert made.source_file_name == "contacts.csv"
    alike(
        bulk.get_activity_by_id(made.activity_id), ask(sandbox, lambda session: session.get_activity(made.activity_id))
    )


def test_the_sdk_and_the_sandbox_agree_on_a_file_and_on_json(
    sandbox: Sandbox, bulk: BulkActivitiesApi, tmp_path: Any
) -> None:
    """What the SDK sends is read whole: values of all types, and a name that a URL could not hold."""
    contact = {"email": "ann@example.com", "birthday_month": 11, "birthday_day": 24, "anniversary": "2006-11-15"}
    request = CreateImportJSONActivityRequest.from_dict({"import_data": [contact], "list_ids": LISTS})
    text = {name: str(value) for name, value in contact.items()}
    file = tmp_path / "contacts 1 of 2.csv"
    file.write_text(f"{','.join(text)}\n{','.join(text.values())}\n")
    in_json = bulk.create_import_json_activity(request)
    in_file = bulk.create_csv_import_activity(file=str(file), list_ids=",".join(LISTS))

    assert in_file.source_file_name == file.name
    assert sandbox.upload(in_file.activity_id) == file.read_bytes()
    assert sandbox.rows(in_json.activity_id) == sandbox.rows(in_file.activity_id) == [text]


def test_the_sdk_knows_the_errors(sandbox: Sandbox, bulk: BulkActivitiesApi) -> None:
    with pytest.raises(NotFoundException) as caught:
        bulk.get_activity_by_id("00000000-0000-0000-0000-000000000000")
    assert json.loads(caught.value.body)[0]["error_key"]
    stranger = ApiClient(Configuration(host=sandbox.base_url, access_token="wrong"))
    with stranger, pytest.raises(ApiException) as refused:
        BulkActivitiesApi(stranger).get_all_activities()
    assert refused.value.status == 401
