"""The session: what a user holds, and the one place where the parts are put together."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import warnings
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, TypeVar

import aiohttp
import attrs

from ._clock import utc_now
from ._emitter import Emitter, Hook
from ._secret import hide
from ._tasks import LoopBound
from ._text import describe_json
from ._validation import check_number
from ._version import __version__
from .api.auth import Authenticator
from .api.client import ApiClient
from .api.decoding import Decoder
from .api.endpoint import Endpoint, check_id
from .api.messages import Reply, Request
from .api.operations import MAX_PAGE_SIZE, get_activity, get_send_history, list_activities
from .api.outcome import classify
from .api.retry import Retry
from .api.transport import Transport
from .errors import BatchError, CCActivityError, SessionClosedError
from .listing import ActivityList
from .membership import Fleet, FleetStats, Membership
from .models import Activity, SendRecord
from .polling.hub import Hub, SnapshotQueue
from .polling.pacing import Pacing
from .polling.planner import Planner
from .polling.poller import Poller
from .polling.tuning import Tuning
from .ratelimit.limiter import Limiter, Permit, QuotaLimiter
from .ratelimit.quota import Quota
from .tokens import TokenSource, source_of
from .watch import BatchResult, BatchWatch, Watch

if TYPE_CHECKING:
    from . import jobs
    from .exports.download import Export, ExportFile
    from .imports.importer import Importer
    from .imports.plan import Duplicates, Problems
    from .imports.run import Import
    from .jobs.submit import Submitter
    from .jobs.uploads import SmsPermission

__all__ = ["ActivitySession", "RequestPermit", "Stats"]

T = TypeVar("T")

_log: Final = logging.getLogger("ccactivity")
# Seconds of lag that a request is worth while an import of many parts is watched: then at most 25 watch all of it.
_THRIFTY_PRICE_S: Final = 18.0
# The vendor's filter knows these (its Swagger file); `initialized` is a state that it cannot be asked for.
_FILTERS: Final = ("processing", "completed", "cancelled", "failed", "timed_out")


@attrs.frozen(kw_only=True)
class Stats:
    """What a session is doing, at the moment it was asked."""

    watching: int
    """Activities that are watched, each counted once however many watch it."""
    finished: int
    """Activities whose end was seen by a watch."""
    requests: Mapping[str, int]
    """Requests that this session has sent, by kind: "list", "get", "history", "post" and "export"."""
    requests_per_finished: float | None
    """Requests of the kinds "list" and "get" for each finished activity; None before the first one."""
    price: float
    """Seconds of lag that a request is worth now: `Pacing.price`, or more while the day's credit is low."""
    credit: float
    """Requests that watching may spend at once; what the day has left flows in."""
    fleet: FleetStats | None = None
    """The fleet that the session is part of; None without one."""


