"""The errors of the library, as one tree for everything the world can do to a caller.

Wrong arguments are not in it: they are `ValueError` and `TypeError`, raised at the call. The three errors that carry an
activity are defined beside it, in `models`.

    CCActivityError
    ├── TransportError                  no usable answer came: reset, timed out
    │   ├── NotSentError                there was no connection, so the vendor knows nothing of the request
    │   └── UntrustedServerError        bad certificate, or an HTTP session that sends to another host
    ├── ResponseError                   the vendor answered, and it was a refusal
    │   ├── BadRequestError             400
    │   ├── AuthenticationError         401, after the token source was told
    │   ├── PermissionDeniedError       403, names the scope and the privilege that the call needs
    │   ├── NotFoundError               404
    │   ├── ThrottledError              429 that outlived its retries
    │   ├── QueueFullError              429 to a submission: 1,000 jobs of the account are queued
    │   └── ServerError                 5xx that outlived its retries
    ├── QuotaExceededError              the day's requests are spent, by the vendor's word or by our own ledger
    ├── DecodeError                     a 2xx that is not what the API documents, or any 3xx
    │   └── BodyTooLargeError           a body of more than 8 MiB, or a file of more than the caller wants
    ├── SubmissionUnknownError          the answer to a submission was lost, and nothing shows whether it was queued
    ├── UnsafeLinkError                 a link that leads away from where it belongs; nothing was sent
    ├── PagingError                     next links that form a loop, or never end
    ├── ActivityFailedError             the activity ended in another state than completed
    ├── ActivityExpiredError            404 for an activity that had been seen: older than the 10 days it is kept
    ├── WatchTimeoutError               the caller's time for a watch is over (also a TimeoutError)
    ├── BatchError                      some ids of a batch could not be followed (also an ExceptionGroup)
    ├── TokenError                      no access token could be had
    │   ├── LoginFailedError            a login was not completed: denied, too late, its answer lost
    │   ├── ReauthorizationRequiredError    only a person can help: they must log in again
    │   └── TokenStoreError             stored tokens that cannot be read or written; nothing was overwritten
    ├── JournalError                    the journal of an import is of another one, in use, or cannot be written
    ├── FleetUnavailableError           the engine of a fleet is away, so nobody may send
    ├── ImportRefusedError              a file that cannot be imported as it is (also a ValueError)
    └── SessionClosedError              the session was closed meanwhile, or before

Data are attributes, so that nobody has to parse a message. Every error can be pickled and copied. No error, no
message and no chain holds a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from ._base_error import CCActivityError
from ._base_error import rebuild as _rebuild  # noqa: F401 -- errors pickled by earlier versions name it here
from .models import Activity, ActivityExpiredError, ActivityFailedError, WatchTimeoutError

if TYPE_CHECKING:
    from . import jobs
    from .imports.columns import ImportProblem

__all__ = [
    "ActivityExpiredError",
    "ActivityFailedError",
    "AuthenticationError",
    "BadRequestError",
    "BatchError",
    "BodyTooLargeError",
    "CCActivityError",
    "DecodeError",
    "FleetUnavailableError",
    "ImportRefusedError",
    "JournalError",
    "LoginFailedError",
    "NotFoundError",
    "NotSentError",
    "PagingError",
    "PermissionDeniedError",
    "QueueFullError",
    "QuotaExceededError",
    "ReauthorizationRequiredError",
    "ResponseError",
    "ServerError",
    "SessionClosedError",
    "SubmissionUnknownError",
    "ThrottledError",
    "TokenError",
    "TokenStoreError",
    "TransportError",
    "UnsafeLinkError",
    "UntrustedServerError",
    "WatchTimeoutError",
]


_MAX_SHOWN_PROBLEMS: Final = 3  # in the message of an ImportRefusedError


class TransportError(CCActivityError):
    """No usable answer came. `method` and `path` say to what; `reason` says why, in a few words."""

    def __init__(self, reason: str, *, method: str, path: str) -> None:
        super().__init__(f"{method} {path}: {reason}")
        self.reason = reason
        self.method = method
        self.path = path


class NotSentError(TransportError):
    """No connection could be made, so nothing was sent: sending again is safe whatever the request does."""


class UntrustedServerError(TransportError):
    """The server is not who it says it is, or not where it should be: sending again changes nothing."""


class ResponseError(CCActivityError):
    """The vendor answered with a refusal.

    `status`: the HTTP status. `error_key`, `error_message`: the vendor's own words, None where it gave none.
    `request_id`: the gateway's id of the request, which the vendor's support asks for, or None.
    `method`, `path`: of the request. `hint`: what to do about it, or None.
    """

    def __init__(
        self,
        *,
        status: int,
        method: str,
        path: str,
        error_key: str | None = None,
        error_message: str | None = None,
        request_id: str | None = None,
        hint: str | None = None,
    ) -> None:
        said = ": ".join(part for part in (error_key, error_message) if part)
        if error_key and error_message and _plain(error_key) == _plain(error_message):
            said = error_message
        message = f"{method} {path}: HTTP {status}" + (f", {said}" if said else "")
        super().__init__(message + (f" ({hint})" if hint else ""))
        self.status = status
        self.method = method
        self.path = path
        self.error_key = error_key
        self.error_message = error_message
        self.request_id = request_id
        self.hint = hint


def _plain(words: str) -> str:
    """The letters and digits alone: the vendor's key often says what its message says."""
    return "".join(filter(str.isalnum, words)).casefold()


