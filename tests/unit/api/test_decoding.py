"""Bodies into models, value by value: whatever a field holds, its row is read, and what was lost is noticed."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bodies import COUNTERS, QUIET, json_values, noticing_decoder, packed
from support.vendor_samples import (
    ACTIVITY_SAMPLE,
    FIRST_SEND_SAMPLE,
    LIST_SAMPLE,
    MOMENT,
    SAMPLED,
    SENDS_SAMPLE,
    SENT,
    SENT_TO_NOBODY,
)

from ccactivity.errors import DecodeError
from ccactivity.models import Activity, ActivityState, ActivityStatus, SendRecord, SendStatus

STAMPS = ("created_at", "started_at", "updated_at", "completed_at")
FIELDS = (*STAMPS, "state", "source_file_name", "percent_done", "activity_errors", "status", "_links", "raw")
SENT_IDS = ("send_id", "contact_list_ids", "contact_lists_ids", "segment_ids")
SEND_FIELDS = (*SENT_IDS, "count", "run_date", "send_status", "reason_code", "raw")


class Read:
    """A decoder that remembers what it noticed."""

    def __init__(self) -> None:
        self.decoder, self.notices = noticing_decoder()

    def activity(self, **fields: Any) -> Activity:
        return self.decoder.decode_activity(packed({"activity_id": "a", **fields}), "a")

    def send(self, **fields: Any) -> SendRecord:
        (record,) = self.decoder.decode_send_history(packed([fields]))
        return record


# --- the vendor's samples -----------------------------------------------------------------------------------


def test_activity_sample() -> None:
    """The vendor's sample of an activity is read, though it started at "completed"."""
    read = Read()
    activity = read.decoder.decode_activity(ACTIVITY_SAMPLE.encode(), SAMPLED.activity_id)

    assert SAMPLED == activity
    assert json.loads(ACTIVITY_SAMPLE) == activity.raw
    assert [("started_at", "completed")] == read.notices


def test_list_sample() -> None:
    """The vendor's sample of a list is read, with its placeholder for an id and its link as it is."""
    page = QUIET.decode_page(LIST_SAMPLE.encode())

    assert (
        attrs.evolve(SAMPLED, activity_id="{activity_id}", self_url="/v3/activities/{activity_id}"),
    ) == page.activities
    assert "/v3/activities/{actvity_id}" == page.next


@pytest.mark.parametrize(
    ("body", "records"),
    [
        (SENDS_SAMPLE, [SENT, SENT_TO_NOBODY]),
        (f"[{SENDS_SAMPLE}]", [SENT, SENT_TO_NOBODY]),
        (f"\n{SENDS_SAMPLE}\n", [SENT, SENT_TO_NOBODY]),
        (FIRST_SEND_SAMPLE, [SENT]),
        (f"[{FIRST_SEND_SAMPLE}]", [SENT]),
        ("[]", []),
    ],
    ids=["no brackets", "brackets", "white space", "single object", "one", "never sent"],
)
def test_send_history_sample(body: str, records: list[SendRecord]) -> None:
    """The vendor's sample of a send history is read with and without its brackets, and a single send too."""
    read = Read()

    assert records == read.decoder.decode_send_history(body.encode())
    assert [] == read.notices


# --- values of the wrong type -------------------------------------------------------------------------------


@given(
    values=st.dictionaries(st.sampled_from(FIELDS), json_values),
    status=st.dictionaries(st.sampled_from(COUNTERS), json_values),
)
def test_any_value_in_an_activity(values: dict[str, Any], status: dict[str, Any]) -> None:
    """No value of any field costs its row: what cannot be read is None, and the rest of the page is there."""
    row = {"activity_id": "a", "status": status, **values}
    page = QUIET.decode_page(packed({"activities": [{"activity_id": "before"}, row, {"activity_id": "after"}]}))
    activity = page.activities[1]

    assert ["before", "a", "after"] == [each.activity_id for each in page.activities]
    assert json.dumps(row) == json.dumps(activity.raw)
    assert all(type(getattr(activity, name)) in (datetime, type(None)) for name in STAMPS)
    assert all(type(getattr(activity.status, name)) in (int, type(None)) for name in COUNTERS)
    assert type(activity.percent_done) in (int, type(None))
    assert all(type(message) is str for message in activity.activity_errors)
    assert hash(activity) == hash(attrs.evolve(activity))
    assert json.dumps(activity.as_dict())


