"""The page in a real browser: what it shows, how it moves, and that it can be read and used by everyone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has none
from playwright.sync_api import Page, expect
from support.page_server import PageServer, follow
from support.vendor import UNKNOWN_ID

from ccactivity import Activity, ActivityStatus, Quota
from ccactivity.sandbox import Life, Sandbox, unauthorized

Serve = Callable[..., PageServer]
Open = Callable[..., Page]
expect.set_options(timeout=15_000)
FOREVER = Life(duration=10_000)
both = pytest.mark.parametrize("adapter", ["aiohttp", "asgi"])


def ended(number: int, state: str = "completed", **more: Any) -> Activity:
    return Activity(activity_id=f"id-{number:04}", state=state, percent_done=100, **more)


def row(page: Page, text: str) -> Any:
    return page.locator("tbody tr", has_text=text)


def connection(page: Page) -> Any:
    return page.locator("#connection")


@both
def test_first_paint(sandbox: Sandbox, served: Serve, open_page: Open, adapter: str) -> None:
    """Counts, what the day has left, and a row for each activity: in words, not in colours alone."""
    ids = [sandbox.submit(FOREVER, file_name=f"spring-{n}.csv", rows=1_200) for n in range(3)]
    bad = ended(1, "failed", source_file_name="autumn.csv", activity_errors=("Line 3: malformed",))
    server = served(sandbox, follow(ids, bad, ended(2)), adapter=adapter)
    page = open_page(server.url)

    expect(page).to_have_title("2/5 Tonight's imports")
    expect(connection(page)).to_have_text(re.compile("live"))
    expect(page.locator("#counts")).to_have_text(re.compile(r"1 failed\s+3 running\s+0 waiting\s+1 completed"))
    expect(page.locator("#quota")).to_have_text(
        re.compile(r"^\d+ requests spent today · [\d,]+ left until 00:00( · [\d.]+ per finished activity)?$")
    )
    expect(row(page, "spring-1.csv")).to_have_text(re.compile(r"running\s+spring-1.csv \S+\s+\d+ %\s+1,200"))
    expect(row(page, "autumn.csv")).to_contain_text("Line 3: malformed")
    expect(row(page, "autumn.csv").locator(".state")).to_have_text(re.compile("failed"))
    expect(page.locator("caption")).to_have_text("4 of 5 activities are shown.")
    expect(page.get_by_role("status")).to_have_text("1 failed, 3 running, 1 completed.")
    assert ["1 failed", "3 running", "1 completed Show"] == [
        " ".join(text.split()) for text in page.locator("tr.section:visible").all_inner_texts()
    ]


@both
def test_it_moves(sandbox: Sandbox, served: Serve, open_page: Open, adapter: str) -> None:
    """What is followed later appears, runs and ends without anybody touching the page."""
    server = served(sandbox, lambda board: None, adapter=adapter)
    page = open_page(server.url)
    expect(page.locator("caption")).to_have_text("0 of 0 activities are shown.")
    server.call(server.board.follow, sandbox.submit(Life(duration=3, update_every=0.2), file_name="spring.csv"))

    expect(row(page, "spring.csv")).to_contain_text("running")
    expect(page.locator("#counts")).to_have_text(re.compile(r"0 failed\s+0 running\s+0 waiting\s+1 completed"))
    expect(row(page, "spring.csv")).to_have_count(0)
    page.get_by_role("button", name="Show").click()
    expect(row(page, "spring.csv")).to_have_text(re.compile(r"completed\s+spring.csv \S+\s+100 %"))


@both
def test_it_comes_back_after_a_restart(
    sandbox: Sandbox, served: Serve, open_page: Open, reported: list[str], adapter: str
) -> None:
    """It says that it is disconnected, tries again by itself, and then shows what the new server knows."""
    server = served(sandbox, follow(sandbox.submit(FOREVER, file_name="before.csv")), adapter=adapter)
    page = open_page(server.url)
    expect(row(page, "before.csv")).to_be_visible()
    server.stop()
    expect(connection(page)).to_have_text(re.compile("disconnected, trying again"))
    expect(page.get_by_role("status")).to_have_text("disconnected, trying again.")
    expect(row(page, "before.csv")).to_be_visible()
    server._follow = follow(sandbox.submit(FOREVER, file_name="after.csv"))
    server.start()

    expect(connection(page)).to_have_text(re.compile("live"))
    expect(row(page, "after.csv")).to_be_visible()
    expect(row(page, "before.csv")).to_have_count(0)
    assert [] == [text for text in reported if "Failed to load resource" not in text and "ERR_" not in text]
    reported.clear()  # a browser reports each connection that it cannot make


def test_it_comes_back_after_an_answer_that_is_no_stream(
    sandbox: Sandbox, served: Serve, open_page: Open, reported: list[str]
) -> None:
    """A browser gives up then; the page does not. Before the first rows there is no heading of any."""
    server = served(sandbox, follow(ended(1, "failed")))
    page = open_page("about:blank")
    answers = iter([503, 502])
    page.route(
        "**/events*",
        lambda route: route.fulfill(status=status) if (status := next(answers, None)) else route.continue_(),
    )
    page.goto(server.url)

    expect(connection(page)).to_have_text(re.compile("disconnected"))
    expect(page.locator("tr.section:visible")).to_have_count(0)
    expect(row(page, "id-0001")).to_be_visible(timeout=15_000)
    assert 2 == len(reported)
    reported.clear()


def test_the_end(sandbox: Sandbox, served: Serve, open_page: Open) -> None:
    """A board that was closed has told the page, which asks no more and keeps what it shows."""
    server = served(sandbox, follow(ended(1, "failed")))
    page = open_page(server.url)
    expect(row(page, "id-0001")).to_be_visible()
    server.call(server.board.aclose)

    expect(connection(page)).to_have_text(re.compile("over: nothing more will change"))
    server.stop()
    page.wait_for_timeout(3_000)
    expect(connection(page)).to_have_text(re.compile("over"))
    expect(row(page, "id-0001")).to_be_visible()


def test_a_hidden_tab_looks_no_more(sandbox: Sandbox, served: Serve, open_page: Open) -> None:
    """Its stream is closed; when it is seen again, it gets what it has missed."""
    server = served(sandbox, follow(ended(1, "failed")))
    page = open_page(server.url)
    expect(row(page, "id-0001")).to_be_visible()
    assert 1 == server.streams

    hide = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true }); }"
    page.evaluate(hide, True)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    for _ in range(50):
        if not server.streams:
            break
        page.wait_for_timeout(100)
    assert 0 == server.streams
    server.call(server.board.follow, ended(2, "failed"))
    page.evaluate(hide, False)
    with page.expect_request(re.compile(r"/imports/events\?after=[0-9a-f]{8}-1$")):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(row(page, "id-0002")).to_be_visible()
    expect(row(page, "id-0001")).to_be_visible()


# --- rows -----------------------------------------------------------------------------------------------------------


def test_a_day_whose_end_is_unknown(sandbox: Sandbox, served: Serve, open_page: Open) -> None:
    """As before a session has asked anything: then it is not said."""
    server = served(sandbox, lambda _: None)
    page = open_page("about:blank")
    quota = {"spent": 0, "left": 10_000, "resets_at": None, "per_finished": None, "problem": None}
    stream = f"event: quota\ndata: {json.dumps(quota)}\n\n"
    page.route("**/events*", lambda route: route.fulfill(content_type="text/event-stream", body=stream))
    page.goto(server.url)

    expect(page.locator("#quota")).to_have_text("0 requests spent today · 10,000 left")


def test_errors_of_failed_imports(sandbox: Sandbox, served: Serve, open_page: Open) -> None:
    """Three are shown, and the others when they are asked for; those of an id that does not exist, too."""
    errors = tuple(f"Line {number}: malformed" for number in range(1, 24))
    server = served(
        sandbox, follow(ended(1, "failed", activity_errors=errors), UNKNOWN_ID, sandbox.submit(FOREVER)), quota=Quota()
    )
    page = open_page(server.url)
    failed = row(page, "id-0001")

    expect(failed).to_contain_text("Line 3: malformed")
    expect(failed.get_by_text("Line 4: malformed")).to_be_hidden()
    failed.get_by_text("20 more").click()
    expect(failed.get_by_text("Line 20: malformed")).to_be_visible()
    expect(failed).to_contain_text("3 that are not sent to this page")
    expect(row(page, UNKNOWN_ID)).to_contain_text("There is no such activity", timeout=20_000)
    expect(row(page, UNKNOWN_ID)).to_contain_text("not followed")
    expect(page.locator("#counts")).to_contain_text(re.compile(r"2 failed\s+1 running"))


def test_rows_that_were_refused(sandbox: Sandbox, served: Serve, open_page: Open) -> None:
    """An import that completed without some of its rows is marked, and says how many."""
    partial = ended(1, source_file_name="spring.csv", status=ActivityStatus(person_count=90, error_count=12))
    page = open_page(served(sandbox, follow(partial)).url)
    page.get_by_role("button", name="Show").click()

    expect(row(page, "spring.csv")).to_have_text(re.compile(r"90\s+12 refused"))
    assert "partial" == row(page, "spring.csv").get_attribute("data-section")


def test_parts_of_a_file_are_one_row(sandbox: Sandbox, served: Serve, open_page: Open) -> None:
    """With how many of them have ended."""
    parts = [ended(number, source_file_name=f"customers-{number}of3-0123abcd.csv") for number in (1, 2)]
    running = sandbox.submit(FOREVER, file_name="customers-3of3-0123abcd.csv")
    page = open_page(served(sandbox, follow(parts, running)).url)

    expect(row(page, "customers")).to_have_text(re.compile(r"running\s+customers\s+2 of 3 parts have ended\s+66 %"))
    expect(page.locator("caption")).to_have_text("1 of 1 activities are shown.")


def test_names_and_messages_are_text(sandbox: Sandbox, served: Serve, open_page: Open) -> None:
    """Whatever a file is called."""
    evil = "<img src=x onerror=alert(1)>"
    bad = ended(1, "failed", source_file_name=evil, activity_errors=(evil,))
    page = open_page(served(sandbox, follow(bad), title=evil).url)

    expect(row(page, "id-0001")).to_have_text(re.compile(f"{re.escape(evil)}.*{re.escape(evil)}"))
    expect(page.get_by_role("heading", level=1)).to_have_text(evil)
    assert 0 == page.locator("img").count()


def test_what_concerns_the_session(sandbox: Sandbox, served: Serve, open_page: Open) -> None:
    """A token that is refused is told above the rows, and no longer when it works again."""
    sandbox.faults.add(unauthorized())
    page = open_page(served(sandbox, follow(sandbox.submit(FOREVER))).url)

    expect(page.locator("#problem")).to_contain_text("Watching has stopped: GET /v3/activities")
    expect(page.locator("#problem")).to_contain_text("HTTP 401")
    sandbox.faults.clear()
    expect(page.locator("#problem")).to_be_hidden(timeout=40_000)


# --- many -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def thousand(sandbox: Sandbox, served: Serve) -> PageServer:
    """A page of a thousand activities, of which five have failed, and 300 have not ended."""
    ids = [sandbox.submit(FOREVER, file_name=f"under-way-{n:03}.csv") for n in range(300)]
    failed = [ended(n, "failed", activity_errors=("Line 1: malformed",)) for n in range(5)]
    completed = [ended(n, source_file_name=f"done-{n:03}.csv") for n in range(1000, 1695)]
    return served(sandbox, follow(failed, ids, completed), quota=Quota(per_second=1000, per_day=1e6))


def test_a_thousand_activities(thousand: PageServer, open_page: Open) -> None:
    """Two hundred rows at most are on the page, and a search finds the others."""
    page = open_page(thousand.url)
    rows = page.locator("tbody tr:not(.section)")

    expect(page.locator("#counts")).to_contain_text(re.compile(r"5 failed\s+8 running\s+292 waiting\s+695 completed"))
    expect(rows).to_have_count(200)
    expect(page.locator("caption")).to_have_text("200 of 1,000 activities are shown.")
    expect(page.locator("tr.section", has_text="waiting")).to_contain_text("292 waiting, of which 187 are shown")
    search = page.get_by_label("Search")
    search.fill("DONE-1234")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("done-1234.csv")
    expect(page.locator("caption")).to_have_text("1 of 1,000 activities are shown that match “done-1234”.")
    search.fill("malformed")
    expect(rows).to_have_count(5)
    search.fill("nothing like that")
    expect(rows).to_have_count(0)
    search.fill("")
    expect(rows).to_have_count(200)


# --- everyone -------------------------------------------------------------------------------------------------------


def test_by_keyboard(sandbox: Sandbox, served: Serve, open_page: Open) -> None:
    """Search, the fold of what has ended and that of messages are reached in this order, and keep the focus."""
    errors = tuple(f"Line {number}: malformed" for number in range(1, 6))
    server = served(sandbox, follow(ended(1, "failed", activity_errors=errors), ended(2)))
    page = open_page(server.url)
    expect(row(page, "id-0001")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Line 5: malformed")).to_be_visible()
    server.call(server.board.follow, [ended(3, "failed"), sandbox.submit(FOREVER)])
    expect(page.locator("#counts")).to_contain_text(re.compile(r"2 failed\s+1 running"))
    expect(page.locator("summary")).to_be_focused()
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Show")
    expect(button).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(row(page, "id-0002")).to_be_visible()
    button = page.get_by_role("button", name="Hide")
    expect(button).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Space")
    expect(row(page, "id-0002")).to_have_count(0)


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"viewport": {"width": 320, "height": 640}},
        {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
        {"forced_colors": "active"},
        {"reduced_motion": "reduce"},
    ],
    ids=["light", "dark", "320 px", "200 % zoom", "forced colours", "reduced motion"],
)
def test_everyone_can_read_it(sandbox: Sandbox, served: Serve, open_page: Open, options: dict[str, Any]) -> None:
    """No rule of axe is broken, nothing lies beyond the right edge, and each state has a shape and a word."""
    errors = tuple(f"Line {number}: {'malformed ' * 9}" for number in range(1, 6))
    followed = (
        ended(1, "failed", activity_errors=errors, source_file_name="a-very-long-name-" * 8 + ".csv"),
        ended(2, status=ActivityStatus(error_count=3, person_count=1_234_567)),
        ended(3),
        [sandbox.submit(FOREVER) for _ in range(3)],
        sandbox.submit(Life(delay=10_000)),
    )
    page = open_page(served(sandbox, follow(*followed)).url, **options)
    page.get_by_role("button", name="Show").click()
    page.get_by_text("2 more").click()
    expect(page.locator("tbody tr:not(.section)")).to_have_count(7)
    results = Axe().run(page)

    assert 0 == results.violations_count, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    for name, shape in {"failed": "✕", "running": "▸", "waiting": "○", "ended": "✓", "partial": "!"}.items():
        found = page.locator(f"tbody tr[data-section={name}]:not(.section)").first
        assert f'"{shape}"' == found.locator(".shape").evaluate("node => getComputedStyle(node, '::before').content")
        assert found.locator(".word").inner_text()
    expect(page.get_by_role("table")).to_have_count(1)
    expect(page.get_by_role("columnheader")).to_have_count(5)
    assert 7 == page.get_by_role("row").filter(has=page.get_by_role("cell")).count()
