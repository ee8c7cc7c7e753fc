"""The messages of OAuth 2: forms, the authorization URL and the redirect, written and read by oauthlib. Pure.

oauthlib refuses plain http, even to this machine, so it is given the https form of URLs that have been checked already.
Token responses are read by `client`: one may be the only copy of a rotated refresh token, so it is read tolerantly.
oauthlib reads HTML as a form, rejects a bad `expires_in`, reads the wall clock, and raises a Warning that holds the
tokens when the scopes differ.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote_plus

import attrs

from .._secret import Secret, hide
from .._text import escape
from ..errors import LoginFailedError
from ._extras import import_extra

__all__ = [
    "AuthorizationRequest",
    "authorization_request",
    "basic_authorization",
    "login_error",
    "read_redirect",
    "token_form",
]

_PARAMETERS: Final = "oauthlib.oauth2.rfc6749.parameters"
_LOGIN_ERRORS: Final = {
    "access_denied": ("denied", "the login was declined"),
    "expired_token": ("expired", "nobody approved the login in time"),
}


@attrs.frozen(kw_only=True)
class AuthorizationRequest:
    """A login by redirect that has been started: send the person to `url`, and keep the rest until they come back.

    Keep `state` and `code_verifier` in their web session, and nowhere else. `code_verifier`: None without PKCE.
    """

    url: str
    redirect_uri: str
    state: str = attrs.field(repr=False)
    code_verifier: str | None = attrs.field(repr=False)


def token_form(grant_type: str, **fields: str | None) -> Secret:
    """Write a form for the token endpoint; fields that are None are left out.

    `client_id` is a field for a public client only; a confidential one authenticates by a header.
    """
    return Secret(import_extra(_PARAMETERS).prepare_token_request(grant_type, **fields))


def basic_authorization(client_id: str, client_secret: str) -> Secret:
    """Write the Authorization header of a confidential client; both parts are form-encoded (RFC 6749, 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}".encode()
    return Secret("Basic " + base64.b64encode(pair).decode())


def authorization_request(
    url: str, client_id: str, redirect_uri: str, scopes: Sequence[str], *, state: str, pkce: bool
) -> AuthorizationRequest:
    """Write the URL at which a person grants access. `pkce`: with the S256 challenge of a new verifier (RFC 7636)."""
    client: Any = import_extra("oauthlib.oauth2").WebApplicationClient(client_id)
    verifier = Secret(client.create_code_verifier(64)) if pkce else None
    scheme, _, rest = url.partition("://")
    secure: str = client.prepare_request_uri(
        f"https://{rest}",
        redirect_uri,
        list(scopes),
        state,
        code_challenge=client.create_code_challenge(verifier, "S256") if pkce else None,
        code_challenge_method="S256" if pkce else None,
    )
    url = scheme + secure.removeprefix("https")
    return AuthorizationRequest(url=url, redirect_uri=redirect_uri, state=state, code_verifier=verifier)


def read_redirect(url: str, *, state: str) -> Secret:
    """Return the code of a redirect, given as a URL or its query.

    LoginFailedError if it reports an error, has no code, or belongs to another login.
    """
    url = hide(url)
    query = hide(url.partition("?")[2] if "?" in url else url)
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
    reason, message = _LOGIN_ERRORS.get(error, ("refused", "the login was refused"))
    details = escape(": ".join(part for part in (error, description) if part), 200)
    return LoginFailedError(f"{message} ({details})", reason=reason)
