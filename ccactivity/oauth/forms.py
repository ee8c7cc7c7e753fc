"""The words of OAuth 2, written and read by oauthlib; it sends nothing and keeps nothing.

What oauthlib does here: the forms of the token endpoint (RFC 6749, 8628), the authorization URL, PKCE (RFC 7636), and
reading the redirect. It takes plain http for insecure even on loopback, short of an environment variable for the whole
process, so it is shown the https twin of a URL that has been checked already.

What it does not do here, and why: `parse_token_response` reads HTML as a form, refuses an answer for a junk
`expires_in`, reads the wall clock, and raises a Warning that holds the tokens when the scopes differ. An answer may be
the only copy of a rotated token, so it is read by `answers`, tolerantly.
"""

from __future__ import annotations

import base64
from typing import Any, Final
from urllib.parse import quote_plus

import attrs

from .._secret import Secret
from .._text import escape
from ..errors import LoginFailedError
from ._extras import need

__all__ = [
    "authorization_url",
    "basic",
    "code_form",
    "device_form",
    "pkce",
    "poll_form",
    "read_redirect",
    "refresh_form",
]

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"


def refresh_form(refresh_token: str, *, client_id: str | None) -> Secret:
    """Write the form of a refresh. `client_id`: of a public client; None for one that authenticates itself."""
    return _form("refresh_token", client_id, refresh_token=refresh_token)


def code_form(code: str, *, redirect_uri: str, code_verifier: str | None, client_id: str | None) -> Secret:
    """Write the form that exchanges an authorization code."""
    return _form("authorization_code", client_id, code=code, redirect_uri=redirect_uri, code_verifier=code_verifier)


def poll_form(device_code: str, *, client_id: str | None) -> Secret:
    """Write the form that asks whether a person has approved a device code."""
    return _form(DEVICE_GRANT, client_id, device_code=device_code)


def device_form(scopes: tuple[str, ...], *, client_id: str) -> str:
    """Write the form that asks for a device code, which names the client in any case (RFC 8628, section 3.1)."""
    form: str = need("oauthlib.common").add_params_to_qs("", [("client_id", client_id), ("scope", " ".join(scopes))])
    return form


def _form(grant: str, client_id: str | None, **fields: str | None) -> Secret:
    prepare = need("oauthlib.oauth2.rfc6749.parameters").prepare_token_request
    return Secret(prepare(grant, client_id=client_id, **fields))


def basic(client_id: str, client_secret: str) -> Secret:
    """Write the Authorization of a confidential client: both parts are form-encoded first (RFC 6749, section 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}".encode()
    return Secret("Basic " + base64.b64encode(pair).decode())


def pkce(client_id: str) -> tuple[Secret, str]:
    """Make a verifier and its challenge (S256)."""
    client: Any = need("oauthlib.oauth2").WebApplicationClient(client_id)
    verifier = Secret(client.create_code_verifier(64))
    return verifier, client.create_code_challenge(verifier, "S256")


def authorization_url(url: str, **fields: Any) -> str:
    """Write the URL at which a person grants access; `fields` are those of oauthlib's `prepare_grant_uri`."""
    scheme, _, rest = url.partition("://")
    prepare = need("oauthlib.oauth2.rfc6749.parameters").prepare_grant_uri
    secure: str = prepare(f"https://{rest}", response_type="code", **fields)
    return scheme + secure.removeprefix("https")


def read_redirect(url: str, *, state: str) -> Secret:
    """Return the code that a redirect brings; LoginFailedError for one of another login, or a refusal."""
    query = url.partition("?")[2] if "?" in url else url
    errors = need("oauthlib.oauth2.rfc6749.errors")
    parse = need("oauthlib.oauth2.rfc6749.parameters").parse_authorization_code_response
    try:
        return Secret(parse(f"https://redirect/?{query}", state=state)["code"])
    except errors.MismatchingStateError:
        problem = LoginFailedError(
            "the redirect belongs to another login, or to none: its state differs", reason="refused"
        )
    except errors.MissingCodeError:
        problem = LoginFailedError("the redirect brings neither a code nor an error", reason="refused")
    except errors.OAuth2Error as error:
        problem = refused(str(error.error), error.description)
    # Raised out here: oauthlib's errors quote the redirect.
    raise problem


def refused(error: str, description: str | None) -> LoginFailedError:
    """Make the error of a login that the vendor or the person refused."""
    reason = {"access_denied": "denied", "expired_token": "expired"}.get(error, "refused")
    words = {"denied": "the login was declined", "expired": "nobody approved the login in time"}
    said = escape(": ".join(part for part in (error, description) if part), 200)
    return LoginFailedError(f"{words.get(reason, 'the login was refused')} ({said})", reason=reason)


@attrs.frozen(kw_only=True)
class AuthorizationRequest:
    """A login by redirect that has begun: send the person to `url`, and keep the rest for when she comes back.

    `state` and `code_verifier` belong into her web session, and nowhere else; None: a verifier was not wanted.
    """

    url: str
    redirect_uri: str
    state: str = attrs.field(repr=False)
    code_verifier: str | None = attrs.field(repr=False)
