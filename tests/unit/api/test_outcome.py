"""Replies in: how each is classified, which bodies are understood at all, and what a page holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity._text import escape
from ccactivity.api.decoding import Decoder
from ccactivity.api.endpoint import Endpoint
from ccactivity.api.messages import Reply, Request
from ccactivity.api.operations import get_activity, get_send_history, list_activities
from ccactivity.api.outcome import OutcomeKind, classify, error_from
from ccactivity.errors import (
    AuthenticationError,
    BadRequestError,
    DecodeError,
    NotFoundError,
    PermissionDeniedError,
    ResponseError,
    ServerError,
    ThrottledError,
)

DECODER = Decoder(lambda _field, _value: None)
API = Endpoint.parse("https://api.cc.email/v3")
ASKED = get_activity(API, "04fe9a")
NESTED = b"[" * 100_000 + b"]" * 100_000

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


def packed(data: Any) -> bytes:
    return json.dumps(data).encode()


# --- classification -----------------------------------------------------------------------------------------

THROTTLED = b'{"error_key":"throttled","error_message":"Too Many Requests"}'
EXCEEDED = b'{"error_key":"quota_exceeded","error_message":"Limit Exceeded"}'


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, OutcomeKind.ANSWER) for status in (200, 201, 202, 204, 299)),
        (401, OutcomeKind.UNAUTHORIZED),
        *((status, OutcomeKind.TRANSIENT) for status in (408, 425, 500, 502, 503, 504, 599)),
        *((status, OutcomeKind.REJECTED) for status in (400, 403, 404, 405, 409, 410, 415, 422, 451, 499)),
        *((status, OutcomeKind.UNEXPECTED) for status in (100, 199, 300, 301, 302, 303, 304, 307, 308, 399)),
    ],
)
@pytest.mark.parametrize("body", [b"", THROTTLED, EXCEEDED, b"<html>"])
def test_kind_of_outcome(status: int, kind: OutcomeKind, body: bytes) -> None:
    """A reply is classified by its status; only a 429 is classified by its words."""
    assert kind is classify(Reply(status, body=body)).kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (THROTTLED, OutcomeKind.THROTTLED),
        (EXCEEDED, OutcomeKind.QUOTA_EXCEEDED),
        (b"[" + THROTTLED + b"]", OutcomeKind.THROTTLED),
        (b"[" + EXCEEDED + b"]", OutcomeKind.QUOTA_EXCEEDED),
        (b"", OutcomeKind.TOO_MANY_REQUESTS),
        (b"<html>quota_exceeded</html>", OutcomeKind.TOO_MANY_REQUESTS),
        (b"{}", OutcomeKind.TOO_MANY_REQUESTS),
        (b"[]", OutcomeKind.TOO_MANY_REQUESTS),
        (b"null", OutcomeKind.TOO_MANY_REQUESTS),
        (b'"throttled"', OutcomeKind.TOO_MANY_REQUESTS),
        (b'{"error_key": null}', OutcomeKind.TOO_MANY_REQUESTS),
        (b'{"error_key": ["throttled"]}', OutcomeKind.TOO_MANY_REQUESTS),
        (b'{"error_key": "queue.full"}', OutcomeKind.TOO_MANY_REQUESTS),
        (b'{"message": "Too Many Requests"}', OutcomeKind.TOO_MANY_REQUESTS),
        pytest.param(NESTED, OutcomeKind.TOO_MANY_REQUESTS, id="nested"),
    ],
)
def test_kinds_of_429(body: bytes, kind: OutcomeKind) -> None:
    """A 429 that says `throttled` or `quota_exceeded` means that; one that says neither is another kind."""
    assert kind is classify(Reply(429, body=body)).kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (429, ThrottledError),
        *((status, ServerError) for status in (500, 502, 503, 504, 599)),
        *((status, ResponseError) for status in (405, 408, 409, 410, 415, 422, 425, 451)),
    ],
)
def test_error_of_each_status(status: int, kind: type[ResponseError]) -> None:
    """Each status has its error, which knows the status and what was asked."""
    error = error_from(ASKED, classify(Reply(status)))

    assert kind is type(error)
    assert (status, "GET", "/v3/activities/04fe9a") == (error.status, error.method, error.path)


@pytest.mark.parametrize(
    ("body", "key", "message"),
    [
        (
            b'[{"error_key":"contacts.api.not_found","error_message":"contact_id is in an invalid format."}]',
            "contacts.api.not_found",
            "contact_id is in an invalid format.",
        ),
        (b'{"error_key":"unauthorized","error_message":"Unauthorized"}', "unauthorized", "Unauthorized"),
        (
            b'{"error_key":"access_denied","error_message":"Request forbidden due to user privileges."}',
            "access_denied",
            "Request forbidden due to user privileges.",
        ),
        (
            b'{"error":"invalid_grant","error_description":"The refresh token is invalid or expired."}',
            "invalid_grant",
            "The refresh token is invalid or expired.",
        ),
        (b'{"message":"Forbidden"}', None, "Forbidden"),
        (b'[{"error_key":"a"},{"error_key":"b"}]', "a", None),
        (b'[null, 5, {"error_message":"b"}]', None, "b"),
        (b"[]", None, None),
        (b"{}", None, None),
        (b"null", None, None),
        (b'"Forbidden"', None, None),
        (b'["Forbidden"]', None, None),
        (b'{"error_key": 5, "error_message": {"x": 1}}', None, None),
        (b'{"error_key": null, "error_message": null}', None, None),
        (b"<html>403 Forbidden</html>", None, None),
        (b"", None, None),
        (b"\xff\xfe", None, None),
        pytest.param(NESTED, None, None, id="nested"),
    ],
)
def test_words_of_an_error(body: bytes, key: str | None, message: str | None) -> None:
    """An error says what the vendor said, in any of the shapes the vendor says it in."""
    error = error_from(ASKED, classify(Reply(403, body=body)))

    assert (key, message) == (error.error_key, error.error_message)


@given(status=st.integers(100, 599), body=st.binary() | json_values.map(packed), request_id=st.text())
def test_any_error(status: int, body: bytes, request_id: str) -> None:
    """Any reply has its error, and nothing in it can confuse a log or a terminal."""
    error = error_from(ASKED, classify(Reply(status, {"x-amzn-requestid": request_id}, body)))
    shown = [str(error), error.error_key or "", error.error_message or "", error.request_id or ""]

    assert all(text.isprintable() and len(text) < 5_000 for text in shown)


def test_verbose_error() -> None:
    """What the vendor says at length is cut."""
    words = {"error_key": "k" * 10_000, "error_message": "m" * 10_000}
    error = error_from(ASKED, classify(Reply(400, {"x-amzn-requestid": "i" * 10_000}, packed(words))))

    assert len(str(error)) < 1_000
    assert len(error.request_id or "") < 1_000


@pytest.mark.parametrize(
    ("request_", "scope", "privilege"),
    [
        (list_activities(API, limit=500), "contact_data", "contacts:write"),
        (get_activity(API, "04fe9a"), "contact_data", "contacts:write"),
        (get_send_history(API, "04fe9a"), "campaign_data", "campaign:read"),
    ],
)
def test_permission_denied(request_: Request, scope: str, privilege: str) -> None:
    """A 403 names the scope and the privilege that the call needs, whatever the vendor says."""
    error = error_from(request_, classify(Reply(403, body=b'{"message":"Forbidden"}')))

    assert isinstance(error, PermissionDeniedError)
    assert (scope, privilege) == (error.scope, error.privilege)

    assert scope in str(error)
    assert privilege in str(error)


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ({}, None),
        ({"x-amzn-requestid": "a1"}, "a1"),
        ({"x-amz-apigw-id": "b2"}, "b2"),
        ({"x-amzn-requestid": "a1", "x-amz-apigw-id": "b2"}, "a1"),
        ({"x-amzn-requestid": "", "x-amz-apigw-id": "b2"}, "b2"),
    ],
)
def test_request_id(headers: dict[str, str], request_id: str | None) -> None:
    """An error has the gateway's id of the request, which the vendor's support asks for."""
    assert request_id == error_from(ASKED, classify(Reply(500, headers))).request_id


def test_reply_does_not_show_its_body() -> None:
    """The repr of a reply leaves its body out: it may be large, and hold anything."""
    assert "words" not in repr(Reply(200, body=b"words"))


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("Sat, 23 Jan 2016 13:48:44 GMT", datetime(2016, 1, 23, 13, 48, 44, tzinfo=UTC)),
        ("Sat, 23 Jan 2016 08:48:44 -0500", datetime(2016, 1, 23, 13, 48, 44, tzinfo=UTC)),
        ("Sat, 23 Jan 2016 13:48:44 -0000", None),
        ("Sat, 32 Jan 2016 13:48:44 GMT", None),
        ("Sat, 23 Jan 2016 25:48:44 GMT", None),
        ("Sat, 23 Jan 99999 13:48:44 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Thu, 01 Jan 1800 00:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:07 GMT", None),
        ("Sat, 23 Jan 2016 13:48:44 +99999999999999", None),
        ("tomorrow", None),
        ("0", None),
        ("", None),
        (None, None),
    ],
)
def test_server_time(date: str | None, moment: datetime | None) -> None:
    """The server's time is the aware instant of its Date header, or None without a readable one."""
    assert moment == classify(Reply(200, {} if date is None else {"date": date})).server_time


