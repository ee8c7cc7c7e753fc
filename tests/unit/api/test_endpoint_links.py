"""Which next links are followed, and which are refused."""

from __future__ import annotations

import re
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from support.bodies import QUIET
from support.urls import url_pieces

from ccactivity.api.endpoint import Endpoint
from ccactivity.api.messages import Request
from ccactivity.api.operations import list_activities
from ccactivity.errors import DecodeError, UnsafeLinkError

API = Endpoint.parse("https://api.cc.email/v3")
LOCAL = Endpoint.parse("http://[::1]:8080")
# The cursor of the vendor's own example; it lost one `=` of its padding on the way into the page.
CURSOR = "limit=1&cursor=bGltaXQ9MSZuZXh0PTJjZDgwMjdhLTc4YzAtMTFlOS1iZmQwLWZhMTYzZTZiMDFjMQ="


def follow(href: object, api: Endpoint = API) -> Request | None:
    return api.next_request(href, list_activities(api, limit=500))


# --- next links that are followed ---------------------------------------------------------------------------


@pytest.mark.parametrize("href", [None, ""])
def test_last_page(href: object) -> None:
    """No link, or an empty one, is the end of the list."""
    assert follow(href) is None


@pytest.mark.parametrize(
    ("href", "target"),
    [
        ("/v3/activities", "/v3/activities"),
        ("/v3/activities/", "/v3/activities/"),
        (f"/v3/activities?{CURSOR}", f"/v3/activities?{CURSOR}"),
        (f"/v3/activities/?{CURSOR}", f"/v3/activities/?{CURSOR}"),
        (f"https://api.cc.email/v3/activities?{CURSOR}", f"/v3/activities?{CURSOR}"),
        (f"https://api.cc.email:443/v3/activities?{CURSOR}", f"/v3/activities?{CURSOR}"),
        (f"HTTPS://API.CC.Email/v3/activities?{CURSOR}", f"/v3/activities?{CURSOR}"),
        ("/v3/activities?cursor=//evil.example/", "/v3/activities?cursor=//evil.example/"),
        ("/v3/activities?next=https://evil.example", "/v3/activities?next=https://evil.example"),
        ("/v3/activities?cursor=../../x", "/v3/activities?cursor=../../x"),
        ("/v3/activities/{actvity_id}", "/v3/activities/%7Bactvity_id%7D"),
        ("/v3/activities/04fe9a..b", "/v3/activities/04fe9a..b"),
    ],
)
def test_good_link(href: str, target: str) -> None:
    """A link within the collection is followed, with or without the origin; the vendor's own sample too."""
    request = follow(href)

    assert request is not None
    assert target == request.target


@pytest.mark.parametrize(
    "cursor",
    [
        "cursor=a+b/c==",
        "cursor=a%2Bb%2Fc%3D%3D",
        "cursor=a%2bb",
        "cursor=%",
        "cursor=%zz",
        "cursor=a%20b&&x",
        "cursor=a?b?c",
        "cursor={a}|^`[b]",
        "cursor='a';b,c:d@e!f$g*(h)~i",
        "b=2&a=1&b=3",
        "cursor=" + "x" * 5_000,
        "=",
    ],
)
@pytest.mark.parametrize("origin", ["", "https://api.cc.email"])
def test_cursor(origin: str, cursor: str) -> None:
    """The query of a link is sent exactly as it was given, nothing encoded, decoded, sorted or added."""
    request = follow(f"{origin}/v3/activities?{cursor}")

    assert request is not None
    assert f"/v3/activities?{cursor}" == request.target


def test_next_of_next() -> None:
    """The request for the next page needs what the first one needed, and nothing of its query stays."""
    first = list_activities(API, limit=17, state="failed")
    request = API.next_request("/v3/activities?cursor=x", first)

    assert request is not None
    assert "/v3/activities?cursor=x" == request.target
    assert (first.kind, first.scope, first.idempotent) == (request.kind, request.scope, request.idempotent)


