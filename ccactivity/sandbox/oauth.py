"""The vendor's authorization server, without a network; it reads no clock, and knows nothing of activities.

Theory of operation:

1. Three endpoints outside the API, under `PREFIX`: authorize, token, device authorization; and the page at which a
   person approves a device code (`activation`). The vendor documents no revocation. The token and the device endpoint
   together admit one request a second.
2. A login begins a family of refresh tokens. Rotating ones are spent by their use; who shows a spent one again has
   the whole family revoked, and with it its access tokens (RFC 9700, section 4.14.2; whether the vendor does so is
   unknown, so the sandbox does). Long-lived ones stay the same.
3. Access tokens have the shape of a JWT with an `exp`, and an end that is hard to overlook wherever they should not be.
4. What was asked is counted, for each generation of each family, before anything befalls the answer.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode

from attrs import define, field, frozen

from .activation import ACTIVATE, Device, activate
from .limits import Tokens, Violations
from .messages import Reply, Request, error_object, json_reply

__all__ = ["PREFIX", "Family", "OAuth", "OAuthRules", "RegisteredClient"]

PREFIX = "/oauth2/default/v1"
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_ROUTES = {
    ("GET", f"{PREFIX}/authorize"): "authorize",
    ("POST", f"{PREFIX}/device/authorize"): "device",
    ("POST", f"{PREFIX}/token"): "token",
    ("GET", ACTIVATE): "activate",
    ("POST", ACTIVATE): "activate",
}
_SCOPES = ("account_read", "account_update", "campaign_data", "contact_data", "offline_access")
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@frozen(kw_only=True)
class OAuthRules:
    """How the authorization server behaves; durations in seconds.

    - `rotating`: a refresh token serves once, and brings the next one. Else it stays.
    - `revoke_family`: showing a spent one again ends the family. `grace`: it may be shown again for so long after it
      was spent, and then brings another one.
    - `access_life`, `idle_life`, `code_life`, `device_life`: of access tokens, of refresh tokens that nobody uses, of
      authorization codes, of device codes.
    - `interval`: between two polls for a device code.
    - `approve_after`: a device code is approved by so many polls; None: by `approve` alone.
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


@frozen(kw_only=True)
class RegisteredClient:
    """An application. `secret`: of a confidential one; None for a public one."""

    client_id: str
    secret: str | None = field(default=None, repr=False)
    redirect_uris: tuple[str, ...] = ()


@define(eq=False)
class Family:
    """The refresh tokens that descend from one login.

    `generation`: of the newest, from 0. `posts`: how often each generation was shown to the token endpoint. `reused`:
    how often one was that had been spent. `revoked`: since when nothing of it is good any more, None while it is.
    """

    client_id: str
    scopes: tuple[str, ...]
    generation: int = 0
    used_at: float = 0.0
    posts: Counter[int] = field(factory=Counter)
    reused: int = 0
    revoked: float | None = None
    access_tokens: list[str] = field(factory=list, repr=False)


@frozen
class _Code:
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    challenge: str
    ends: float


class _Refused(Exception):
    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__()
        headers = _NO_STORE | ({"WWW-Authenticate": 'Basic realm="oauth2"'} if status == 401 else {})
        self.reply = json_reply(status, {"error": error, "error_description": description}, headers)


