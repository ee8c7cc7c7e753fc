"""The vendor's authorization server, simulated: its flows, its refusals, and what it counts."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from ccactivity.sandbox import OAuthRules, Reply, Request, Vendor, server_error

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BASE = "/oauth2/default/v1"
REDIRECT = "https://app.example/callback"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
ALL = "contact_data campaign_data offline_access"


def make(**rules: Any) -> Vendor:
    vendor = Vendor(start=NOON, oauth=OAuthRules(**{"per_second": None, **rules}))
    vendor.oauth.register("public", redirect_uris=[REDIRECT])
    vendor.oauth.register("private", secret="canary-secret-s", redirect_uris=[REDIRECT])
    return vendor


def post(vendor: Vendor, path: str, now: float = 0.0, *, basic: str = "", **form: str) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": "Basic " + base64.b64encode(basic.encode()).decode()} if basic else {}
    body = urlencode(form).encode()
    reply = vendor.handle(Request(method="POST", target=BASE + path, headers=headers, body=body), now)
    return reply.status, json.loads(reply.body)


def error_of(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]


def refresh(vendor: Vendor, token: str, now: float = 0.0) -> tuple[int, dict[str, Any]]:
    return post(vendor, "/token", now, grant_type="refresh_token", refresh_token=token, client_id="public")


def authorize(vendor: Vendor, now: float = 0.0, **changes: str) -> Reply:
    fields = {
        "client_id": "public",
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": ALL,
        "state": "s",
        "code_challenge_method": "S256",
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(b"verifier").digest()).rstrip(b"=").decode(),
    }
    target = f"{BASE}/authorize?{urlencode({**fields, **changes})}"
    return vendor.handle(Request(method="GET", target=target), now)


def code_of(reply: Reply) -> str:
    return parse_qs(urlsplit(reply.headers["Location"]).query)["code"][0]


def exchange(vendor: Vendor, code: str, now: float = 0.0, **changes: str) -> tuple[int, dict[str, Any]]:
    form = {"code": code, "redirect_uri": REDIRECT, "code_verifier": "verifier", "client_id": "public", **changes}
    return post(vendor, "/token", now, grant_type="authorization_code", **form)


def use(vendor: Vendor, token: str, now: float = 0.0) -> int:
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json",
        "Cache-Control": "x",
        "User-Agent": "t",
    }
    return vendor.handle(Request(method="GET", target="/v3/activities", headers=headers), now).status


def test_a_rotating_token_serves_once_and_its_reuse_ends_the_family() -> None:
    """Each refresh brings the next token; a spent one takes everything that came of its login with it."""
    vendor = make()
    first = vendor.oauth.grant("public", ALL.split(), 0.0)
    _, second = refresh(vendor, first["refresh_token"], 1.0)
    assert 200 == use(vendor, second["access_token"], 1.0)

    assert (400, "invalid_grant") == error_of(refresh(vendor, first["refresh_token"], 2.0))
    assert 401 == use(vendor, second["access_token"], 3.0)
    assert 400 == refresh(vendor, second["refresh_token"], 3.0)[0]
    (family,) = vendor.oauth.families
    assert (1, 1, 2.0, {0: 2, 1: 1}) == (family.generation, family.reused, family.revoked, family.posts)


def test_a_grace_forgives_a_token_that_was_just_spent() -> None:
    """Within the grace it brings another one; after it, it ends the family, unless that is off."""
    vendor, mild = make(grace=10.0), make(revoke_family=False)
    token = vendor.oauth.grant("public", ALL.split(), 0.0)["refresh_token"]
    other = mild.oauth.grant("public", ALL.split(), 0.0)["refresh_token"]

    assert [200, 200, 400] == [refresh(vendor, token, now)[0] for now in (0.0, 9.0, 11.0)]
    assert vendor.oauth.families[0].revoked is not None
    assert [200, 400] == [refresh(mild, other, now)[0] for now in (0.0, 1.0)]
    assert mild.oauth.families[0].revoked is None


def test_a_long_lived_token_stays_until_nobody_uses_it() -> None:
    """It comes back the same each time, and ends after 180 days without use."""
    vendor = make(rotating=False)
    token = vendor.oauth.grant("public", ALL.split(), 0.0)["refresh_token"]
    half = 100 * 86_400.0

    assert {token} == {refresh(vendor, token, half * step)[1]["refresh_token"] for step in (1, 2, 3)}
    assert 400 == refresh(vendor, token, half * 5)[0]


def test_an_access_token_ends_by_the_clock_and_says_so() -> None:
    """It is a JWT with an `exp`, and the API refuses it from then on with the headers of the vendor's 401."""
    vendor = make(access_life=60.0)
    answer = vendor.oauth.grant("public", ["contact_data"], 0.0)
    payload = answer["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    assert (60, NOON.timestamp() + 60, "public") == (answer["expires_in"], claims["exp"], claims["cid"])
    assert "refresh_token" not in answer
    assert [200, 401] == [use(vendor, answer["access_token"], now) for now in (59.9, 60.0)]
    assert 0 == vendor.violations.bad_token


def test_a_token_is_good_for_the_scopes_of_its_login() -> None:
    """What a person was not asked for, the API refuses; a refresh changes nothing about that."""
    vendor = make()
    answer = vendor.oauth.grant("public", ["campaign_data", "offline_access"], 0.0)

    assert 403 == use(vendor, answer["access_token"])
    assert 403 == use(vendor, refresh(vendor, answer["refresh_token"])[1]["access_token"])
    assert 200 == use(vendor, vendor.oauth.grant("public", ["contact_data"], 0.0)["access_token"])


def visit(vendor: Vendor, query: str = "", now: float = 0.0, /, **form: str) -> tuple[int, str]:
    """Be the browser of a person: with a `form`, press its button."""
    method, body = ("POST", urlencode(form).encode()) if form else ("GET", b"")
    reply = vendor.handle(Request(method=method, target="/activate" + query, body=body), now)
    return reply.status, reply.body.decode()


def test_a_person_approves_a_device_code_on_its_page() -> None:
    """The page knows the code of its address, and says who asks for what; a button decides, as does curl."""
    vendor = make(interval=1.0)
    choices: list[tuple[dict[str, str], str]] = [
        ({"verdict": "approved"}, "access_token"),
        ({}, "access_token"),
        ({"verdict": "denied"}, "access_denied"),
    ]
    for form, answer in choices:
        begun = post(vendor, "/device/authorize", client_id="public", scope=ALL)[1]
        status, page = visit(vendor, f"?user_code={begun['user_code']}")

        assert 200 == status
        assert f'value="{begun["user_code"]}"' in page
        assert "public asks for contact_data, campaign_data, offline_access" in page

        polled = {"grant_type": DEVICE, "device_code": begun["device_code"], "client_id": "public"}

        assert (400, "authorization_pending") == error_of(post(vendor, "/token", **polled))
        assert 200 == visit(vendor, user_code=begun["user_code"].lower().replace("-", " "), **form)[0]
        assert answer in (brought := post(vendor, "/token", 5.0, **polled)[1]) or answer == brought["error"]
        assert 404 == visit(vendor, user_code=begun["user_code"])[0]

    assert 0 == vendor.violations.total


def test_a_code_that_waits_for_nobody_is_not_approved() -> None:
    """A mistyped code, an old one or another verdict change nothing; what was typed is shown as text."""
    vendor = make(device_life=60.0)
    begun = post(vendor, "/device/authorize", client_id="public", scope=ALL)[1]

    assert 404 == visit(vendor, user_code="ABCD-EFGH")[0]
    assert 404 == visit(vendor, user_code=begun["user_code"], verdict="spent")[0]
    assert 404 == visit(vendor, "", 60.0, user_code=begun["user_code"])[0]
    assert "&quot;&gt;&lt;script&gt;" in visit(vendor, "?user_code=%22%3E%3Cscript%3E")[1]
    assert 200 == visit(vendor, user_code=begun["user_code"])[0]


def test_an_authorization_code_is_good_once_for_who_began() -> None:
    """The verifier, the redirect and the client have to be the same; showing a code again ends what it brought."""
    vendor = make()
    changes: list[dict[str, Any]] = [{"code_verifier": "other"}, {"redirect_uri": "https://evil.example"}]
    for wrong in changes:
        assert (400, "invalid_grant") == error_of(exchange(vendor, code_of(authorize(vendor)), **wrong))
    code = code_of(authorize(vendor))
    status, answer = exchange(vendor, code)
    assert (200, ALL) == (status, answer["scope"])
    assert 400 == exchange(vendor, code)[0]
    assert 400 == refresh(vendor, answer["refresh_token"])[0]
    assert 400 == exchange(vendor, code_of(authorize(vendor, 0.0)), 300.0)[0]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_what_authorize_does_not_support_is_sent_back(changes: dict[str, Any], error: str) -> None:
    """With the state, and an error in the place of the code."""
    query = parse_qs(urlsplit(authorize(make(), **changes).headers["Location"]).query)

    assert ([error], ["s"]) == (query["error"], query["state"])


@pytest.mark.parametrize("changes", [{"redirect_uri": "https://evil.example"}, {"client_id": "nobody"}, {"scope": "x"}])
def test_nobody_is_sent_to_a_place_that_is_not_registered(changes: dict[str, Any]) -> None:
    """An unknown client or redirect, and a wrong scope, are refused on the spot."""
    assert 400 == authorize(make(), **changes).status


def test_a_device_code_passes_through_its_states() -> None:
    """Pending, too fast, approved, spent; denied; too late."""
    vendor = make()

    def begin() -> tuple[str, str]:
        answer = post(vendor, "/device/authorize", client_id="public", scope=ALL)[1]
        return answer["device_code"], answer["user_code"]

    def poll(code: str, now: float) -> str:
        answer = post(vendor, "/token", now, grant_type=DEVICE, device_code=code, client_id="public")[1]
        return str(answer.get("error", "tokens"))

    code, user_code = begin()
    seen = [poll(code, 0.0), poll(code, 4.0), poll(code, 10.0), poll(code, 25.0)]
    vendor.oauth.decide(user_code, "approved")
    seen += [poll(code, 40.0), poll(code, 60.0)]
    pending = "authorization_pending"
    assert [pending, "slow_down", "slow_down", pending, "tokens", "invalid_grant"] == seen

    code, user_code = begin()
    vendor.oauth.decide(user_code, "denied")
    assert "access_denied" == poll(code, 0.0)
    assert "expired_token" == poll(begin()[0], 600.0)
    assert "invalid_grant" == poll("canary-secret-unknown", 0.0)
    with pytest.raises(KeyError):
        vendor.oauth.decide("XXXX-XXXX", "approved")


def test_clients_authenticate_as_they_are_registered() -> None:
    """A confidential client by HTTP Basic, a public one by its name; anything else is a 401."""
    vendor = make()
    token = vendor.oauth.grant("private", ALL.split(), 0.0)["refresh_token"]
    form: dict[str, Any] = {"grant_type": "refresh_token", "refresh_token": token}
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("", {}),
        ("", {"client_id": "private"}),
        ("private:wrong", {}),
        ("nobody:canary-secret-s", {}),
        ("\xff", {}),
    ]
    for basic, changes in wrong:
        assert (401, "invalid_client") == error_of(post(vendor, "/token", basic=basic, **form, **changes))
    assert (400, "invalid_grant") == error_of(refresh(vendor, token))
    assert 200 == post(vendor, "/token", basic="private:canary-secret-s", **form)[0]
    assert "unsupported_grant_type" == post(vendor, "/token", client_id="public", grant_type="password")[1]["error"]
    assert "invalid_scope" == post(vendor, "/device/authorize", client_id="public", scope="everything")[1]["error"]