@pytest.mark.parametrize(
    ("base_url", "href", "target"),
    [
        ("http://localhost:8080/v3", "http://localhost:8080/v3/activities?c=1", "/v3/activities?c=1"),
        ("http://[::1]:8080", "http://[::1]:8080/activities?c=1", "/activities?c=1"),
        ("http://[::1]:8080", "/activities?c=1", "/activities?c=1"),
        ("https://proxy.example/cc/v3/", "/cc/v3/activities?c=1", "/cc/v3/activities?c=1"),
    ],
)
def test_link_at_another_base(base_url: str, href: str, target: str) -> None:
    """A link is followed within whatever base URL the session has."""
    request = follow(href, Endpoint.parse(base_url))

    assert request is not None
    assert target == request.target


# --- next links that are not --------------------------------------------------------------------------------

UNSAFE: list[Any] = [
    # another origin
    "https://evil.example/v3/activities?cursor=x",
    "https://api.cc.email.evil.example/v3/activities",
    "https://evil.example#api.cc.email/v3/activities",
    "https://evil.example/https://api.cc.email/v3/activities",
    "https://api.cc.email:8443/v3/activities",
    "https://api.cc.email:80/v3/activities",
    "https://api.cc.email:/v3/activities:x",
    "https://api.cc.email:port/v3/activities",
    "https://api.cc.email:99999/v3/activities",
    "https://api.cc.email./v3/activities",
    "https://api-cc.email/v3/activities",
    "https://[::1]/v3/activities",
    "https://[/v3/activities",
    "https:///v3/activities",
    "https:/v3/activities",
    "https:v3/activities",
    "http://api.cc.email/v3/activities",
    "http://api.cc.email:443/v3/activities",
    "//evil.example/v3/activities",
    "///evil.example/v3/activities",
    "////v3/activities",
    "//api.cc.email/v3/activities",
    "/\\evil.example/v3/activities",
    "\\\\evil.example/v3/activities",
    "https:\\\\api.cc.email\\v3\\activities",
    "https://api.cc.email\\@evil.example/v3/activities",
    # credentials
    "https://user@api.cc.email/v3/activities",
    "https://user:password@api.cc.email/v3/activities",
    "https://@api.cc.email/v3/activities",
    "https://api.cc.email@evil.example/v3/activities",
    "https://api.cc.email:443@evil.example/v3/activities",
    # another scheme
    "javascript:alert(1)",
    "data:text/html,/v3/activities",
    "file:///v3/activities",
    "ftp://api.cc.email/v3/activities",
    "wss://api.cc.email/v3/activities",
    "mailto:x@api.cc.email",
    # characters that no URL has
    "/v3/activities?cursor=a b",
    " /v3/activities",
    "/v3/activities ",
    "\t/v3/activities",
    "/v3/activities\n",
    "/v3/activities?cursor=x\r\nHost: evil.example",
    "/v3/activities?cursor=x\r\n\r\nGET / HTTP/1.1",
    "/v3/activities?cursor=\x00",
    "/v3/activities?cursor=\x7f",
    "/v3/activities?cursor=\x85",
    "/v3/activities?cursor=é",
    "/v3/activities?cursor=\ud800",
    "/v3/activities\u2028",
    "/v3/activities\uff0fx",
    "https://api.cc.\uff45mail/v3/activities",
    "/v3/activities?cursor=x#fragment",
    "/v3/activities#",
    "/v3/activities?cursor=<x>",
    '/v3/activities?cursor="x"',
    "/v3/activities\\..\\contacts",
    # another path
    "/",
    "/v3",
    "/v3/",
    "/v3/contacts?cursor=x",
    "/v3/activitiesx",
    "/v3/activities_export",
    "/v3/activities;x",
    "/v3/activities%2fx",
    "/v3/activities%3Fx",
    "/V3/activities",
    "/v3/Activities",
    "/activities?cursor=x",
    "/v4/activities?cursor=x",
    "/x/v3/activities",
    "/v3//activities",
    "/v3/./activities",
    "/v3/x/../activities",
    "/v3/activities/..",
    "/v3/activities/../contacts",
    "/v3/activities/../../oauth2/token",
    "/v3/activities/.",
    "/v3/activities/./x",
    "/v3/activities//x",
    "/v3/activities//evil.example",
    "/v3/activities/%2e%2e/contacts",
    "/v3/activities/%2E./contacts",
    "/v3/activities/.%2e/contacts",
    "/v3/activities/%252e%252e/contacts",
    "/v3/activities/%25252e%25252e/contacts",
    "/v3/activities/..%2fcontacts",
    "/v3/activities/..%5ccontacts",
    "/v3/activities/%5c..%5ccontacts",
    "/v3/activities/x%2f..%2f..%2fcontacts",
    "/v3/activities/%00",
    "/v3/activities/%0d%0aHost:evil.example",
    "/v3/activities/%c2%85",
    "activities?cursor=x",
    "v3/activities?cursor=x",
    "?cursor=x",
    "../v3/activities",
    "https://api.cc.email",
    "https://api.cc.email/",
    "https://api.cc.email?/v3/activities",
    "https://api.cc.email/v3/contacts",
    "https://api.cc.email//v3/activities",
    "https://api.cc.email/v3/activities/../contacts",
    # no string
    5,
    0,
    5.0,
    True,
    False,
    [],
    {},
    ["/v3/activities"],
    {"href": "/v3/activities"},
    b"/v3/activities",
]


