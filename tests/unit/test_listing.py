"""The list of activities, page by page: what comes once, and where a walk ends."""

from __future__ import annotations

import itertools
from contextlib import nullcontext

import pytest

from ccactivity.api.decoding import ActivityPage
from ccactivity.api.endpoint import Endpoint
from ccactivity.api.messages import Request
from ccactivity.api.operations import list_activities
from ccactivity.errors import PagingError, UnsafeLinkError
from ccactivity.listing import ActivityList
from ccactivity.models import Activity

API = Endpoint.parse("https://api.cc.email/v3")
FIRST = list_activities(API, limit=2)


class Pages:
    """Answers requests for pages. `asked`: their targets."""

    def __init__(self, pages: dict[str, tuple[str, object]]) -> None:
        self.pages = pages
        self.asked: list[str] = []

    async def read(self, request: Request) -> ActivityPage:
        query = request.target.partition("?")[2]
        self.asked.append(query)
        ids, following = self.pages[query]
        return ActivityPage(tuple(Activity(activity_id=key) for key in ids), following, len(ids))

    def list(self) -> ActivityList:
        return ActivityList(FIRST, API, self.read)


def link(cursor: str) -> str:
    return f"/v3/activities?{cursor}"


async def test_pages_follow_the_links() -> None:
    """Each page is asked for when it is needed, by the link of the one before; the list ends where there is no link."""
    pages = Pages({"limit=2": ("ab", link("x")), "x": ("cd", link("y")), "y": ("e", None)})
    shown = [["".join(each.activity_id for each in page), len(pages.asked)] async for page in pages.list().pages()]

    assert [["ab", 1], ["cd", 2], ["e", 3]] == shown
    assert ["limit=2", "x", "y"] == pages.asked


async def test_a_list_is_read_anew_each_time() -> None:
    """A list may be awaited or iterated, again and again."""
    activities = Pages({"limit=2": ("ab", link("x")), "x": ("c", "")}).list()
    awaited = await activities

    assert ["a", "b", "c"] == [each.activity_id for each in awaited]
    assert awaited == [each async for each in activities]


async def test_a_row_that_shifted_comes_once() -> None:
    """An activity that is on two pages, because the list shifted meanwhile, comes once."""
    pages = Pages({"limit=2": ("ab", link("x")), "x": ("bc", link("y")), "y": ("", link("z")), "z": ("d", None)})

    assert ["a", "b", "c", "d"] == [each.activity_id for each in await pages.list()]


@pytest.mark.parametrize("back_to", ["x", "y", "limit=2"])
async def test_links_in_a_circle(back_to: str) -> None:
    """A link to a page that was read already is a PagingError, after what was good was delivered."""
    pages = Pages({"limit=2": ("a", link("x")), "x": ("b", link("y")), "y": ("c", link(back_to))})
    delivered = []
    with pytest.raises(PagingError, match="/v3/activities: the next links form a loop"):
        async for activity in pages.list():
            delivered.append(activity.activity_id)

    assert ["a", "b", "c"] == delivered
    assert ["limit=2", "x", "y"] == pages.asked


async def test_pages_without_news() -> None:
    """New links that show the same rows again and again are a circle too: ten such pages are enough."""
    cursors = [f"c{number}" for number in range(100)]
    pages = Pages({here: ("a", link(there)) for here, there in itertools.pairwise(["limit=2", *cursors])})
    with pytest.raises(PagingError):
        await pages.list()

    assert 11 == len(pages.asked)


@pytest.mark.parametrize("following", ["https://evil.example/v3/activities", "/v3/contacts", 5])
async def test_a_link_that_leads_away(following: object) -> None:
    """A link that leads away is an UnsafeLinkError, after what was good was delivered; it is not followed."""
    pages = Pages({"limit=2": ("ab", following)})
    delivered = []
    with pytest.raises(UnsafeLinkError):
        async for activity in pages.list():
            delivered.append(activity.activity_id)

    assert (["a", "b"], ["limit=2"]) == (delivered, pages.asked)


@pytest.mark.parametrize(("pages", "ends"), [(10_000, True), (10_001, False)])
async def test_a_list_has_ten_thousand_pages_at_most(pages: int, ends: bool) -> None:
    """Links that never repeat, with something new on each page, end with an error; what was good comes before."""
    asked = 0

    async def read(request: Request) -> ActivityPage:
        nonlocal asked
        asked += 1
        following = None if asked == pages else link(f"cursor={asked}")
        return ActivityPage((Activity(activity_id=str(asked)),), following, 1)

    seen = []
    with nullcontext() if ends else pytest.raises(PagingError, match="more than 10,000 pages of next links"):
        async for activity in ActivityList(FIRST, API, read):
            seen.append(activity)

    assert 10_000 == len(seen) == asked
