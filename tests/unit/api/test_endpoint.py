"""What may stand in a request: base URLs, ids, and the next links that are followed."""

from __future__ import annotations

import re
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from ccactivity.api.decoding import Decoder
from ccactivity.api.endpoint import Endpoint, check_id
from ccactivity.api.messages import Request
from ccactivity.api.operations import get_activity, get_send_history, list_activities
from ccactivity.errors import DecodeError, UnsafeLinkError

API = Endpoint.parse("https://api.cc.email/v3")
LOCAL = Endpoint.parse("http://[::1]:8080")
FIRST = list_activities(API, limit=500)
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
    assert (first.kind, first.method, first.scope) == (request.kind, request.method, request.scope)


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
    reader = Decoder(lambda _field, _value: None)
    outcomes = set()
    for depth in range(1, sys.getrecursionlimit() + 50):
        links = b'{"next": {"href": %b%b}}' % (b"[" * depth, b"]" * depth)
        try:
            follow(reader.decode_page(b'{"activities": [], "_links": %b}' % links).next)
        except (DecodeError, UnsafeLinkError) as error:
            outcomes.add(error.problem)

    # How deep JSON may be nested differs from one Python to the next.
    assert {"it is not a string"} <= outcomes <= {"no JSON", "it is not a string"}


parts = st.sampled_from(
    [
        *(
            "/",
            "//",
            "\\",
            "?",
            "#",
            ":",
            "@",
            ".",
            "..",
            "%2e",
            "%2f",
            "%5c",
            "%25",
            "%00",
            "%",
            ";",
            "&",
            "=",
        ),
        *("v3", "/v3", "activities", "/v3/activities", "/activities", "contacts", "{id}", "cursor", "04fe9a"),
        *(
            "https://",
            "http://",
            "https:",
            "javascript:",
            "api.cc.email",
            "evil.example",
            ":443",
            "[::1]",
            ":8080",
        ),
        *("\n", "\t", " ", "\x00", "é", "\u2028", "user@"),
    ]
)
origins = st.sampled_from(["/v3", "https://api.cc.email/v3", "http://[::1]:8080"])
within = st.builds(str.__add__, origins, st.sampled_from(["/activities", "/activities?", "/activities/"]))
harmless = st.sampled_from(["/", "?", "?cursor=", "&", "=", "04fe9a", "{id}", "%41", "%", ":", "@", ";", "a..b", "~"])
rest = st.lists(harmless, max_size=6) | st.lists(harmless | parts | st.text(max_size=3), max_size=6)
hrefs = (
    st.text()
    | st.lists(parts, max_size=10).map("".join)
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
    | st.lists(parts, max_size=8).map("".join)
    | st.lists(parts).map(lambda p: "https://" + "".join(p))
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