@pytest.mark.parametrize("href", [pytest.param(href, id=ascii(href)) for href in UNSAFE])
def test_unsafe_link(href: object) -> None:
    """A link that leads away from the collection is refused, by an error which shows it escaped."""
    with pytest.raises(UnsafeLinkError) as caught:
        follow(href)

    assert str(caught.value).isprintable()
    assert caught.value.link in str(caught.value)


def test_long_unsafe_link() -> None:
    """An error shows only the beginning of a long link."""
    with pytest.raises(UnsafeLinkError) as caught:
        follow("https://evil.example/" + "x" * 100_000)

    assert caught.value.link.startswith("https://evil.example/x")
    assert len(str(caught.value)) < 1_000


def test_deep_unsafe_link() -> None:
    """A link that is an array in an array, as deep as a page can hold one, is refused like any other."""
    outcomes = set()
    for depth in range(1, sys.getrecursionlimit() + 50):
        links = b'{"next": {"href": %b%b}}' % (b"[" * depth, b"]" * depth)
        try:
            follow(QUIET.decode_page(b'{"activities": [], "_links": %b}' % links).next)
        except (DecodeError, UnsafeLinkError) as error:
            outcomes.add(error.problem)

    # How deep JSON may be nested differs from one Python to the next.
    assert {"it is not a string"} <= outcomes <= {"not JSON", "it is not a string"}


origins = st.sampled_from(["/v3", "https://api.cc.email/v3", "http://[::1]:8080"])
within = st.builds(str.__add__, origins, st.sampled_from(["/activities", "/activities?", "/activities/"]))
harmless = st.sampled_from(["/", "?", "?cursor=", "&", "=", "04fe9a", "{id}", "%41", "%", ":", "@", ";", "a..b", "~"])
rest = st.lists(harmless, max_size=6) | st.lists(harmless | url_pieces | st.text(max_size=3), max_size=6)
hrefs = (
    st.text()
    | st.lists(url_pieces, max_size=10).map("".join)
    | st.builds(lambda start, pieces: start + "".join(pieces), within, rest)
)


@settings(max_examples=500)
@given(href=hrefs)
@example("https://api.cc.email/v3/activities?cursor=x")
def test_any_link(href: str) -> None:
    """Whatever is followed stays within the collection and leaves its cursor alone; all else is refused."""
    try:
        request = follow(href)
    except UnsafeLinkError:
        return
    if request is None:
        event("the last page")
        return
    event("followed")
    path, _, query = request.target.partition("?")

    assert re.fullmatch(r"/v3/activities(/.*)?", path)
    assert re.fullmatch(r"[!-~]+", request.target), "no controls, no spaces, ASCII only"
    assert not set('#\\<>"') & set(request.target)
    assert not {".", ".."} & set(re.split(r"[/\\]", unquote(path)))
    assert "//" not in path
    assert query == href.partition("?")[2]
    assert href.lower().startswith(("/v3/activities", "https://api.cc.email"))


@settings(max_examples=500)
@given(href=hrefs, base=st.sampled_from([API, LOCAL]))
def test_any_link_by_another_reader(href: str, base: Endpoint) -> None:
    """Joined to the origin, what is followed is at the same origin for another reader of URLs too."""
    try:
        request = follow(href, base)
    except UnsafeLinkError:
        return
    if request is None:
        return
    joined = urlsplit(base.origin + request.target)

    assert base.origin == f"{joined.scheme}://{joined.netloc}"
    assert request.path == joined.path
    assert ("", None) == (joined.fragment, joined.username)
