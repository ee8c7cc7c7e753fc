"""How long an access token is valid: what `expires_in` and the token itself say, and what junk becomes."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.logins import ANYTHING, jwt

from ccactivity.oauth.lifetime import jwt_claims, positive_number, token_lifetime

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

EPOCH = NOON.timestamp()

HOUR = 3600.0


def life(
    expires_in: object, token: str = "opaque", server: datetime | None = NOON, now: datetime = NOON
) -> float | None:
    return token_lifetime(expires_in, token, server or now)


JUNK_LIVES: list[object] = [0, -5, True, None, "", "soon", "1e999", "nan", [], {}, math.inf, math.nan, "1" * 5000]


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [
        (86_400, 86_400.0),
        (28_800.0, 28_800.0),
        ("3600", HOUR),
        ("3600.5", 3600.5),
        (2, 2.0),
        (0.01, 1.0),
        (10**8, 30 * 86_400.0),
        (EPOCH + HOUR, HOUR),
        (str(int(EPOCH + HOUR)), HOUR),
        (EPOCH - HOUR, None),
        (10**400, None),
        *[(junk, None) for junk in JUNK_LIVES],
    ],
)
def test_what_expires_in_says_is_read_with_caution(expires_in: object, expected: float | None) -> None:
    """Seconds, as number or text, an instant if above a billion; a second at least, 30 days at most; else nothing."""
    assert expected == life(expires_in)


@pytest.mark.parametrize("off", [-3600, 0, 3600, 10**6])
def test_times_of_the_vendor_are_compared_with_its_clock(off: float) -> None:
    """A wrong clock here makes no token look expired, or good for longer."""
    now = NOON + timedelta(seconds=off)

    assert HOUR == life(None, jwt(exp=EPOCH + HOUR), now=now)
    assert HOUR == life(None, jwt(exp=EPOCH + HOUR, iat=EPOCH), server=None, now=now)
    assert HOUR == life(EPOCH + HOUR, now=now)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (jwt(exp=EPOCH + HOUR), HOUR),
        (jwt(exp=str(int(EPOCH + HOUR))), HOUR),
        (jwt(exp=EPOCH + HOUR, iat="junk"), HOUR),
        (jwt(exp=EPOCH + HOUR, iat=EPOCH + 2 * HOUR), HOUR),
        (jwt(exp=EPOCH - HOUR), None),
        (jwt(exp="never"), None),
        (jwt(), None),
        ("a.b", None),
        ("a.b.c", None),
        ("a.!!!.c", None),
        ("a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c", None),
        ("a." + base64.urlsafe_b64encode(b"[" * 9000).decode() + ".c", None),
        ("opaque", None),
    ],
)
def test_without_expires_in_the_token_itself_may_tell(token: str, expected: float | None) -> None:
    """The `exp` of a JWT is used; a token that says nothing serves until the API refuses it."""
    assert expected == life(None, token)


@given(expires_in=ANYTHING, exp=ANYTHING, iat=ANYTHING, off=st.integers(-(10**6), 10**6))
def test_junk_makes_no_impossible_lifetime(expires_in: object, exp: object, iat: object, off: int) -> None:
    """Whatever comes, a life is unknown or between a second and 30 days."""
    found = life(expires_in, jwt(exp=exp, iat=iat), now=NOON + timedelta(seconds=off))

    assert found is None or 1 <= found <= 30 * 86_400


@given(token=st.text(max_size=200) | st.binary(max_size=200).map(lambda body: f"a.{base64.b64encode(body).decode()}.c"))
def test_any_text_is_a_token_that_may_say_nothing(token: str) -> None:
    """What a token says is a mapping, an empty one for what is no JWT."""
    assert dict(jwt_claims(token)) == jwt_claims(token)


@given(value=ANYTHING)
def test_a_number_is_positive_and_finite(value: object) -> None:
    """Nothing else gets into the arithmetic."""
    found = positive_number(value)

    assert found is None or 0 < found < math.inf
