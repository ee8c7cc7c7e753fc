"""The batch of submissions: jobs of a source, a few at the same time, as fast as they can be sent."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from typing import Final

import attrs

from .._tasks import closing_iterator, spawn
from .._validation import check_number
from ..errors import BatchError, CCActivityError, QuotaExceededError
from ..models import Activity
from .job import Job
from .submit import Submitter, is_of_one_job

__all__ = ["submit_many"]

_MAX_RESULTS: Final = 1  # that wait for the consumer: a slow one holds back what is sent


async def submit_many(
    submitter: Submitter, jobs: Iterable[Job] | AsyncIterable[Job], *, at_once: int
) -> AsyncGenerator[Activity, None]:
    """Submit jobs, `at_once` at the same time, and yield their activities; see `ActivitySession.submit_many`."""
    check_number("at_once", at_once, least=1)
    if isinstance(jobs, Job):
        raise TypeError("jobs must be an iterable of jobs, not one job")
    async with aclosing(_numbered(jobs)) as source:
        batch = _Batch(submitter, source)
        workers = [spawn(batch.work(), contextvars.copy_context()) for _ in range(at_once)]
        try:
            left = len(workers)
            while left:
                result = await batch.results.get()
                if result is None:
                    left -= 1
                else:
                    yield result
        finally:
            batch.left = True
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
    batch.raise_errors()


@attrs.define(eq=False)
class _Batch:
    """What the workers of one batch share. `results`: activities, and None from each worker that has ended.

    `errors`: of single jobs, by their places. `stopped_by`: why no further job is taken. `left`: the consumer
    has gone, and the workers are cancelled.
    """

    submitter: Submitter
    source: AsyncGenerator[tuple[int, Job], None]
    results: asyncio.Queue[Activity | None] = attrs.field(factory=lambda: asyncio.Queue(_MAX_RESULTS))
    errors: dict[str, CCActivityError] = attrs.field(factory=dict)
    stopped_by: BaseException | None = None
    left: bool = False
    _taking: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    async def work(self) -> None:
        """Submit one job after the other."""
        try:
            while (taken := await self._take()) is not None:
                await self._submit(*taken)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- a user's source may raise it
            if self.left:
                return
            self.stopped_by = self.stopped_by or error
        await self.results.put(None)

    async def _take(self) -> tuple[int, Job] | None:
        async with self._taking:
            return None if self.stopped_by else await anext(self.source, None)

    async def _submit(self, number: int, job: Job) -> None:
        while True:
            try:
                activity = (await self.submitter.submit(job)).activity
            except QuotaExceededError as error:
                await self.submitter.wait_until(error.resets_at)
            except CCActivityError as error:
                if not is_of_one_job(error):
                    raise
                self.errors[f"jobs[{number}]"] = error
                return
            else:
                await self.results.put(activity)
                return

    def raise_errors(self) -> None:
        """Raise what stopped the batch, else the errors of single jobs, if there are any."""
        refused = BatchError.of(self.errors) if self.errors else None
        if self.stopped_by is not None:
            raise self.stopped_by from refused
        if refused is not None:
            raise refused


async def _numbered(jobs: Iterable[Job] | AsyncIterable[Job]) -> AsyncGenerator[tuple[int, Job], None]:
    if isinstance(jobs, AsyncIterable):
        number = 0
        async with closing_iterator(jobs) as source:
            async for job in source:
                yield number, job
                number += 1
        return
    for numbered in enumerate(jobs):
        yield numbered
