"""Token answers as arithmetic and grammar: lives, junk, forms; and what the authorization server's words become."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.canary import SECRETS
from support.logins import REDIRECT, client_of, expired, logged_in, stored_in, tokens_of, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import MemoryStore, OAuthClient
from ccactivity.oauth.forms import basic, pkce, read_redirect, refresh_form
from ccactivity.oauth.lifetime import claims, lifetime, number

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EPOCH = NOON.timestamp()
HOUR = 3600.0


def jwt(**said: Any) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, said)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + ".signature"


def life(
    expires_in: object, token: str = "opaque", server: datetime | None = NOON, now: datetime = NOON
) -> float | None:
    return lifetime(expires_in, token, server=server, now=now)


JUNK_LIVES: list[object] = [0, -5, True, None, "", "soon", "1e999", "nan", [], {}, math.inf, math.nan, "1" * 5000]


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [
        (86_400, 86_400.0),
        (28_800.0, 28_800.0),
        ("3600", HOUR),
        ("3600.5", 3600.5),
        (2, 2.0),
        (0.01, 1.0),
        (10**8, 30 * 86_400.0),
        (EPOCH + HOUR, HOUR),
        (str(int(EPOCH + HOUR)), HOUR),
        (EPOCH - HOUR, None),
        (10**400, None),
        *[(junk, None) for junk in JUNK_LIVES],
    ],
)
def test_what_expires_in_says_is_read_with_caution(expires_in: object, expected: float | None) -> None:
    """Seconds, as number or text, an instant if above a billion; a second at least, 30 days at most; else nothing."""
    assert expected == life(expires_in)


@pytest.mark.parametrize("off", [-3600, 0, 3600, 10**6])
def test_the_vendors_instants_are_compared_with_the_vendors_clock(off: float) -> None:
    """A wrong clock here makes no token look expired, or good for longer."""
    now = NOON + timedelta(seconds=off)

    assert HOUR == life(None, jwt(exp=EPOCH + HOUR), now=now)
    assert HOUR == life(None, jwt(exp=EPOCH + HOUR, iat=EPOCH), server=None, now=now)
    assert HOUR == life(EPOCH + HOUR, now=now)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (jwt(exp=EPOCH + HOUR), HOUR),
        (jwt(exp=str(int(EPOCH + HOUR))), HOUR),
        (jwt(exp=EPOCH + HOUR, iat="junk"), HOUR),
        (jwt(exp=EPOCH + HOUR, iat=EPOCH + 2 * HOUR), HOUR),
        (jwt(exp=EPOCH - HOUR), None),
        (jwt(exp="never"), None),
        (jwt(), None),
        ("a.b", None),
        ("a.b.c", None),
        ("a.!!!.c", None),
        ("a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c", None),
        ("a." + base64.urlsafe_b64encode(b"[" * 9000).decode() + ".c", None),
        ("opaque", None),
    ],
)
def test_without_expires_in_the_token_itself_may_tell(token: str, expected: float | None) -> None:
    """The `exp` of a JWT is used; a token that says nothing serves until the API refuses it."""
    assert expected == life(None, token)


ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.lists(st.integers(), max_size=2)
)


@given(expires_in=ANYTHING, exp=ANYTHING, iat=ANYTHING, off=st.integers(-(10**6), 10**6))
def test_no_junk_makes_a_life_that_is_no_life(expires_in: object, exp: object, iat: object, off: int) -> None:
    """Whatever comes, a life is unknown or between a second and 30 days."""
    found = life(expires_in, jwt(exp=exp, iat=iat), now=NOON + timedelta(seconds=off))

    assert found is None or 1 <= found <= 30 * 86_400


@given(token=st.text(max_size=200) | st.binary(max_size=200).map(lambda body: f"a.{base64.b64encode(body).decode()}.c"))
def test_any_text_is_a_token_that_may_say_nothing(token: str) -> None:
    """What a token says is a mapping, an empty one for what is no JWT."""
    assert dict(claims(token)) == claims(token)


@given(value=ANYTHING)
def test_a_number_is_positive_and_finite(value: object) -> None:
    """Nothing else gets into the arithmetic."""
    found = number(value)

    assert found is None or 0 < found < math.inf


JUNK = st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.none()
        | st.integers()
        | st.sampled_from(["", "two words", "canary-secret-good", "x" * 20_000]),
        "refresh_token": st.none() | st.integers() | st.sampled_from(["", "line\nbreak", "canary-secret-newer"]),
        "expires_in": ANYTHING,
        "scope": st.none() | st.integers() | st.text(max_size=20),
        "token_type": st.text(max_size=9),
        "error": st.none() | st.text(max_size=9),
    },
)


@given(answer=JUNK | st.lists(st.integers(), max_size=2) | st.none() | st.text(max_size=30))
async def test_a_junk_answer_loses_nothing(answer: Any) -> None:
    """Whatever a 200 brings, the refresh token stays or is replaced by a usable one; errors are of the family."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox, **expired())
        before = (await stored_in(store)).refresh_token
        sandbox.faults.add(sb.ok(json.dumps(answer)), where="token")
        async with tokens_of(sandbox, store) as tokens:
            try:
                token = await tokens.access_token()
            except cc.CCActivityError:
                token = ""
        record = await stored_in(store)

    assert token in ("", "canary-secret-good")
    assert record.refresh_token in (before, "canary-secret-newer")
    if token:
        assert token == record.access_token
        assert record.attempt is None


