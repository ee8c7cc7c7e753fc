"""The requests that this library makes. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from .endpoint import Endpoint
from .messages import CAMPAIGN_DATA, FileForm, Request

__all__ = ["MAX_PAGE_SIZE", "create_activity", "get_activity", "get_send_history", "list_activities"]

MAX_PAGE_SIZE: Final = 500


def list_activities(endpoint: Endpoint, *, limit: int, state: str | None = None) -> Request:
    """GET /activities: at most `limit` (1 to 500) rows a page, of one state or of all."""
    query = urlencode({"limit": limit, **({"state": state} if state else {})})
    return Request("list", f"{endpoint.prefix}/activities?{query}", idempotent=True, prefix=endpoint.prefix)


def create_activity(endpoint: Endpoint, kind: str, body: bytes | FileForm) -> Request:
    """POST /activities/{kind}: queues a job, and another one each time that it is sent."""
    target = f"{endpoint.prefix}/activities/{kind}"
    return Request("post", target, method="POST", body=body, content_type="application/json", prefix=endpoint.prefix)


def get_activity(endpoint: Endpoint, activity_id: str) -> Request:
    """GET /activities/{activity_id}."""
    return Request("get", f"{endpoint.prefix}/activities/{activity_id}", idempotent=True, prefix=endpoint.prefix)


def get_send_history(endpoint: Endpoint, campaign_activity_id: str) -> Request:
    """GET /emails/activities/{campaign_activity_id}/send_history."""
    path = f"{endpoint.prefix}/emails/activities/{campaign_activity_id}/send_history"
    return Request("history", path, scope=CAMPAIGN_DATA, idempotent=True, prefix=endpoint.prefix)