@given(values=st.dictionaries(st.sampled_from(SEND_FIELDS), json_values))
def test_any_value_in_a_send(values: dict[str, Any]) -> None:
    """No value of any field costs a send."""
    records = QUIET.decode_send_history(packed([{"send_id": 1}, values, {"send_id": 3}]))

    assert (1, 3) == (records[0].send_id, records[2].send_id)
    assert json.dumps(values) == json.dumps(records[1].raw)
    assert all(type(item) is str for item in records[1].contact_list_ids)
    assert all(type(item) is int for item in records[1].segment_ids)
    assert hash(records[1]) == hash(attrs.evolve(records[1]))
    assert json.dumps(records[1].as_dict())


@pytest.mark.parametrize(
    ("value", "number", "noticed"),
    [
        (75, 75, False),
        (0, 0, False),
        (-1, -1, False),
        (10**30, 10**30, False),
        (None, None, False),
        ("75", 75, False),
        (" 75 ", 75, False),
        ("75.0", 75, False),
        (75.0, 75, False),
        (75.5, None, True),
        ("75.5", None, True),
        ("", None, True),
        ("None", None, True),
        ("75 %", None, True),
        ("0x4b", None, True),
        pytest.param("9" * 5_000, None, True, id="long"),
        (True, None, True),
        (False, None, True),
        ({}, None, True),
        ({"value": 75}, None, True),
        ([75], None, True),
        (float("inf"), None, True),
        (float("nan"), None, True),
    ],
)
def test_number(value: Any, number: int | None, noticed: bool) -> None:
    """A whole number in another spelling is that number; a bool or anything else is none, and noticed."""
    read = Read()
    numbers = (
        read.activity(percent_done=value).percent_done,
        *(getattr(read.activity(status={name: value}).status, name) for name in COUNTERS),
        *(getattr(read.send(**{name: value}), name) for name in ("send_id", "count", "reason_code")),
    )

    assert [number] * 11 == list(numbers)
    assert [type(number)] * 11 == [type(each) for each in numbers]
    assert (["percent_done", *COUNTERS, "send_id", "count", "reason_code"] if noticed else []) == [
        field for field, _ in read.notices
    ]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2016-01-23T13:48:44.108Z", MOMENT),
        ("2019-12-12T15:38:24Z", datetime(2019, 12, 12, 15, 38, 24, tzinfo=UTC)),
        ("2016-03-03T10:53:04-05:00", datetime(2016, 3, 3, 15, 53, 4, tzinfo=UTC)),
        ("2016-03-03T10:53:04+00:00", datetime(2016, 3, 3, 10, 53, 4, tzinfo=UTC)),
        ("2016-01-23T13:48:44.108000Z", MOMENT),
        ("2016-01-23T13:48:44.108000999Z", MOMENT),
        ("2016-01-23T19:18:44.108+05:30", MOMENT),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00-23:59", datetime(1, 1, 1, 23, 59, tzinfo=UTC)),
    ],
)
def test_timestamp(text: str, moment: datetime) -> None:
    """Every form of time that the vendor's samples use is read, as an aware instant, without a complaint."""
    read = Read()

    assert [moment] * 4 == [getattr(read.activity(**{name: text}), name) for name in STAMPS]
    assert moment == read.send(run_date=text).run_date
    assert [] == read.notices


@pytest.mark.parametrize(
    "value",
    [
        "completed",
        "",
        " ",
        "0",
        0,
        1_453_556_924,
        1_453_556_924.108,
        True,
        [],
        ["2016-01-23T13:48:44Z"],
        list("2016-01-23T13:48:44Z"),
        {"date": "2016-01-23"},
        "2016-01-23",
        "2016-01-23T13:48:44",
        "2016-01-23T13:48:44.108",
        "2016-01-23 13:48:44Z",
        "2016-01-23t13:48:44Z",
        "2016-01-23T13:48:44z",
        "2016-01-23T13:48:44+0000",
        "2016-01-23T13:48:44+00",
        "2016-01-23T13:48:44 Z",
        "2016-01-23T13:48:44+25:00",
        "0000-01-23T13:48:44Z",
        "0000-00-00T00:00:00Z",
        "2016-13-23T13:48:44Z",
        "2016-02-30T13:48:44Z",
        "2016-01-23T25:48:44Z",
        "2016-01-23T13:48:60Z",
        "20160123T134844Z",
        "2016-W03-6T13:48:44Z",
        "2016-01-23T13Z",
        "2016-01-23T1348Z",
        "Sat, 23 Jan 2016 13:48:44 GMT",
        "2016-01-23T13:48:4\ud800Z",
        "9999-12-31T23:59:59-23:59",  # in UTC it is out of what Python calls a time
        "9999-12-31T23:59:59-00:01",
        "0001-01-01T00:00:00+00:01",
        "T" * 20 + "Z",
        "٢٠١٦-01-23T13:48:44Z",
    ],
)
def test_malformed_timestamp(value: Any) -> None:
    """What is no complete RFC 3339 time with its zone is None, and noticed."""
    read = Read()

    assert [None] * 4 == [getattr(read.activity(**{name: value}), name) for name in STAMPS]
    assert read.send(run_date=value).run_date is None
    assert [(name, value) for name in (*STAMPS, "run_date")] == read.notices


