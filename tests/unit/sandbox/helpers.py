"""What the tests of the sandbox share: a vendor without limits, and callers that do everything right."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp

from ccactivity.sandbox import OAuthRules, Reply, Request, Sandbox, Vendor, Violations

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = 86_400.0
STRANGER = "00000000-0000-4000-8000-000000000000"
HEADERS = {"Accept": "application/json", "Cache-Control": "no-cache", "User-Agent": "tests/1.0"}


def make(**options: Any) -> Vendor:
    """Return a vendor without limits, unless asked for."""
    return Vendor(**{"start": START, "per_second": None, "per_day": None, **options})


def ask(
    vendor: Vendor,
    target: str = "/v3/activities",
    now: float = 0.0,
    *,
    method: str = "GET",
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    transit: float = 0.0,
    **more: Any,
) -> Reply:
    """Send one request, with the vendor's newest token unless another is given."""
    authorization = f"Bearer {vendor.token if token is None else token}"
    sent = {**HEADERS, "Authorization": authorization, **(headers or {})}
    return vendor.handle(Request(method=method, target=target, headers=sent, **more), now, transit=transit)


def post(vendor: Vendor, kind: str, body: object, now: float = 0.0) -> Reply:
    """Ask for a job."""
    return ask(vendor, f"/v3/activities/{kind}", now, method="POST", body=json.dumps(body).encode())


def read(reply: Reply) -> Any:
    """Return the JSON of a reply."""
    return json.loads(reply.body)


def form(
    file: str | bytes | None, list_ids: str | None, *, name: str = "people.csv", permission: str | None = None
) -> dict[str, Any]:
    """Return headers and body of a file import."""
    file = file.encode() if isinstance(file, str) else file
    texts = {"list_ids": list_ids, "sms_permission_to_send": permission}
    parts = [] if file is None else [f'name="file"; filename="{name}"\r\nContent-Type: text/csv'.encode(), file]
    for key, text in texts.items():
        parts += [] if text is None else [f'name="{key}"'.encode(), text.encode()]
    body = b"".join(
        b"--xyz\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + data + b"\r\n"
        for head, data in zip(parts[::2], parts[1::2], strict=True)
    )
    return {"headers": {"Content-Type": "multipart/form-data; boundary=xyz"}, "body": body + b"--xyz--\r\n"}


def upload(vendor: Vendor, now: float = 0.0, **parts: Any) -> Reply:
    """Ask for an import of a file."""
    return ask(vendor, "/v3/activities/contacts_file_import", now, method="POST", **parts)


def error_key(reply: Reply) -> str:
    """Return the error key of a bare error object; of anything else nothing."""
    body = read(reply)
    return body.get("error_key", "") if isinstance(body, dict) else ""


def pages(vendor: Vendor, target: str, now: float = 0.0) -> list[list[str]]:
    """Follow a list to its end; return the ids on each page."""
    found = []
    while True:
        page = read(ask(vendor, target, now))
        found.append([row["activity_id"] for row in page["activities"]])
        if not page["_links"]:
            return found
        target = page["_links"]["next"]["href"]


def flat(found: list[list[str]]) -> list[str]:
    """Return the ids of all pages in one list."""
    return [activity_id for page in found for activity_id in page]


def counted(vendor: Vendor) -> dict[str, int]:
    """Return the violations that are not zero."""
    names = [name for name in Violations.__annotations__ if getattr(vendor.violations, name)]
    return {name: getattr(vendor.violations, name) for name in names}


# --- logins -------------------------------------------------------------------------------------------------

OAUTH = "/oauth2/default/v1"
REDIRECT = "https://app.example/callback"
ALL_SCOPES = "contact_data campaign_data offline_access"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def make_oauth(**rules: Any) -> Vendor:
    """Return a vendor with a public and a confidential client."""
    vendor = Vendor(start=START, oauth=OAuthRules(**{"per_second": None, **rules}))
    vendor.oauth.register("public", redirect_uris=[REDIRECT])
    vendor.oauth.register("private", secret="canary-secret-s", redirect_uris=[REDIRECT])
    return vendor


def post_form(
    vendor: Vendor, path: str, now: float = 0.0, *, basic: str = "", **form: str
) -> tuple[int, dict[str, Any]]:
    """Post a form to an endpoint of the authorization server, with HTTP Basic if `basic` is given."""
    headers = {"Authorization": "Basic " + base64.b64encode(basic.encode()).decode()} if basic else {}
    body = urlencode(form).encode()
    reply = vendor.handle(Request(method="POST", target=OAUTH + path, headers=headers, body=body), now)
    return reply.status, json.loads(reply.body)


def error_of(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]


def refresh(vendor: Vendor, token: str, now: float = 0.0) -> tuple[int, dict[str, Any]]:
    return post_form(vendor, "/token", now, grant_type="refresh_token", refresh_token=token, client_id="public")


def use(vendor: Vendor, token: str, now: float = 0.0) -> int:
    """Return the status that the API answers to an access token."""
    return ask(vendor, now=now, token=token).status


# --- over HTTP ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[Sandbox, aiohttp.ClientSession]]:
    """Serve a sandbox without limits, with a client that may use it."""
    async with Sandbox(**{"per_second": None, **options}) as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.token}", "Accept": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as http:
            yield sandbox, http


def time() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()


def fetch_blocking(sandbox: Sandbox, path: str) -> Any:
    """Return the JSON of an answer, with the standard library alone."""
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    with urllib.request.urlopen(urllib.request.Request(sandbox.base_url + path, headers=headers)) as response:
        return json.load(response)


async def fetch(sandbox: Sandbox, http: aiohttp.ClientSession, path: str = "/activities") -> Any:
    """Return the JSON of a successful answer."""
    async with http.get(sandbox.base_url + path) as response:
        body = await response.read()
        assert 200 == response.status, body
        return json.loads(body)
