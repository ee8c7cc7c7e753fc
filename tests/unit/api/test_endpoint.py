"""Where the API is, and which ids may stand in a path."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.urls import url_pieces

from ccactivity.api.endpoint import Endpoint, check_id
from ccactivity.api.operations import get_activity, get_send_history

API = Endpoint.parse("https://api.cc.email/v3")

# --- ids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "activity_id",
    [
        "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a",
        "04fe9a-a579-43c5-bb1a-58ed29bf0a6a",
        "04FE9A00-A579-43C5-BB1A-58ED29BF0A6A",
        "a",
        "7",
        "a.b_c~d-e",
        "a..b",
        "x" * 128,
    ],
)
def test_good_id(activity_id: str) -> None:
    """An id that can stand in a path is used as it is; it need not be a UUID, the vendor's sample is none."""
    assert activity_id == check_id(activity_id)
    assert get_activity(API, activity_id).target.endswith(f"/{activity_id}")
    assert f"/v3/emails/activities/{activity_id}/send_history" == get_send_history(API, activity_id).target


@pytest.mark.parametrize(
    "activity_id",
    [
        "",
        " ",
        ".",
        "..",
        "../../x",
        ".hidden",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "a%2fb",
        "a%2e",
        "a b",
        " a",
        "a ",
        "a\n",
        "\na",
        "a\r\nHost: evil",
        "a\x00",
        "a\x7f",
        "a;b",
        "a&b",
        "a=b",
        "a:b",
        "a@b",
        "{activity_id}",
        "é",
        "\uff11",
        "a\u200b",
        "\ud800",
        "x" * 129,
        "x" * 10_000,
    ],
    ids=lambda activity_id: ascii(activity_id)[:40],
)
def test_bad_id(activity_id: str) -> None:
    """An id that could change a path is a ValueError that names it, escaped and cut."""
    with pytest.raises(ValueError, match="malformed activity_id") as caught:
        check_id(activity_id)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    "activity_id", [None, 5, 5.0, True, b"a", ["a"], object()], ids=lambda value: type(value).__name__
)
def test_id_of_wrong_type(activity_id: object) -> None:
    """An id that is no string is a TypeError that names its type."""
    with pytest.raises(TypeError, match=f"must be a str, not {type(activity_id).__name__}"):
        check_id(activity_id)


def test_bad_id_is_named() -> None:
    """The error shows the malformed id, so that it can be found among many."""
    with pytest.raises(ValueError, match="activity_id 'spring/list'"):
        check_id("spring/list")


@pytest.mark.parametrize("wrong", ["", 5])
def test_name_of_id(wrong: object) -> None:
    """The error calls the argument by its name."""
    with pytest.raises((TypeError, ValueError), match="campaign_activity_id"):
        check_id(wrong, "campaign_activity_id")


@given(activity_id=st.text(st.characters()) | st.from_regex(r"[A-Za-z0-9._~%/-]{1,10}", fullmatch=True))
def test_any_id(activity_id: str) -> None:
    """An id is refused, or stands as one plain segment in the path of its request."""
    try:
        checked = check_id(activity_id)
    except ValueError:
        return
    target = get_activity(API, checked).target

    assert activity_id == checked == unquote(target).removeprefix("/v3/activities/")
    assert re.fullmatch(r"/v3/activities/[A-Za-z0-9_~.-]+", target)
    assert checked not in (".", "..")


