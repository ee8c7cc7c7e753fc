"""Forms, the URL for a login and the redirect: what is in them, and what is not."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from support.canary import SECRETS
from support.logins import REDIRECT

import ccactivity as cc
from ccactivity.oauth import OAuthClient
from ccactivity.oauth.forms import basic_authorization, login_error, read_redirect, token_form


def test_a_public_client_names_itself_in_the_form_and_a_confidential_one_in_the_header() -> None:
    """Neither does both, and each part of the header is encoded first, so that a colon stays one."""
    assert {"grant_type", "refresh_token", "client_id"} == parse_qs(
        token_form("refresh_token", refresh_token="r", client_id="me")
    ).keys()
    assert {"grant_type", "refresh_token"} == parse_qs(
        token_form("refresh_token", refresh_token="r", client_id=None)
    ).keys()
    assert b"me:se%3Acret%2B" == base64.b64decode(basic_authorization("me", "se:cret+").split()[1])


def test_the_url_for_a_login_has_all_that_is_needed_and_no_secret() -> None:
    """The scopes of the job and offline_access, state, and the challenge of a verifier that stays here."""
    request = OAuthClient("me", "canary-secret-client").authorization_request(REDIRECT)
    parts = urlsplit(request.url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}

    assert "https://authz.constantcontact.com/oauth2/default/v1/authorize" == request.url.partition("?")[0]
    assert "contact_data campaign_data offline_access" == query.pop("scope")
    assert request.state == query.pop("state")
    assert 43 == len(query.pop("code_challenge"))
    assert {
        "response_type": "code",
        "client_id": "me",
        "redirect_uri": REDIRECT,
        "code_challenge_method": "S256",
    } == query
    assert request.code_verifier is not None
    assert request.code_verifier not in request.url
    assert request.code_verifier not in repr(request)
    assert request.state not in repr(request).replace(request.url, "")


def test_pkce_is_that_of_the_standard() -> None:
    """Each login has a verifier of its own, of a legal length; it can be left out where the vendor refuses it."""
    request = OAuthClient("me").authorization_request(REDIRECT)
    plain = OAuthClient("me", pkce=False).authorization_request(REDIRECT)

    assert request.code_verifier is not None
    assert 43 <= len(request.code_verifier) <= 128
    assert request.code_verifier != OAuthClient("me").authorization_request(REDIRECT).code_verifier
    assert plain.code_verifier is None
    assert "code_challenge" not in plain.url


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("code=c&state=other", "refused"),
        ("code=c", "refused"),
        ("state=s", "refused"),
        ("", "refused"),
        ("error=access_denied&error_description=no%0Athanks&state=s", "denied"),
        ("error=access_denied&state=other", "refused"),
        ("error=server_error&state=s", "refused"),
        ("error=%1b[31mred&state=s", "refused"),
    ],
)
def test_a_redirect_without_a_code_says_why(query: str, reason: str) -> None:
    """Another login's redirect, a refusal, or nothing at all: a LoginFailedError, without control characters."""
    SECRETS.add("canary-code")
    for url in (f"{REDIRECT}?{query}", f"https://app.example/cb?{query}"):
        with pytest.raises(cc.LoginFailedError) as caught:
            read_redirect(url, state="s")

        assert reason == caught.value.reason
        assert str(caught.value).isprintable()
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url", [f"{REDIRECT}?code=c%2Bd&state=s", "code=c%2Bd&state=s", "https://x/?state=s&code=c%2Bd"]
)
def test_the_code_of_a_redirect_is_found(url: str) -> None:
    """In a whole URL, http on this machine included, or in its query alone."""
    assert "c+d" == read_redirect(url, state="s")


def test_an_oauth_error_of_a_login_keeps_the_vendors_words() -> None:
    """They are cut and escaped; what a program needs is the reason."""
    told = login_error("slow\n" + "x" * 500, None)

    assert "refused" == told.reason
    assert str(told).isprintable()
    assert len(str(told)) < 300
    assert "(access_denied: no thanks)" in str(login_error("access_denied", "no thanks"))
