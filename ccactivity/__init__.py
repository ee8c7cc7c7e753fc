"""Asyncio client for the bulk activities and send histories of the Constant Contact V3 API."""

__version__ = "0.1.0"

from .errors import (
    ActivityExpiredError,
    ActivityFailedError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    CCActivityError,
    DecodeError,
    LoginFailedError,
    NotFoundError,
    PagingError,
    PermissionDeniedError,
    QuotaExceededError,
    ReauthorizationRequiredError,
    ResponseError,
    ServerError,
    SessionClosedError,
    ThrottledError,
    TokenError,
    TokenStoreError,
    TransportError,
    UnsafeLinkError,
    WatchTimeoutError,
)
from .models import TERMINAL_STATES, Activity, ActivityState, ActivityStatus, SendRecord, SendStatus
from .planning import Pacing
from .quota import Quota
from .retrying import Retry
from .session import ActivityList, ActivitySession
from .tokens import TokenSource
from .watching import BatchResult, BatchWatch, Watch

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
    "CCActivityError",
    "DecodeError",
    "LoginFailedError",
    "NotFoundError",
    "Pacing",
    "PagingError",
    "PermissionDeniedError",
    "Quota",
    "QuotaExceededError",
    "ReauthorizationRequiredError",
    "ResponseError",
    "Retry",
    "SendRecord",
    "SendStatus",
    "ServerError",
    "SessionClosedError",
    "ThrottledError",
    "TokenError",
    "TokenSource",
    "TokenStoreError",
    "TransportError",
    "UnsafeLinkError",
    "Watch",
    "WatchTimeoutError",
    "__version__",
]