class BadRequestError(ResponseError):
    """HTTP 400: the vendor does not accept the request."""


class AuthenticationError(ResponseError):
    """HTTP 401, and the token source had nothing better to offer."""


class PermissionDeniedError(ResponseError):
    """HTTP 403: the token lacks a scope, its user a privilege, or the application is deactivated.

    The vendor also answers this to a path that it does not know: `hint` says so if `base_url` does not end in /v3.
    `scope`, `privilege`: what the call needs of the token, and of the user who granted it; None if that is unknown.
    """

    def __init__(self, *, scope: str | None = None, privilege: str | None = None, **response: Any) -> None:
        super().__init__(**response)
        self.scope = scope
        self.privilege = privilege


class NotFoundError(ResponseError):
    """HTTP 404: there is no such activity, or it is older than the ten days that the vendor keeps one."""


class ThrottledError(ResponseError):
    """HTTP 429 that outlived its retries: something else uses up the key's requests a second."""


class QueueFullError(ResponseError):
    """HTTP 429 to a submission: the account has 1,000 queued activities, and takes no more. Nothing was queued."""


class ServerError(ResponseError):
    """HTTP 5xx that outlived its retries."""


class QuotaExceededError(CCActivityError):
    """The API key's requests for this UTC day are spent, by the vendor's word or by our own ledger.

    `resets_at`: the aware UTC instant of the next 00:00 UTC. Watches do not raise this: they sleep until then.
    """

    def __init__(self, message: str, *, resets_at: datetime) -> None:
        super().__init__(message)
        self.resets_at = resets_at


class DecodeError(CCActivityError):
    """An answer that says success and is not what the API documents.

    `status`: its HTTP status. `excerpt`: its first characters, escaped. `method`, `path`: of the request, once known.
    """

    def __init__(
        self,
        problem: str,
        *,
        status: int = 200,
        excerpt: str = "",
        method: str | None = None,
        path: str | None = None,
    ) -> None:
        where = f"{method} {path}: " if method else ""
        super().__init__(f"{where}{problem}" + (f"; it begins {excerpt}" if excerpt else ""))
        self.problem = problem
        self.status = status
        self.excerpt = excerpt
        self.method = method
        self.path = path


class BodyTooLargeError(DecodeError):
    """A body of more than 8 MiB, or a file of more than `most` bytes: not read to its end, and not asked for again."""


class SubmissionUnknownError(CCActivityError):
    """The answer to a submission was lost, and nothing shows whether the vendor has queued the job.

    It is raised where sending the job once more could have another effect than sending it once, or where that was
    lost too. `job`: what was submitted; None in a pickle or copy about an import, which has no contacts. `since`:
    aware UTC time, by the vendor's clock where that is known, from which on it may have been queued. `candidates`:
    activities created since then that no submission of this session has accounted for: one of them may be it.
    `listed`: whether the list of activities could be read; if not, there may be more. `reason`: what happened to the
    answer.
    """

    def __init__(
        self,
        job: jobs.Job,
        *,
        since: datetime,
        candidates: Sequence[Activity] = (),
        listed: bool = True,
        reason: str = "",
    ) -> None:
        count = len(candidates)
        found = f"{count} {'activity' if count == 1 else 'activities'} created since {since:%H:%M:%S} UTC may be it"
        if not listed:
            found = "the list of activities could not be read"
        super().__init__(f"it is unknown whether {job!r} was queued: {reason}; {found}")
        self.job: jobs.Job | None = job
        self.since = since
        self.candidates: tuple[Activity, ...] = tuple(candidates)
        self.listed = listed
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (cls, args, state) = super().__reduce__()
        if self.job is not None and self.job.holds_contacts:
            state["job"] = None  # task queues store the errors of tasks
        return rebuild, (cls, args, state)


