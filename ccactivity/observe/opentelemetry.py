"""Traces and a metric by OpenTelemetry: a span for each watch, and one for each request.

A watch's span is a child of the one that was current where the watch began. A request serves many watches at once: it
has a link to each, and is a child only of the span in which the program itself made a call. Attributes are those of the
stable HTTP conventions. Events tell of what has ended, so the span of a request is dated back.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import metrics, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from .._version import __version__
from ..events import Event, RequestEnded, WatchEnded, WatchStarted

__all__ = ["OpenTelemetry"]

_MAX_LINKS: Final = 128  # of a span, the default limit of the SDK
_MAX_ENDED: Final = 1_000  # activities remembered for requests that were under way when their watches ended
# Those of the conventions.
_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class OpenTelemetry:
    """A hook for `ActivitySession(on_event=...)`: spans `watch activity` and `GET /activities/{activity_id}`.

    `tracer_provider`, `meter_provider`: where to. None: the global ones. `requests`: whether there are spans of
    requests and the metric `http.client.request.duration`; False where aiohttp is instrumented too, which makes them.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        requests: bool = True,  # noqa: FBT001, FBT002 -- read like the two before it
    ) -> None:
        self._tracer = trace.get_tracer("ccactivity", __version__, tracer_provider)
        self._duration = metrics.get_meter("ccactivity", __version__, meter_provider).create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS_S,
        )
        self._requests = requests
        self._watches: dict[str, dict[int, Span]] = {}  # under way: by activity, then by number
        self._ended: OrderedDict[str, dict[int, Span]] = OrderedDict()  # the last of each activity

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, WatchEnded):
            self._end_watch(event)
        elif isinstance(event, WatchStarted):
            about = {"ccactivity.activity_id": event.activity_id}
            span = self._tracer.start_span("watch activity", kind=SpanKind.INTERNAL, attributes=about)
            self._watches.setdefault(event.activity_id, {})[event.watch] = span
        elif isinstance(event, RequestEnded) and self._requests:
            self._add_request(event)

    def _end_watch(self, event: WatchEnded) -> None:
        spans = self._watches.get(event.activity_id, {})
        if (span := spans.pop(event.watch, None)) is None:
            return  # it began before this was a hook
        if not spans:
            del self._watches[event.activity_id]
        self._ended[event.activity_id] = {event.watch: span}
        self._ended.move_to_end(event.activity_id)
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)
        span.set_attributes({"ccactivity.outcome": event.outcome, "ccactivity.looks": event.looks})
        if event.outcome not in ("completed", "left"):
            span.set_attribute("error.type", event.outcome)
            span.set_status(Status(StatusCode.ERROR, event.outcome))
        span.end()

    def _add_request(self, event: RequestEnded) -> None:
        where = urlsplit(event.url)
        rejected = event.status is not None and event.status >= 400
        attributes: dict[str, str | float | None] = {
            "http.request.method": event.method,
            "server.address": where.hostname,
            "server.port": where.port or {"https": 443, "http": 80}[where.scheme],
            "url.template": event.route or None,
            "http.response.status_code": event.status,
            "error.type": str(event.status) if rejected else event.error,
        }
        self._duration.record(event.seconds, _known(attributes))
        attributes |= {
            "url.full": event.url,
            "http.request.resend_count": event.attempt - 1 or None,
            "ccactivity.request_id": event.request_id,
            "ccactivity.waited": event.waited,
            "ccactivity.why": event.why or None,
        }
        watched = (self._watches.get(each) or self._ended.get(each, {}) for each in event.activity_ids)
        links = (Link(span.get_span_context()) for spans in watched for span in spans.values())
        now, name = time.time_ns(), f"{event.method} {event.route}".rstrip()
        start = now - int(event.seconds * 1e9)
        some = tuple(islice(links, _MAX_LINKS))
        span = self._tracer.start_span(name, None, SpanKind.CLIENT, _known(attributes), some, start)
        if event.error is not None:
            span.set_status(Status(StatusCode.ERROR, event.error))
        span.end(now)


def _known(attributes: Mapping[str, str | float | None]) -> dict[str, str | float]:
    return {name: value for name, value in attributes.items() if value is not None}
