"""Which bodies are understood at all, and what a page holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bodies import NESTED, QUIET, json_values, noticing_decoder, packed

from ccactivity.errors import DecodeError
from ccactivity.models import Activity

# --- bodies that cannot be understood -----------------------------------------------------------------------


NO_JSON: list[Any] = [
    b"",
    b" \n",
    b"<html><body>Down for maintenance</body></html>",
    b'{"activities": [',
    b'{"activity_id": "a"',
    b"{'activity_id': 'a'}",
    b"\xff\xfe\xfd",
    b'{"activity_id": "\xff"}',
    b"\x1f\x8b\x08\x00",
    pytest.param(NESTED, id="nested"),
    b"None",
    b'{"activity_id": "a"} trailing',
    b'{"activity_id": "a"},',
    b'[{"send_id": 1}], [{"send_id": 2}]',
]
OTHER_JSON = [
    b"null",
    b"true",
    b"5",
    b'"a"',
    b"{}",
    b'[["a"]]',
    b'{"activity_id": null}',
    b'{"activity_id": 5}',
]
OTHER_JSON += [
    b'{"activity_id": ""}',
    b'{"activity_id": ["a"]}',
    b'{"error_key": "throttled"}',
    b'{"message": "x"}',
]


@pytest.mark.parametrize("body", [*NO_JSON, *OTHER_JSON, b"[]", b'{"activity_id": "b"}', b'[{"activity_id": "a"}]'])
def test_no_activity(body: bytes) -> None:
    """What is no object with the id that was asked for is a DecodeError, never an activity."""
    with pytest.raises(DecodeError) as caught:
        QUIET.decode_activity(body, "a")

    assert caught.value.excerpt.isprintable()


@pytest.mark.parametrize(
    "body",
    [
        *NO_JSON,
        *OTHER_JSON,
        b"[]",
        b'{"activity_id": "a", "state": "completed"}',
        b'[{"activity_id": "a"}]',
        b'{"activities": null}',
        b'{"activities": {}}',
        b'{"activities": "a"}',
        b'{"activities": [{}]}',
        b'{"activities": [null, 5, "a", [], {"activity_id": null}, {"activity_id": 7}, {"activity_id": ""}]}',
    ],
)
def test_no_page(body: bytes) -> None:
    """What has no list of activities, or one in which nothing is an activity, is a DecodeError, no end."""
    with pytest.raises(DecodeError) as caught:
        QUIET.decode_page(body)

    assert caught.value.excerpt.isprintable()


@pytest.mark.parametrize("body", [*NO_JSON, *OTHER_JSON, b"[5]", b'["a"]', b'1, {"send_id": 1}'])
def test_no_send_history(body: bytes) -> None:
    """What is neither a list of objects nor a single send is a DecodeError, never an empty history."""
    with pytest.raises(DecodeError) as caught:
        QUIET.decode_send_history(body)

    assert caught.value.excerpt.isprintable()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "an empty answer"),
        (b"  ", "an empty answer"),
        (b"<html>", "not JSON"),
        (b"{} {}", "more than one JSON value"),
        (b"[]", "not an activity"),
        (b'{"activity_id": "b"}', "not the activity that was asked for"),
    ],
)
def test_problem(body: bytes, problem: str) -> None:
    """A DecodeError says what is wrong with the body."""
    with pytest.raises(DecodeError) as caught:
        QUIET.decode_activity(body, "a")

    assert problem == caught.value.problem


@given(body=st.binary(min_size=1).map(lambda body: b"<" + body * 100))
def test_excerpt(body: bytes) -> None:
    """A DecodeError quotes the beginning of the body, short and escaped."""
    with pytest.raises(DecodeError) as caught:
        QUIET.decode_activity(body, "a")

    assert "<" == caught.value.excerpt[1]
    assert len(caught.value.excerpt) < 1_000
    assert str(caught.value).isprintable()


@given(body=st.binary() | json_values.map(packed) | st.text().map(str.encode))
def test_any_body(body: bytes) -> None:
    """Any body is a value or a DecodeError, for each of the three questions."""
    outcomes: list[object] = []
    for read in (lambda: QUIET.decode_activity(body, "a"), lambda: QUIET.decode_page(body)):
        try:
            outcomes.append(read())
        except DecodeError as error:
            outcomes.append(error)
    try:
        outcomes += QUIET.decode_send_history(body)
    except DecodeError as error:
        outcomes.append(error)

    assert None not in outcomes


# --- pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "following"),
    [
        ({}, None),
        ({"_links": None}, None),
        ({"_links": {}}, None),
        ({"_links": []}, None),
        ({"_links": {"next": None}}, None),
        ({"_links": {"next": {}}}, None),
        ({"_links": {"next": {"href": None}}}, None),
        ({"_links": {"next": {"href": ""}}}, ""),
        ({"_links": {"next": {"href": "/v3/activities?cursor=x"}}}, "/v3/activities?cursor=x"),
        ({"_links": {"next": "/v3/activities?cursor=x"}}, "/v3/activities?cursor=x"),
        ({"_links": {"next": {"href": 5}}}, 5),
        ({"_links": {"next": []}}, []),
        ({"_links": 5}, 5),
        ({"_links": [{"rel": "next", "href": "/v3/x"}]}, [{"rel": "next", "href": "/v3/x"}]),
    ],
)
def test_next(others: dict[str, Any], following: object) -> None:
    """The next link is as it was sent, unchecked; None where there is none."""
    assert following == QUIET.decode_page(packed({"activities": [], **others})).next


def test_empty_page() -> None:
    """A page without rows is a page."""
    page = QUIET.decode_page(b'{"activities": []}')

    assert ((), 0) == (page.activities, page.reach)


@pytest.mark.parametrize("row", [None, 5, "a", [], {}, {"activity_id": None}, {"activity_id": 5}, {"activity_id": ""}])
def test_row_that_is_no_activity(row: Any) -> None:
    """A row that is no activity is left out and noticed; the others are there."""
    decoder, notices = noticing_decoder()
    page = decoder.decode_page(packed({"activities": [{"activity_id": "a"}, row, {"activity_id": "b"}]}))

    assert ["a", "b"] == [activity.activity_id for activity in page.activities]
    assert [("activities", row)] == notices


@pytest.mark.parametrize(
    ("wanted", "ids", "reach"),
    [
        (None, ["a", "b", "c"], 3),
        ({"b"}, ["b"], 2),
        ({"c", "a"}, ["a", "c"], 3),
        (["b", "b"], ["b"], 2),
        ({"other"}, [], 0),
        (set(), [], 0),
    ],
)
def test_wanted(wanted: Any, ids: list[str], reach: int) -> None:
    """Only the wanted rows of a page are read, in the page's order; the page says how far down the last of them is."""
    body = packed({"activities": [{"activity_id": activity_id} for activity_id in "abc"]})
    page = QUIET.decode_page(body, wanted)

    assert ids == [activity.activity_id for activity in page.activities]
    assert reach == page.reach