class OAuth:
    """The authorization server; `families` is its memory of all logins, the newest last.

    `grants`: token requests by grant type. `deny`: whether people decline at the authorize endpoint. `site`: where a
    person finds the page for device codes.
    """

    def __init__(
        self,
        rules: OAuthRules,
        *,
        wall: Callable[[float], datetime],
        random: Random,
        tokens: Tokens,
        counts: Violations,
    ) -> None:
        self.rules: OAuthRules = rules
        self.families: list[Family] = []
        self.grants: Counter[str] = Counter()
        self.deny: bool = False
        self.site: str = "https://vendor.example"
        self._wall = wall
        self._random = random
        self._tokens = tokens
        self._counts = counts
        self._clients: dict[str, RegisteredClient] = {}
        self._refresh: dict[str, tuple[Family, int, float]] = {}
        self._devices: dict[str, Device] = {}
        self._codes: dict[str, _Code] = {}
        self._used_codes: dict[str, Family] = {}
        self._arrivals: list[float] = []

    # --- what a test does -------------------------------------------------------------------------------------

    def register(
        self, client_id: str = "ccactivity-sandbox", *, secret: str | None = None, redirect_uris: Iterable[str] = ()
    ) -> RegisteredClient:
        """Register an application, or another secret for one."""
        client = RegisteredClient(client_id=client_id, secret=secret, redirect_uris=tuple(redirect_uris))
        self._clients[client_id] = client
        return client

    def decide(self, user_code: str, verdict: str) -> None:
        """Let a person answer a device code with "approved" or "denied"; KeyError for one never issued."""
        device = next((device for device in self._devices.values() if device.user_code == user_code), None)
        if device is None:
            raise KeyError(user_code)
        device.verdict = verdict

    def grant(self, client_id: str, scopes: Iterable[str], now: float) -> dict[str, Any]:
        """Log in without a request: the answer that a token request would have got."""
        return self._begin(client_id, tuple(scopes), now)

    def revoke(self, family: Family, now: float) -> None:
        """End a family and all of its access tokens, as a person does who withdraws her consent."""
        family.revoked = now
        self._tokens.end(family.access_tokens, now)

    # --- the door ---------------------------------------------------------------------------------------------

    @staticmethod
    def route(request: Request) -> str | None:
        """Return the kind of a request to one of the endpoints, None for any other."""
        return _ROUTES.get((request.method, request.path))

    def refusal(self, kind: str, now: float) -> Reply | None:
        """Admit a request, or return its refusal."""
        if kind in ("authorize", "activate") or self.rules.per_second is None:
            return None
        self._arrivals = [arrival for arrival in self._arrivals if now - arrival < 1.0]
        if len(self._arrivals) >= self.rules.per_second:
            self._counts.oauth_over_per_second += 1
            return error_object(429, "throttled", "Too Many Requests")
        self._arrivals.append(now)
        return None

    def answer(self, kind: str, request: Request, now: float) -> Reply:
        """Carry a request out."""
        try:
            if kind == "authorize":
                return self._authorize(_fields(request.query), now)
            fields = _fields(request.body.decode("utf-8", "replace"))
            if kind == "activate":
                decided = fields if request.method == "POST" else None
                return activate(self._devices.values(), _fields(request.query), decided, now)
            client = self._authenticated(request, fields)
            body = self._device(client, fields, now) if kind == "device" else self._token(client, fields, now)
            return json_reply(200, body, _NO_STORE)
        except _Refused as refused:
            return refused.reply

    def _authenticated(self, request: Request, fields: dict[str, str]) -> RegisteredClient:
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        client_id, secret = fields.get("client_id", ""), None
        if scheme.lower() == "basic":
            try:
                name, _, word = base64.b64decode(basic, validate=True).decode().partition(":")
            except ValueError:
                name, word = "", ""
            client_id, secret = unquote_plus(name), unquote_plus(word)
        client = self._clients.get(client_id)
        if client is None or client.secret != secret:
            raise _Refused("invalid_client", "The client secret supplied for a client is invalid.", 401)
        return client

    # --- the endpoints ----------------------------------------------------------------------------------------

    def _authorize(self, fields: dict[str, str], now: float) -> Reply:
        client = self._clients.get(fields.get("client_id", ""))
        redirect = fields.get("redirect_uri", "")
        if client is None or redirect not in client.redirect_uris:  # never sent on to a place that nobody registered
            return Reply(status=400, body=b"<html><body>Bad Request</body></html>", content_type="text/html")
        back = {"state": fields["state"]} if "state" in fields else {}
        if self.deny:
            back |= {"error": "access_denied", "error_description": "The resource owner denied the request."}
        elif fields.get("response_type") != "code" or fields.get("code_challenge_method", "S256") != "S256":
            back |= {"error": "invalid_request", "error_description": "Unsupported."}
        else:
            # No word that is easy to find: a code is good once, and stands in the access log of any web app.
            code = f"{self._random.getrandbits(192):048x}"
            scopes = _scopes(fields)
            challenge = fields.get("code_challenge", "")
            self._codes[code] = _Code(client.client_id, redirect, scopes, challenge, now + self.rules.code_life)
            back |= {"code": code}
        joint = "&" if "?" in redirect else "?"
        return Reply(status=302, headers={"Location": f"{redirect}{joint}{urlencode(back)}"})

    def _device(self, client: RegisteredClient, fields: dict[str, str], now: float) -> dict[str, Any]:
        letters = "".join(self._random.choices("BCDFGHJKLMNPQRSTVWXZ", k=8))
        device = Device(
            client_id=client.client_id,
            scopes=_scopes(fields),
            user_code=f"{letters[:4]}-{letters[4:]}",
            ends=now + self.rules.device_life,
            interval=self.rules.interval,
        )
        device_code = self._word("device")
        self._devices[device_code] = device
        where = self.site + ACTIVATE
        return {
            "device_code": device_code,
            "user_code": device.user_code,
            "verification_uri": where,
            "verification_uri_complete": f"{where}?user_code={device.user_code}",
            "expires_in": round(self.rules.device_life),
            "interval": round(self.rules.interval),
        }

    def _token(self, client: RegisteredClient, fields: dict[str, str], now: float) -> dict[str, Any]:
        grant = fields.get("grant_type", "")
        self.grants[grant] += 1
        if grant == "refresh_token":
            return self._refreshed(client, fields.get("refresh_token", ""), now)
        if grant == "authorization_code":
            return self._exchanged(client, fields, now)
        if grant == _DEVICE:
            return self._polled(client, fields.get("device_code", ""), now)
        raise _Refused("unsupported_grant_type", "The authorization grant type is not supported.")

    def _exchanged(self, client: RegisteredClient, fields: dict[str, str], now: float) -> dict[str, Any]:
        text = fields.get("code", "")
        if text in self._used_codes:
            self.revoke(self._used_codes[text], now)
        code = self._codes.pop(text, None)
        digest = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() if "code_verifier" in fields else ""
        if (
            code is None
            or now >= code.ends
            or (client.client_id, fields.get("redirect_uri"), challenge)
            != (code.client_id, code.redirect_uri, code.challenge)
        ):
            raise _Refused("invalid_grant", "The authorization code is invalid or has expired.")
        answer = self._begin(client.client_id, code.scopes, now)
        self._used_codes[text] = self.families[-1]
        return answer

    def _polled(self, client: RegisteredClient, device_code: str, now: float) -> dict[str, Any]:
        device = self._devices.get(device_code)
        if device is None or device.client_id != client.client_id or device.verdict == "spent":
            raise _Refused("invalid_grant", "The device code is invalid or has been used.")
        if now >= device.ends:
            raise _Refused("expired_token", "The device code has expired.")
        early = now - device.polled_at < device.interval - 0.01
        device.polled_at = now
        device.polls += 1
        if early:
            device.interval += 5.0
            raise _Refused("slow_down", "The client polls too often.")
        if self.rules.approve_after is not None and device.polls >= self.rules.approve_after:
            device.verdict = "approved"
        if device.verdict == "denied":
            raise _Refused("access_denied", "The resource owner denied the request.")
        if device.verdict != "approved":
            raise _Refused("authorization_pending", "The device authorization is pending. Please try again later.")
        device.verdict = "spent"
        return self._begin(client.client_id, device.scopes, now)

    def _refreshed(self, client: RegisteredClient, token: str, now: float) -> dict[str, Any]:
        family, generation, spent_at = self._refresh.get(token, (None, 0, math.inf))
        gone = _Refused("invalid_grant", "The refresh token is invalid or expired.")
        if family is None or family.client_id != client.client_id:
            raise gone
        family.posts[generation] += 1
        if family.revoked is not None or now - family.used_at >= self.rules.idle_life:
            raise gone
        if now - spent_at >= self.rules.grace:
            family.reused += 1
            if self.rules.revoke_family:
                self.revoke(family, now)
            raise gone
        if self.rules.rotating:
            self._refresh[token] = (family, generation, min(spent_at, now))
            family.generation += 1
            token = self._refresh_token(family)
        return self._answer(family, token, now)

    # --- tokens -----------------------------------------------------------------------------------------------

    def _begin(self, client_id: str, scopes: tuple[str, ...], now: float) -> dict[str, Any]:
        family = Family(client_id, scopes)
        self.families.append(family)
        return self._answer(family, self._refresh_token(family) if "offline_access" in scopes else None, now)

    def _refresh_token(self, family: Family) -> str:
        token = self._word("refresh")
        self._refresh[token] = (family, family.generation, math.inf)
        return token

    def _answer(self, family: Family, refresh_token: str | None, now: float) -> dict[str, Any]:
        family.used_at = now
        access = self._access_token(family, now)
        family.access_tokens.append(access)
        answer = {
            "token_type": "Bearer",
            "expires_in": round(self.rules.access_life),
            "access_token": access,
            "scope": " ".join(family.scopes),
        }
        return answer | ({"refresh_token": refresh_token} if refresh_token else {})

    def _access_token(self, family: Family, now: float) -> str:
        issued = self._wall(now)
        claims = {
            "iss": "https://vendor.example/oauth2/sandbox",
            "aud": "https://api.cc.email/v3",
            "cid": family.client_id,
            "sub": "person@example.com",
            "iat": math.floor(issued.timestamp()),
            "exp": math.floor((issued + timedelta(seconds=self.rules.access_life)).timestamp()),
        }
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "kid": "sandbox"}, claims)]
        head = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
        token = f"{head}.{self._word('signature')}"
        self._tokens.admit(token, now + self.rules.access_life, family.scopes)
        return token

    def _word(self, kind: str) -> str:
        return f"canary-secret-{kind}-{self._random.getrandbits(192):048x}"


def _fields(form: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(form, keep_blank_values=True).items()}


def _scopes(fields: dict[str, str]) -> tuple[str, ...]:
    asked = fields.get("scope", "").split()
    unknown = [scope for scope in asked if scope not in _SCOPES]
    if unknown or not asked:
        raise _Refused("invalid_scope", "One or more scopes are not configured for the authorization server.")
    return tuple(asked)
