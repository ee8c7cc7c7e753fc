"""The vendor's authorization server, without a network and without a clock.

It has three endpoints outside the API, under `PREFIX`: authorize, token, device authorization; and the page at which a
person approves a device code (`activation`). The vendor documents no revocation. The token and the device endpoint
together admit one request a second.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from html import escape
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from attrs import field, frozen

from .activation import ACTIVATE, Device, activate
from .limits import AccessTokens, Violations
from .logins import Family, Logins, OAuthErrorResponse, OAuthRules, random_secret
from .messages import Reply, Request, error_object, json_reply

__all__ = ["PREFIX", "OAuth", "RegisteredClient"]

PREFIX = "/oauth2/default/v1"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_ENDPOINTS = {
    ("GET", f"{PREFIX}/authorize"): "authorize",
    ("POST", f"{PREFIX}/device/authorize"): "device",
    ("POST", f"{PREFIX}/token"): "token",
    ("GET", ACTIVATE): "activate",
    ("POST", ACTIVATE): "activate",
}
_KNOWN_SCOPES = ("account_read", "account_update", "campaign_data", "contact_data", "offline_access")
_LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_POLL_TOLERANCE_S = 0.01
_SLOW_DOWN_S = 5.0  # added to the interval of a device that polls too often (RFC 8628, section 3.5)


@frozen(kw_only=True)
class RegisteredClient:
    """An application.

    `secret`: of a confidential one; None for a public one. `redirect_uris`: where a login may come back to;
    `loopback_redirects`: to any http address of this machine as well (RFC 8252, section 7.3).
    """

    client_id: str
    secret: str | None = field(default=None, repr=False)
    redirect_uris: tuple[str, ...] = ()
    loopback_redirects: bool = False

    def accepts(self, redirect_uri: str) -> bool:
        """Tell whether a login may come back to this address."""
        return redirect_uri in self.redirect_uris or (self.loopback_redirects and _is_loopback(redirect_uri))


@frozen
class _AuthorizationCode:
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    challenge: str
    ends: float


class OAuth:
    """The authorization server. `families`: all logins, the newest last.

    `grants`: token requests by grant type. `deny`: whether people decline at the authorize endpoint. `site`: where a
    person finds the page for device codes.
    """

    def __init__(
        self,
        rules: OAuthRules,
        *,
        wall: Callable[[float], datetime],
        random: Random,
        tokens: AccessTokens,
        violations: Violations,
    ) -> None:
        self.rules: OAuthRules = rules
        self.grants: Counter[str] = Counter()
        self.deny: bool = False
        self.site: str = "https://vendor.example"
        self._logins = Logins(rules, wall=wall, random=random, tokens=tokens)
        self.families: list[Family] = self._logins.families
        self._random = random
        self._violations = violations
        self._clients: dict[str, RegisteredClient] = {}
        self._devices: dict[str, Device] = {}
        self._codes: dict[str, _AuthorizationCode] = {}
        self._used_codes: dict[str, Family] = {}
        self._recent: list[float] = []

    # --- for tests -------------------------------------------------------------------------------------------

    def register(
        self,
        client_id: str = "ccactivity-sandbox",
        *,
        secret: str | None = None,
        redirect_uris: Iterable[str] = (),
        loopback_redirects: bool = False,
    ) -> RegisteredClient:
        """Register an application, or another secret for one."""
        client = RegisteredClient(
            client_id=client_id,
            secret=secret,
            redirect_uris=tuple(redirect_uris),
            loopback_redirects=loopback_redirects,
        )
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
        return self._logins.begin(client_id, tuple(scopes), now)

    def revoke(self, family: Family, now: float) -> None:
        """End a family and all of its access tokens, as when a person withdraws their consent."""
        self._logins.revoke(family, now)

    # --- requests ---------------------------------------------------------------------------------------------

    @staticmethod
    def route(request: Request) -> str | None:
        """Return the kind of a request to one of the endpoints, None for any other."""
        return _ENDPOINTS.get((request.method, request.path))

    def refusal(self, kind: str, now: float) -> Reply | None:
        """Admit a request, or return its refusal."""
        if kind in ("authorize", "activate") or self.rules.per_second is None:
            return None
        self._recent = [arrival for arrival in self._recent if now - arrival < 1.0]
        if len(self._recent) >= self.rules.per_second:
            self._violations.oauth_over_per_second += 1
            return error_object(429, "throttled", "Too Many Requests")
        self._recent.append(now)
        return None

    def answer(self, kind: str, request: Request, now: float) -> Reply:
        """Carry a request out."""
        try:
            if kind == "authorize":
                return self._authorize(_parse_form(request.query), now)
            fields = _parse_form(request.body.decode("utf-8", "replace"))
            if kind == "activate":
                decided = fields if request.method == "POST" else None
                return activate(self._devices.values(), _parse_form(request.query), decided, now)
            client = self._authenticate(request, fields)
            body = self._begin_device(client, fields, now) if kind == "device" else self._token(client, fields, now)
            return json_reply(200, body, _NO_STORE)
        except OAuthErrorResponse as error:
            challenge = {"WWW-Authenticate": 'Basic realm="oauth2"'} if error.status == 401 else {}
            body = {"error": error.error, "error_description": error.description}
            return json_reply(error.status, body, _NO_STORE | challenge)

    def _authenticate(self, request: Request, fields: dict[str, str]) -> RegisteredClient:
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        client_id, secret = fields.get("client_id", ""), None
        if scheme.lower() == "basic":
            try:
                name, _, password = base64.b64decode(basic, validate=True).decode().partition(":")
            except ValueError:
                name, password = "", ""
            client_id, secret = unquote_plus(name), unquote_plus(password)
        client = self._clients.get(client_id)
        if client is None or client.secret != secret:
            raise OAuthErrorResponse("invalid_client", "The client secret supplied for a client is invalid.", 401)
        return client

    # --- the endpoints ----------------------------------------------------------------------------------------

    def _authorize(self, fields: dict[str, str], now: float) -> Reply:
        client_id, redirect = fields.get("client_id", ""), fields.get("redirect_uri", "")
        client = self._clients.get(client_id)
        # Nobody is sent to an address that is not registered: the person who came is told.
        if client is None:
            return _bad_request(f"client_id {client_id!r} is not registered. Registered: {', '.join(self._clients)}")
        if not client.accepts(redirect):
            accepted = [*client.redirect_uris, *(["any http:// address of this machine"] * client.loopback_redirects)]
            registered = ", ".join(accepted) or "none; `register_client(redirect_uris=[...])` registers some"
            return _bad_request(
                f"redirect_uri {redirect!r} is not registered for {client_id}. Registered: {registered}"
            )
        method = fields.get("code_challenge_method", "S256")
        back = {"state": fields["state"]} if "state" in fields else {}
        if self.deny:
            back |= {"error": "access_denied", "error_description": "The resource owner denied the request."}
        elif (kind := fields.get("response_type", "")) != "code":
            back |= {"error": "invalid_request", "error_description": f"response_type must be 'code', not {kind!r}."}
        elif method != "S256":
            description = f"code_challenge_method must be 'S256', not {method!r}."
            back |= {"error": "invalid_request", "error_description": description}
        else:
            # Not `random_secret`: a code is good only once, and the access log of every web app shows it.
            code = f"{self._random.getrandbits(192):048x}"
            scopes = _requested_scopes(fields)
            challenge = fields.get("code_challenge", "")
            self._codes[code] = _AuthorizationCode(
                client.client_id, redirect, scopes, challenge, now + self.rules.code_life
            )
            back |= {"code": code}
        separator = "&" if "?" in redirect else "?"
        return Reply(status=302, headers={"Location": f"{redirect}{separator}{urlencode(back)}"})

    def _begin_device(self, client: RegisteredClient, fields: dict[str, str], now: float) -> dict[str, Any]:
        letters = "".join(self._random.choices("BCDFGHJKLMNPQRSTVWXZ", k=8))
        device = Device(
            client_id=client.client_id,
            scopes=_requested_scopes(fields),
            user_code=f"{letters[:4]}-{letters[4:]}",
            ends=now + self.rules.device_life,
            interval=self.rules.interval,
        )
        device_code = random_secret(self._random, "device")
        self._devices[device_code] = device
        page = self.site + ACTIVATE
        return {
            "device_code": device_code,
            "user_code": device.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={device.user_code}",
            "expires_in": round(self.rules.device_life),
            "interval": round(self.rules.interval),
        }

    def _token(self, client: RegisteredClient, fields: dict[str, str], now: float) -> dict[str, Any]:
        grant = fields.get("grant_type", "")
        self.grants[grant] += 1
        if grant == "refresh_token":
            return self._logins.refresh(client.client_id, fields.get("refresh_token", ""), now)
        if grant == "authorization_code":
            return self._exchange_code(client, fields, now)
        if grant == _DEVICE_GRANT:
            return self._poll_device(client, fields.get("device_code", ""), now)
        raise OAuthErrorResponse("unsupported_grant_type", "The authorization grant type is not supported.")

    def _exchange_code(self, client: RegisteredClient, fields: dict[str, str], now: float) -> dict[str, Any]:
        text = fields.get("code", "")
        if text in self._used_codes:
            self.revoke(self._used_codes[text], now)
        code = self._codes.pop(text, None)
        digest = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() if "code_verifier" in fields else ""
        if code is None:
            raise _invalid_code("it was never issued, or has been shown before")
        if now >= code.ends:
            raise _invalid_code(f"it was good for {self.rules.code_life:g} s")
        if client.client_id != code.client_id:
            raise _invalid_code("it was issued to another client_id")
        if fields.get("redirect_uri") != code.redirect_uri:
            raise _invalid_code("redirect_uri is not that of the authorization request")
        if challenge != code.challenge:
            raise _invalid_code("code_verifier does not match the code_challenge")
        answer = self._logins.begin(client.client_id, code.scopes, now)
        self._used_codes[text] = self.families[-1]
        return answer

    def _poll_device(self, client: RegisteredClient, device_code: str, now: float) -> dict[str, Any]:
        device = self._devices.get(device_code)
        if device is None or device.client_id != client.client_id or device.verdict == "spent":
            raise OAuthErrorResponse("invalid_grant", "The device code is invalid or has been used.")
        if now >= device.ends:
            raise OAuthErrorResponse("expired_token", "The device code has expired.")
        early = now - device.polled_at < device.interval - _POLL_TOLERANCE_S
        device.polled_at = now
        device.polls += 1
        if early:
            device.interval += _SLOW_DOWN_S
            raise OAuthErrorResponse("slow_down", "The client polls too often.")
        if self.rules.approve_after is not None and device.polls >= self.rules.approve_after:
            device.verdict = "approved"
        if device.verdict == "denied":
            raise OAuthErrorResponse("access_denied", "The resource owner denied the request.")
        if device.verdict != "approved":
            raise OAuthErrorResponse(
                "authorization_pending", "The device authorization is pending. Please try again later."
            )
        device.verdict = "spent"
        return self._logins.begin(client.client_id, device.scopes, now)


def _parse_form(form: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(form, keep_blank_values=True).items()}


def _requested_scopes(fields: dict[str, str]) -> tuple[str, ...]:
    asked = fields.get("scope", "").split()
    unknown = [scope for scope in asked if scope not in _KNOWN_SCOPES]
    if unknown or not asked:
        names = " ".join(unknown) or "none was requested"
        description = f"One or more scopes are not configured for the authorization server: {names}."
        raise OAuthErrorResponse("invalid_scope", description)
    return tuple(asked)


def _invalid_code(reason: str) -> OAuthErrorResponse:
    return OAuthErrorResponse("invalid_grant", f"The authorization code is invalid or has expired: {reason}.")


def _is_loopback(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return (parts.scheme, parts.fragment) == ("http", "") and parts.hostname in _LOOPBACK_HOSTS
    except ValueError:
        return False


def _bad_request(reason: str) -> Reply:
    body = f"<!doctype html><html><body><h1>Bad Request</h1><p>{escape(reason)}</p></body></html>"
    return Reply(status=400, body=body.encode(), content_type="text/html; charset=utf-8", headers=_NO_STORE)
