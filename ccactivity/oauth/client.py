"""An application that is registered with the vendor: requests tokens from the authorization server, and stores none.

URLs, flows and forms are those of the vendor's pages on OAuth 2. A public client names itself in the form, a
confidential one by HTTP Basic. `offline_access` is always requested, since without it a login ends with its access
token. PKCE can be left out for an application that the vendor rejects it for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode

import attrs

from .._secret import Secret, check_token, hide
from .._text import escape
from .._validation import check_number
from ..api.endpoint import Endpoint
from ..errors import DecodeError
from . import forms
from ._extras import import_extra
from .forms import AuthorizationRequest
from .lifetime import positive_number, token_lifetime
from .token_endpoint import TokenEndpoint, TokenResponse

if TYPE_CHECKING:
    import aiohttp

__all__ = ["MAX_POLL_INTERVAL_S", "DeviceCode", "GrantedTokens", "OAuthClient"]

MAX_POLL_INTERVAL_S: Final = 60.0
_OAUTH_BASE_URL: Final = "https://authz.constantcontact.com/oauth2/default/v1"
_SCOPES: Final = ("contact_data", "campaign_data")
_DEVICE_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_MIN_POLL_INTERVAL_S: Final = 1.0
_DEFAULT_POLL_INTERVAL_S: Final = 5.0
_MAX_DEVICE_CODE_LIFETIME_S: Final = 3600.0
_DEFAULT_DEVICE_CODE_LIFETIME_S: Final = 600.0
_MAX_ARGUMENT_LENGTH: Final = 2000


@attrs.frozen(kw_only=True)
class GrantedTokens:
    """What a token response grants. A token that cannot be sent, or was not granted, is None.

    `scopes`: None if the response does not name them. `lifetime`: of the access token in seconds, None if unknown.
    """

    access_token: Secret | None = attrs.field(repr=False)
    refresh_token: Secret | None = attrs.field(repr=False)
    scopes: tuple[str, ...] | None
    lifetime: float | None

    def expires_at(self, now: datetime) -> datetime | None:
        """When the access token expires if it was granted `now`; None if unknown."""
        return None if self.lifetime is None else now + timedelta(seconds=self.lifetime)


@attrs.frozen(kw_only=True)
class DeviceCode:
    """A login on another device that has been started. `lifetime`, `interval`: in seconds; the latter of the polls."""

    device_code: Secret = attrs.field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    lifetime: float
    interval: float


class OAuthClient:
    """An application's identity, and its requests to the authorization server.

    `client_id`, `client_secret`: as the vendor's portal shows them; no secret for a public client (PKCE, device flow).
    `scopes`: what to ask for; `offline_access` is added. `base_url`: of the authorization server; https, or http to
    this machine. `token_url`, `authorize_url`, `device_url`: where one of them is elsewhere (partners have a token
    endpoint of their own). `pkce`: whether the redirect flow uses PKCE.
    `http`: an `aiohttp.ClientSession` of the caller's, which is never closed; None: an own one for each request.
    `timeout`: seconds for one attempt; None: no limit.

    One client serves any number of stores, and sends at most one request a second for all of them.
    Raises ValueError or TypeError for arguments that cannot work; ImportError without the extra `oauth`.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        scopes: Iterable[str] = _SCOPES,
        base_url: str = _OAUTH_BASE_URL,
        token_url: str | None = None,
        authorize_url: str | None = None,
        device_url: str | None = None,
        pkce: bool = True,
        http: aiohttp.ClientSession | None = None,
        timeout: float | None = 30.0,
    ) -> None:
        client_secret = hide(client_secret)
        import_extra("oauthlib")
        if timeout is not None:
            check_number("timeout", timeout, above=True)
        if isinstance(scopes, str):
            raise TypeError("scopes must be several strings, not one")
        self.client_id: str = _check_printable("client_id", client_id)
        asked = [_check_printable("scopes", scope) for scope in scopes]
        self.scopes: tuple[str, ...] = tuple(dict.fromkeys([*asked, "offline_access"]))
        base = Endpoint.parse(base_url)
        self._pkce = pkce
        self._token = _endpoint("token_url", token_url, base, "/token")
        self._authorize = _endpoint("authorize_url", authorize_url, base, "/authorize")
        self._device = _endpoint("device_url", device_url, base, "/device/authorize")
        secret = Secret("" if client_secret is None else _check_printable("client_secret", client_secret))
        # A confidential client authenticates by a header, a public one is named in the form.
        authorization = forms.basic_authorization(self.client_id, secret) if secret else Secret()
        self._form_client_id = None if secret else self.client_id
        self._token_endpoint = TokenEndpoint(http=http, timeout=timeout, authorization=authorization, secret=secret)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Make a client from CCACTIVITY_CLIENT_ID and, if set, CCACTIVITY_CLIENT_SECRET and CCACTIVITY_OAUTH_URL.

        `options` are those of the class. Raises ValueError naming the variable that is missing.
        """
        client_id, url = (os.environ.get(f"CCACTIVITY_{name}", "").strip() for name in ("CLIENT_ID", "OAUTH_URL"))
        secret = hide(os.environ.get("CCACTIVITY_CLIENT_SECRET", "").strip())
        if not client_id:
            raise ValueError("set CCACTIVITY_CLIENT_ID to the API key of your application")
        if url:
            options.setdefault("base_url", url)
        return cls(client_id, secret or None, **options)

    def __repr__(self) -> str:
        return f"<OAuthClient {escape(self.client_id, 60)} of {self._token.origin}>"

    @property
    def token_url(self) -> str:
        """The only URL that refresh tokens are sent to."""
        return f"{self._token.origin}{self._token.prefix}"

    async def refresh(self, refresh_token: str, *, now: datetime) -> GrantedTokens:
        """Exchange a refresh token. Errors of this and the other requests: see `TokenEndpoint.post`."""
        refresh_token = hide(refresh_token)
        return await self._request_tokens("refresh_token", now, refresh_token=refresh_token)

    async def poll(self, device_code: str, *, now: datetime) -> GrantedTokens:
        """Exchange a device code; OAuthError `authorization_pending` while nobody has approved it."""
        return await self._request_tokens(_DEVICE_GRANT_TYPE, now, device_code=device_code)

    async def exchange(self, code: str, request: AuthorizationRequest, *, now: datetime) -> GrantedTokens:
        """Exchange an authorization code."""
        code, uri, verifier = hide(code), request.redirect_uri, hide(request.code_verifier)
        return await self._request_tokens("authorization_code", now, uri, code=code, code_verifier=verifier)

    async def _request_tokens(
        self, grant_type: str, now: datetime, redirect_uri: str | None = None, **secrets: str | None
    ) -> GrantedTokens:
        form = forms.token_form(grant_type, client_id=self._form_client_id, redirect_uri=redirect_uri, **secrets)
        return _read_tokens(await self._token_endpoint.post(self._token, form, secrets=secrets.values()), now)

    async def device_code(self) -> DeviceCode:
        """Start a login on another device (RFC 8628). A lost response costs nothing, so it is asked for again."""
        # Confidential clients are named in this form too (section 3.1).
        form = urlencode({"client_id": self.client_id, "scope": " ".join(self.scopes)})
        return self._read_device_code(await self._token_endpoint.post(self._device, form, idempotent=True))

    def authorization_request(self, redirect_uri: str) -> AuthorizationRequest:
        """Start a login by redirect: a URL to send a person to, with its own state and code verifier.

        `redirect_uri`: exactly as it is registered in the vendor's portal.
        """
        _check_printable("redirect_uri", redirect_uri)
        url, state = f"{self._authorize.origin}{self._authorize.prefix}", token_urlsafe(32)
        return forms.authorization_request(url, self.client_id, redirect_uri, self.scopes, state=state, pkce=self._pkce)

    def _read_device_code(self, response: TokenResponse) -> DeviceCode:
        fields = response.fields
        device_code, user_code = _sendable(fields.get("device_code")), fields.get("user_code")
        uri = _safe_link(fields.get("verification_uri"))
        if device_code is None or not isinstance(user_code, str) or not user_code.strip() or uri is None:
            del fields  # which an error tracker would record
            raise DecodeError("no device code", method="POST", path=self._device.prefix)
        lifetime = positive_number(fields.get("expires_in")) or _DEFAULT_DEVICE_CODE_LIFETIME_S
        interval = positive_number(fields.get("interval")) or _DEFAULT_POLL_INTERVAL_S
        return DeviceCode(
            device_code=device_code,
            user_code=escape(user_code, 60),
            verification_uri=uri,
            verification_uri_complete=_safe_link(fields.get("verification_uri_complete")),
            lifetime=min(lifetime, _MAX_DEVICE_CODE_LIFETIME_S),
            interval=min(max(interval, _MIN_POLL_INTERVAL_S), MAX_POLL_INTERVAL_S),
        )


def _read_tokens(response: TokenResponse, now: datetime) -> GrantedTokens:
    fields = response.fields
    access_token, scope = _sendable(fields.get("access_token")), fields.get("scope")
    return GrantedTokens(
        access_token=access_token,
        refresh_token=_sendable(fields.get("refresh_token")),
        scopes=tuple(escape(scope, 1000).split()) if isinstance(scope, str) and scope.strip() else None,
        lifetime=token_lifetime(fields.get("expires_in"), access_token or "", response.server_time or now),
    )


def _endpoint(name: str, url: str | None, base: Endpoint, path: str) -> Endpoint:
    return Endpoint(base.origin, base.prefix + path) if url is None else Endpoint.parse(url, name)


def _check_printable(name: str, value: object) -> str:
    """Return an argument that can stand in a form or a header; the error never shows it."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value or len(value) > _MAX_ARGUMENT_LENGTH or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{name} must be printable ASCII without spaces, and not empty")
    return value


def _sendable(token: object) -> Secret | None:
    try:
        return check_token(token)
    except (TypeError, ValueError):
        return None


def _safe_link(value: object) -> str | None:
    """Return a link that may be shown to a person; None for anything else."""
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        return None
    return escape(value, 500) if value.isascii() and value.isprintable() else None