def test_one_request_a_second_is_admitted_apart_from_the_api() -> None:
    """What is beyond is refused and counted, takes nothing, and does not weigh on the API's limits."""
    vendor = make(per_second=1)
    token = vendor.oauth.grant("public", ALL.split(), 0.0)["refresh_token"]

    assert [200, 429, 400] == [refresh(vendor, token, now)[0] for now in (0.0, 0.9, 1.0)]
    assert 1 == vendor.violations.oauth_over_per_second == vendor.violations.total
    assert {"token": 3} == vendor.requests
    assert 0 == vendor.limits.spent(1.0)


def test_a_fault_of_the_token_endpoint_leaves_the_api_alone() -> None:
    """`where` tells the endpoints apart; other paths beside them do not exist."""
    vendor = make()
    token = vendor.oauth.grant("public", ALL.split(), 0.0)
    vendor.faults.add(server_error(503), where="token", times=1)

    assert [503, 200] == [refresh(vendor, token["refresh_token"])[0] for _ in range(2)]
    assert 200 == use(vendor, token["access_token"])
    assert 403 == vendor.handle(Request(method="POST", target=f"{BASE}/revoke"), 0.0).status
    assert 403 == vendor.handle(Request(method="GET", target=f"{BASE}/token"), 0.0).status
    assert 2 == vendor.violations.unknown_path