@pytest.mark.parametrize(
    ("value", "state", "done"),
    [
        *((state.value, state, state not in ("initialized", "processing")) for state in ActivityState),
        ("time_out", ActivityState.TIMED_OUT, True),
    ],
)
def test_known_state(value: str, state: ActivityState, done: bool) -> None:
    """Each documented state is read as such, and the `time_out` of the vendor's prose as `timed_out`."""
    read = Read()
    activity = read.activity(state=value)

    assert (state, done) == (activity.state, activity.done)
    assert isinstance(activity.state, ActivityState)
    assert [] == read.notices


@pytest.mark.parametrize("value", ["paused", "TIMED_OUT", "COMPLETED", "completed ", "", "None"])
def test_unknown_state(value: str) -> None:
    """A word that is no documented state stays itself, ends nothing, and is noticed."""
    read = Read()
    activity = read.activity(state=value)

    assert (value, False) == (activity.state, activity.done)
    assert [("state", value)] == read.notices


@pytest.mark.parametrize("value", [5, True, 0, [], ["completed"], {}, {"state": "completed"}])
def test_state_of_wrong_type(value: Any) -> None:
    """A state that is no string is None, ends nothing, and is noticed."""
    read = Read()
    activity = read.activity(state=value)

    assert (None, False) == (activity.state, activity.done)
    assert [("state", value)] == read.notices


@pytest.mark.parametrize(
    ("value", "status", "noticed"),
    [
        ("COMPLETED", SendStatus.COMPLETED, False),
        ("ERRORED", SendStatus.ERRORED, False),
        (None, None, False),
        ("completed", "completed", True),
        ("QUEUED", "QUEUED", True),
        (0, None, True),
    ],
)
def test_send_status(value: Any, status: str | None, noticed: bool) -> None:
    """A documented send status is read as such, another word stays itself, and that is noticed."""
    read = Read()
    record = read.send(send_status=value)

    assert (type(status), status) == (type(record.send_status), record.send_status)
    assert ([("send_status", value)] if noticed else []) == read.notices


@pytest.mark.parametrize(
    ("value", "name", "noticed"),
    [("a.csv", "a.csv", False), ("", "", False), (None, None, False), (5, None, True), ({}, None, True)],
)
def test_file_name(value: Any, name: str | None, noticed: bool) -> None:
    """A file name that is no string is None, never a string made of it, and noticed."""
    read = Read()

    assert name == read.activity(source_file_name=value).source_file_name
    assert ([("source_file_name", value)] if noticed else []) == read.notices


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        (None, ()),
        ([], ()),
        ("", ()),
        (["Line 2: Invalid birthday", "Line 3"], ("Line 2: Invalid birthday", "Line 3")),
        ("Line 2", ("Line 2",)),
        ([{"message": "Line 2"}], ("Line 2",)),
        ({"message": "Line 2"}, ("Line 2",)),
        ([{"error_key": "x", "error_message": "Line 2"}], ("Line 2",)),
        (["Line 1", {"message": "Line 2"}, None, "Line 3"], ("Line 1", "Line 2", "Line 3")),
        ([{"code": 7}], ('{"code": 7}',)),
        ([7, ["x"]], ("7", '["x"]')),
    ],
)
def test_activity_errors(value: Any, messages: tuple[str, ...]) -> None:
    """Errors are strings, objects with a message, or a mixture; none is lost."""
    assert messages == Read().activity(activity_errors=value).activity_errors


def test_deep_activity_error() -> None:
    """An error nested as deep as you like is a message, or the body a DecodeError."""
    outcomes = []
    for depth in range(1, sys.getrecursionlimit() + 50):
        body = b'{"activity_id": "a", "activity_errors": [%b7%b]}' % (b"[" * depth, b"]" * depth)
        try:
            outcomes.append(QUIET.decode_activity(body, "a").activity_id)
        except DecodeError as error:
            outcomes.append(error.problem)

    # How deep JSON may be nested differs from one Python to the next.
    assert {"a"} <= set(outcomes) <= {"a", "not JSON"}


@pytest.mark.parametrize(
    ("links", "self_url", "results_url"),
    [
        (None, None, None),
        ({}, None, None),
        ([], None, None),
        ("x", None, None),
        ({"self": None}, None, None),
        ({"self": {}}, None, None),
        ({"self": {"href": None}}, None, None),
        ({"self": {"href": 5}}, None, None),
        ({"self": {"href": "/v3/activities/a"}}, "/v3/activities/a", None),
        (
            {"self": {"href": "/v3/activities/a"}, "results": {"href": "/v3/contact_exports/b"}},
            "/v3/activities/a",
            "/v3/contact_exports/b",
        ),
    ],
)
def test_links(links: Any, self_url: str | None, results_url: str | None) -> None:
    """The links of an activity are as they were sent, or None."""
    activity = Read().activity(_links=links)

    assert (self_url, results_url) == (activity.self_url, activity.results_url)


