"""The page at which a person approves a device code."""

from __future__ import annotations

from urllib.parse import urlencode

from ccactivity.sandbox import Request, Vendor

from .helpers import ALL_SCOPES, DEVICE_GRANT, error_of, make_oauth, post_form


def visit(vendor: Vendor, query: str = "", now: float = 0.0, /, **form: str) -> tuple[int, str]:
    """Be the browser of a person: with a `form`, press its button."""
    method, body = ("POST", urlencode(form).encode()) if form else ("GET", b"")
    reply = vendor.handle(Request(method=method, target="/activate" + query, body=body), now)
    return reply.status, reply.body.decode()


def test_a_person_approves_a_device_code_on_its_page() -> None:
    """The page knows the code of its address, and says who asks for what; a button decides, as does curl."""
    vendor = make_oauth(interval=1.0)
    choices: list[tuple[dict[str, str], str]] = [
        ({"verdict": "approved"}, "access_token"),
        ({}, "access_token"),
        ({"verdict": "denied"}, "access_denied"),
    ]
    for form, answer in choices:
        begun = post_form(vendor, "/device/authorize", client_id="public", scope=ALL_SCOPES)[1]
        status, page = visit(vendor, f"?user_code={begun['user_code']}")

        assert 200 == status
        assert f'value="{begun["user_code"]}"' in page
        assert "public asks for contact_data, campaign_data, offline_access" in page

        polled = {"grant_type": DEVICE_GRANT, "device_code": begun["device_code"], "client_id": "public"}

        assert (400, "authorization_pending") == error_of(post_form(vendor, "/token", **polled))
        assert 200 == visit(vendor, user_code=begun["user_code"].lower().replace("-", " "), **form)[0]
        assert answer in (brought := post_form(vendor, "/token", 5.0, **polled)[1]) or answer == brought["error"]
        assert 404 == visit(vendor, user_code=begun["user_code"])[0]

    assert 0 == vendor.violations.total


def test_a_code_that_waits_for_nobody_is_not_approved() -> None:
    """A mistyped code, an old one or another verdict change nothing; what was typed is shown as text."""
    vendor = make_oauth(device_life=60.0)
    begun = post_form(vendor, "/device/authorize", client_id="public", scope=ALL_SCOPES)[1]

    assert 404 == visit(vendor, user_code="ABCD-EFGH")[0]
    assert 404 == visit(vendor, user_code=begun["user_code"], verdict="spent")[0]
    assert 404 == visit(vendor, "", 60.0, user_code=begun["user_code"])[0]
    assert "&quot;&gt;&lt;script&gt;" in visit(vendor, "?user_code=%22%3E%3Cscript%3E")[1]
    assert 200 == visit(vendor, user_code=begun["user_code"])[0]
