"""The list of activities, read page by page by following the vendor's next links."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Final

from .api.decoding import ActivityPage
from .api.endpoint import Endpoint
from .api.messages import Request
from .errors import PagingError
from .models import Activity

__all__ = ["ActivityList"]

# A collection that shifts while it is read repeats rows, but not whole pages again and again.
_MAX_PAGES_WITHOUT_NEWS: Final = 10
# Each with something new: 5 million activities in ten days, if pages are as large as they may be.
_MAX_PAGES: Final = 10_000


class ActivityList:
    """A list of activities that is read page by page, as it is needed; made by `ActivitySession.list_activities`.

    Each iteration reads it anew. An activity that is on two pages, because the list shifted meanwhile, comes once.
    Raises UnsafeLinkError, PagingError or DecodeError for links that lead astray, after what was good was delivered.
    """

    def __init__(self, first: Request, endpoint: Endpoint, read: Callable[[Request], Awaitable[ActivityPage]]) -> None:
        self._first = first
        self._endpoint = endpoint
        self._read = read

    async def __aiter__(self) -> AsyncIterator[Activity]:
        async for page in self.pages():
            for activity in page:
                yield activity

    def __await__(self) -> Generator[Any, None, list[Activity]]:
        return self._all().__await__()

    async def _all(self) -> list[Activity]:
        return [activity async for activity in self]

    async def pages(self) -> AsyncIterator[list[Activity]]:
        """Yield the activities page by page."""
        request: Request | None = self._first
        visited: set[str] = set()
        known: set[str] = set()
        without_news = 0
        while request is not None:
            visited.add(request.target)
            page = await self._read(request)
            fresh = []
            for activity in page.activities:
                if activity.activity_id not in known:
                    known.add(activity.activity_id)
                    fresh.append(activity)
            yield fresh
            request = self._endpoint.next_request(page.next, request)
            without_news = 0 if fresh else without_news + 1
            if request is not None and (request.target in visited or without_news >= _MAX_PAGES_WITHOUT_NEWS):
                raise PagingError(f"{request.path}: the next links form a loop")
            if request is not None and len(visited) >= _MAX_PAGES:
                raise PagingError(f"{request.path}: there are more than {_MAX_PAGES:,} pages of next links")
