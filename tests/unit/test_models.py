"""The vendor's nouns: what follows from an activity's state and counters, and what goes out as JSON."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bodies import COUNTERS, noticing_decoder

from ccactivity.errors import ActivityFailedError
from ccactivity.models import (
    TERMINAL_STATES,
    Activity,
    ActivityState,
    ActivityStatus,
    SendRecord,
    SendStatus,
)

words = st.text(max_size=20)
counts = st.none() | st.integers()
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
stamps = st.none() | st.datetimes(timezones=st.just(UTC) | offsets)
statuses = st.builds(ActivityStatus, **dict.fromkeys(COUNTERS, counts))
activities = st.builds(
    Activity,
    activity_id=st.text(min_size=1, max_size=20),
    state=st.none() | st.sampled_from(ActivityState) | st.sampled_from(["paused", "TIMED_OUT", ""]),
    created_at=stamps,
    started_at=stamps,
    updated_at=stamps,
    completed_at=stamps,
    source_file_name=st.none() | words,
    percent_done=counts,
    activity_errors=st.lists(words, max_size=3).map(tuple),
    status=statuses,
    self_url=st.none() | words,
    results_url=st.none() | words,
    raw=st.dictionaries(words, words, max_size=2),
)
sends = st.builds(
    SendRecord,
    send_id=counts,
    contact_list_ids=st.lists(words, max_size=3).map(tuple),
    segment_ids=st.lists(st.integers(), max_size=3).map(tuple),
    count=counts,
    run_date=stamps,
    send_status=st.none() | st.sampled_from(SendStatus) | st.sampled_from(["QUEUED", ""]),
    reason_code=counts,
    raw=st.dictionaries(words, words, max_size=2),
)


def activity(**fields: Any) -> Activity:
    return Activity(**{"activity_id": "04fe9a", **fields})


# --- states -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "done", "succeeded"),
    [
        ("initialized", False, False),
        ("processing", False, False),
        ("completed", True, True),
        ("cancelled", True, False),
        ("failed", True, False),
        ("timed_out", True, False),
        ("paused", False, False),
        ("TIMED_OUT", False, False),
        ("Completed", False, False),
        ("", False, False),
        (None, False, False),
    ],
)
def test_done(state: str | None, done: bool, succeeded: bool) -> None:
    """The four terminal states end an activity, `completed` well; no other word and no missing one does."""
    snapshot = activity(state=state, percent_done=100, completed_at=datetime(2026, 1, 1, tzinfo=UTC))

    assert (done, succeeded) == (snapshot.done, snapshot.succeeded)


def test_states() -> None:
    """There are six documented states, four of them terminal."""
    documented = {"initialized", "processing", "completed", "cancelled", "failed", "timed_out"}

    assert documented == {str(state) for state in ActivityState}
    assert documented - {"initialized", "processing"} == {str(state) for state in TERMINAL_STATES}


def test_send_statuses() -> None:
    """There are two documented send statuses."""
    assert ["COMPLETED", "ERRORED"] == [str(status) for status in SendStatus]


@pytest.mark.parametrize("state", ["cancelled", "failed", "timed_out"])
def test_raise_for_failure(state: str) -> None:
    """An activity that ended badly raises an error which holds it."""
    snapshot = activity(state=state)

    with pytest.raises(ActivityFailedError) as caught:
        snapshot.raise_for_state()

    assert snapshot is caught.value.activity


@pytest.mark.parametrize("state", ["initialized", "processing", "completed", "paused", None])
def test_nothing_to_raise(state: str | None) -> None:
    """An activity that completed, or has not ended, raises nothing."""
    raised = None
    try:
        activity(state=state, activity_errors=("Line 2: Invalid birthday",)).raise_for_state()
    except ActivityFailedError as error:
        raised = error

    assert raised is None


# --- counters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counters", "refused"),
    [
        ({}, 0),
        ({"error_count": 0, "correctable_count": 0, "cannot_add_to_list_count": 0}, 0),
        ({"error_count": 2}, 2),
        ({"correctable_count": 3}, 3),
        ({"cannot_add_to_list_count": 5}, 5),
        ({"error_count": 2, "correctable_count": 3, "cannot_add_to_list_count": 5}, 10),
        ({"items_total_count": 9, "items_completed_count": 7, "person_count": 8, "list_count": 1}, 0),
    ],
)
def test_partial(counters: dict[str, int], refused: int) -> None:
    """A completed activity is partial if rows were refused, for whichever of the three reasons."""
    status = ActivityStatus(**counters)

    assert refused == status.refused_count
    assert (refused > 0) is activity(state="completed", status=status).partial


@pytest.mark.parametrize("state", ["initialized", "processing", "cancelled", "failed", "timed_out", "paused", None])
def test_never_partial(state: str | None) -> None:
    """Only a completed activity can be partial."""
    assert not activity(state=state, status=ActivityStatus(error_count=1)).partial


@pytest.mark.parametrize(
    ("state", "percent_done", "total", "completed", "progress"),
    [
        ("completed", None, None, None, 1.0),
        ("completed", 75, 100, 75, 1.0),
        ("processing", None, None, None, None),
        ("processing", 75, None, None, 0.75),
        ("processing", 75, 100, 20, 0.75),
        ("processing", 0, 100, 20, 0.0),
        ("processing", 100, None, None, 1.0),
        ("processing", 140, None, None, 1.0),
        ("processing", -3, None, None, 0.0),
        ("processing", None, 200, 50, 0.25),
        ("processing", None, 200, None, None),
        ("processing", None, None, 50, None),
        ("processing", None, 0, 0, None),
        ("processing", None, -5, 1, None),
        ("processing", None, 10, 11, 1.0),
        ("processing", None, 10, -1, 0.0),
        ("failed", 40, None, None, 0.4),
        ("paused", 40, None, None, 0.4),
        (None, 40, None, None, 0.4),
    ],
)
def test_progress(
    state: str | None,
    percent_done: int | None,
    total: int | None,
    completed: int | None,
    progress: float | None,
) -> None:
    """Progress is percent_done, else the items counted, within 0 and 1; a completed activity is at 1."""
    status = ActivityStatus(items_total_count=total, items_completed_count=completed)

    assert progress == activity(state=state, percent_done=percent_done, status=status).progress


@given(snapshot=activities)
def test_any_progress(snapshot: Activity) -> None:
    """Progress is None or between 0 and 1, however odd the counters."""
    assert snapshot.progress is None or 0 <= snapshot.progress <= 1


def test_percent_done_as_sent() -> None:
    """percent_done is what the vendor sent, not what makes sense."""
    assert [140, -3] == [activity(percent_done=percent).percent_done for percent in (140, -3)]


# --- as values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [activity(), ActivityStatus(), SendRecord()], ids=lambda value: type(value).__name__)
def test_frozen(value: Any) -> None:
    """A snapshot cannot be changed, nor get attributes of its own."""
    names = [*(field.name for field in attrs.fields(type(value))), "novelty"]
    refused = []
    for name in names:
        try:
            setattr(value, name, None)
        except AttributeError:
            refused.append(name)

    assert names == refused


@given(snapshot=activities | sends, raw=st.dictionaries(words, words))
def test_raw_is_no_part_of_a_value(snapshot: Activity | SendRecord, raw: dict[str, str]) -> None:
    """What came is kept in `raw`, but makes no difference to equality and hash."""
    other = attrs.evolve(snapshot, raw=raw)

    assert raw == other.raw
    assert snapshot == other
    assert hash(snapshot) == hash(other)


@pytest.mark.parametrize("kind", [activity, SendRecord])
def test_raw_is_not_shown(kind: Any) -> None:
    """The repr does not show `raw`, which may hold anything and any amount of it."""
    assert "novelty" not in repr(kind(raw={"novelty": 1}))


@pytest.mark.parametrize("field", [name for name in attrs.fields_dict(Activity) if name != "raw"])
def test_every_field_counts(field: str) -> None:
    """Two snapshots that differ in any field are different values."""
    differing: dict[str, Any] = {"activity_errors": ("x",), "status": ActivityStatus(error_count=1)}

    assert activity() != attrs.evolve(activity(), **{field: differing.get(field, "x")})


@given(snapshot=activities | sends)
def test_copies(snapshot: Activity | SendRecord) -> None:
    """A snapshot can be pickled and copied, raw included."""
    copies = [pickle.loads(pickle.dumps(snapshot)), copy.copy(snapshot), copy.deepcopy(snapshot)]

    assert [(snapshot, snapshot.raw)] * 3 == [(each, each.raw) for each in copies]


def test_defaults() -> None:
    """An activity of which only the id is known has no counters, no errors and no progress."""
    bare = activity()

    assert ActivityStatus() == bare.status
    assert () == bare.activity_errors
    assert (None, None, None) == (bare.state, bare.progress, bare.percent_done)


# --- as JSON ------------------------------------------------------------------------------------------------


def test_activity_as_dict() -> None:
    """An activity goes out under the vendor's names, its times in the vendor's form, no unknown counters."""
    snapshot = activity(
        state=ActivityState.PROCESSING,
        created_at=datetime(2016, 1, 23, 13, 48, 44, 108_000, tzinfo=UTC),
        started_at=datetime(2016, 3, 3, 10, 53, 4, tzinfo=timezone(timedelta(hours=-5))),
        source_file_name="import.csv",
        percent_done=75,
        activity_errors=("Line 2",),
        status=ActivityStatus(items_total_count=2200, error_count=0),
        self_url="/v3/activities/04fe9a",
        results_url="/v3/contact_exports/1",
        raw={"novelty": 1},
    )

    assert {
        "activity_id": "04fe9a",
        "state": "processing",
        "created_at": "2016-01-23T13:48:44.108000Z",
        "started_at": "2016-03-03T10:53:04-05:00",
        "updated_at": None,
        "completed_at": None,
        "source_file_name": "import.csv",
        "percent_done": 75,
        "activity_errors": ["Line 2"],
        "status": {"items_total_count": 2200, "error_count": 0},
        "_links": {
            "self": {"href": "/v3/activities/04fe9a"},
            "results": {"href": "/v3/contact_exports/1"},
        },
    } == snapshot.as_dict()


def test_bare_activity_as_dict() -> None:
    """An activity without anything goes out with nulls, no counters and no links."""
    data = activity().as_dict()
    empty: dict[str, Any] = {"activity_errors": [], "status": {}, "_links": {}}

    assert empty == {name: value for name, value in data.items() if value is not None and name != "activity_id"}


def test_send_as_dict() -> None:
    """A send goes out under the vendor's names."""
    record = SendRecord(
        send_id=2,
        contact_list_ids=("f4ab800a",),
        segment_ids=(57,),
        count=0,
        run_date=datetime(2019, 5, 7, 14, 42, 57, tzinfo=UTC),
        send_status=SendStatus.COMPLETED,
        reason_code=12,
        raw={"novelty": 1},
    )

    assert {
        "send_id": 2,
        "contact_list_ids": ["f4ab800a"],
        "segment_ids": [57],
        "count": 0,
        "run_date": "2019-05-07T14:42:57Z",
        "send_status": "COMPLETED",
        "reason_code": 12,
    } == record.as_dict()