@pytest.mark.parametrize("status", [None, {}, {"error_count": None}, {"unknown_count": 5}])
def test_no_counters(status: Any) -> None:
    """An activity without counters has the counters object all the same."""
    read = Read()

    assert ActivityStatus() == read.activity(status=status).status
    assert [] == read.notices


@pytest.mark.parametrize("field", ["percent_done", "raw", "self_url", "results_url", "novelty"])
def test_raw(field: str) -> None:
    """Whatever an object holds is kept in `raw` as it came, also under a name that the library uses."""
    assert {"activity_id": "a", field: {"x": [1]}} == Read().activity(**{field: {"x": [1]}}).raw


def test_all_null() -> None:
    """A null anywhere is the same as nothing there, and no reason for a notice."""
    read = Read()

    assert Activity(activity_id="a") == read.activity(**dict.fromkeys(FIELDS))
    assert SendRecord() == read.send(**dict.fromkeys(SEND_FIELDS))
    assert [] == read.notices


@pytest.mark.parametrize(
    ("fields", "lists", "segments"),
    [
        ({}, (), ()),
        ({"contact_lists_ids": ["a"]}, ("a",), ()),
        ({"contact_list_ids": ["a"], "contact_lists_ids": ["b"]}, ("a",), ()),
        ({"contact_list_ids": "a", "segment_ids": 5}, ("a",), (5,)),
        ({"segment_ids": [57, "58", 59.0]}, (), (57, 58, 59)),
        ({"contact_list_ids": [None, 5, "a"], "segment_ids": [None, True, {}, 5]}, ("a",), (5,)),
    ],
)
def test_audience(fields: dict[str, Any], lists: tuple[str, ...], segments: tuple[int, ...]) -> None:
    """Lists are strings and segments numbers, under either spelling of the name; else they are left out."""
    record = Read().send(**fields)

    assert (lists, segments) == (record.contact_list_ids, record.segment_ids)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", []),
        ("status", "completed"),
        ("status", 5),
        ("contact_list_ids", [5]),
        ("contact_list_ids", {}),
        ("segment_ids", ["x"]),
        ("segment_ids", [True]),
    ],
)
def test_lost_value_is_noticed(field: str, value: Any) -> None:
    """A value that is not taken over because it is not what is documented is noticed, whatever the field."""
    read = Read()
    read.activity(**{field: value})
    read.send(**{field: value})

    assert [field] == [name for name, _ in read.notices]


AS_READ = QUIET.decode_activity(ACTIVITY_SAMPLE.encode(), SAMPLED.activity_id)
(SENT_AS_READ,) = QUIET.decode_send_history(FIRST_SEND_SAMPLE.encode())


@pytest.mark.parametrize(
    ("cls", "value"), [(Activity, AS_READ), (ActivityStatus, AS_READ.status), (SendRecord, SENT_AS_READ)]
)
def test_what_was_read_is_a_value(cls: type[Any], value: Any) -> None:
    """What was read is of the very class of models, equal to what is made by hand, hashable and frozen."""
    made = attrs.evolve(value)

    assert cls is type(value)
    assert (made, hash(made)) == (value, hash(value))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.count = 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del value.raw


# --- what is read again and again -----------------------------------------------------------------------------------


def stamp(read: Read, text: str) -> datetime | None:
    return read.activity(created_at=text).created_at


def test_a_timestamp_is_read_once() -> None:
    """The same timestamp, row after row, is the same object: it is parsed once."""
    read, text = Read(), "2016-01-23T13:48:44.108Z"

    assert stamp(read, text) is stamp(read, text)


def test_timestamps_are_not_kept_without_end() -> None:
    """After thousands of other timestamps one is parsed anew, and is the same instant."""
    read, text = Read(), "2016-01-23T13:48:44.108Z"
    first = stamp(read, text)
    others = [MOMENT + timedelta(seconds=second) for second in range(1, 5_000)]
    seen = [stamp(read, other.isoformat()) for other in others]
    again = stamp(read, text)

    assert others == seen
    assert (first, False) == (again, first is again)


def test_long_timestamps_are_not_kept() -> None:
    """A timestamp as long as somebody likes is read, and not kept."""
    read, text = Read(), "2016-01-23T13:48:44." + "1" * 10_000 + "Z"
    first, second = stamp(read, text), stamp(read, text)

    assert (first, False) == (second, first is second)
    assert first is not None
