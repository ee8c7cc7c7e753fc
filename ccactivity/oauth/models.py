"""A login as values: what a store keeps of it, and what may be shown of it. Pure: the time is an argument.

A record is never changed: each step of a refresh makes a new one with the next version, so that a store can tell
whether the record to be replaced is still the one that it holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import attrs

from .._secret import Secret, check_token
from ..errors import TokenStoreError
from .lifetime import jwt_claims

__all__ = ["Account", "RefreshAttempt", "RefreshRejection", "StoredTokens", "usable_seconds"]

_FORMAT: Final = 1
_MAX_MARGIN_S: Final = 300.0
_MARGIN_SHARE: Final = 0.1
_MAX_IDLE_TIME: Final = timedelta(days=180)  # of a refresh token (vendor's page on access tokens)


@attrs.frozen
class RefreshAttempt:
    """A refresh whose outcome is not known; it is stored before the refresh token is sent.

    `began`: when the refresh token was sent first. `last`: when it was sent last. `count`: how often it was sent.
    """

    began: datetime
    last: datetime
    count: int


@attrs.frozen
class RefreshRejection:
    """The vendor's rejection of the refresh token, which is final.

    `reason`, `since`: as in ReauthorizationRequiredError. `said`: the vendor's own words, escaped.
    """

    at: datetime
    reason: str
    since: datetime | None
    said: str


@attrs.frozen(kw_only=True)
class StoredTokens:
    """One login as a store keeps it.

    `client_id`, `token_url`: the application, and the token endpoint that issued the tokens; no other gets to see them.
    `refresh_token`: None if none was granted. `obtained_at`, `expires_at`: of the access token, by the clock of the
    machine that obtained it; `expires_at` is None if unknown. `version`: 1 for the first record of a store, and one
    more for each that replaces it. `attempt`: a refresh that is under way, or was interrupted. `refused`: set once the
    vendor has rejected the refresh token.
    """

    client_id: str
    token_url: str
    access_token: Secret = attrs.field(repr=False)
    refresh_token: Secret | None = attrs.field(repr=False)
    scopes: tuple[str, ...]
    obtained_at: datetime
    expires_at: datetime | None
    version: int
    attempt: RefreshAttempt | None = None
    refused: RefreshRejection | None = None

    def left(self, now: datetime) -> float | None:
        """Seconds until the access token expires; None if unknown, also because the clock was set back."""
        if self.expires_at is None or now < self.obtained_at:
            return None
        return (self.expires_at - now).total_seconds()

    @property
    def margin(self) -> float:
        """Seconds before its end at which the access token is refreshed: 300, or a tenth of a short lifetime."""
        return min(_MAX_MARGIN_S, _MARGIN_SHARE * self.life)

    @property
    def life(self) -> float:
        """Seconds of the whole lifetime of the access token; infinite if unknown."""
        return math.inf if self.expires_at is None else (self.expires_at - self.obtained_at).total_seconds()

    def to_json(self) -> str:
        """Return the record as JSON for a store. It holds the tokens; its repr hides them."""
        fields = attrs.asdict(self, value_serializer=_to_json_value)
        return Secret(json.dumps({"format": _FORMAT, "version": self.version, **fields}, indent=1))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; TokenStoreError for anything else, which quotes nothing of it."""
        try:
            return cls._from_fields(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            pass
        # Raised outside of `except`: the errors of the json module hold the whole text, and with it the tokens.
        del text
        raise TokenStoreError("this is not a record of tokens that this version can read")

    @classmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> Self:
        if fields["format"] != _FORMAT or type(fields["version"]) is not int or fields["version"] < 1:
            raise ValueError
        refresh_token, attempt, refused = fields["refresh_token"], fields["attempt"], fields["refused"]
        return cls(
            client_id=_string(fields["client_id"]),
            token_url=_string(fields["token_url"]),
            access_token=check_token(fields["access_token"]),
            refresh_token=None if refresh_token is None else check_token(refresh_token),
            scopes=tuple(_string(scope) for scope in fields["scopes"]),
            obtained_at=_time(fields["obtained_at"]),
            expires_at=_optional_time(fields["expires_at"]),
            version=fields["version"],
            attempt=attempt and RefreshAttempt(_time(attempt["began"]), _time(attempt["last"]), int(attempt["count"])),
            refused=refused
            and RefreshRejection(
                _time(refused["at"]),
                _string(refused["reason"]),
                _optional_time(refused["since"]),
                _string(refused["said"]),
            ),
        )


@attrs.frozen(kw_only=True)
class Account:
    """What may be shown of a login; it holds no secret.

    `user`: the user named by the access token, None if it names none. `refreshable`: whether there is a refresh token
    that the vendor has not rejected. `interrupted_at`: when a refresh began whose outcome is not known, else None.
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
        """When the login ends if nobody uses it: 180 days after its last refresh; None if it cannot be refreshed."""
        return self.obtained_at + _MAX_IDLE_TIME if self.refreshable else None

    @classmethod
    def of(cls, record: StoredTokens, problem: str | None, stored_in: str) -> Account:
        """Make the account of a record."""
        user = jwt_claims(record.access_token).get("sub")
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


def usable_seconds(record: StoredTokens | None, rejected: str | None, now: datetime) -> float:
    """Seconds for which the access token may be sent: none if the API has `rejected` it, infinite if unknown."""
    if record is None or record.access_token == rejected:
        return 0.0
    left = record.left(now)
    return math.inf if left is None else left


def _to_json_value(_: object, __: object, value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.utcoffset() is None:
        raise ValueError
    return time.astimezone(UTC)


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else _time(text)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
