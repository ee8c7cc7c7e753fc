"""The lifetime of an access token, from `expires_in` or the token itself. Pure: the time is an argument.

1. `expires_in` is in seconds, whatever the vendor's SDK says. A number above a billion can only be a point in time.
2. Without it the `exp` claim of the token tells. That is a time of the vendor's clock, and is compared with that clock:
   the token's `iat`, else the Date of the response. By our own, if it is an hour fast, every new token would look
   expired, and be refreshed for ever; so it is used only if there is neither.
3. A lifetime is at least a second and at most 30 days. A token of unknown lifetime is used until the API rejects it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ..api.decoding import decode_json
from ..errors import DecodeError

__all__ = ["jwt_claims", "positive_number", "token_lifetime"]

_MAX_DURATION_S: Final = 1e9  # above it a number is a point in time: seconds since 1970
_MIN_LIFETIME_S: Final = 1.0
_MAX_LIFETIME_S: Final = 30 * 86_400.0
_MAX_NUMBER_LENGTH: Final = 40
_NO_CLAIMS: Final[Mapping[str, Any]] = {}


def positive_number(value: object) -> float | None:
    """Read a finite number above 0, given as a number or as text; None for anything else. A bool is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (not value.isascii() or len(value) > _MAX_NUMBER_LENGTH):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0.0 < number < math.inf else None


def jwt_claims(token: str) -> Mapping[str, Any]:
    """Read the claims of a JWT without verifying it; none for a token of another kind."""
    parts = token.split(".")
    if len(parts) != 3:
        return _NO_CLAIMS
    try:
        claims = decode_json(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, DecodeError):
        return _NO_CLAIMS
    return claims if isinstance(claims, dict) else _NO_CLAIMS


def token_lifetime(expires_in: object, token: str, answered_at: datetime) -> float | None:
    """Seconds for which an access token is valid; None if neither `expires_in` nor the token says it.

    `expires_in`: as received. `answered_at`: when the vendor sent both, by its own clock if that is known.
    """
    sent = answered_at.timestamp()
    seconds = positive_number(expires_in)
    if seconds is not None and seconds > _MAX_DURATION_S:
        seconds -= sent
    if seconds is None or seconds <= 0:
        claims = jwt_claims(token)
        expires, issued = positive_number(claims.get("exp")), positive_number(claims.get("iat"))
        if expires is None:
            return None
        seconds = expires - (issued if issued is not None and issued < expires else sent)
    return min(_MAX_LIFETIME_S, max(_MIN_LIFETIME_S, seconds)) if seconds > 0 else None