def test_unwanted_rows_are_not_read() -> None:
    """What is wrong with a row that nobody wants is not noticed: it is not read at all."""
    decoder, notices = noticing_decoder()
    rows = [{"activity_id": activity_id, "percent_done": f"{activity_id}!"} for activity_id in "abc"]
    decoder.decode_page(packed({"activities": rows}), {"b"})

    assert [("percent_done", "b!")] == notices


@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["activity_id", "state", "percent_done", "status", "_links"]), json_values),
        max_size=5,
    )
)
def test_any_wanted(rows: list[dict[str, Any]]) -> None:
    """Asking for all the ids of a page one by one gives the same activities as reading the whole page."""
    known = [{"activity_id": "known"}, *rows]
    body = packed({"activities": known})
    whole = QUIET.decode_page(body).activities
    single = [activity for each in whole for activity in QUIET.decode_page(body, [each.activity_id]).activities]

    assert set(whole) == set(single)


UUID = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"


def test_a_uuid_has_no_case() -> None:
    """An id that is written in upper case is answered in lower case, and handed out as it was written."""
    written = UUID.upper()
    body = packed({"activities": [{"activity_id": "b"}, {"activity_id": UUID}]})
    page = QUIET.decode_page(body, {written}, None, {UUID: written})

    assert written == QUIET.decode_activity(packed({"activity_id": UUID}), written).activity_id
    assert ([written], 2) == ([activity.activity_id for activity in page.activities], page.reach)


def test_other_ids_have_a_case() -> None:
    """What is no UUID is compared as it is."""
    with pytest.raises(DecodeError, match="not the activity that was asked for"):
        QUIET.decode_activity(packed({"activity_id": "abc"}), "ABC")


class TooDeep(dict[str, object]):
    """An object that cannot be compared, as one that is nested as deep as could be decoded."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        raise RecursionError


def test_a_row_that_cannot_be_compared_is_read_anew() -> None:
    """Whether it is the same as before is only a matter of speed."""
    decoder, _ = noticing_decoder()
    last = Activity(activity_id="a", raw=TooDeep())
    page = decoder.decode_page(
        packed({"activities": [{"activity_id": "a", "state": "completed"}]}), {"a"}, {"a": last}.get
    )

    assert ["completed"] == [activity.state for activity in page.activities]