class UnsafeLinkError(CCActivityError):
    """A link that leads away from where it belongs, its collection or the API. `link`: the link, escaped and cut."""

    def __init__(self, problem: str, *, link: str) -> None:
        super().__init__(f"unsafe link, not followed: {problem} ({link})")
        self.problem = problem
        self.link = link


class PagingError(CCActivityError):
    """Next links that form a loop, or do not end within 10,000 pages. What was good has been delivered before."""


class BatchError(CCActivityError, ExceptionGroup[CCActivityError]):
    """Some ids of a batch could not be followed; everything else has been delivered.

    `errors`: the error of each such id. It is an `ExceptionGroup` of these too, so `except* NotFoundError` works.
    """

    def __new__(cls, message: str, exceptions: Sequence[CCActivityError], /, *_: object) -> Self:
        return super().__new__(cls, message, exceptions)

    def __init__(
        self,
        message: str,
        exceptions: Sequence[CCActivityError],
        /,
        errors: Mapping[str, CCActivityError] | None = None,
    ) -> None:
        super().__init__(message, exceptions)
        self.errors: Mapping[str, CCActivityError] = dict(errors or {})

    @classmethod
    def of(cls, errors: Mapping[str, CCActivityError]) -> BatchError:
        """Make the error of a batch from the error of each id."""
        count = len(errors)
        return cls(f"{count} {'id' if count == 1 else 'ids'} could not be followed", list(errors.values()), errors)

    def derive(self, exceptions: Sequence[CCActivityError], /) -> BatchError:  # type: ignore[override]  # narrower on purpose: a batch holds nothing from outside the family
        """Make the error of a part of the batch, for `split` and `except*`."""
        kept = {key: error for key, error in self.errors.items() if error in exceptions}
        return BatchError(self.message, exceptions, kept)


class TokenError(CCActivityError):
    """No access token could be had."""


class LoginFailedError(TokenError):
    """A login was not completed; nothing was stored.

    `reason`: "denied", "expired", "refused", or "lost" when the answer with the tokens may have been lost.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class ReauthorizationRequiredError(TokenError):
    """Only a person can help: the stored authorization is gone, and they must log in again.

    `reason`: "interrupted" (a refresh whose answer was lost or not saved), "idle", "revoked", "no_refresh_token" or
    "not_logged_in"; empty if unknown. `since`: when the refresh began that was interrupted, or when the authorization
    was last used; None if unknown.
    """

    def __init__(self, message: str, *, reason: str = "", since: datetime | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.since = since


class TokenStoreError(TokenError):
    """Stored tokens that cannot be read or written: garbage, a link, loose permissions. Nothing was overwritten."""


class SessionClosedError(CCActivityError):
    """The session was closed, before the call or while it ran."""


class JournalError(CCActivityError):
    """The journal of an import belongs to another one, is used by another process, or cannot be written.

    Nothing is sent after it. `path`: of the journal.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class FleetUnavailableError(CCActivityError):
    """The engine of a fleet cannot be used, so nothing may be sent. Watches do not raise this: they go on later.

    `reason`: why, in a few words.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ImportRefusedError(CCActivityError, ValueError):
    """A file that cannot be imported as it is, or that changed while it was imported.

    `problems`: what is wrong, with line and column, as far as it was kept; never what the file says there.
    `count`: of all problems. It is a `ValueError` too.
    """

    def __init__(self, message: str, *, problems: Sequence[ImportProblem] = (), count: int | None = None) -> None:
        super().__init__(message)
        self.problems: tuple[ImportProblem, ...] = tuple(problems)
        self.count: int = len(self.problems) if count is None else count

    @classmethod
    def of(cls, problems: Sequence[ImportProblem], count: int | None = None) -> ImportRefusedError:
        """Make the error from what is wrong; its message has the first few."""
        count = len(problems) if count is None else count
        shown = "; ".join(map(str, problems[:_MAX_SHOWN_PROBLEMS]))
        more = count - min(len(problems), _MAX_SHOWN_PROBLEMS)
        return cls(shown + (f"; and {more:,} more" if more else ""), problems=problems, count=count)
