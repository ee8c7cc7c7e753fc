"""The submitter: sends a job once, and finds out what became of it when the answer is lost.

Everything that happens to a submission goes by `Submitter.submit`:

1. **What was certainly not carried out is repeated**, by the client, as every request is: no connection, a refused
   token, a throttle.
2. **A full queue is waited for.** One submission at a time asks again, the others wait behind it.
3. **A lost answer is reconciled** with the list of activities, if the job has a name that shows there: what is found is
   the answer. What is not found after 40 seconds is sent once more, under the same name.
4. **A job without a name is sent once more if that has the same effect**; else whoever submitted it has to decide, and
   is told which activities it may be (`SubmissionUnknownError`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import attrs

from ..api.client import ApiClient
from ..api.decoding import ActivityPage, Decoder
from ..api.endpoint import Endpoint
from ..api.messages import Request
from ..api.operations import MAX_PAGE_SIZE, create_activity, list_activities
from ..api.outcome import Outcome, is_ambiguous, is_rejection
from ..errors import CCActivityError, PermissionDeniedError, QueueFullError, SubmissionUnknownError
from ..events import Paused, Resumed, Submitted
from ..listing import ActivityList
from ..models import Activity
from .job import Job

__all__ = ["Submission", "Submitter", "is_of_one_job"]

_log: Final = logging.getLogger("ccactivity")
# Seconds after a lost answer at which the list is read, until it shows the job.
_LOOKS_AFTER_S: Final = (2.0, 5.0, 15.0, 40.0)
_FIRST_QUEUE_WAIT_S: Final = 30.0
_MAX_QUEUE_WAIT_S: Final = 300.0
# For a job without a name, the list is read once: what a lost request has created is in it by then.
_CANDIDATES_AFTER_S: Final = 15.0
# For one whose repetition has the same effect: what was a moment's trouble is over.
_REPEAT_AFTER_S: Final = 5.0
_CLOCK_RECHECK_S: Final = 300.0  # wall clocks are set, laptops sleep
_MIN_QUOTA_WAIT_S: Final = 60.0  # by a clock that is fast, the day has begun that the vendor waits for
# A Date header has whole seconds, and travels.
_CLOCK_MARGIN: Final = timedelta(seconds=5)
_MIN_ORDERED_ROWS: Final = 100  # of a list, to be no accident
_RESOLUTION: Final = timedelta(seconds=1)  # of timestamps: some kinds of jobs have whole seconds
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_MAX_REMEMBERED: Final = 10_000  # submissions, by the ids of their activities


SubmissionOutcome = Literal["answered", "reconciled", "repeated"]


@attrs.frozen(kw_only=True)
class Submission:
    """What became of a job that was submitted.

    `outcome`: "answered", as nearly always; "reconciled" if the answer was lost and the list of activities showed the
    job; "repeated" if it was lost and the job was sent once more. `others`: activities that have the job's name too,
    because the vendor has queued it twice.
    """

    activity: Activity
    outcome: SubmissionOutcome = "answered"
    others: tuple[Activity, ...] = ()


@attrs.define(eq=False)
class _Case:
    """A job that is being submitted.

    `sent_at`, `sent_on`: loop and wall time from which on it may have been queued. `lost`: why nobody knows how often
    it was, once an answer was lost. `losses`: how often that may be.
    """

    job: Job
    request: Request
    queue: bool
    sent_at: float = 0.0
    sent_on: datetime = _LATEST
    lost: Exception | None = None
    losses: int = 0

    def is_lost_by(self, error: Exception) -> bool:
        """Whether nobody knows after an error how often it was queued: not by that of a refresh before it, for one."""
        if self.lost is not None and self.job.key is None:
            return True  # what becomes of its repetition says nothing of the first
        return is_ambiguous(error) and getattr(error, "path", None) in (None, self.request.path)


class Submitter:
    """Submits jobs for one session. `now` gives the aware UTC time."""

    def __init__(self, client: ApiClient, endpoint: Endpoint, decoder: Decoder, now: Callable[[], datetime]) -> None:
        self._client = client
        self._endpoint = endpoint
        self._decoder = decoder
        self._now = now
        self._vendor_epoch: datetime | None = None  # its wall time at the loop time 0, if it has ever told its own
        self._submitted: dict[str, float] = {}  # loop times of the answers, by activity
        self._queue_full = False  # as far as anyone has seen
        self._queue_probe = asyncio.Lock()

    def submitted_at(self, activity_id: str) -> float | None:
        """The loop time at which a submission of this session was answered with this activity; None if none was."""
        return self._submitted.get(activity_id)

    async def submit(self, job: Job, *, queue: bool = True) -> Submission:
        """Submit a job. `queue`: whether to wait while the account's queue is full; else QueueFullError.

        Raises ValueError, before anything is sent, for more than one request takes; SubmissionUnknownError; and what
        the vendor says of the job or the session.
        """
        if not isinstance(job, Job):
            raise TypeError(f"job must be one of ccactivity.jobs, not {type(job).__name__}")
        case = _Case(job, create_activity(self._endpoint, job.kind, job.encode()), queue)
        try:
            submission = await self._submit(case)
        except SubmissionUnknownError:
            self._tell(case, None, "unknown")
            raise
        self._tell(case, submission.activity.activity_id, submission.outcome)
        return submission

    def _tell(self, case: _Case, activity_id: str | None, outcome: str) -> None:
        if self._client.emitter.hooks:
            now, kind, rows, size = asyncio.get_running_loop().time(), case.job.kind, case.job.rows, case.request.size
            self._client.emitter.emit(
                Submitted(at=now, kind=kind, activity_id=activity_id, rows=rows, bytes=size, outcome=outcome)
            )

    async def _submit(self, case: _Case) -> Submission:
        job = case.job
        outcomes: tuple[SubmissionOutcome, ...] = ("answered", "repeated")
        for outcome in outcomes:
            try:
                if case.losses:
                    _log.warning("%r is sent once more: %s", job, case.lost)
                    await self._client.until_closed(asyncio.sleep(_REPEAT_AFTER_S if job.key is None else 0.0))
                return self._remember(await self._send(case), outcome=outcome)
            except Exception as error:
                if not case.is_lost_by(error):
                    raise
                case.lost, case.losses = error, case.losses + 1
            if job.key is None and not job.repeatable:
                break
            if job.key is not None and (found := await self._look_for(case)):
                return self._remember(*found, outcome="reconciled")
        raise await self._unknown(case)

    async def find(self, file_name: str) -> list[Activity]:
        """Return the activities of file imports that have this name: those of the last ten days, in no order."""
        return [one async for one in self._list() if one.source_file_name == file_name]

    async def wait_until(self, instant: datetime) -> None:
        """Wait until a time of the wall clock, which may be set meanwhile, or be wrong; SessionClosedError."""
        seconds = _MIN_QUOTA_WAIT_S
        while seconds > 0:
            await self._client.until_closed(asyncio.sleep(min(seconds, _CLOCK_RECHECK_S)))
            seconds = (instant - self._now()).total_seconds()

    # --- one request ------------------------------------------------------------------------------------------------

    async def _send(self, case: _Case) -> Activity:
        """Send a submission, and wait for its turn if the queue is full."""
        delay = 0.0  # for whoever comes after another one who waits
        if not (case.queue and self._queue_full):
            try:
                return await self._ask(case)
            except QueueFullError as error:
                if not case.queue:
                    raise
                if not self._queue_full:
                    _log.warning("submissions wait: %s", error)
                    delay = _FIRST_QUEUE_WAIT_S
                self._note_full(delay)
        await self._client.until_closed(self._queue_probe.acquire())
        try:
            while True:
                await self._client.until_closed(asyncio.sleep(delay))
                try:
                    return await self._ask(case)
                except QueueFullError:
                    delay = min(max(_FIRST_QUEUE_WAIT_S, 2 * delay), _MAX_QUEUE_WAIT_S)
                    self._note_full(delay)
        finally:
            self._queue_probe.release()

    def _note_full(self, delay: float) -> None:
        if not self._queue_full and self._client.emitter.hooks:
            now = asyncio.get_running_loop().time()
            self._client.emitter.emit(Paused(at=now, cause="queue_full", until=now + delay))
        self._queue_full = True

    async def _ask(self, case: _Case) -> Activity:
        def decode(outcome: Outcome) -> Activity:
            activity = self._decoder.decode_created(outcome.reply.body)
            self._note_time(outcome)
            return activity

        if case.lost is None:
            case.sent_at, case.sent_on = asyncio.get_running_loop().time(), self._now()
        activity = await self._client.ask(case.request, decode)
        if self._queue_full:
            self._queue_full = False
            self._client.emitter.emit(Resumed(at=asyncio.get_running_loop().time(), cause="queue_full"))
        return activity

    def _note_time(self, outcome: Outcome) -> None:
        if outcome.server_time is not None:
            self._vendor_epoch = outcome.server_time - timedelta(seconds=asyncio.get_running_loop().time())

    def _since(self, case: _Case) -> datetime:
        """The vendor's wall time from which on a job may have been queued; by our own clock, if it never told its own.

        Of our clocks, the one that has gone further: the loop's stands still while a laptop sleeps, the other is set.
        """
        loop_time, wall = asyncio.get_running_loop().time(), self._now()
        passed = max(timedelta(seconds=loop_time - case.sent_at), wall - case.sent_on)
        return (wall if self._vendor_epoch is None else self._vendor_epoch + timedelta(seconds=loop_time)) - passed

    def _remember(self, activity: Activity, *others: Activity, outcome: SubmissionOutcome) -> Submission:
        now = asyncio.get_running_loop().time()
        for each in (activity, *others):
            self._submitted[each.activity_id] = now
        while len(self._submitted) > _MAX_REMEMBERED:
            del self._submitted[next(iter(self._submitted))]
        if others:
            ids = ", ".join(each.activity_id for each in (activity, *others))
            _log.warning("the vendor has queued one job more than once: %s", ids)
        return Submission(activity=activity, outcome=outcome, others=others)

    # --- after a lost answer ----------------------------------------------------------------------------------------

    async def _look_for(self, case: _Case) -> list[Activity]:
        """Read the list until it shows a job by its name. Raises SubmissionUnknownError if it cannot be read."""
        loop = asyncio.get_running_loop()
        lost_at, unread = loop.time(), None
        for seconds in _LOOKS_AFTER_S:
            unread = None
            try:
                await self._client.until_closed(asyncio.sleep(lost_at + seconds - loop.time()))
                if found := await self._find_named(case):
                    return found
            except Exception as error:  # noqa: BLE001 -- a user's token source may raise anything; the job comes first
                unread = error
        if unread is None:
            return []
        reason = f"{case.lost}; then {unread}"
        raise SubmissionUnknownError(case.job, since=self._since(case), reason=reason, listed=False) from unread

    async def _find_named(self, case: _Case) -> list[Activity]:
        found: list[Activity] = []
        async with aclosing(self._new(case)) as unaccounted:
            async for activity in unaccounted:
                if activity.source_file_name == case.job.key:
                    found.append(activity)
                    if len(found) == case.losses:
                        break
        return found

    async def _unknown(self, case: _Case) -> SubmissionUnknownError:
        """Make the error of a job that nothing shows, with the activities that may be it."""
        candidates, listed = list[Activity](), True
        try:
            await self._client.until_closed(asyncio.sleep(_CANDIDATES_AFTER_S))
            candidates = [one async for one in self._new(case)]
        except Exception as error:  # noqa: BLE001 -- as above
            _log.debug("the list of activities cannot be read: %s", error)
            listed = False
        since, reason = self._since(case), str(case.lost)
        return SubmissionUnknownError(case.job, since=since, candidates=candidates, reason=reason, listed=listed)

    async def _new(self, case: _Case) -> AsyncGenerator[Activity, None]:
        """The activities created since a job was sent that no submission of this session has accounted for.

        The order of the list is undocumented, so all pages are read; but those after what is older than the job only if
        the rows until then were not in the order of their creation, the newest first.
        """
        ordered, rows, oldest = True, 0, _LATEST
        async for page in self._list().pages():
            earliest = self._since(case) - _CLOCK_MARGIN
            for activity in page:
                created = activity.created_at
                ordered = ordered and created is not None and created - _RESOLUTION <= oldest
                oldest = min(oldest, created or oldest)
                if activity.activity_id not in self._submitted and (created is None or created >= earliest):
                    yield activity
            rows += len(page)
            if ordered and rows >= _MIN_ORDERED_ROWS and oldest < earliest:
                return

    def _list(self) -> ActivityList:
        def decode(outcome: Outcome) -> ActivityPage:
            page = self._decoder.decode_page(outcome.reply.body)
            self._note_time(outcome)
            return page

        first = list_activities(self._endpoint, limit=MAX_PAGE_SIZE)
        return ActivityList(first, self._endpoint, lambda request: self._client.ask(request, decode))


def is_of_one_job(error: CCActivityError) -> bool:
    """Whether the next job may fare better: this one was refused, or the vendor still tells what there is."""
    if isinstance(error, SubmissionUnknownError):
        return error.listed
    return is_rejection(error) and not isinstance(error, PermissionDeniedError)
