"""The requests that this library makes. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

from .endpoint import Endpoint
from .messages import CAMPAIGN_DATA, FileForm, Request

__all__ = [
    "GET_ROUTE",
    "LIST_ROUTE",
    "MAX_PAGE_SIZE",
    "create_activity",
    "get_activity",
    "get_export",
    "get_send_history",
    "list_activities",
]

MAX_PAGE_SIZE: Final = 500
LIST_ROUTE: Final = "/activities"
GET_ROUTE: Final = "/activities/{activity_id}"
_ID_SEGMENT: Final = re.compile(r"/[^/]*\d[^/]*")  # of a path that the vendor chooses: names have no digits


def list_activities(endpoint: Endpoint, *, limit: int, state: str | None = None) -> Request:
    """GET /activities: at most `limit` (1 to 500) rows a page, of one state or of all."""
    query = urlencode({"limit": limit, **({"state": state} if state else {})})
    target = f"{endpoint.prefix}/activities?{query}"
    return Request("list", target, idempotent=True, prefix=endpoint.prefix, route=LIST_ROUTE)


def create_activity(endpoint: Endpoint, kind: str, body: bytes | FileForm) -> Request:
    """POST /activities/{kind}: queues a job, and another one each time that it is sent."""
    route = f"/activities/{kind}"
    return Request(
        "post",
        f"{endpoint.prefix}{route}",
        method="POST",
        body=body,
        content_type="application/json",
        prefix=endpoint.prefix,
        route=route,
    )


def get_activity(endpoint: Endpoint, activity_id: str) -> Request:
    """GET /activities/{activity_id}."""
    target = f"{endpoint.prefix}/activities/{activity_id}"
    return Request("get", target, idempotent=True, prefix=endpoint.prefix, route=GET_ROUTE, item_id=activity_id)


def get_send_history(endpoint: Endpoint, campaign_activity_id: str) -> Request:
    """GET /emails/activities/{campaign_activity_id}/send_history."""
    target = f"{endpoint.prefix}/emails/activities/{campaign_activity_id}/send_history"
    route = "/emails/activities/{campaign_activity_id}/send_history"
    return Request("history", target, scope=CAMPAIGN_DATA, idempotent=True, prefix=endpoint.prefix, route=route)


def get_export(endpoint: Endpoint, results_url: str) -> Request:
    """GET the file of an export, where the vendor's link leads to; UnsafeLinkError for one that leads elsewhere."""
    target = endpoint.local_target(results_url, endpoint.prefix)
    route = _ID_SEGMENT.sub("/{export_id}", target.partition("?")[0].removeprefix(endpoint.prefix))
    return Request(
        "export", target, idempotent=True, prefix=endpoint.prefix, route=route, accept="text/csv", streamed=True
    )
