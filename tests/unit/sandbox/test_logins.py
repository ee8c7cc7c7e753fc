"""Logins: their refresh tokens and access tokens."""

from __future__ import annotations

import base64
import json

from support.canary import secrets_in

from .helpers import ALL_SCOPES, START, error_of, make_oauth, post_form, refresh, use


def test_a_rotating_token_serves_once_and_its_reuse_ends_the_family() -> None:
    """Each refresh brings the next token; a spent one takes everything that came of its login with it."""
    vendor = make_oauth()
    first = vendor.oauth.grant("public", ALL_SCOPES.split(), 0.0)
    _, second = refresh(vendor, first["refresh_token"], 1.0)
    assert 200 == use(vendor, second["access_token"], 1.0)

    assert (400, "invalid_grant") == error_of(refresh(vendor, first["refresh_token"], 2.0))
    assert 401 == use(vendor, second["access_token"], 3.0)
    assert 400 == refresh(vendor, second["refresh_token"], 3.0)[0]
    (family,) = vendor.oauth.families
    assert (1, 1, 2.0, {0: 2, 1: 1}) == (family.generation, family.reused, family.revoked, family.posts)


def test_a_grace_forgives_a_token_that_was_just_spent() -> None:
    """Within the grace it brings another one; after it, it ends the family, unless that is off."""
    vendor, mild = make_oauth(grace=10.0), make_oauth(revoke_family=False)
    token = vendor.oauth.grant("public", ALL_SCOPES.split(), 0.0)["refresh_token"]
    other = mild.oauth.grant("public", ALL_SCOPES.split(), 0.0)["refresh_token"]

    assert [200, 200, 400] == [refresh(vendor, token, now)[0] for now in (0.0, 9.0, 11.0)]
    assert vendor.oauth.families[0].revoked is not None
    assert [200, 400] == [refresh(mild, other, now)[0] for now in (0.0, 1.0)]
    assert mild.oauth.families[0].revoked is None


def test_a_long_lived_token_stays_until_nobody_uses_it() -> None:
    """It comes back the same each time, and ends after 180 days without use."""
    vendor = make_oauth(rotating=False)
    token = vendor.oauth.grant("public", ALL_SCOPES.split(), 0.0)["refresh_token"]
    half = 100 * 86_400.0

    assert {token} == {refresh(vendor, token, half * step)[1]["refresh_token"] for step in (1, 2, 3)}
    assert 400 == refresh(vendor, token, half * 5)[0]


def test_an_access_token_ends_by_the_clock_and_says_so() -> None:
    """It is a JWT with an `exp`, and the API refuses it from then on with the headers of the vendor's 401."""
    vendor = make_oauth(access_life=60.0)
    answer = vendor.oauth.grant("public", ["contact_data"], 0.0)
    payload = answer["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    assert (60, START.timestamp() + 60, "public") == (answer["expires_in"], claims["exp"], claims["cid"])
    assert "refresh_token" not in answer
    assert [200, 401] == [use(vendor, answer["access_token"], now) for now in (59.9, 60.0)]
    assert 0 == vendor.violations.bad_token


def test_a_token_is_good_for_the_scopes_of_its_login() -> None:
    """What a person was not asked for, the API refuses; a refresh changes nothing about that."""
    vendor = make_oauth()
    answer = vendor.oauth.grant("public", ["campaign_data", "offline_access"], 0.0)

    assert 403 == use(vendor, answer["access_token"])
    assert 403 == use(vendor, refresh(vendor, answer["refresh_token"])[1]["access_token"])
    assert 200 == use(vendor, vendor.oauth.grant("public", ["contact_data"], 0.0)["access_token"])


def test_every_token_is_named_after_the_sandbox() -> None:
    """Whoever finds one in a log or a file sees that it opens nothing, and where it is from."""
    vendor = make_oauth()
    login = vendor.oauth.grant("public", ALL_SCOPES.split(), 0.0)
    device = post_form(vendor, "/device/authorize", client_id="public", scope=ALL_SCOPES)[1]

    assert vendor.token.startswith("sandbox-token-")
    assert login["refresh_token"].startswith("sandbox-token-refresh-")
    assert device["device_code"].startswith("sandbox-token-device-")
    assert login["access_token"].split(".")[2].startswith("sandbox-token-signature-")
    for token in (vendor.token, login["refresh_token"], device["device_code"], login["access_token"]):
        assert secrets_in(token), "the suite looks for it in whatever a test shows"