class RequestPermit:
    """Permission for one request that the program sends itself; made by `ActivitySession.request_permit`."""

    def __init__(self, permit: Permit, client: ApiClient) -> None:
        self._permit = permit
        self._client = client

    def answered(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Say what the vendor answered, so that a 429 is heeded; at most once, and inside the block.

        `status`: the HTTP status. `headers`: of the answer, for the Retry-After and the Date of a 429. `body`: of the
        answer; that of a 429 says whether the second or the day is spent, and without it only a pause follows.

        After a 429 nobody who shares the limit sends for a while: 1 s or more, 5 s if it does not say why, longer from
        one to the next; or until 00:00 UTC if the day is spent. No status is an error here. Raises RuntimeError if it
        is called twice, or after the block.
        """
        if self._permit.settled:
            raise RuntimeError("answered() is called once, inside the block of its permit")
        lower_case = {name.lower(): value for name, value in (headers or {}).items()}
        self._client.settle(self._permit, classify(Reply(status, lower_case, body)))


class ActivitySession:
    """A connection to the vendor's bulk activities and send histories.

    Use it as `async with ActivitySession(token) as session`, or call `aclose` at the end. One session serves any number
    of tasks of one event loop; watches on one session share their requests.

    `token`: an access token; an async callable that gives one, called again when one was refused; or a `TokenSource`.
    `base_url`: of the API; https, or http to this machine.
    `http`: an `aiohttp.ClientSession` of the caller's, which is never closed. None: an own one.
    `quota`: the key's limits. Share one `Quota` between the sessions that use one key. None: a `Quota()` of its own.
    `fleet`: makes all processes that use one key spend what one would, see `ccactivity.fleet`. None: on its own.
    `retry`, `pacing`: how failed requests are repeated, and how eagerly watches look. None: `Retry()`, `Pacing()`.
    `timeout`: seconds for one attempt, from the moment it may be sent; None: no limit. Bound a whole call with
    `asyncio.timeout`.
    `on_event`: called with each event of `ccactivity.events`, in the loop and at once, so that it must not block; or
    several. What it raises is logged once and reaches no call. None: no event is even made.
    `now`: gives the aware UTC time, for the day of the quota and the search for submissions whose answer was lost;
    delays use the event loop's clock.

    Raises ValueError or TypeError for arguments that cannot work. Nothing is sent before the first await.

    Warnings are logged by the name `ccactivity`, and those that a person who waits should see by two names below it:
    `ccactivity.connection`, once in each outage, if the host cannot be reached; `ccactivity.loop` if the event loop did
    not run for over 5 seconds while something was watched. No log record holds a token.
    """

    def __init__(
        self,
        token: str | Callable[[], Awaitable[str]] | TokenSource,
        *,
        base_url: str = "https://api.cc.email/v3",
        http: aiohttp.ClientSession | None = None,
        quota: Quota | None = None,
        fleet: Fleet | None = None,
        retry: Retry | None = None,
        pacing: Pacing | None = None,
        timeout: float | None = 30.0,
        on_event: Hook | Iterable[Hook] | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        token = hide(token)
        self._emitter = Emitter(on_event)
        if timeout is not None:
            check_number("timeout", timeout, above=True)
        for name, value, kind in (
            ("http", http, aiohttp.ClientSession),
            ("quota", quota, Quota),
            ("retry", retry, Retry),
            ("pacing", pacing, Pacing),
        ):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} must be a {kind.__name__} or None, not {type(value).__name__}")
        self._endpoint = Endpoint.parse(base_url)
        self._now = now
        self._pacing = pacing or Pacing()
        self._thrifty: tuple[Hub, Poller] | None = None
        self._quota = Quota() if quota is None else quota
        self._noticed: set[tuple[str, str]] = set()
        self._decoder = Decoder(self._notice)
        agent = f"ccactivity/{__version__} aiohttp/{aiohttp.__version__}"
        transport = Transport(self._endpoint.origin, http, timeout, agent)
        auth = Authenticator(source_of(token), self._emitter)

        self._membership: Membership | None = None
        if fleet is not None:
            self._quota.attach(now)
            self._membership = fleet.join(self._quota, self._decoder, self._make_poller, self._emitter)
        self._limiter: Limiter = (
            self._membership.limiter if self._membership else QuotaLimiter(self._quota, now, self._emitter)
        )
        self._client = ApiClient(
            transport=transport,
            auth=auth,
            limiter=self._limiter,
            retry=retry or Retry(),
            origin=self._endpoint.origin,
            emitter=self._emitter,
        )
        self._hub = self._membership.hub if self._membership else Hub()
        self._poller: Poller | Membership = self._membership or self._make_poller(self._hub)
        self._loop = LoopBound("this session belongs", "make one session for each loop")

    @classmethod
    def from_env(cls, token: str | Callable[[], Awaitable[str]] | TokenSource | None = None, **options: Any) -> Self:
        """Make a session from CCACTIVITY_ACCESS_TOKEN and, if set, CCACTIVITY_BASE_URL and CCACTIVITY_FLEET_URL.

        The last is that of `fleet.RedisFleet`, whose `key` and `account` are CCACTIVITY_FLEET_KEY and _ACCOUNT.
        `token` and `options` are those of the class; a `token` takes the place of the variable. Raises ValueError
        naming the variable that is missing.
        """
        token = hide(token or os.environ.get("CCACTIVITY_ACCESS_TOKEN", "").strip())
        if not token:
            raise ValueError("set CCACTIVITY_ACCESS_TOKEN to an access token of the Constant Contact V3 API")
        if base_url := os.environ.get("CCACTIVITY_BASE_URL", "").strip():
            options.setdefault("base_url", base_url)
        if url := os.environ.get("CCACTIVITY_FLEET_URL", "").strip():
            options.setdefault("fleet", _fleet_from_env(url))
        return cls(token, **options)

    def __repr__(self) -> str:
        return f"<ActivitySession for {self._endpoint.origin}{self._endpoint.prefix}>"

    def __del__(self) -> None:
        bound = getattr(self, "_loop", None)  # set last: an `__init__` that raised has nothing to close
        if bound is not None and bound.loop is not None and not self._client.closed:
            problem = f"unclosed {self!r}, used on {bound.loop!r}: use `async with`, or await its aclose()"
            warnings.warn(problem, ResourceWarning, stacklevel=1, source=self)

    @property
    def quota(self) -> Quota:
        """The limits that this session keeps to."""
        return self._quota

    @property
    def stats(self) -> Stats:
        """What the session is doing, or had done when it was closed. For use while its event loop runs."""
        sent, finished, watching = dict(self._client.sent), self._poller.finished, self._hub.watching
        if self._thrifty is not None:
            hub, poller = self._thrifty
            finished, watching = finished + poller.finished, watching + hub.watching
        asked = sent.get("list", 0) + sent.get("get", 0)
        return Stats(
            watching=watching,
            finished=finished,
            requests=sent,
            requests_per_finished=asked / finished if finished else None,
            price=self._poller.price,
            credit=self._limiter.budget().available,
            fleet=self._membership.stats if self._membership else None,
        )

    @property
    def closed(self) -> bool:
        """Whether it was closed: then nothing can be asked any more."""
        return self._client.closed

    def add_event_hook(self, hook: Hook) -> None:
        """Call one more hook with each event from now on, as if it had been in `on_event`.

        No end is told of a watch that began while there was no hook. Raises TypeError for what cannot be called, or is
        async.
        """
        self._emitter.add(hook)

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the session. What is under way ends with `SessionClosedError`. Closing twice is no error."""
        hubs = [self._hub, *([self._thrifty[0]] if self._thrifty else ())]
        for hub in hubs:
            hub.abort(SessionClosedError("the session was closed"))
        try:
            await self._client.aclose()
            for hub in hubs:
                await hub.settled()
        finally:  # also for whoever does not wait
            if self._membership is not None:
                await self._membership.aclose()

    # --- single questions -------------------------------------------------------------------------------------------

    async def get_activity(self, activity_id: str) -> Activity:
        """Return the activity as it stands now.

        Raises NotFoundError for an id that does not exist or is older than ten days, and whatever else `errors` names.
        """
        request = get_activity(self._endpoint, check_id(activity_id))
        return await self._ask(request, lambda body: self._decoder.decode_activity(body, activity_id))

    async def get_send_history(self, campaign_activity_id: str) -> list[SendRecord]:
        """Return the sends of an email campaign activity, oldest first; an empty list if it was never sent.

        It works for campaign activities of the roles primary_email and resend (vendor's Swagger file).
        """
        request = get_send_history(self._endpoint, check_id(campaign_activity_id, "campaign_activity_id"))
        return await self._ask(request, self._decoder.decode_send_history)

    def list_activities(self, *, state: str | None = None, page_size: int = 500) -> ActivityList:
        """Return the activities of the last ten days, in the vendor's undocumented order.

        `state`: only those that are processing, completed, cancelled, failed or timed_out; the vendor cannot be asked
        for initialized ones. `page_size`: rows a request, 1 to 500.

        Iterate the result for one activity after the other, await it for a list, or use its `pages`.
        """
        if state is not None and state not in _FILTERS:
            raise ValueError(f"state must be one of {', '.join(_FILTERS)}, not {state!r}")
        if isinstance(page_size, bool) or not isinstance(page_size, int):
            raise TypeError(f"page_size must be an int, not {type(page_size).__name__}")
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise ValueError(f"page_size must be from 1 to {MAX_PAGE_SIZE}, not {page_size}")
        first = list_activities(self._endpoint, limit=page_size, state=None if state is None else str(state))
        return ActivityList(first, self._endpoint, lambda request: self._ask(request, self._decoder.decode_page))

    async def _ask(self, request: Request, decode: Callable[[bytes], T]) -> T:
        self._enter()
        return await self._client.ask(request, lambda outcome: decode(outcome.reply.body))

    # --- submitting jobs --------------------------------------------------------------------------------------------

    async def submit(self, job: jobs.Job, *, queue: bool = True) -> Activity:
        """Submit a job of `ccactivity.jobs`, once, and return the activity that it has become; `wait` takes it.

        `queue`: whether to wait while the account has its 1,000 queued activities, for as long as the caller does;
        else QueueFullError.

        If the answer is lost, the activity is found in the list by the name of the file, or the job is sent once more
        where that has the same effect; SubmissionUnknownError where neither is so, with the activities that it may be.
        Raises ValueError before anything is sent if the job is more than one request takes: submit what its `split()`
        gives. A call that is cancelled may have submitted the job.
        """
        self._enter()
        return (await self._submitter.submit(job, queue=queue)).activity

    async def submit_many(
        self, jobs: Iterable[jobs.Job] | AsyncIterable[jobs.Job], *, at_once: int = 4
    ) -> AsyncGenerator[Activity, None]:
        """Submit jobs as fast as the quota and the account's queue allow, and yield each activity once it is there.

        `jobs`: an iterable, or an async iterable; a job is taken when it can be sent, so there may be any number.
        `at_once`: how many are under way at the same time. The activities come in no fixed order. When the day's
        requests are spent, it goes on at 00:00 UTC.

            result = await session.wait_many(session.submit_many(jobs))

        A job that is refused, or of which it is unknown whether it was queued, does not disturb the others: in the end
        a BatchError has the error of each, by its place: "jobs[17]" is the eighteenth. What concerns the session, such
        as a dead token, is raised once what was under way has been yielded.
        """
        self._enter()
        from .jobs.batch import submit_many  # noqa: PLC0415 -- who only watches needs no jobs

        async with aclosing(submit_many(self._submitter, jobs, at_once=at_once)) as activities:
            async for activity in activities:
                yield activity

    @cached_property
    def _submitter(self) -> Submitter:
        from .jobs.submit import Submitter  # noqa: PLC0415 -- who only watches needs no jobs

        return Submitter(self._client, self._endpoint, self._decoder, self._now)

    # --- importing --------------------------------------------------------------------------------------------------

    def import_file(
        self,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        list_ids: Iterable[str],
        encoding: str = "utf-8-sig",
        sms_permission_to_send: SmsPermission | None = None,
        parts_at_once: int = 4,
        duplicates: Duplicates = "warn",
        problems: Problems = "refuse",
        journal: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
    ) -> Import:
        """Import a CSV file of contacts of any size: checked, cut into parts, sent, watched; see `Import`.

        `source`, `list_ids`, `encoding`, `sms_permission_to_send`, `duplicates`: as in `plan_import`. `parts_at_once`:
        how many parts may be at the vendor and not ended. `problems`: "refuse" sends nothing if the vendor would not
        take a row; "send" leaves the judgement to the vendor. `timeout`: seconds for each part, from when the vendor
        has accepted it; None: no limit.

        `journal`: a file, made if it is missing, in which each step is kept. If the program or the machine dies, the
        same call goes on: no row is imported twice, none is forgotten. With another source, or other arguments,
        JournalError. Remove the file when you have the result.

        Raises ImportRefusedError, JournalError and OSError before anything is sent; when all parts have ended,
        ImportFailedError with the result, if some failed; and what concerns the session. Rows that were refused are
        data in the result. Raises ValueError and TypeError at the call.
        """
        from .imports.plan import ImportOptions  # noqa: PLC0415 -- who only watches needs no imports

        options = ImportOptions(
            list_ids=list_ids,
            encoding=encoding,
            sms_permission_to_send=sms_permission_to_send,
            duplicates=duplicates,
            problems=problems,
        )
        return self._importer.import_file(
            source, options=options, parts_at_once=parts_at_once, journal=journal, timeout=timeout
        )

    def import_contacts(
        self,
        rows: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        *,
        list_ids: Iterable[str],
        sms_permission_to_send: SmsPermission | None = None,
        parts_at_once: int = 4,
        duplicates: Duplicates = "warn",
        timeout: float | None = None,
    ) -> Import:
        """Import contacts that a program has as mappings, such as `{"email": ..., "first_name": ..., "cf:size": ...}`.

        `rows`: an iterable, or an async one, of any length: they are written into a temporary file, and nothing is sent
        before the last one is read. Values are str, int, date or None; a key that other rows have and one lacks is an
        empty cell. Lines, in the result and in errors, are the numbers of rows, from 1; 0 are their keys.

        They are sent as a CSV file, as by `import_file`; as JSON if there is a key that the vendor documents for JSON
        only, such as "home_phone". All else is as in `import_file`.
        """
        from .imports.plan import ImportOptions  # noqa: PLC0415 -- as above

        options = ImportOptions(list_ids=list_ids, sms_permission_to_send=sms_permission_to_send, duplicates=duplicates)
        return self._importer.import_contacts(rows, options=options, parts_at_once=parts_at_once, timeout=timeout)

    @cached_property
    def _importer(self) -> Importer:
        from .imports.importer import Importer  # noqa: PLC0415 -- as above

        return Importer(self._enter, self._enter_thriftily, self._submitter, self._make_queue)

    # --- requests of the caller's own -------------------------------------------------------------------------------

    @asynccontextmanager
    async def request_permit(self) -> AsyncGenerator[RequestPermit, None]:
        """Wait until one more request may be sent with the key, for a request that the program sends itself.

        Requests of this library and those sent in such blocks keep the key's limits together. Entering the block waits
        for a turn, as a single call does; the request should leave at once then. One block is for one request, of any
        method; a redirect or a retry needs a block of its own. Nothing else belongs in it: after a spent day, everyone
        waits for the answer to the first request. It is charged in whatever way the block is left, as nobody knows
        whether a request that failed was sent. `Stats.requests` does not count it, `Quota.spent` does.

            async def submit(body: dict[str, Any]) -> tuple[int, bytes]:
                for _ in range(10):
                    async with session.request_permit() as permit, http.post(url, json=body, headers=headers) as answer:
                        content = await answer.read()
                        permit.answered(answer.status, answer.headers, content)
                    if answer.status != 429:  # else once more: the next block waits for as long as the vendor wants
                        return answer.status, content
                raise RuntimeError("429 ten times in a row")

        Raises QuotaExceededError at once if the day's requests are spent, and SessionClosedError.
        """
        self._enter()
        permit = await self._client.acquire()
        try:
            yield RequestPermit(permit, self._client)
        finally:
            permit.close()

    # --- exports ----------------------------------------------------------------------------------------------------

    async def save_export(
        self,
        activity: Activity,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        most: int | None = None,
        grace: float = 10.0,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> ExportFile:
        """Save the file of an export that has completed: at the end the whole file is at `path`, or none is.

        It is written to a hidden file beside `path`, which only this user can read, and takes its place once its end
        and its last record were seen. What breaks off is fetched anew, three times in all. Whatever else happens, a
        full disk or a cancellation, leaves nothing behind, and `path` as it was. A large file may take its time:
        `timeout` of the session bounds the wait for the answer and for each further byte, not the whole.

        `activity`: a snapshot that has completed, such as `wait` returns. `overwrite`: whether a file at `path` may be
        replaced. `most`: bytes that it may have; None: any number. `grace`: seconds, from the first 404 on, in which
        the file may yet appear. `on_progress`: called about once a MiB with the bytes and records so far, which begin
        anew with a new attempt.

        Raises FileExistsError before anything is sent, or at the end if a file has come to be at `path` meanwhile;
        OSError; ActivityFailedError or ValueError for an activity that has not completed or is no export;
        ActivityExpiredError if its file is gone; TransportError if it broke off each time, DecodeError if it is not
        CSV; BodyTooLargeError; UnsafeLinkError; UntrustedServerError for a redirect that must not be followed.
        """
        self._enter()
        export = self._export(activity, most, grace)
        return await export.save(Path(path), overwrite=overwrite, on_progress=on_progress)

    def open_export(
        self, activity: Activity, *, most: int | None = None, grace: float = 10.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read the file of an export as it arrives, without a disk.

            async with session.open_export(activity) as chunks:
                async for chunk in chunks:
                    ...

        No more is read while a chunk is worked on. Leaving the block early gives the file up. What makes it incomplete
        or more than `most` bytes is raised by the iteration at its end: only then was it whole. It begins once; read
        it anew if it breaks off. The arguments and errors are those of `save_export`.
        """
        export = self._export(activity, most, grace)

        @asynccontextmanager
        async def entered() -> AsyncGenerator[AsyncIterator[bytes], None]:
            self._enter()
            async with export.open() as chunks:
                yield chunks

        return entered()

    async def export_contacts(
        self,
        job: jobs.ExportContacts,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        most: int | None = None,
        timeout: float | None = None,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> ExportFile:
        """Export contacts to a file: submit the job, wait until it has completed, save what it has made.

        `timeout`: seconds to wait for it, then WatchTimeoutError; None: no limit. The other arguments, and the file,
        are those of `save_export`; a `path` that is refused is so before the job is submitted. Raises what `submit`,
        `wait` and `save_export` raise; an error after the submission has a note that names the activity, whose file
        `save_export` can fetch for ten days.
        """
        from .exports.part_file import check_target  # noqa: PLC0415 -- as in `_export`
        from .jobs import ExportContacts  # noqa: PLC0415 -- as in `submit`

        if not isinstance(job, ExportContacts):
            raise TypeError(f"job must be an ExportContacts, not {type(job).__name__}")
        check_target(Path(path), overwrite=overwrite)
        activity = await self.submit(job)
        try:
            activity = await self.wait(activity, timeout=timeout)
            return await self.save_export(activity, path, overwrite=overwrite, most=most, on_progress=on_progress)
        except Exception as error:
            error.add_note(f"the export is activity {activity.activity_id}")
            raise

    def _export(self, activity: Activity, most: int | None, grace: float) -> Export:
        from .exports.download import Export  # noqa: PLC0415 -- who only watches saves no files

        return Export(self._client, self._endpoint, activity, most=most, grace=grace)

    # --- watches ----------------------------------------------------------------------------------------------------

    def watch(
        self,
        activity_id: str | Activity,
        *,
        timeout: float | None = None,
        grace: float = 10.0,
        max_staleness: float | None = None,
        every_poll: bool = False,
    ) -> Watch:
        """Watch an activity until it ends: its first snapshot, one for each change, the terminal one last; see `Watch`.

        `activity_id`: an id, or an activity: what `submit` has just returned is the first snapshot, and nothing is
        asked for it; one that has ended is the only one.

        A change is one of state, percent_done, counters, errors or results link. An activity that fails is data here.

        `timeout`: seconds for the whole watch, then WatchTimeoutError; None: no limit. `grace`: seconds, from the first
        404 on, in which it may yet become an activity. `max_staleness`: seconds that it may go unseen at most, as a
        person is looking, unless the day's credit is all but spent; None: whatever is worth its requests. `every_poll`:
        one snapshot for each look instead of each change.

        Raises NotFoundError; ActivityExpiredError if it was seen and is gone; AuthenticationError,
        PermissionDeniedError and the like; SessionClosedError. Failures that may pass do not end a watch.
        """
        queue = self._make_queue(
            self._enter, timeout=timeout, grace=grace, max_staleness=max_staleness, every_poll=every_poll
        )
        return Watch(activity_id, queue)

    async def wait(
        self,
        activity_id: str | Activity,
        *,
        timeout: float | None = None,
        grace: float = 10.0,
        max_staleness: float | None = None,
    ) -> Activity:
        """Wait until an activity has completed, and return its terminal snapshot; see `watch`.

        Raises ActivityFailedError if it ends otherwise, and whatever a watch raises.
        """
        async with self.watch(activity_id, timeout=timeout, grace=grace, max_staleness=max_staleness) as watch:
            async for snapshot in watch:
                snapshot.raise_for_state()
        return snapshot

    def watch_many(
        self,
        ids: Iterable[str | Activity] | AsyncIterable[str | Activity],
        *,
        timeout: float | None = None,
        grace: float = 10.0,
        max_staleness: float | None = None,
    ) -> BatchWatch:
        """Watch many activities until each has ended: their snapshots as they change, each terminal one exactly once.

        `ids`: an iterable, or an async iterable that hands over ids as they come to be; instead of an id it may give an
        activity, as for `watch`. The watch ends when it is exhausted and every id is accounted for. Duplicates count
        once; of an async source, which may be endless, the last 10,000 ids and what is watched are remembered for that.
        `timeout`: seconds for each id, from the first await or iteration, or from when an async source gives it; so of
        a list it is the time for all.

        An id that cannot be followed does not disturb the others, see `BatchWatch`; what concerns the session, such as
        a dead token, ends the iteration. Raises ValueError naming malformed ids, at the call for an iterable.
        """
        queue = self._make_queue(self._enter, timeout=timeout, grace=grace, max_staleness=max_staleness)
        return BatchWatch(ids, queue)

    async def wait_many(
        self,
        ids: Iterable[str | Activity] | AsyncIterable[str | Activity],
        *,
        timeout: float | None = None,
        grace: float = 10.0,
        max_staleness: float | None = None,
        on_change: Callable[[Activity], object] | None = None,
    ) -> BatchResult:
        """Wait until each of many activities has ended or cannot be followed; see `watch_many`.

        `on_change`: called with each snapshot as it is learnt, for instance to show progress: the first of each
        activity, one for each change, and the terminal one. It is an ordinary function, not an async one, and what it
        raises ends the call. None: nothing is called.

        Raises nothing for single ids: they are in the result. What concerns the session is raised, and there is no
        result then: collect what ended with `on_change` or `watch_many` if you need it.
        """
        if inspect.iscoroutinefunction(on_change):
            raise TypeError("on_change must be an ordinary function; to await something at each change, use watch_many")
        completed: dict[str, Activity] = {}
        failed: dict[str, Activity] = {}
        errors: Mapping[str, CCActivityError] = {}
        async with self.watch_many(ids, timeout=timeout, grace=grace, max_staleness=max_staleness) as watch:
            while True:
                try:
                    snapshot = await anext(watch)
                except StopAsyncIteration:
                    break
                except BatchError as error:
                    errors = error.errors
                    break
                if snapshot.done:
                    (completed if snapshot.succeeded else failed)[snapshot.activity_id] = snapshot
                if on_change is not None:
                    on_change(snapshot)
        return BatchResult(completed=completed, failed=failed, errors=errors)

    def _enter_thriftily(self) -> Hub:
        """As `_enter`, for watches of many minutes; in a fleet there is one poller, and it has one price for all."""
        hub = self._enter()
        if self._membership is not None:
            return hub
        if self._thrifty is None:
            pacing = attrs.evolve(self._pacing, price=max(self._pacing.price, _THRIFTY_PRICE_S))
            hub = Hub()
            self._thrifty = hub, self._make_poller(hub, pacing)
        return self._thrifty[0]

    def _make_poller(self, hub: Hub, pacing: Pacing | None = None) -> Poller:
        planner = Planner(pacing or self._pacing, Tuning())
        return Poller(hub, planner, self._client, self._limiter, self._endpoint, self._decoder, self._emitter)

    def _make_queue(self, enter: Callable[[], Hub], **options: Any) -> SnapshotQueue:
        return SnapshotQueue(enter=enter, submitted_at=self._submitted_at, emitter=self._emitter, **options)

    def _submitted_at(self, activity_id: str) -> float | None:
        if "_submitter" not in self.__dict__:  # nothing was submitted
            return None
        return self._submitter.submitted_at(activity_id)

    def _enter(self) -> Hub:
        """Bind the session to the loop that uses it first; return its hub, for a watch that enters."""
        if self._client.closed:
            raise SessionClosedError("the session is closed")
        if asyncio.get_running_loop() is not self._loop.loop:
            self._loop.bind()
            if self._membership is not None:
                self._membership.start()
        return self._hub

    def _notice(self, field: str, value: object) -> None:
        """Warn of a value that is not what the vendor documents, once for each field and kind of value."""
        key = (field, value if isinstance(value, str) and field in ("state", "send_status") else type(value).__name__)
        if key not in self._noticed and len(self._noticed) < 100:
            self._noticed.add(key)
            _log.warning("the API sent an undocumented value of %s: %s", field, describe_json(value, 80))


def _fleet_from_env(url: str) -> Fleet:
    from .fleet import RedisFleet  # noqa: PLC0415 -- without a fleet redis-py is not needed

    def named(name: str) -> str:
        return os.environ.get(f"CCACTIVITY_FLEET_{name}", "").strip() or "default"

    return RedisFleet(url, key=named("KEY"), account=named("ACCOUNT"))
