"""Where the API is, and what may stand in a request's path: base URLs, next links, ids. Pure.

1. A next link is followed only within the collection it came from, and then its query is sent as it was given: the
   vendor's cursors are opaque, carry the page size, and are not even well-formed base64.
2. An id is refused unless it can stand in a path as it is. Nothing is encoded, so nothing can be decoded on the way.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import attrs

from .._text import describe_json, escape
from ..errors import UnsafeLinkError
from .messages import Request

__all__ = ["Endpoint", "check_id"]

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ID: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}")
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]+")


@attrs.frozen
class Endpoint:
    """Where the API is: `origin` such as `https://api.cc.email`, `prefix` such as `/v3`."""

    origin: str
    prefix: str

    @classmethod
    def parse(cls, base_url: str, name: str = "base_url") -> Endpoint:
        """Read the base URL that the argument `name` gave; ValueError unless it is https, or http to this machine."""
        if not isinstance(base_url, str):
            raise TypeError(f"{name} must be a str, not {type(base_url).__name__}")
        if not base_url.isascii() or not base_url.isprintable() or " " in base_url or "\\" in base_url:
            raise ValueError(f"{name} must be printable ASCII without spaces or backslashes")
        try:
            parts = urlsplit(base_url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ValueError(f"{name} is not a URL: {error}") from None
        if "@" in parts.netloc or "?" in base_url or "#" in base_url:
            raise ValueError(f"{name} must not hold credentials, a query or a fragment")
        if parts.scheme not in ("https", "http") or not _HOST.fullmatch(host):
            raise ValueError(f"{name} must look like https://host/v3")
        if parts.scheme == "http" and host not in _LOOPBACK:
            raise ValueError(f"{name} must be https: the token would travel in clear text (http is for loopback only)")
        prefix = parts.path.rstrip("/")
        if _climbs(prefix):
            raise ValueError(f"the path of {name} must not hold '.' or '..' segments, '//' or escapes")
        shown = f"[{host}]" if ":" in host else host
        default = {"https": 443, "http": 80}[parts.scheme]
        return cls(f"{parts.scheme}://{shown}" + ("" if port in (None, default) else f":{port}"), prefix)

    def next_request(self, href: object, current: Request) -> Request | None:
        """Turn the next link of `current`'s page into a request; None if there is none; `UnsafeLinkError`."""
        if href is None or href == "":
            return None
        if not isinstance(href, str):
            raise UnsafeLinkError("it is not a string", link=describe_json(href, 80))
        return attrs.evolve(current, target=self.local_target(href, f"{self.prefix}/activities"))

    def local_target(self, href: str, within: str) -> str:
        """Return the path and query that a link has; `UnsafeLinkError` unless it is to our own origin, and `within`.

        `within`: a path without a slash at its end.
        """
        if not href.isascii() or not href.isprintable() or re.search(r"[\s\\#<>\"]", href):
            raise UnsafeLinkError("it holds characters that no URL has", link=escape(href, 80))
        path, _, query = self._local(href).partition("?")
        if _climbs(path) or not (path == within or path.startswith(within + "/")):
            raise UnsafeLinkError(f"it leads outside {within or '/'}", link=escape(href, 80))
        plain = quote(path, safe="/~:@!$&'()*+,;=%")
        return f"{plain}?{query}" if query else plain

    def _local(self, href: str) -> str:
        """Path and query of a link to our own origin; a link may hold the origin or leave it out."""
        if href.startswith("/") and not href.startswith("//"):
            return href
        try:
            parts = urlsplit(href)
            if "://" in href and Endpoint.parse(f"{parts.scheme}://{parts.netloc}").origin == self.origin:
                return href.split("://", 1)[1][len(parts.netloc) :]
        except ValueError:
            pass
        raise UnsafeLinkError(f"it leads away from {self.origin}", link=escape(href, 80))


def _climbs(path: str) -> bool:
    """Whether a path could be read as another one than it looks: dot segments, doubled or hidden slashes."""
    plain = unquote(path)
    if plain != unquote(plain) or "\\" in plain or plain.count("/") != path.count("/") or not plain.isascii():
        return True
    return not plain.isprintable() or "//" in plain or any(part in (".", "..") for part in plain.split("/"))


def check_id(activity_id: object, what: str = "activity_id") -> str:
    """Return the id if it can stand in a path as it is; else TypeError or ValueError, which names it."""
    if not isinstance(activity_id, str):
        raise TypeError(f"{what} must be a str, not {type(activity_id).__name__}")
    if not _ID.fullmatch(activity_id):
        raise ValueError(
            f"malformed {what} {escape(activity_id, 60)!r}: expected 1 to 128 letters, digits, '-', '_', '.' or '~', "
            "such as 04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
        )
    return activity_id