dates = st.lists(
    st.sampled_from(
        [
            "Sat,",
            "23",
            "Jan",
            "2016",
            "13:48:44",
            "GMT",
            "-0500",
            "+",
            ":",
            ",",
            "-",
            "(",
            "13.48.44",
            "9" * 9,
        ]
    ),
    max_size=8,
).map(" ".join)


@given(date=st.text() | dates)
def test_any_date(date: str) -> None:
    """Any Date header is an aware instant or none."""
    moment = classify(Reply(200, {"date": date})).server_time

    assert moment is None or moment.tzinfo is not None


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Forbidden", "Forbidden"),
        ("Größe 5 €", "Größe 5 €"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x00\ud800", "\\x00\\ud800"),
        ("12345678901234567890", "12345678901234567890"),
        ("12345678901234567890!", "12345678901234567890..."),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    """What could confuse a terminal is escaped, what is printable stays, and the end is cut off."""
    assert cleaned == escape(text, 20)


@given(text=st.text(st.characters()), most=st.integers(0, 50))
def test_clean_anything(text: str, most: int) -> None:
    """Cleaned text can be printed, written as UTF-8, and is bounded."""
    cleaned = escape(text, most)

    assert cleaned.isprintable()
    assert cleaned == cleaned.encode().decode()
    assert len(cleaned) <= most * 10 + 3


# --- requests out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        (list_activities(API, limit=500), "/v3/activities?limit=500"),
        (list_activities(API, limit=1, state="timed_out"), "/v3/activities?limit=1&state=timed_out"),
        (get_activity(API, "04fe9a"), "/v3/activities/04fe9a"),
        (get_send_history(API, "04fe9a"), "/v3/emails/activities/04fe9a/send_history"),
        (get_activity(Endpoint.parse("http://localhost:8080"), "04fe9a"), "/activities/04fe9a"),
    ],
)
def test_request(request_: Request, target: str) -> None:
    """The three questions are GETs below the base URL."""
    assert ("GET", target) == (request_.method, request_.target)


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
        DECODER.decode_activity(body, "a")

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
        DECODER.decode_page(body)

    assert caught.value.excerpt.isprintable()


