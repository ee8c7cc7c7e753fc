"""The HTML page at which a person approves a device code.

The real vendor asks the person to log in first. Here whoever opens the page is that person: with a browser, or with
`curl -d user_code=ABCD-EFGH` and the page's address, which approves; `-d verdict=denied` declines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape

from attrs import define

from .messages import Reply

__all__ = ["ACTIVATE", "Device", "activate"]

ACTIVATE = "/activate"
_VERDICT_TEXTS = {
    "approved": "Approved. You can close this page: the program that waits for it goes on within some seconds.",
    "denied": "Declined. The program that waits for it is told so.",
}
# The icon is named so that no browser asks the vendor for one: that would be a request to an unknown path.
_PAGE_HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sandbox: approve a login</title><link rel="icon" href="data:,">
<style>body {{ font: 1.1em sans-serif; max-width: 32em; margin: 4em auto; padding: 0 1em }}
input, button {{ font: inherit; padding: .4em .8em }}</style></head>
<body><h1>Approve a login</h1>
{body}
<p><small>This is a simulated vendor. It asks for no password, and nobody's account is behind it.</small></p>
</body></html>
"""
_FORM_HTML = """<p>{words}</p>
<form method="post" action="{action}">
<p><label>Code: <input name="user_code" value="{code}" size="10" autocomplete="off" required></label></p>
<p><button name="verdict" value="approved">Approve</button> <button name="verdict" value="denied">Decline</button></p>
</form>"""


@define(eq=False)
class Device:
    """A login on another device. `verdict`: "pending", "approved", "denied", or "spent" once its tokens were fetched.

    `ends`: when its code expires. `interval`: seconds that have to be between two polls.
    """

    client_id: str
    scopes: tuple[str, ...]
    user_code: str
    ends: float
    interval: float
    polled_at: float = -math.inf
    polls: int = 0
    verdict: str = "pending"


def activate(devices: Iterable[Device], query: Mapping[str, str], form: Mapping[str, str] | None, now: float) -> Reply:
    """Answer a GET with the form, or carry out a POST of it. `query`: may hold the code; `form`: None for a GET."""
    typed = query.get("user_code", "") if form is None else form.get("user_code", "")
    device = _find(devices, typed, now)
    if form is None:
        words = "A program wants to log in. Is this the code that it shows?"
        if device is not None:
            words = f"{escape(device.client_id)} asks for {escape(', '.join(device.scopes))}. Is this its code?"
        return _page(200, _FORM_HTML.format(words=words, action=ACTIVATE, code=escape(typed)))
    verdict = form.get("verdict", "approved")
    if device is None or verdict not in _VERDICT_TEXTS:
        words = "There is no login with this code that waits for an answer. Was it mistyped, used before, or too old?"
        return _page(404, _FORM_HTML.format(words=words, action=ACTIVATE, code=escape(typed)))
    device.verdict = verdict
    return _page(200, f"<p>{_VERDICT_TEXTS[verdict]}</p>")


def _find(devices: Iterable[Device], typed: str, now: float) -> Device | None:
    """Return the device that waits with this code, however it was typed."""
    wanted = typed.strip().replace("-", "").replace(" ", "").upper()
    waiting = (device for device in devices if device.verdict == "pending" and now < device.ends)
    return next((device for device in waiting if device.user_code.replace("-", "") == wanted), None)


def _page(status: int, body: str) -> Reply:
    return Reply(
        status=status,
        body=_PAGE_HTML.format(body=body).encode(),
        content_type="text/html; charset=utf-8",
        headers={"Cache-Control": "no-store"},
    )
