"""The samples of the vendor's two pages, letter for letter: what users paste first; and what is to be read of them.

Each contradicts itself: a state for a date, an id that is no UUID, a typo, a history without its brackets.
"""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

from ccactivity.models import Activity, ActivityState, ActivityStatus, SendRecord, SendStatus

ACTIVITY_SAMPLE = """\
{
"activity_id": "04fe9a-a579-43c5-bb1a-58ed29bf0a6a",
"state": "initialized",
"started_at": "completed",
"completed_at": "2016-01-23T13:48:44.108Z",
"created_at": "2016-01-23T13:48:44.108Z",
"updated_at": "2016-01-23T13:48:44.108Z",
"source_file_name": "2016-21-04-contact_import.xls",
"percent_done": 75,
"activity_errors": [
"Message describing the error condition."
],
"status": {
"items_total_count": 2200,
"items_completed_count": 2100,
"person_count": 8750,
"error_count": 0,
"correctable_count": 0,
"cannot_add_to_list_count": 0,
"list_count": 3
},
"_links": {
"self": {
"href": "/v3/activities/{actvity_id}"
}
}
}"""
LIST_SAMPLE = """\
{
"activities": [
{
"activity_id": "{activity_id}",
"state": "initialized",
"started_at": "completed",
"completed_at": "2016-01-23T13:48:44.108Z",
"created_at": "2016-01-23T13:48:44.108Z",
"updated_at": "2016-01-23T13:48:44.108Z",
"source_file_name": "2016-21-04-contact_import.xls",
"percent_done": 75,
"activity_errors": [
"Message describing the error condition."
],
"status": {
"items_total_count": 2200,
"items_completed_count": 2100,
"person_count": 8750,
"error_count": 0,
"correctable_count": 0,
"cannot_add_to_list_count": 0,
"list_count": 3
},
"_links": {
"self": {
"href": "/v3/activities/{activity_id}"
}
}
}
],
"_links": {
"next": {
"href": "/v3/activities/{actvity_id}"
}
}
}"""
FIRST_SEND_SAMPLE = """\
{
"send_id": 1,
"contact_list_ids": [
"f4ab800a-5adf-11e9-ba6a-fa163e6b01c1"
],
"count": 2,
"run_date": "2019-04-18T20:03:08.000Z",
"send_status": "COMPLETED",
"reason_code": 0
}"""
SENDS_SAMPLE = (
    FIRST_SEND_SAMPLE
    + """,
{
"send_id": 2,
"contact_list_ids": [
"f4ab800a-5adf-11e9-ba6a-fa163e6b01c1"
],
"count": 0,
"run_date": "2019-05-07T14:42:57.000Z",
"send_status": "COMPLETED",
"reason_code": 12
}"""
)
MOMENT = datetime(2016, 1, 23, 13, 48, 44, 108_000, tzinfo=UTC)
SAMPLED = Activity(
    activity_id="04fe9a-a579-43c5-bb1a-58ed29bf0a6a",
    state=ActivityState.INITIALIZED,
    started_at=None,
    completed_at=MOMENT,
    created_at=MOMENT,
    updated_at=MOMENT,
    source_file_name="2016-21-04-contact_import.xls",
    percent_done=75,
    activity_errors=("Message describing the error condition.",),
    status=ActivityStatus(
        items_total_count=2200,
        items_completed_count=2100,
        person_count=8750,
        error_count=0,
        correctable_count=0,
        cannot_add_to_list_count=0,
        list_count=3,
    ),
    self_url="/v3/activities/{actvity_id}",
)
SENT = SendRecord(
    send_id=1,
    contact_list_ids=("f4ab800a-5adf-11e9-ba6a-fa163e6b01c1",),
    count=2,
    run_date=datetime(2019, 4, 18, 20, 3, 8, tzinfo=UTC),
    send_status=SendStatus.COMPLETED,
    reason_code=0,
)
SENT_TO_NOBODY = attrs.evolve(
    SENT, send_id=2, count=0, run_date=datetime(2019, 5, 7, 14, 42, 57, tzinfo=UTC), reason_code=12
)
