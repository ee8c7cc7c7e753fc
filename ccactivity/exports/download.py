"""The file of an export, fetched: where it is, whether it is CSV, whether all of it has come, and where it goes.

A file is complete if its declared length has come, or the last chunk, or the end of the compressed data; if its last
record is closed; and, where nothing but the end of the connection ends it, if it has as many records as the activity
counts. What is not complete is fetched anew from its beginning, three times in all: each costs one request, and a part
of a file is of no use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final, TypeVar

import attrs

from .._validation import check_number
from ..api.client import ApiClient
from ..api.endpoint import Endpoint
from ..api.messages import Request
from ..api.operations import get_export
from ..api.streams import BodyStream
from ..errors import BodyTooLargeError, DecodeError, NotFoundError, TransportError
from ..models import Activity, ActivityExpiredError
from ..polling.absence import Absence
from .part_file import PartFile
from .records import RecordCounter

__all__ = ["Export", "ExportFile"]

T = TypeVar("T")
_log: Final = logging.getLogger("ccactivity")
_BLANKS: Final = b"\xef\xbb\xbf \t\r\n"  # and the mark of UTF-8, before the first word
_NOT_CSV: Final = (b"<", b"{", b"[")  # as HTML, XML and JSON begin
_WRONG_TYPES: Final = ("text/html", "application/json", "application/xml", "text/xml")


@attrs.frozen(kw_only=True)
class ExportFile:
    """A file of an export that was saved."""

    path: Path
    bytes: int
    """Its size."""
    records: int
    """Its records, without the header."""
    expected: int | None
    """How many the activity counts (`items_total_count`), None if it does not say. It differs from `records`, and a
    warning is logged, if contacts came or went while the vendor wrote the file."""


class Export:
    """The file of one export, to be saved or read.

    `activity`: its terminal snapshot. `most`: bytes that it may have, None for any number. `grace`: seconds, from the
    first 404 on, in which it may yet appear.

    Raises ActivityFailedError if the activity ended otherwise than completed, ValueError if it has not ended or has no
    results, and UnsafeLinkError if these are elsewhere than at `endpoint`.
    """

    def __init__(
        self, client: ApiClient, endpoint: Endpoint, activity: Activity, *, most: int | None, grace: float
    ) -> None:
        if not isinstance(activity, Activity):
            raise TypeError(f"activity must be an Activity, not {type(activity).__name__}: get_activity() gives one")
        if most is not None:
            check_number("most", most)
        check_number("grace", grace)
        activity.raise_for_state()
        if not activity.succeeded or activity.results_url is None:
            problem = "has no results_url: is it an export?" if activity.succeeded else "has not ended: wait() for it"
            raise ValueError(f"the activity {problem}")
        self._request: Request = get_export(endpoint, activity.results_url)
        self._client = client
        self._activity = activity
        self._most = most
        self._grace = grace

    async def save(
        self, path: Path, *, overwrite: bool, on_progress: Callable[[int, int], object] | None
    ) -> ExportFile:
        """Write the file to `path`, whole or not at all; see `ActivitySession.save_export`."""
        expected = self._activity.status.items_total_count
        async with PartFile(path, overwrite=overwrite) as part:

            async def receive(stream: BodyStream) -> RecordCounter:
                counter = RecordCounter()
                with closing(stream):
                    await part.restart(counter.feed)  # in the thread: it takes as long as reading and writing
                    async with aclosing(self._read(stream)) as pieces:
                        async for piece in pieces:
                            full = await part.write(piece)
                            del piece  # which an error tracker would show, with an error of `on_progress`
                            if full and on_progress is not None:
                                on_progress(counter.size, counter.records)
                    await part.flush()
                self._check_end(stream, counter)
                return counter

            counter = await self._fetch(receive)
            await part.commit()
        if on_progress is not None:
            on_progress(counter.size, counter.records)
        return ExportFile(path=path, bytes=counter.size, records=counter.records, expected=expected)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the pieces of the file as they come; see `ActivitySession.open_export`."""

        async def hand_over(stream: BodyStream) -> BodyStream:
            return stream

        with closing(await self._fetch(hand_over)) as stream:
            async with aclosing(self._read_to_end(stream)) as pieces:
                yield pieces

    async def _fetch(self, receive: Callable[[BodyStream], Awaitable[T]]) -> T:
        """Ask for the file until it is there."""
        loop = asyncio.get_running_loop()
        absence = Absence(loop.time())
        absence.wait_for(self._grace)
        delay: float | None = 0.0
        while delay is not None:
            await asyncio.sleep(delay)
            with suppress(NotFoundError):
                return await self._client.download(self._request, receive)
            delay = absence.not_found(loop.time(), seen_before=False)
        raise ActivityExpiredError(self._activity)

    async def _read_to_end(self, stream: BodyStream) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of a file, and raise at the end if it is not complete."""
        counter = RecordCounter()
        async with aclosing(self._read(stream)) as pieces:
            async for piece in pieces:
                counter.feed(piece)
                yield piece
        self._check_end(stream, counter)

    async def _read(self, stream: BodyStream) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of a file; raise for what is no CSV, or more than one wants."""
        if stream.content_type in _WRONG_TYPES:
            raise DecodeError(f"{stream.content_type} instead of CSV")
        if not stream.compressed:
            self._check_size(stream.length or 0)
        blank, size = True, 0
        async with aclosing(self._client.pieces(stream)) as pieces:
            async for piece in pieces:
                if blank and (begins := piece.lstrip(_BLANKS)[:1]):
                    blank = False
                    if begins in _NOT_CSV:
                        raise DecodeError("something else than CSV")
                size += len(piece)
                self._check_size(size)
                yield piece

    def _check_size(self, size: int) -> None:
        if self._most is not None and size > self._most:
            raise BodyTooLargeError(f"a file of more than {self._most} bytes")

    def _check_end(self, stream: BodyStream, counter: RecordCounter) -> None:
        expected, problem = self._activity.status.items_total_count, ""
        if counter.open_quote:
            problem = "the last record of the file is not closed"
        elif not counter.size and expected != 0:
            problem = "the file is empty"
        elif stream.ends_by_close and not (counter.ended and counter.records == expected):
            of = "an unknown number of" if expected is None else str(expected)
            problem = f"the connection ended after {counter.records} of {of} records, and nothing else ends the file"
        if problem:
            raise TransportError(problem, method=self._request.method, path=self._request.path)
        if expected not in (None, counter.records):
            text = "the export of activity %s has %d records, and %d were announced"
            _log.warning(text, self._activity.activity_id, counter.records, expected)
