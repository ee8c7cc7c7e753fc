"""The files of exports: what is in them, how they are sent, and the other host that may keep them."""

from __future__ import annotations

import asyncio
import csv
import io
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import pytest

from ccactivity.sandbox import Cut, Framing, Life, Reply, Request, Sandbox, Vendor
from ccactivity.sandbox.exports import csv_blocks, csv_length

HEADERS = {"Accept": "text/csv", "Cache-Control": "no-cache", "User-Agent": "test"}


@pytest.mark.parametrize("rows", [0, 1, 250, 999, 1_000, 1_001, 2_500])
def test_a_file_has_its_rows_and_its_length(rows: int) -> None:
    """Each row is another one, some have quoted commas and quotes, and some a line break."""
    content = b"".join(csv_blocks(rows))
    table = list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))

    assert rows == len(table) == len({row["Email address"] for row in table})
    assert csv_length(rows) == len(content)
    assert rows // 10 == sum(row["First name"] == 'Ann "Annie", jr.' for row in table)
    assert rows // 250 == sum("\r\n" in row["Notes"] for row in table)


def test_a_file_is_made_in_blocks() -> None:
    """A million rows are never in memory together."""
    blocks = csv_blocks(1_000_000)

    assert max(len(next(blocks)) for _ in range(20)) < 150_000


def a_vendor(rows: int = 2_000, **options: Any) -> tuple[Vendor, str]:
    """Return a vendor with an export that has completed, and its results link."""
    vendor = Vendor(start=datetime(2026, 1, 1, tzinfo=UTC), **options)
    job = vendor.job(vendor.submit(0.0, Life(duration=1), kind="contact_exports", rows=rows))
    text = job.text(5.0, 0)
    return vendor, text[text.index("/v3/contact_exports") :].partition('"')[0]


def ask(vendor: Vendor, target: str, **headers: str) -> Reply:
    given = HEADERS | ({"Authorization": f"Bearer {vendor.token}"} if target.startswith("/v3") else {}) | headers
    return vendor.handle(Request(method="GET", target=target, headers=given), 5.0)


def test_a_large_file_is_not_kept() -> None:
    """The reply can make it; effects that change a body see it whole."""
    vendor, href = a_vendor()
    reply = ask(vendor, href)
    vendor.faults.add(Cut(0.25), where="export")

    assert (b"", csv_length(2_000)) == (reply.body, reply.length)
    assert b"".join(csv_blocks(2_000)) == reply.whole().body
    assert csv_length(2_000) // 4 == len(ask(vendor, href).body)


def test_a_file_on_another_host() -> None:
    """The redirect is signed; the host wants no token, counts it as a violation, and knows no other signature."""
    vendor, href = a_vendor(export_redirect=True)
    reply = ask(vendor, href)
    location = urlsplit(reply.headers["Location"])
    target = f"{location.path}?{location.query}"

    assert (302, "https", "files.example") == (reply.status, location.scheme, location.netloc)
    assert b"".join(csv_blocks(2_000)) == ask(vendor, target).whole().body
    assert 403 == ask(vendor, location.path).status
    assert 403 == ask(vendor, "/exported/x.csv?X-Signature=1").status
    assert 0 == vendor.violations.credentials_elsewhere
    for name in ("Authorization", "Cookie", "Referer"):
        ask(vendor, target, **{name: "x"})
    assert 3 == vendor.violations.credentials_elsewhere
    assert {"export": 1, "file": 6} == vendor.requests


@asynccontextmanager
async def served(framing: Framing | None, rows: int) -> AsyncIterator[aiohttp.ClientResponse]:
    async with Sandbox() as sandbox, aiohttp.ClientSession(auto_decompress=False) as http:
        job = sandbox.vendor.job(sandbox.submit(Life(duration=1.0), kind="contact_exports", rows=rows))
        href = job.text(sandbox.now, 0)
        href = href[href.index("/contact_exports") :].partition('"')[0]
        await asyncio.sleep(1.0)
        if framing is not None:
            sandbox.faults.add(framing, where="export")
        headers = HEADERS | {"Authorization": f"Bearer {sandbox.token}"}
        async with http.get(sandbox.base_url + href, headers=headers) as response:
            yield response


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("by", ["length", "chunked", "close"])
async def test_each_framing(by: Literal["length", "chunked", "close"], gzip: bool) -> None:
    """Whatever tells its end, the file is the same."""
    async with served(Framing(by, gzip=gzip), 3_000) as response:
        body, headers = await response.read(), response.headers

    assert ("Content-Length" in headers, "Transfer-Encoding" in headers) == (by == "length", by == "chunked")
    assert b"".join(csv_blocks(3_000)) == (zlib.decompress(body, 31) if gzip else body)


async def test_a_large_file_has_a_length() -> None:
    """As most hosts of files send it."""
    async with served(None, 5_000) as response:
        assert str(csv_length(5_000)) == response.headers["Content-Length"]
        assert csv_length(5_000) == len(await response.read())


@pytest.mark.parametrize("by", ["length", "chunked"])
@pytest.mark.parametrize("cut", [0, 1, 150_000])
async def test_a_cut_file(by: Literal["length", "chunked"], cut: int) -> None:
    """A caller who looks at the framing can tell."""
    with pytest.raises(aiohttp.ClientPayloadError):
        async with served(Framing(by, cut=cut), 3_000) as response:
            await response.read()


async def test_a_cut_that_shows_nowhere() -> None:
    """Without a length the end of the connection is all there is."""
    async with served(Framing("close", cut=150_000), 3_000) as response:
        assert 150_000 == len(await response.read())