# --- base URLs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "origin", "prefix"),
    [
        ("https://api.cc.email/v3", "https://api.cc.email", "/v3"),
        ("https://api.cc.email/v3/", "https://api.cc.email", "/v3"),
        ("https://api.cc.email", "https://api.cc.email", ""),
        ("https://api.cc.email/", "https://api.cc.email", ""),
        ("https://api.cc.email:443/v3", "https://api.cc.email", "/v3"),
        ("https://api.cc.email:/v3", "https://api.cc.email", "/v3"),
        ("https://api.cc.email:8443/v3", "https://api.cc.email:8443", "/v3"),
        ("HTTPS://API.CC.Email/v3", "https://api.cc.email", "/v3"),
        ("https://10.0.0.1/a/b", "https://10.0.0.1", "/a/b"),
        ("https://[2001:DB8::1]:8443/v3", "https://[2001:db8::1]:8443", "/v3"),
        ("http://localhost/v3", "http://localhost", "/v3"),
        ("http://localhost:80/v3", "http://localhost", "/v3"),
        ("http://localhost:8080", "http://localhost:8080", ""),
        ("http://127.0.0.1:8080/v3", "http://127.0.0.1:8080", "/v3"),
        ("http://[::1]:8080/v3", "http://[::1]:8080", "/v3"),
    ],
)
def test_base_url(base_url: str, origin: str, prefix: str) -> None:
    """A base URL is https, or http to this very machine; a slash at its end makes no difference."""
    endpoint = Endpoint.parse(base_url)

    assert (origin, prefix) == (endpoint.origin, endpoint.prefix)
    assert f"{prefix}/activities/a" == get_activity(endpoint, "a").target


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.cc.email/v3",
        "//api.cc.email/v3",
        "/v3",
        "https:api.cc.email",
        "https://",
        "https:///v3",
        "https://:443/v3",
        "ftp://api.cc.email/v3",
        "file:///v3",
        "javascript:alert(1)",
        "http://api.cc.email/v3",
        "http://localhost.evil.example/v3",
        "http://127.0.0.1.evil.example/v3",
        "http://0.0.0.0/v3",
        "http://10.0.0.1/v3",
        "http://[::2]/v3",
        "https://user@api.cc.email/v3",
        "https://user:password@api.cc.email/v3",
        "https://@api.cc.email/v3",
        "http://localhost@evil.example/v3",
        "https://api.cc.email/v3?x=1",
        "https://api.cc.email/v3?",
        "https://api.cc.email/v3#x",
        "https://api.cc.email/v3#",
        "https://api.cc.email/v3/../v4",
        "https://api.cc.email/./v3",
        "https://api.cc.email//v3",
        "https://api.cc.email/%2e%2e/v3",
        "https://api.cc.email/a%2fb",
        "https://api.cc.email/%00",
        "https://api.cc.email\\v3",
        "https://api.cc.email/v 3",
        " https://api.cc.email/v3",
        "https://api.cc.email/v3\n",
        "https://api\n.cc.email/v3",
        "https://api.cc.email/v3\x00",
        "https://api.cc.\uff45mail/v3",
        "https://api.cc.email:port/v3",
        "https://api.cc.email:99999/v3",
        "https://api.cc.email:-1/v3",
        "https://api_cc.email,evil.example/v3",
        "https://api%2ecc.email/v3",
        "https://[::1/v3",
        "https://[::1%25eth0]/v3",
    ],
    ids=ascii,
)
def test_bad_base_url(base_url: str) -> None:
    """A base URL that the token cannot safely be sent to is a ValueError, which shows no credentials."""
    with pytest.raises(ValueError, match="base_url") as caught:
        Endpoint.parse(base_url)

    assert str(caught.value).isprintable()
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("base_url", [None, 5, b"https://api.cc.email/v3"])
def test_base_url_of_wrong_type(base_url: Any) -> None:
    """A base URL that is no string is a TypeError."""
    with pytest.raises(TypeError, match="base_url must be a str"):
        Endpoint.parse(base_url)


@given(
    base_url=st.text()
    | st.lists(url_pieces, max_size=8).map("".join)
    | st.lists(url_pieces).map(lambda p: "https://" + "".join(p))
)
def test_any_base_url(base_url: str) -> None:
    """Any string is a ValueError, or a base URL that reads the same way again."""
    try:
        endpoint = Endpoint.parse(base_url)
    except ValueError:
        return

    assert endpoint == Endpoint.parse(endpoint.origin + endpoint.prefix)
    assert endpoint.origin.startswith("https://") or re.match(
        r"http://(localhost|127\.0\.0\.1|\[::1\])", endpoint.origin
    )