@pytest.mark.parametrize("body", [*NO_JSON, *OTHER_JSON, b"[5]", b'["a"]', b'1, {"send_id": 1}'])
def test_no_send_history(body: bytes) -> None:
    """What is neither a list of objects nor a single send is a DecodeError, never an empty history."""
    with pytest.raises(DecodeError) as caught:
        DECODER.decode_send_history(body)

    assert caught.value.excerpt.isprintable()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "an empty body"),
        (b"  ", "an empty body"),
        (b"<html>", "no JSON"),
        (b"{} {}", "more than one JSON value"),
        (b"[]", "no activity"),
        (b'{"activity_id": "b"}', "another activity than the one asked for"),
    ],
)
def test_problem(body: bytes, problem: str) -> None:
    """A DecodeError says what is wrong with the body."""
    with pytest.raises(DecodeError) as caught:
        DECODER.decode_activity(body, "a")

    assert problem == caught.value.problem


@given(body=st.binary(min_size=1).map(lambda body: b"<" + body * 100))
def test_excerpt(body: bytes) -> None:
    """A DecodeError quotes the beginning of the body, short and escaped."""
    with pytest.raises(DecodeError) as caught:
        DECODER.decode_activity(body, "a")

    assert "<" == caught.value.excerpt[1]
    assert len(caught.value.excerpt) < 1_000
    assert str(caught.value).isprintable()


