"""What is stored of a login, and what may be told of it; it performs no I/O and reads no clock.

A record is never changed: each step of a refresh makes the next one, with the next version, so that a store can tell
whether the record it is to replace is still the one it holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import attrs

from .._secret import Secret, check_token
from ..errors import TokenStoreError
from .lifetime import claims

__all__ = ["Account", "Attempt", "Refusal", "StoredTokens"]

_FORMAT: Final = 1
_MARGIN: Final = 300.0
_MARGIN_SHARE: Final = 0.1
_IDLE_LIFE: Final = timedelta(days=180)  # of a refresh token that nobody uses (vendor's page on access tokens)


@attrs.frozen
class Attempt:
    """A refresh that was begun and has no known end: noted before it is sent.

    `began`: when the refresh token was first sent. `last`: when it was sent last. `count`: how often.
    """

    began: datetime
    last: datetime
    count: int


@attrs.frozen
class Refusal:
    """The vendor's definite answer to the refresh token: `reason` and `since` as in ReauthorizationRequiredError."""

    at: datetime
    reason: str
    since: datetime | None
    said: str


@attrs.frozen(kw_only=True)
class StoredTokens:
    """One login as a store keeps it.

    `version`: 1 for the first record of a store, one more for each that replaces it. `client_id`, `token_url`: whom the
    tokens were given to and by what; they are shown to no other. `refresh_token`: None if none was granted.
    `obtained_at`, `expires_at`: of the access token, by the clock of the machine that got it; `expires_at` is None when
    nothing said it. `attempt`: a refresh under way, or interrupted. `refused`: set once the refresh token is dead.
    """

    client_id: str
    token_url: str
    access_token: Secret = attrs.field(repr=False)
    refresh_token: Secret | None = attrs.field(repr=False)
    scopes: tuple[str, ...]
    obtained_at: datetime
    expires_at: datetime | None
    version: int
    attempt: Attempt | None = None
    refused: Refusal | None = None

    def left(self, now: datetime) -> float | None:
        """Seconds that the access token has left; None if that is unknown, also because the clock was set back."""
        if self.expires_at is None or now < self.obtained_at:
            return None
        return (self.expires_at - now).total_seconds()

    @property
    def margin(self) -> float:
        """Seconds before its end at which the access token is renewed: five minutes, less for a short life."""
        return min(_MARGIN, _MARGIN_SHARE * self.life)

    @property
    def life(self) -> float:
        """Seconds that the access token lives in all; infinite if that is unknown."""
        return float("inf") if self.expires_at is None else (self.expires_at - self.obtained_at).total_seconds()

    def to_json(self) -> str:
        """Return the record as text, secrets and all, for a store; its repr hides it."""
        data = {
            "format": _FORMAT,
            "version": self.version,
            "client_id": self.client_id,
            "token_url": self.token_url,
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "scopes": list(self.scopes),
            "obtained_at": _text(self.obtained_at),
            "expires_at": _text(self.expires_at),
            "attempt": self.attempt
            and {
                "began": _text(self.attempt.began),
                "last": _text(self.attempt.last),
                "count": self.attempt.count,
            },
            "refused": self.refused
            and {
                "at": _text(self.refused.at),
                "reason": self.refused.reason,
                "since": _text(self.refused.since),
                "said": self.refused.said,
            },
        }
        return Secret(json.dumps(data, indent=1))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` made; TokenStoreError for anything else, which quotes nothing of it."""
        try:
            return cls._read(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
        # Raised out here: the errors of the json module carry the whole text, tokens and all.
        raise TokenStoreError("this is not a record of tokens that this version can read")

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        if data["format"] != _FORMAT or type(data["version"]) is not int or data["version"] < 1:
            raise ValueError
        refresh, attempt, refused = data["refresh_token"], data["attempt"], data["refused"]
        return cls(
            client_id=_string(data["client_id"]),
            token_url=_string(data["token_url"]),
            access_token=Secret(check_token(data["access_token"])),
            refresh_token=None if refresh is None else Secret(check_token(refresh)),
            scopes=tuple(_string(scope) for scope in data["scopes"]),
            obtained_at=_instant(data["obtained_at"]),
            expires_at=_maybe(data["expires_at"]),
            version=data["version"],
            attempt=attempt and Attempt(_instant(attempt["began"]), _instant(attempt["last"]), int(attempt["count"])),
            refused=refused
            and Refusal(
                _instant(refused["at"]),
                _string(refused["reason"]),
                _maybe(refused["since"]),
                _string(refused["said"]),
            ),
        )


@attrs.frozen(kw_only=True)
class Account:
    """What may be told of a login; it holds no secret.

    `user`: the login that the access token names, None if it names none. `refreshable`: whether there is a refresh
    token that the vendor has not refused. `interrupted_at`: when a refresh began that has no known end, else None.
    `problem`: why somebody must log in again, else None. `stored_in`: where the tokens are.
    """

    client_id: str
    user: str | None
    scopes: tuple[str, ...]
    obtained_at: datetime
    expires_at: datetime | None
    refreshable: bool
    interrupted_at: datetime | None
    problem: str | None
    stored_in: str

    @property
    def refreshable_until(self) -> datetime | None:
        """When the login ends if nobody uses it: 180 days after it last brought a token; None if it has no future."""
        return self.obtained_at + _IDLE_LIFE if self.refreshable else None

    @classmethod
    def of(cls, record: StoredTokens, problem: str | None, stored_in: str) -> Account:
        """Tell of a record."""
        user = claims(record.access_token).get("sub")
        return cls(
            client_id=record.client_id,
            user=user if isinstance(user, str) and user.isprintable() else None,
            scopes=record.scopes,
            obtained_at=record.obtained_at,
            expires_at=record.expires_at,
            refreshable=record.refresh_token is not None and record.refused is None,
            interrupted_at=None if record.attempt is None else record.attempt.began,
            problem=problem,
            stored_in=stored_in,
        )


def _text(when: datetime | None) -> str | None:
    return None if when is None else when.astimezone(UTC).isoformat()


def _instant(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.utcoffset() is None:
        raise ValueError
    return when


def _maybe(text: str | None) -> datetime | None:
    return None if text is None else _instant(text)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
