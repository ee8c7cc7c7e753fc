"""What travels as text comes out as it went in, and holds nothing that should not travel."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.api.decoding import Decoder
from ccactivity.errors import (
    ActivityExpiredError,
    BadRequestError,
    CCActivityError,
    NotFoundError,
    PermissionDeniedError,
    ResponseError,
)
from ccactivity.fleet.wire import Wish, error_from_text, error_to_text, snapshot_from_text, snapshot_to_text
from ccactivity.models import Activity

DECODER = Decoder(lambda *_: None)
ROW = {"activity_id": "a", "state": "processing", "percent_done": 40, "created_at": "2026-01-01T00:00:00Z", "new": [1]}
WHERE = {"method": "GET", "path": "/v3/activities/a"}
WORDS = {"error_key": "k", "error_message": "m", "request_id": "r", "hint": "h"}


def decode(row: object) -> Activity:
    return DECODER.decode_activity(json.dumps(row).encode(), "a")


def test_a_snapshot_travels_as_the_vendor_sent_it() -> None:
    activity = decode(ROW)
    seen_at, again = snapshot_from_text(snapshot_to_text(activity, 1_764_000_000_000_001), "a", DECODER)

    assert (1_764_000_000_000_001, activity, ROW) == (seen_at, again, again.raw)


def test_a_snapshot_too_deep_to_be_written_travels_without_what_is_not_known() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    activity = Activity(activity_id="a", state="processing", percent_done=40, raw={"deep": deep})
    _, again = snapshot_from_text(snapshot_to_text(activity, 5), "a", DECODER)

    assert 40 == again.percent_done


@given(st.floats(0, 1e6), st.none() | st.floats(0.1, 1e6), st.booleans())
def test_a_wish_comes_out_as_it_went_in(grace: float, max_staleness: float | None, every_poll: bool) -> None:
    wish = Wish(grace, max_staleness, every_poll)

    assert wish == Wish.from_text(wish.to_text())


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError(status=404, **WHERE, **WORDS),
        BadRequestError(status=400, **WHERE),
        PermissionDeniedError(status=403, scope="contact_data", privilege="contacts:read", **WHERE),
        ResponseError(status=418, **WHERE),
    ],
)
def test_an_error_comes_out_as_it_went_in(error: ResponseError) -> None:
    again = error_from_text(error_to_text(error), None)

    assert (type(error), str(error), vars(error)) == (type(again), str(again), vars(again))


def test_an_expired_activity_is_told_with_what_was_last_seen_here() -> None:
    activity = decode(ROW)
    text = error_to_text(ActivityExpiredError(activity))

    assert activity == getattr(error_from_text(text, activity), "activity", None)
    plain = error_from_text(text, None)
    assert (CCActivityError, str(ActivityExpiredError(activity))) == (type(plain), str(plain))


def test_an_error_of_a_later_version_is_told_in_its_words() -> None:
    again = error_from_text(json.dumps({"kind": "NewError", "says": "something new"}), None)

    assert (CCActivityError, "something new") == (type(again), str(again))
