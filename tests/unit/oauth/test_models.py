"""Records and accounts as values: the stored format, what is refused, and what is never shown."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.logins import FULL_RECORD, NOON, RECORD, jwt

from ccactivity import TokenStoreError
from ccactivity._secret import Secret
from ccactivity.oauth import Account, StoredTokens
from ccactivity.oauth.models import RefreshAttempt, RefreshRejection, usable_seconds


def test_a_record_shows_no_secret() -> None:
    """Neither its repr nor that of its text does; the text itself is for a store."""
    text = RECORD.to_json()

    assert "canary" not in repr(RECORD) + repr(text) + repr(FULL_RECORD) + repr([RECORD])
    assert "canary-secret-refresh" == json.loads(text)["refresh_token"]
    assert StoredTokens.from_json(text) == RECORD == StoredTokens.from_json(text.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(json.loads(FULL_RECORD.to_json()))), value=JSON)
def test_any_wrong_field_is_an_error_of_the_family(name: str, value: object) -> None:
    """A stored record that somebody edited is read or refused, and nothing else happens."""
    text = json.dumps({**json.loads(FULL_RECORD.to_json()), name: value})

    try:
        record = StoredTokens.from_json(text)
    except TokenStoreError as error:
        chain = (error.__cause__, error.__context__)
    else:
        chain = (None, None)
        assert record.version >= 1
    assert (None, None) == chain


STORED = """{
 "format": 1,
 "version": 7,
 "client_id": "an-application",
 "token_url": "https://vendor.example/token",
 "access_token": "canary-secret-access",
 "refresh_token": "canary-secret-refresh",
 "scopes": [
  "contact_data",
  "offline_access"
 ],
 "obtained_at": "2026-01-01T12:00:00+00:00",
 "expires_at": "2026-01-02T12:00:00.000005+00:00",
 "attempt": {
  "began": "2026-01-01T12:00:00+00:00",
  "last": "2026-01-01T12:00:09+00:00",
  "count": 2
 },
 "refused": {
  "at": "2026-01-01T12:00:00+00:00",
  "reason": "interrupted",
  "since": null,
  "said": "The refresh token \\u00fc is invalid."
 }
}"""


def test_the_stored_format_does_not_change() -> None:
    """What earlier versions have stored is read, and written again byte for byte."""
    record = StoredTokens.from_json(STORED)

    assert STORED == record.to_json()
    assert record == attrs.evolve(
        RECORD,
        version=7,
        expires_at=NOON + timedelta(days=1, microseconds=5),
        attempt=RefreshAttempt(began=NOON, last=NOON + timedelta(seconds=9), count=2),
        refused=RefreshRejection(at=NOON, reason="interrupted", since=None, said="The refresh token ü is invalid."),
    )


@pytest.mark.parametrize("name", ["obtained_at", "expires_at"])
def test_a_stored_time_that_cannot_be_converted(name: str) -> None:
    """A record that somebody edited so is refused, and not read to fail later."""
    text = json.dumps({**json.loads(STORED), name: "9999-12-31T23:59:59-23:59"})
    with pytest.raises(TokenStoreError):
        StoredTokens.from_json(text)


def test_times_are_stored_in_utc() -> None:
    """Whatever the zone of a time, the same moment is stored."""
    elsewhere = attrs.evolve(RECORD, obtained_at=NOON.astimezone(timezone(timedelta(hours=-5))))

    assert RECORD.to_json() == elsewhere.to_json()


@pytest.mark.parametrize(("lifetime", "margin"), [(None, 300), (86_400, 300), (3000, 300), (600, 60), (10, 1)])
def test_a_token_is_refreshed_before_it_expires(lifetime: float | None, margin: float) -> None:
    """Five minutes before, or a tenth of a short lifetime."""
    expires_at = None if lifetime is None else NOON + timedelta(seconds=lifetime)

    assert margin == attrs.evolve(RECORD, expires_at=expires_at).margin


@pytest.mark.parametrize(
    ("record", "rejected", "passed", "expected"),
    [
        (None, None, 0, 0.0),
        (RECORD, None, 0, 86_400.0),
        (RECORD, None, 86_500, -100.0),
        (RECORD, RECORD.access_token, 0, 0.0),
        (RECORD, "canary-secret-other", 400, 86_000.0),
        (RECORD, None, -1, math.inf),
        (attrs.evolve(RECORD, expires_at=None), None, 10**9, math.inf),
    ],
)
def test_a_token_is_usable_until_it_expires_or_is_rejected(
    record: StoredTokens | None, rejected: str | None, passed: float, expected: float
) -> None:
    """A clock that was set back before the login says nothing about the end of the token."""
    assert expected == usable_seconds(record, rejected, NOON + timedelta(seconds=passed))


@pytest.mark.parametrize(
    ("changes", "refreshable_until", "interrupted_at"),
    [
        ({}, NOON + timedelta(days=180), None),
        ({"refresh_token": None}, None, None),
        ({"refused": FULL_RECORD.refused}, None, None),
        ({"attempt": FULL_RECORD.attempt}, NOON + timedelta(days=180), NOON),
    ],
)
def test_an_account_says_how_long_a_login_can_last(
    changes: dict[str, Any], refreshable_until: datetime | None, interrupted_at: datetime | None
) -> None:
    """180 days after its last refresh, unless there is nothing to refresh it with."""
    account = Account.of(attrs.evolve(RECORD, **changes), "a problem", "a place")

    assert (refreshable_until, interrupted_at) == (account.refreshable_until, account.interrupted_at)
    assert (refreshable_until is not None) == account.refreshable
    assert ("a problem", "a place", None) == (account.problem, account.stored_in, account.user)
    assert "canary" not in repr(account)


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"sub": "person@example.com"}, "person@example.com"),
        ({"sub": "per\x1b[31mson"}, None),
        ({"sub": 5}, None),
        ({}, None),
    ],
)
def test_an_account_names_the_user_of_its_token(claims: dict[str, object], user: str | None) -> None:
    """Only a name that can be shown."""
    record = attrs.evolve(RECORD, access_token=Secret(jwt(**claims)))

    assert user == Account.of(record, None, "a place").user