# --- forms ----------------------------------------------------------------------------------------------------------


def test_a_public_client_names_itself_in_the_form_and_a_confidential_one_in_the_header() -> None:
    """Neither does both, and each part of the header is encoded first, so that a colon stays one."""
    assert {"grant_type", "refresh_token", "client_id"} == parse_qs(refresh_form("r", client_id="me")).keys()
    assert {"grant_type", "refresh_token"} == parse_qs(refresh_form("r", client_id=None)).keys()
    assert b"me:se%3Acret%2B" == base64.b64decode(basic("me", "se:cret+").split()[1])


def test_the_address_for_a_login_holds_all_that_is_needed_and_no_secret() -> None:
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
    verifier, challenge = pkce("me")
    plain = OAuthClient("me", pkce=False).authorization_request(REDIRECT)

    assert 43 <= len(verifier) <= 128
    assert 43 == len(challenge)
    assert verifier != pkce("me")[0]
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
def test_a_redirect_that_is_no_success_says_why(query: str, reason: str) -> None:
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


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"client_id": ""}, ValueError),
        ({"client_id": 5}, TypeError),
        ({"client_secret": "canary-secret-\n"}, ValueError),
        ({"scopes": "contact_data"}, TypeError),
        ({"scopes": ["two words"]}, ValueError),
        ({"base_url": "http://vendor.example"}, ValueError),
        ({"token_url": "http://vendor.example/token"}, ValueError),
        ({"authorize_url": "https://user@vendor.example"}, ValueError),
        ({"device_url": "ftp://vendor.example"}, ValueError),
        ({"timeout": 0}, ValueError),
    ],
)
def test_arguments_that_cannot_work_are_refused_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    """They are named, and a secret is not shown."""
    with pytest.raises(error, match=next(iter(options))) as caught:
        OAuthClient(**{"client_id": "me", **options})

    assert "canary" not in str(caught.value)


def test_a_client_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that is missing is named; its repr shows no secret."""
    monkeypatch.delenv("CCACTIVITY_CLIENT_ID", raising=False)
    with pytest.raises(ValueError, match="CCACTIVITY_CLIENT_ID"):
        OAuthClient.from_env()
    monkeypatch.setenv("CCACTIVITY_CLIENT_ID", "me")
    monkeypatch.setenv("CCACTIVITY_CLIENT_SECRET", "canary-secret-client")
    monkeypatch.setenv("CCACTIVITY_OAUTH_URL", "https://vendor.example/v1/")
    client = OAuthClient.from_env(scopes=["contact_data"])

    assert ("https://vendor.example/v1/token", ("contact_data", "offline_access")) == (client.token_url, client.scopes)
    assert "<OAuthClient me of https://vendor.example>" == repr(client)


async def test_what_the_vendor_says_is_quoted_without_what_was_sent() -> None:
    """An answer that echoes the form or the header does not bring a secret into an error."""
    async with vendor() as sandbox:
        sandbox.register_client(secret="canary-secret-client")
        store = await logged_in(sandbox, **expired())
        refresh = (await stored_in(store)).refresh_token
        header = basic("ccactivity-sandbox", "canary-secret-client")
        body = json.dumps({"error": "invalid_scope", "error_description": f"saw {refresh} of {header}"})
        sandbox.faults.add(sb.Answer(sb.Reply(status=400, body=body.encode())), where="token")
        tokens = cc.oauth.OAuthTokens(client_of(sandbox, client_secret="canary-secret-client"), store)
        async with tokens:
            with pytest.raises(cc.TokenError) as caught:
                await tokens.access_token()

    assert "saw (secret) of (secret)" in str(caught.value)
    assert "canary" not in str(caught.value) + repr(tokens) + repr(MemoryStore())
