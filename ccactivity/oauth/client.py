"""An application that is registered with the vendor: asks its authorization server for tokens, and keeps none.

Endpoints, flows and the grammar of each are those of the vendor's pages on OAuth 2: a public client names itself in
the form, a confidential one by HTTP Basic. `offline_access` is always asked for, since without it a login ends with
its access token. PKCE can be left out for an application that the vendor refuses it for.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from .._secret import Secret, check_token
from .._text import escape
from .._validation import check_number
from ..api.endpoint import Endpoint
from ..errors import DecodeError, LoginFailedError
from . import forms
from ._extras import need
from .forms import AuthorizationRequest
from .lifetime import lifetime, number
from .token_endpoint import Answer, Asker

if TYPE_CHECKING:
    import aiohttp

__all__ = ["DeviceCode", "OAuthClient", "Tokens"]

_BASE_URL: Final = "https://authz.constantcontact.com/oauth2/default/v1"
_SCOPES: Final = ("contact_data", "campaign_data")
_OFFLINE: Final = "offline_access"
_INTERVAL: Final = 5.0
_LONGEST_INTERVAL: Final = 60.0
_DEVICE_LIFE: Final = 600.0
_LONGEST_DEVICE_LIFE: Final = 3600.0


@attrs.frozen(kw_only=True)
class Tokens:
    """What a token answer brought. `life`: seconds, None if unknown. What is not usable is None."""

    access_token: Secret | None = attrs.field(repr=False)
    refresh_token: Secret | None = attrs.field(repr=False)
    scopes: tuple[str, ...] | None
    life: float | None


@attrs.frozen(kw_only=True)
class DeviceCode:
    """A login on another device that has begun. `life`, `interval`: seconds that it lasts, and between two polls."""

    device_code: Secret = attrs.field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    life: float
    interval: float


class OAuthClient:
    """An application's identity, and the way to the authorization server.

    `client_id`, `client_secret`: as the vendor's portal shows them; None for a public client (PKCE, device).
    `scopes`: what to ask for; `offline_access` is added. `base_url`: of the authorization server; https, or http to
    this machine. `token_url`, `authorize_url`, `device_url`: where one of them is elsewhere (partners have a token
    endpoint of their own). `pkce`: whether the redirect flow uses PKCE.
    `http`: an `aiohttp.ClientSession` of the caller's, which is never closed; None: an own one for each request.
    `timeout`: seconds for one attempt; None: no limit.

    One client serves any number of stores, and asks once a second at most for all of them.
    Raises ValueError or TypeError for arguments that cannot work; ImportError without the extra `oauth`.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        scopes: Iterable[str] = _SCOPES,
        base_url: str = _BASE_URL,
        token_url: str | None = None,
        authorize_url: str | None = None,
        device_url: str | None = None,
        pkce: bool = True,
        http: aiohttp.ClientSession | None = None,
        timeout: float | None = 30.0,
    ) -> None:
        need("oauthlib")
        if timeout is not None:
            check_number("timeout", timeout, above=True)
        if isinstance(scopes, str):
            raise TypeError("scopes must be several strings, not one")
        self.client_id: str = _printable("client_id", client_id)
        self._secret = None if client_secret is None else Secret(_printable("client_secret", client_secret))
        self.scopes: tuple[str, ...] = tuple(
            dict.fromkeys([*(_printable("scopes", scope) for scope in scopes), _OFFLINE])
        )
        base = Endpoint.parse(base_url)
        self._pkce = pkce
        self._token = _endpoint("token_url", token_url, base, "/token")
        self._authorize = _endpoint("authorize_url", authorize_url, base, "/authorize")
        self._device = _endpoint("device_url", device_url, base, "/device/authorize")
        self._asker = Asker(http=http, timeout=timeout, agent=f"ccactivity/{version('ccactivity')}")

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Make a client from CCACTIVITY_CLIENT_ID and, if set, CCACTIVITY_CLIENT_SECRET and CCACTIVITY_OAUTH_URL.

        `options` are those of the class. Raises ValueError naming the variable that is missing.
        """
        found = {name: os.environ.get(f"CCACTIVITY_{name}", "").strip() for name in _VARIABLES}
        if not found["CLIENT_ID"]:
            raise ValueError("set CCACTIVITY_CLIENT_ID to the API key of your application")
        if found["OAUTH_URL"]:
            options.setdefault("base_url", found["OAUTH_URL"])
        return cls(found["CLIENT_ID"], found["CLIENT_SECRET"] or None, **options)

    def __repr__(self) -> str:
        return f"<OAuthClient {escape(self.client_id, 60)} of {self._token.origin}>"

    @property
    def token_url(self) -> str:
        """Where refresh tokens go, and nowhere else."""
        return f"{self._token.origin}{self._token.prefix}"

    # --- tokens -----------------------------------------------------------------------------------------------------

    async def refresh(self, refresh_token: str, *, now: datetime) -> Tokens:
        """Exchange a refresh token; see `Asker.ask` for what it raises."""
        form = forms.refresh_form(refresh_token, client_id=self._named)
        return self._read(await self._ask(form, refresh_token), now)

    async def poll(self, device_code: str, *, now: datetime) -> Tokens:
        """Ask whether a device code was approved; Refused while it is not."""
        form = forms.poll_form(device_code, client_id=self._named)
        return self._read(await self._ask(form, device_code), now)

    async def exchange(self, code: str, request: AuthorizationRequest, *, now: datetime) -> Tokens:
        """Exchange an authorization code."""
        form = forms.code_form(
            code, redirect_uri=request.redirect_uri, code_verifier=request.code_verifier, client_id=self._named
        )
        return self._read(await self._ask(form, code, request.code_verifier or ""), now)

    async def device_code(self) -> DeviceCode:
        """Begin a login on another device (RFC 8628); a lost answer costs nothing, so it is asked for again."""
        form = forms.device_form(self.scopes, client_id=self.client_id)
        authorization = self._authorization
        secrets_sent = (self._secret or "", authorization)
        answer = await self._asker.ask(
            self._device, form, authorization=authorization, secrets=secrets_sent, repeatable=True
        )
        return self._read_device(answer)

    def authorization_request(self, redirect_uri: str) -> AuthorizationRequest:
        """Begin a login by redirect: a URL to send a person to, with a state and a verifier of its own.

        `redirect_uri`: exactly as it is registered in the vendor's portal.
        """
        _printable("redirect_uri", redirect_uri)
        state = secrets.token_urlsafe(32)
        verifier, challenge = forms.pkce(self.client_id) if self._pkce else (None, None)
        url = forms.authorization_url(
            f"{self._authorize.origin}{self._authorize.prefix}",
            client_id=self.client_id,
            redirect_uri=redirect_uri,
            scope=" ".join(self.scopes),
            state=state,
            code_challenge=challenge,
            code_challenge_method="S256" if challenge else None,
        )
        return AuthorizationRequest(url=url, redirect_uri=redirect_uri, state=state, code_verifier=verifier)

    # --- within -----------------------------------------------------------------------------------------------------

    @property
    def _named(self) -> str | None:
        """The client id for a form: of a public client only, a confidential one says it in the header."""
        return self.client_id if self._secret is None else None

    @property
    def _authorization(self) -> Secret:
        return Secret() if self._secret is None else forms.basic(self.client_id, self._secret)

    async def _ask(self, form: str, *shown: str) -> Answer:
        authorization = self._authorization
        hidden = (*shown, self._secret or "", authorization)
        return await self._asker.ask(self._token, form, authorization=authorization, secrets=hidden)

    def _read(self, answer: Answer, now: datetime) -> Tokens:
        fields = answer.fields
        access, scope = _usable(fields.get("access_token")), fields.get("scope")
        life = access and lifetime(fields.get("expires_in"), access, server=answer.server, now=now)
        return Tokens(
            access_token=access,
            refresh_token=_usable(fields.get("refresh_token")),
            scopes=tuple(escape(scope, 1000).split()) if isinstance(scope, str) and scope.strip() else None,
            life=life if isinstance(life, float) else None,
        )

    def _read_device(self, answer: Answer) -> DeviceCode:
        fields = answer.fields
        device_code, user_code = _usable(fields.get("device_code")), fields.get("user_code")
        where, complete = _link(fields.get("verification_uri")), _link(fields.get("verification_uri_complete"))
        if device_code is None or not isinstance(user_code, str) or not user_code.strip() or where is None:
            raise DecodeError("no device code", method="POST", path=self._device.prefix)
        return DeviceCode(
            device_code=device_code,
            user_code=escape(user_code, 60),
            verification_uri=where,
            verification_uri_complete=complete,
            life=min(number(fields.get("expires_in")) or _DEVICE_LIFE, _LONGEST_DEVICE_LIFE),
            interval=min(max(number(fields.get("interval")) or _INTERVAL, 1.0), _LONGEST_INTERVAL),
        )


_VARIABLES: Final = ("CLIENT_ID", "CLIENT_SECRET", "OAUTH_URL")


def require_access(tokens: Tokens, path: str) -> Secret:
    """Return the access token of a login; LoginFailedError if its answer brought none."""
    if tokens.access_token is None:
        raise LoginFailedError(f"POST {path}: the answer brought no access token that can be sent", reason="lost")
    return tokens.access_token


def _endpoint(name: str, url: str | None, base: Endpoint, path: str) -> Endpoint:
    return Endpoint(base.origin, base.prefix + path) if url is None else Endpoint.parse(url, name)


def _printable(name: str, value: object) -> str:
    """Return an argument that can stand in a form or a header; the error never shows it."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value or len(value) > 2000 or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{name} must be printable ASCII without spaces, and not empty")
    return value


def _usable(token: object) -> Secret | None:
    try:
        return Secret(check_token(token))
    except (TypeError, ValueError):
        return None


def _link(value: object) -> str | None:
    """A link to show to a person; None for what is none."""
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        return None
    return escape(value, 500) if value.isascii() and value.isprintable() else None
