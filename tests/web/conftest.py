"""A browser for the tests of the page, and what each of them checks: the page reports nothing, and breaks no policy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from support.page_server import WHERE, PageServer, chromium, find_chromium

from ccactivity.sandbox import Sandbox

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give a real browser; without one on this machine, skip, or fail where CI is set."""
    program = find_chromium()
    if program is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"no browser for the live page: no {WHERE}")
    with chromium(program) as started:
        yield started


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Give a simulated vendor in a thread, without limits."""
    with Sandbox(per_second=None, per_day=None, latency=0.01) as vendor:
        yield vendor


@pytest.fixture
def served() -> Iterator[Callable[..., PageServer]]:
    """Serve pages until the test ends; the arguments are those of `PageServer`."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(PageServer(*arguments, **options))


@pytest.fixture
def reported() -> list[str]:
    """What the page has told the console, and which rules of its policy it has broken; a test may allow some."""
    return []


@pytest.fixture
def open_page(browser: Browser, reported: list[str]) -> Iterator[Open]:
    """Open a page; the options are those of a context of playwright. Nothing may be reported by the end."""
    with ExitStack() as stack:

        def open_at(url: str, **options: Any) -> Page:
            context = browser.new_context(**{"locale": "en-GB", "timezone_id": "UTC", **options})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(10_000)
            page.on("console", lambda message: reported.append(message.text))
            page.on("pageerror", lambda error: reported.append(str(error)))
            page.add_init_script(
                "document.addEventListener('securitypolicyviolation', event => console.error(event.violatedDirective))"
            )
            page.goto(url)
            return page

        yield open_at
    assert [] == reported
