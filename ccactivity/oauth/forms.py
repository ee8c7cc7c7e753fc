"""The messages of OAuth 2: forms, the authorization URL and the redirect, written and read by oauthlib. Pure.

oauthlib refuses plain http, even to this machine, unless an environment variable allows it to the whole process. So it
is given the https form of a URL that has been checked already.

Token responses are not read by oauthlib but by `client`. A response may be the only copy of a rotated refresh token, so
it is read tolerantly; `parse_token_response` reads HTML as a form, rejects a response for a bad `expires_in`, reads the
wall clock, and raises a Warning that holds the tokens when the scopes differ.
"""

from __future__ import annotations

import base64
from typing import Any, Final
from urllib.parse import quote_plus

import attrs

from .._secret import Secret
from .._text import escape
from ..errors import LoginFailedError
from ._extras import import_extra

__all__ = [
    "AuthorizationRequest",
    "authorization_url",
    "basic_authorization",
    "code_form",
    "device_form",
    "login_error",
    "pkce_pair",
    "poll_form",
    "read_redirect",
    "refresh_form",
]

_PARAMETERS: Final = "oauthlib.oauth2.rfc6749.parameters"
_DEVICE_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:device_code"


@attrs.frozen(kw_only=True)
class AuthorizationRequest:
    """A login by redirect that has been started: send the person to `url`, and keep the rest until they come back.

    Keep `state` and `code_verifier` in their web session, and nowhere else. `code_verifier`: None without PKCE.
    """

    url: str
    redirect_uri: str
    state: str = attrs.field(repr=False)
    code_verifier: str | None = attrs.field(repr=False)


# `client_id` below: that of a public client; None for a confidential one, which authenticates by a header.


def refresh_form(refresh_token: str, *, client_id: str | None) -> Secret:
    """Write the form of a refresh."""
    return _token_form("refresh_token", client_id, refresh_token=refresh_token)


def code_form(code: str, *, redirect_uri: str, code_verifier: str | None, client_id: str | None) -> Secret:
    """Write the form that exchanges an authorization code."""
    return _token_form(
        "authorization_code", client_id, code=code, redirect_uri=redirect_uri, code_verifier=code_verifier
    )


def poll_form(device_code: str, *, client_id: str | None) -> Secret:
    """Write the form that asks whether a person has approved a device code."""
    return _token_form(_DEVICE_GRANT_TYPE, client_id, device_code=device_code)


def device_form(scopes: tuple[str, ...], *, client_id: str) -> str:
    """Write the form that asks for a device code; it names the client in any case (RFC 8628, section 3.1)."""
    fields = [("client_id", client_id), ("scope", " ".join(scopes))]
    form: str = import_extra("oauthlib.common").add_params_to_qs("", fields)
    return form


def _token_form(grant_type: str, client_id: str | None, **fields: str | None) -> Secret:
    return Secret(import_extra(_PARAMETERS).prepare_token_request(grant_type, client_id=client_id, **fields))


def basic_authorization(client_id: str, client_secret: str) -> Secret:
    """Write the Authorization header of a confidential client; both parts are form-encoded (RFC 6749, 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}".encode()
    return Secret("Basic " + base64.b64encode(pair).decode())


def pkce_pair(client_id: str) -> tuple[Secret, str]:
    """Make a code verifier and its S256 challenge (RFC 7636)."""
    client: Any = import_extra("oauthlib.oauth2").WebApplicationClient(client_id)
    verifier = Secret(client.create_code_verifier(64))
    return verifier, client.create_code_challenge(verifier, "S256")


def authorization_url(url: str, **fields: Any) -> str:
    """Write the URL at which a person grants access; `fields` are those of oauthlib's `prepare_grant_uri`."""
    scheme, _, rest = url.partition("://")
    secure: str = import_extra(_PARAMETERS).prepare_grant_uri(f"https://{rest}", response_type="code", **fields)
    return scheme + secure.removeprefix("https")


def read_redirect(url: str, *, state: str) -> Secret:
    """Return the code of a redirect, given as a URL or its query.

    LoginFailedError if it reports an error, has no code, or belongs to another login.
    """
    query = url.partition("?")[2] if "?" in url else url
    errors = import_extra("oauthlib.oauth2.rfc6749.errors")
    parse = import_extra(_PARAMETERS).parse_authorization_code_response
    try:
        return Secret(parse(f"https://redirect/?{query}", state=state)["code"])
    except errors.MismatchingStateError:
        failure = LoginFailedError("the redirect belongs to another login: its state differs", reason="refused")
    except errors.MissingCodeError:
        failure = LoginFailedError("the redirect has neither a code nor an error", reason="refused")
    except errors.OAuth2Error as error:
        failure = login_error(str(error.error), error.description)
    # Raised outside of `except`: oauthlib's errors quote the redirect, and with it the code.
    raise failure


def login_error(error: str, description: str | None) -> LoginFailedError:
    """Make the error of a login that ended with an OAuth error."""
    reason = {"access_denied": "denied", "expired_token": "expired"}.get(error, "refused")
    message = {"denied": "the login was declined", "expired": "nobody approved the login in time"}
    details = escape(": ".join(part for part in (error, description) if part), 200)
    return LoginFailedError(f"{message.get(reason, 'the login was refused')} ({details})", reason=reason)
