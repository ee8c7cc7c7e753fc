"""The authorization server: its endpoints, its refusals, and what it counts."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from ccactivity.sandbox import Reply, Request, Vendor, server_error

from .helpers import ALL_SCOPES, DEVICE_GRANT, OAUTH, REDIRECT, error_of, make_oauth, post_form, refresh, use


def authorize(vendor: Vendor, now: float = 0.0, **changes: str) -> Reply:
    fields = {
        "client_id": "public",
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": ALL_SCOPES,
        "state": "s",
        "code_challenge_method": "S256",
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(b"verifier").digest()).rstrip(b"=").decode(),
    }
    target = f"{OAUTH}/authorize?{urlencode({**fields, **changes})}"
    return vendor.handle(Request(method="GET", target=target), now)


def code_of(reply: Reply) -> str:
    return parse_qs(urlsplit(reply.headers["Location"]).query)["code"][0]


def exchange(vendor: Vendor, code: str, now: float = 0.0, **changes: str) -> tuple[int, dict[str, Any]]:
    form = {"code": code, "redirect_uri": REDIRECT, "code_verifier": "verifier", "client_id": "public", **changes}
    return post_form(vendor, "/token", now, grant_type="authorization_code", **form)


def test_an_authorization_code_is_good_once_for_who_began() -> None:
    """The verifier, the redirect and the client have to be the same; showing a code again ends what it brought."""
    vendor = make_oauth()
    vendor.oauth.register("another", redirect_uris=[REDIRECT])
    changes: dict[str, dict[str, Any]] = {
        "code_verifier": {"code_verifier": "other"},
        "redirect_uri": {"redirect_uri": "https://evil.example"},
        "client_id": {"client_id": "another"},
        "was good for 300 s": {"now": 300.0},
    }
    for rule, wrong in changes.items():
        status, refusal = exchange(vendor, code_of(authorize(vendor)), **wrong)
        assert (400, "invalid_grant") == error_of((status, refusal))
        assert rule in refusal["error_description"]
    code = code_of(authorize(vendor))
    status, answer = exchange(vendor, code)
    assert (200, ALL_SCOPES) == (status, answer["scope"])
    assert "shown before" in exchange(vendor, code)[1]["error_description"]
    assert 400 == refresh(vendor, answer["refresh_token"])[0]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"response_type": "token"}, "response_type must be 'code', not 'token'."),
        ({"code_challenge_method": "plain"}, "code_challenge_method must be 'S256', not 'plain'."),
    ],
)
def test_what_authorize_does_not_support_is_sent_back(changes: dict[str, Any], rule: str) -> None:
    """With the state, and with an error that says which rule failed in the place of the code."""
    query = parse_qs(urlsplit(authorize(make_oauth(), **changes).headers["Location"]).query)

    assert (["invalid_request"], [rule], ["s"]) == (query["error"], query["error_description"], query["state"])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"redirect_uri": "https://evil.example/<b>"}, "redirect_uri &#x27;https://evil.example/&lt;b&gt;&#x27;"),
        ({"redirect_uri": "https://evil.example"}, f"not registered for public. Registered: {REDIRECT}"),
        ({"client_id": "nobody"}, "client_id &#x27;nobody&#x27; is not registered. Registered: public, private"),
        ({"scope": "x contact_data y"}, "not configured for the authorization server: x y."),
        ({"scope": ""}, "none was requested"),
    ],
)
def test_nobody_is_sent_to_a_place_that_is_not_registered(changes: dict[str, Any], rule: str) -> None:
    """An unknown client or redirect, and a wrong scope, are refused on the spot; the person who came reads why."""
    reply = authorize(make_oauth(), **changes)

    assert 400 == reply.status
    assert rule in reply.body.decode()


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("http://127.0.0.1:8000/callback", 302),
        ("http://localhost/callback?tenant=5", 302),
        ("http://[::1]:1/", 302),
        (REDIRECT, 302),
        ("https://127.0.0.1/callback", 400),
        ("http://127.0.0.1:8000/#fragment", 400),
        ("http://127.0.0.1.evil.example/", 400),
        ("http://localhost@evil.example/", 400),
        ("http://[::1/", 400),
        ("", 400),
    ],
)
def test_an_application_may_come_back_to_any_port_of_this_machine(uri: str, status: int) -> None:
    """If it is registered so, as programs are that pick a free port; any other address has to be registered."""
    vendor = make_oauth()
    vendor.oauth.register("native", redirect_uris=[REDIRECT], loopback_redirects=True)
    reply = authorize(vendor, client_id="native", redirect_uri=uri)

    assert status == reply.status
    assert (status == 302) == reply.headers.get("Location", "").startswith(uri + ("&" if "?" in uri else "?"))
    assert 400 == authorize(make_oauth(), redirect_uri="http://127.0.0.1:8000/callback").status


def test_a_device_code_passes_through_its_states() -> None:
    """Pending, too fast, approved, spent; denied; too late."""
    vendor = make_oauth()

    def begin() -> tuple[str, str]:
        answer = post_form(vendor, "/device/authorize", client_id="public", scope=ALL_SCOPES)[1]
        return answer["device_code"], answer["user_code"]

    def poll(code: str, now: float) -> str:
        answer = post_form(vendor, "/token", now, grant_type=DEVICE_GRANT, device_code=code, client_id="public")[1]
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
    vendor = make_oauth()
    token = vendor.oauth.grant("private", ALL_SCOPES.split(), 0.0)["refresh_token"]
    form: dict[str, Any] = {"grant_type": "refresh_token", "refresh_token": token}
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("", {}),
        ("", {"client_id": "private"}),
        ("private:wrong", {}),
        ("nobody:canary-secret-s", {}),
        ("\xff", {}),
    ]
    for basic, changes in wrong:
        assert (401, "invalid_client") == error_of(post_form(vendor, "/token", basic=basic, **form, **changes))
    assert (400, "invalid_grant") == error_of(refresh(vendor, token))
    assert 200 == post_form(vendor, "/token", basic="private:canary-secret-s", **form)[0]
    assert (
        "unsupported_grant_type" == post_form(vendor, "/token", client_id="public", grant_type="password")[1]["error"]
    )
    assert "invalid_scope" == post_form(vendor, "/device/authorize", client_id="public", scope="everything")[1]["error"]


def test_one_request_a_second_is_admitted_apart_from_the_api() -> None:
    """What is beyond is refused and counted, takes nothing, and does not weigh on the API's limits."""
    vendor = make_oauth(per_second=1)
    token = vendor.oauth.grant("public", ALL_SCOPES.split(), 0.0)["refresh_token"]

    assert [200, 429, 400] == [refresh(vendor, token, now)[0] for now in (0.0, 0.9, 1.0)]
    assert 1 == vendor.violations.oauth_over_per_second == vendor.violations.total
    assert {"token": 3} == vendor.requests
    assert 0 == vendor.limits.spent(1.0)


def test_a_fault_of_the_token_endpoint_leaves_the_api_alone() -> None:
    """`where` tells the endpoints apart; other paths beside them do not exist."""
    vendor = make_oauth()
    token = vendor.oauth.grant("public", ALL_SCOPES.split(), 0.0)
    vendor.faults.add(server_error(503), where="token", times=1)

    assert [503, 200] == [refresh(vendor, token["refresh_token"])[0] for _ in range(2)]
    assert 200 == use(vendor, token["access_token"])
    assert 403 == vendor.handle(Request(method="POST", target=f"{OAUTH}/revoke"), 0.0).status
    assert 403 == vendor.handle(Request(method="GET", target=f"{OAUTH}/token"), 0.0).status
    assert 2 == vendor.violations.unknown_path
