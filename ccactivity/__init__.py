"""Asyncio client for the bulk activities and send histories of the Constant Contact V3 API.

The public names are imported when the first of them is used: the HTTP library takes a third of a second, which
`ccactivity --help` and a shell that completes a word need not wait for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .api.retry import Retry
    from .errors import (
        ActivityExpiredError,
        ActivityFailedError,
        AuthenticationError,
        BadRequestError,
        BatchError,
        BodyTooLargeError,
        CCActivityError,
        DecodeError,
        FleetUnavailableError,
        ImportRefusedError,
        JournalError,
        LoginFailedError,
        NotFoundError,
        NotSentError,
        PagingError,
        PermissionDeniedError,
        QueueFullError,
        QuotaExceededError,
        ReauthorizationRequiredError,
        ResponseError,
        ServerError,
        SessionClosedError,
        SubmissionUnknownError,
        ThrottledError,
        TokenError,
        TokenStoreError,
        TransportError,
        UnsafeLinkError,
        UntrustedServerError,
        WatchTimeoutError,
    )
    from .exports import ExportFile
    from .imports.columns import ImportProblem
    from .imports.linemap import LineMap, RowError
    from .imports.plan import ImportPart, ImportPlan, PlannedPart
    from .imports.planner import plan_import
    from .imports.result import ImportFailedError, ImportProgress, ImportResult
    from .imports.run import Import
    from .listing import ActivityList
    from .models import TERMINAL_STATES, Activity, ActivityState, ActivityStatus, SendRecord, SendStatus
    from .polling.pacing import Pacing
    from .ratelimit.quota import Quota
    from .session import ActivitySession, RequestPermit, Stats
    from .tokens import TokenSource
    from .watch import BatchResult, BatchWatch, Watch

__all__ = [
    "TERMINAL_STATES",
    "Activity",
    "ActivityExpiredError",
    "ActivityFailedError",
    "ActivityList",
    "ActivitySession",
    "ActivityState",
    "ActivityStatus",
    "AuthenticationError",
    "BadRequestError",
    "BatchError",
    "BatchResult",
    "BatchWatch",
    "BodyTooLargeError",
    "CCActivityError",
    "DecodeError",
    "ExportFile",
    "FleetUnavailableError",
    "Import",
    "ImportFailedError",
    "ImportPart",
    "ImportPlan",
    "ImportProblem",
    "ImportProgress",
    "ImportRefusedError",
    "ImportResult",
    "JournalError",
    "LineMap",
    "LoginFailedError",
    "NotFoundError",
    "NotSentError",
    "Pacing",
    "PagingError",
    "PermissionDeniedError",
    "PlannedPart",
    "QueueFullError",
    "Quota",
    "QuotaExceededError",
    "ReauthorizationRequiredError",
    "RequestPermit",
    "ResponseError",
    "Retry",
    "RowError",
    "SendRecord",
    "SendStatus",
    "ServerError",
    "SessionClosedError",
    "Stats",
    "SubmissionUnknownError",
    "ThrottledError",
    "TokenError",
    "TokenSource",
    "TokenStoreError",
    "TransportError",
    "UnsafeLinkError",
    "UntrustedServerError",
    "Watch",
    "WatchTimeoutError",
    "__version__",
    "plan_import",
]


_IMPORTS = ("imports.columns", "imports.linemap", "imports.plan", "imports.planner", "imports.result", "imports.run")
_CORE = ("errors", "models", "polling.pacing", "ratelimit.quota", "api.retry", "tokens", "listing", "watch", "session")
_HOMES = (*_CORE, "exports", *_IMPORTS)

if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for home in _HOMES:
            module = import_module(f".{home}", __name__)
            globals().update({public: getattr(module, public) for public in module.__all__ if public in __all__})
            if name in globals():  # who only watches needs nothing of what imports files, which comes last
                break
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