@given(status=statuses)
def test_status_as_dict(status: ActivityStatus) -> None:
    """The counters go out under the vendor's names, those that are there."""
    data = status.as_dict()

    assert [getattr(status, name) for name in COUNTERS] == [data.get(name) for name in COUNTERS]
    assert None not in data.values()


def plain(value: Any) -> bool:
    """Whether it consists of what JSON has, and of no subclass of it: not every encoder takes an enum."""
    if type(value) is dict:
        return all(type(key) is str and plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


@given(snapshot=activities)
def test_activity_round_trip(snapshot: Activity) -> None:
    """What `as_dict` gives is plain JSON data, and is read as the same activity, without a complaint."""
    decoder, notices = noticing_decoder()
    data = snapshot.as_dict()

    assert plain(data)
    assert snapshot == decoder.decode_activity(json.dumps(data).encode(), snapshot.activity_id)
    assert [] == [field for field, _ in notices if field != "state"]


@given(record=sends)
def test_send_round_trip(record: SendRecord) -> None:
    """What `as_dict` gives is plain JSON data, and is read again as the same send, without a complaint."""
    decoder, notices = noticing_decoder()
    data = record.as_dict()

    assert plain(data)
    assert [record] == decoder.decode_send_history(json.dumps([data]).encode())
    assert [] == [field for field, _ in notices if field != "send_status"]


# --- sends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("send_status", "reason_code", "succeeded"),
    [
        ("COMPLETED", 0, True),
        ("COMPLETED", 12, False),
        ("COMPLETED", None, False),
        ("ERRORED", 0, False),
        ("ERRORED", 3, False),
        ("completed", 0, False),
        (None, 0, False),
        (None, None, False),
    ],
)
def test_send_succeeded(send_status: str | None, reason_code: int | None, succeeded: bool) -> None:
    """A send succeeded if it is COMPLETED with code 0; code 12 is a completed send to nobody."""
    assert succeeded is SendRecord(send_status=send_status, reason_code=reason_code).succeeded


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (0, "sent"),
        (1, "support"),
        (2, "review"),
        (3, "billing"),
        (4, "more recipients"),
        (5, "held"),
        (6, "stopped"),
        (7, "image"),
        (8, "1005"),
        (9, "verified"),
        (10, "verified"),
        (11, "survey"),
        (12, "nobody"),
    ],
)
def test_reason(code: int, word: str) -> None:
    """Each of the vendor's thirteen reason codes is there in words."""
    reason = SendRecord(reason_code=code).reason

    assert reason is not None
    assert word in reason
    assert "undocumented" not in reason


@pytest.mark.parametrize("code", [-1, 13, 99_999])
def test_unknown_reason(code: int) -> None:
    """A code that the vendor has not documented is named as such."""
    assert f"undocumented reason code {code}" == SendRecord(reason_code=code).reason


def test_no_reason() -> None:
    """Without a code there is no reason."""
    assert SendRecord(send_status="ERRORED").reason is None


def test_which_snapshot_is_older() -> None:
    """The one that the vendor updated before; without a stamp there is no telling."""
    early, late = (Activity(activity_id="a", updated_at=datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2))
    unknown = Activity(activity_id="a")

    assert early.older_than(late)
    assert not (
        late.older_than(early) or early.older_than(early) or unknown.older_than(late) or early.older_than(unknown)
    )
