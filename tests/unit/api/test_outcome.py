"""What came of a request: how each reply is classified, what its error says, and which errors may pass."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bodies import NESTED, json_values, packed

from ccactivity.api.endpoint import Endpoint
from ccactivity.api.messages import Reply, Request
from ccactivity.api.operations import get_activity, get_send_history, list_activities
from ccactivity.api.outcome import (
    OutcomeKind,
    classify,
    error_from,
    is_ambiguous,
    is_rejection,
    is_transient,
)
from ccactivity.errors import (
    AuthenticationError,
    BadRequestError,
    BatchError,
    BodyTooLargeError,
    CCActivityError,
    DecodeError,
    LoginFailedError,
    NotFoundError,
    NotSentError,
    PagingError,
    PermissionDeniedError,
    QueueFullError,
    QuotaExceededError,
    ReauthorizationRequiredError,
    ResponseError,
    ServerError,
    SessionClosedError,
    ThrottledError,
    TokenError,
    TokenStoreError,
    TransportError,
    UnsafeLinkError,
    UntrustedServerError,
)
from ccactivity.models import Activity, ActivityExpiredError, ActivityFailedError, WatchTimeoutError

API = Endpoint.parse("https://api.cc.email/v3")
ASKED = get_activity(API, "04fe9a")

# --- classification -------------------------------------------------------------------------------------------------

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
    of_submission = OutcomeKind.QUEUE_FULL if kind is OutcomeKind.TOO_MANY_REQUESTS else kind
    assert of_submission is classify(Reply(429, body=body), submission=True).kind


@pytest.mark.parametrize("status", [200, 201, 400, 401, 404, 408, 500, 503])
def test_only_a_429_says_something_else_to_a_submission(status: int) -> None:
    """The queue of the account is full."""
    assert classify(Reply(status)) == classify(Reply(status), submission=True)
    error = error_from(ASKED, classify(Reply(429), submission=True))
    assert QueueFullError is type(error)
    assert "1,000" in str(error)


# --- errors ---------------------------------------------------------------------------------------------------------


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
    ("base_url", "is_wrong"),
    [
        ("https://api.cc.email/v3", False),
        ("https://proxy.example/contacts/v3/", False),
        ("https://api.cc.email", True),
        ("https://api.cc.email/v2", True),
        ("https://api.cc.email/v3/activities", True),
    ],
)
def test_a_wrong_path_is_named(base_url: str, is_wrong: bool) -> None:
    """A 403 of a base URL that does not end in /v3 names that, and no scope; so does a list that does not exist."""
    api, hint = Endpoint.parse(base_url), "base_url does not end in /v3, which is the likely cause"
    calls = [list_activities(api, limit=500), get_activity(api, "04fe9a"), get_send_history(api, "04fe9a")]
    denied = [error_from(call, classify(Reply(403))) for call in calls]
    missing = [error_from(call, classify(Reply(404))).hint for call in calls]

    assert [hint if is_wrong else None, None, None] == missing
    assert [is_wrong] * 3 == [hint == error.hint for error in denied]
    assert [not is_wrong] * 3 == ["scope" in str(error) for error in denied]


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


# --- which errors may pass ------------------------------------------------------------------------------------------

ACTIVITY = Activity(activity_id="a", state="failed")


def answered(status: int) -> ResponseError:
    return error_from(ASKED, classify(Reply(status)))


def unanswered(kind: type[TransportError]) -> TransportError:
    return kind("why", method="GET", path="/v3/activities")


@pytest.mark.parametrize(
    ("error", "transient", "rejection"),
    [
        (unanswered(TransportError), True, False),
        (unanswered(NotSentError), True, False),
        (unanswered(UntrustedServerError), False, False),
        (DecodeError("no JSON"), True, False),
        (BodyTooLargeError("too large"), True, False),
        *((answered(status), True, False) for status in (500, 502, 503, 504, 599)),
        *((answered(status), True, False) for status in (408, 425, 429)),
        *((answered(status), False, True) for status in (400, 403, 404, 405, 409, 410, 422, 451)),
        (answered(401), False, False),  # it is about who asks
        (QuotaExceededError("spent", resets_at=datetime(2026, 1, 2, tzinfo=UTC)), False, False),
        (UnsafeLinkError("it leads away", link="//evil"), False, False),
        (PagingError("a circle"), False, False),
        (ActivityFailedError(ACTIVITY), False, False),
        (ActivityExpiredError(ACTIVITY), False, False),
        (WatchTimeoutError("a", ACTIVITY, 1.0), False, False),
        (BatchError.of({"a": answered(503)}), False, False),
        (TokenError("no token"), False, False),
        (LoginFailedError("denied"), False, False),
        (ReauthorizationRequiredError("log in again"), False, False),
        (TokenStoreError("garbage"), False, False),
        (SessionClosedError("closed"), False, False),
        (CCActivityError("anything"), False, False),
        (TimeoutError(), False, False),
        (ValueError(), False, False),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'status', '')}" if isinstance(value, Exception) else "",
)
def test_which_errors_may_pass(error: Exception, transient: bool, rejection: bool) -> None:
    """An error is transient (the next request may be answered), a rejection (it would be rejected again), or neither:
    then it is not about what was asked.
    """
    assert (transient, rejection) == (is_transient(error), is_rejection(error))


@pytest.mark.parametrize(
    ("error", "ambiguous"),
    [
        (TransportError("reset", method="POST", path="/v3"), True),
        (DecodeError("no JSON", status=201), True),
        (BodyTooLargeError("too large"), True),
        *((answered(status), True) for status in (408, 425, 500, 502, 503, 504)),
        *((answered(status), False) for status in (400, 401, 403, 404, 405, 409, 413, 415, 429)),
        (error_from(ASKED, classify(Reply(429), submission=True)), False),
        (NotSentError("refused", method="POST", path="/v3"), False),
        (UntrustedServerError("bad certificate", method="POST", path="/v3"), False),
        (QuotaExceededError("spent", resets_at=datetime(2026, 1, 1, tzinfo=UTC)), False),
        (SessionClosedError("closed"), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_after_which_errors_it_may_have_been_done(error: Exception, ambiguous: bool) -> None:
    """The answer was lost, or says nothing of it."""
    assert ambiguous is is_ambiguous(error)


@given(status=st.integers(300, 599))
def test_errors_agree_with_outcomes(status: int) -> None:
    """Whether the error of a reply may pass is what the reply was classified as."""
    error, kind = answered(status), classify(Reply(status)).kind

    assert is_transient(error) is (kind in (OutcomeKind.TRANSIENT, OutcomeKind.TOO_MANY_REQUESTS))
    assert not (is_transient(error) and is_rejection(error))


# --- headers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999", 999_999_999.0),
        ("1000000000", 0.0),
        ("", 0.0),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("1e9", 0.0),
        ("\u0667", 0.0),
        ("soon", 0.0),
        ("Sat, 23 Jan 2016 13:48:44 GMT", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    """A Retry-After header in plain seconds is that many; there is none in anything else."""
    assert seconds == classify(Reply(429, {} if value is None else {"retry-after": value})).retry_after


@given(value=st.text() | st.text("0123456789+-.e", max_size=12))
def test_any_retry_after(value: str) -> None:
    """Any Retry-After header is a number of seconds that is not negative."""
    assert 0.0 <= classify(Reply(503, {"retry-after": value})).retry_after < 1e9


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