@given(body=st.binary() | json_values.map(packed) | st.text().map(str.encode))
def test_any_body(body: bytes) -> None:
    """Any body is a value or a DecodeError, for each of the three questions."""
    outcomes: list[object] = []
    for read in (lambda: DECODER.decode_activity(body, "a"), lambda: DECODER.decode_page(body)):
        try:
            outcomes.append(read())
        except DecodeError as error:
            outcomes.append(error)
    try:
        outcomes += DECODER.decode_send_history(body)
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
    assert following == DECODER.decode_page(packed({"activities": [], **others})).next


def test_empty_page() -> None:
    """A page without rows is a page."""
    page = DECODER.decode_page(b'{"activities": []}')

    assert ((), 0) == (page.activities, page.rows)


@pytest.mark.parametrize("row", [None, 5, "a", [], {}, {"activity_id": None}, {"activity_id": 5}, {"activity_id": ""}])
def test_row_that_is_no_activity(row: Any) -> None:
    """A row that is no activity is left out and noticed; the others are there."""
    notices: list[tuple[str, object]] = []
    reader = Decoder(lambda field, value: notices.append((field, value)))
    page = reader.decode_page(packed({"activities": [{"activity_id": "a"}, row, {"activity_id": "b"}]}))

    assert ["a", "b"] == [activity.activity_id for activity in page.activities]
    assert [("activities", row)] == notices
    assert 3 == page.rows


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (None, ["a", "b", "c"]),
        ({"b"}, ["b"]),
        ({"c", "a"}, ["a", "c"]),
        (["b", "b"], ["b"]),
        ({"other"}, []),
        (set(), []),
    ],
)
def test_wanted(wanted: Any, ids: list[str]) -> None:
    """Only the wanted rows of a page are read, in the page's order; all of them count."""
    body = packed({"activities": [{"activity_id": activity_id} for activity_id in "abc"]})
    page = DECODER.decode_page(body, wanted)

    assert ids == [activity.activity_id for activity in page.activities]
    assert 3 == page.rows


def test_unwanted_rows_are_not_read() -> None:
    """What is wrong with a row that nobody wants is not noticed: it is not read at all."""
    notices: list[tuple[str, object]] = []
    reader = Decoder(lambda field, value: notices.append((field, value)))
    rows = [{"activity_id": activity_id, "percent_done": f"{activity_id}!"} for activity_id in "abc"]
    reader.decode_page(packed({"activities": rows}), {"b"})

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
    whole = DECODER.decode_page(body).activities
    single = [activity for each in whole for activity in DECODER.decode_page(body, [each.activity_id]).activities]

    assert set(whole) == set(single)
