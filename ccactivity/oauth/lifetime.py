"""How long an access token lives, as arithmetic; it reads no clock and trusts no number.

1. What the vendor means by `expires_in` is seconds from now, whatever its SDK's model says; a number above a billion
   can only be an instant. What is no positive number is nothing at all.
2. Without it the `exp` of the token tells, which is an instant of the vendor's clock. It is compared with instants of
   that same clock, the token's `iat` or the answer's Date, and with ours only when there is neither: a machine an hour
   off would otherwise find each new token expired, and refresh without end.
3. A life is never taken for shorter than a second, nor for longer than 30 days. A token whose life nobody knows serves
   until the API refuses it, which is the last word in any case.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ..api.decoding import decode_json
from ..errors import DecodeError

__all__ = ["claims", "lifetime", "number"]

_EPOCH: Final = 1e9
_SHORTEST: Final = 1.0
_LONGEST: Final = 30 * 86_400.0
_NOBODY: Final[Mapping[str, Any]] = {}


def number(value: object) -> float | None:
    """Read a number above 0, also one that came as text; None for anything else. A bool is none."""
    if isinstance(value, str) and value.isascii() and len(value) < 40:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and found > 0 else None


def claims(token: str) -> Mapping[str, Any]:
    """Read what a JWT says, without verifying it; nothing for a token of another kind."""
    parts = token.split(".")
    if len(parts) != 3:
        return _NOBODY
    try:
        body = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        said = decode_json(body)
    except (ValueError, DecodeError):
        return _NOBODY
    return said if isinstance(said, dict) else _NOBODY


def lifetime(expires_in: object, token: str, *, server: datetime | None, now: datetime) -> float | None:
    """Seconds that a token lives from `now` on; None when nothing says it.

    `expires_in`: as it came. `server`: the instant at which the vendor answered, None if it did not say.
    """
    here = (server or now).timestamp()
    seconds = number(expires_in)
    if seconds is not None and seconds > _EPOCH:
        seconds -= here
    if seconds is None or seconds <= 0:
        said = claims(token)
        end, issued = number(said.get("exp")), number(said.get("iat"))
        if end is None:
            return None
        seconds = end - (issued if issued is not None and issued < end else here)
    return min(_LONGEST, max(_SHORTEST, seconds)) if seconds > 0 else None
