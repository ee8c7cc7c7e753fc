"""The logins: the refresh tokens that descend from each of them, and the access tokens that they bring.

Rotating refresh tokens are spent by their use. A spent one that is shown again revokes its whole family, and with it
all of its access tokens (RFC 9700, section 4.14.2; whether the vendor does so is unknown, so the sandbox does).
Long-lived ones stay the same. Access tokens have the shape of a JWT with an `exp`.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from attrs import define, field, frozen

from .limits import AccessTokens

__all__ = ["Family", "Logins", "OAuthErrorResponse", "OAuthRules", "random_secret"]


@frozen(kw_only=True)
class OAuthRules:
    """How the authorization server behaves; durations in seconds.

    - `rotating`: a refresh token serves once, and brings the next one. Else it stays.
    - `revoke_family`: showing a spent one again ends the family. `grace`: it may be shown again for so long after it
      was spent, and then brings another one.
    - `access_life`, `idle_life`, `code_life`, `device_life`: of access tokens, of refresh tokens that nobody uses, of
      authorization codes, of device codes.
    - `interval`: between two polls for a device code.
    - `approve_after`: a device code is approved by so many polls; None: by `Sandbox.approve_device` alone.
    - `per_second`: requests to the token and device endpoints in a sliding second; None is any number.
    """

    rotating: bool = True
    revoke_family: bool = True
    grace: float = 0.0
    access_life: float = 86_400.0
    idle_life: float = 180 * 86_400.0
    code_life: float = 300.0
    device_life: float = 600.0
    interval: float = 5.0
    approve_after: int | None = None
    per_second: int | None = 1


@define(eq=False)
class Family:
    """The refresh tokens that descend from one login.

    `generation`: of the newest, from 0. `posts`: how often each generation was shown to the token endpoint. `reused`:
    how often a spent one was shown. `revoked`: since when all of it is revoked, None while it is not.
    """

    client_id: str
    scopes: tuple[str, ...]
    generation: int = 0
    used_at: float = 0.0
    posts: Counter[int] = field(factory=Counter)
    reused: int = 0
    revoked: float | None = None
    access_tokens: list[str] = field(factory=list, repr=False)


class OAuthErrorResponse(Exception):
    """The request fails with this error (RFC 6749, section 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


class Logins:
    """All logins, the newest last in `families`. What tokens were asked for is counted before any fault acts."""

    def __init__(
        self, rules: OAuthRules, *, wall: Callable[[float], datetime], random: Random, tokens: AccessTokens
    ) -> None:
        self.families: list[Family] = []
        self._rules = rules
        self._wall = wall
        self._random = random
        self._tokens = tokens
        self._refresh_tokens: dict[str, tuple[Family, int, float]] = {}  # generation, and when it was spent

    def begin(self, client_id: str, scopes: tuple[str, ...], now: float) -> dict[str, Any]:
        """Log in, and return the answer of the token endpoint."""
        family = Family(client_id, scopes)
        self.families.append(family)
        return self._answer(family, self._new_refresh_token(family) if "offline_access" in scopes else None, now)

    def refresh(self, client_id: str, token: str, now: float) -> dict[str, Any]:
        """Return the answer of the token endpoint to a refresh token, or raise `OAuthErrorResponse`."""
        family, generation, spent_at = self._refresh_tokens.get(token, (None, 0, math.inf))
        invalid = OAuthErrorResponse("invalid_grant", "The refresh token is invalid or expired.")
        if family is None or family.client_id != client_id:
            raise invalid
        family.posts[generation] += 1
        if family.revoked is not None or now - family.used_at >= self._rules.idle_life:
            raise invalid
        if now - spent_at >= self._rules.grace:
            family.reused += 1
            if self._rules.revoke_family:
                self.revoke(family, now)
            raise invalid
        if self._rules.rotating:
            self._refresh_tokens[token] = (family, generation, min(spent_at, now))
            family.generation += 1
            token = self._new_refresh_token(family)
        return self._answer(family, token, now)

    def revoke(self, family: Family, now: float) -> None:
        """End a family and all of its access tokens, as when a person withdraws their consent."""
        family.revoked = now
        self._tokens.end(family.access_tokens, now)

    def _answer(self, family: Family, refresh_token: str | None, now: float) -> dict[str, Any]:
        family.used_at = now
        access = self._new_access_token(family, now)
        family.access_tokens.append(access)
        answer = {
            "token_type": "Bearer",
            "expires_in": round(self._rules.access_life),
            "access_token": access,
            "scope": " ".join(family.scopes),
        }
        return answer | ({"refresh_token": refresh_token} if refresh_token else {})

    def _new_refresh_token(self, family: Family) -> str:
        token = random_secret(self._random, "refresh")
        self._refresh_tokens[token] = (family, family.generation, math.inf)
        return token

    def _new_access_token(self, family: Family, now: float) -> str:
        issued = self._wall(now)
        claims = {
            "iss": "https://vendor.example/oauth2/sandbox",
            "aud": "https://api.cc.email/v3",
            "cid": family.client_id,
            "sub": "person@example.com",
            "iat": math.floor(issued.timestamp()),
            "exp": math.floor((issued + timedelta(seconds=self._rules.access_life)).timestamp()),
        }
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "kid": "sandbox"}, claims)]
        head = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
        token = f"{head}.{random_secret(self._random, 'signature')}"
        self._tokens.admit(token, now + self._rules.access_life, family.scopes)
        return token


def random_secret(random: Random, kind: str) -> str:
    """Return a new token that is easy to find wherever it should not be."""
    return f"sandbox-token-{kind}-{random.getrandbits(192):048x}"
