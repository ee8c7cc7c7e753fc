"""Traces: a span for each watch below that of its consumer, and requests with links to the watches that they served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from support.canary import secrets_in
from support.vendor import UNKNOWN_ID, VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.events import RequestEnded, WatchEnded, WatchStarted
from ccactivity.observe import OpenTelemetry

GET = "GET /activities/{activity_id}"


@attrs.define
class Telemetry:
    """An SDK whose exporters keep everything in memory."""

    tracers: TracerProvider
    meters: MeterProvider
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    def hook(self, *, requests: bool = True) -> OpenTelemetry:
        return OpenTelemetry(self.tracers, self.meters, requests)

    @property
    def tracer(self) -> Tracer:
        return self.tracers.get_tracer("the program")

    def spans(self, name: str = "") -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if name in ("", span.name)]

    def requests(self) -> list[ReadableSpan]:
        return [span for span in self.spans() if span.kind is SpanKind.CLIENT]

    def durations(self) -> list[HistogramDataPoint]:
        data = self.reader.get_metrics_data()
        assert data is not None
        (metric,) = [metric for one in data.resource_metrics for scope in one.scope_metrics for metric in scope.metrics]
        assert ("http.client.request.duration", "s") == (metric.name, metric.unit)
        return [point for point in metric.data.data_points if isinstance(point, HistogramDataPoint)]

    def exported(self) -> str:
        data = self.reader.get_metrics_data()
        return "\n".join([*(span.to_json() for span in self.spans()), "" if data is None else data.to_json()])


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield Telemetry(tracers, meters, exporter, reader)
    meters.shutdown()
    tracers.shutdown()


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


@pytest.mark.slow
async def test_a_trace_of_a_thousand(vendor: VendorFactory, telemetry: Telemetry) -> None:
    """A thousand watch spans below that of the batch; each request has a link to a watch that there is."""
    workload = sb.Workload(lanes=200, median=30.0, sigma=0.5, shortest=5.0)
    async with vendor(on_event=telemetry.hook(), workload=workload) as (sandbox, session):
        ids = [sandbox.submit() for _ in range(1_000)]
        with telemetry.tracer.start_as_current_span("the batch") as batch:
            result = await session.wait_many(ids)

    watches, requests = telemetry.spans("watch activity"), telemetry.requests()
    assert not result.errors
    assert (1_000, len(sandbox.log)) == (len(watches), len(requests))
    assert {batch.get_span_context().span_id} == {span.parent.span_id if span.parent else None for span in watches}
    assert {batch.get_span_context().trace_id} == {span.context.trace_id for span in watches if span.context}
    assert set(ids) == {attributes_of(span)["ccactivity.activity_id"] for span in watches}
    known = set(map(id_of, watches))
    assert [] == [span for span in requests if not 1 <= len(span.links) <= 128]
    assert {link.context.span_id for span in requests for link in span.links} <= known
    assert {None} == {span.parent for span in requests}
    assert [] == secrets_in(telemetry.exported())


async def test_a_request_of_the_program_is_below_its_span(vendor: VendorFactory, telemetry: Telemetry) -> None:
    """A single call is a child of the span around it, with the attributes of the stable HTTP conventions."""
    async with vendor(on_event=telemetry.hook()) as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(sb.server_error(503), times=1)
        with telemetry.tracer.start_as_current_span("the call") as call:
            await session.get_activity(job)

    failed, answered = telemetry.spans(GET)
    host, port = sandbox.base_url.removeprefix("http://").removesuffix("/v3").split(":")
    common = {
        "http.request.method": "GET",
        "server.address": host,
        "server.port": int(port),
        "url.template": "/activities/{activity_id}",
        "url.full": f"{sandbox.base_url}/activities/{job}",
        "ccactivity.waited": 0.0,
    }
    for span, more in (
        (failed, {"http.response.status_code": 503, "error.type": "503"}),
        (answered, {"http.response.status_code": 200, "http.request.resend_count": 1}),
    ):
        attributes = attributes_of(span)
        assert attributes.pop("ccactivity.request_id")
        assert {**common, **more} == attributes
        assert span.parent is not None
        assert call.get_span_context().span_id == span.parent.span_id
        assert span.end_time is not None
        assert span.start_time is not None
        assert 0.06 == round((span.end_time - span.start_time) / 1e9, 6)
    assert [StatusCode.ERROR, StatusCode.UNSET] == [failed.status.status_code, answered.status.status_code]


async def test_durations_are_measured(vendor: VendorFactory, telemetry: Telemetry) -> None:
    """By method, host, template, status and error, and never by id or query."""
    async with vendor(on_event=telemetry.hook(), retry=cc.Retry(attempts=1), timeout=2.0) as (sandbox, session):
        for _ in range(3):
            await session.get_activity(sandbox.submit())
        await session.list_activities()
        sandbox.faults.add(sb.Hang(), times=1)
        with pytest.raises(cc.TransportError):
            await session.list_activities()

    points = {
        (attributes.get("url.template"), attributes.get("http.response.status_code"), attributes.get("error.type")): (
            point.count,
            round(point.sum, 6),
        )
        for point in telemetry.durations()
        if (attributes := dict(point.attributes or {}))
    }
    assert {
        ("/activities/{activity_id}", 200, None): (3, 0.18),
        ("/activities", 200, None): (1, 0.06),
        ("/activities", None, "TransportError"): (1, 2.0),
    } == points
    assert (0.005, 10.0) == (telemetry.durations()[0].explicit_bounds[0], telemetry.durations()[0].explicit_bounds[-1])
    assert {"http.request.method", "server.address", "server.port", "url.template"} | {
        "http.response.status_code",
        "error.type",
    } == {name for point in telemetry.durations() for name in point.attributes or {}}


@pytest.mark.parametrize(
    ("end", "status"), [("completed", StatusCode.UNSET), ("failed", StatusCode.ERROR), ("left", StatusCode.UNSET)]
)
async def test_how_a_watch_ended_is_told(
    vendor: VendorFactory, telemetry: Telemetry, end: str, status: StatusCode
) -> None:
    """The outcome and how often it was looked at; what did not complete is an error, what was left is none."""
    async with vendor(on_event=telemetry.hook()) as (sandbox, session):
        life = sb.Life(duration=20.0, end="failed" if end == "failed" else "completed")
        async with session.watch(sandbox.submit(life)) as watch:
            async for snapshot in watch:
                if end == "left" and snapshot.percent_done:
                    break

    (span,) = telemetry.spans("watch activity")
    assert span.kind is SpanKind.INTERNAL
    assert (end, status) == (attributes_of(span)["ccactivity.outcome"], span.status.status_code)
    assert (end if status is StatusCode.ERROR else None) == attributes_of(span).get("error.type")
    assert len(telemetry.requests()) >= attributes_of(span)["ccactivity.looks"] > 1


async def test_a_request_that_outlives_its_watch_has_a_link(vendor: VendorFactory, telemetry: Telemetry) -> None:
    """A look that is cancelled with the watch, one that fails, one of an id that nobody has: none is an orphan."""
    async with vendor(on_event=telemetry.hook(), latency=1.0) as (sandbox, session):
        ids = [sandbox.submit() for _ in range(5)]
        for wait in (session.wait(ids[0]), session.wait_many(ids)):
            task = asyncio.create_task(wait)
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        sandbox.faults.add(sb.server_error(503), times=4)
        await session.wait_many([*ids, UNKNOWN_ID])

    requests = telemetry.requests()
    assert 2 == [attributes_of(span).get("error.type") for span in requests].count("CancelledError")
    assert [] == [span for span in requests if not span.links]


REQUEST = RequestEnded(
    at=0.0,
    kind="list",
    method="GET",
    route="",
    url="https://api.cc.email/v3/activities",
    status=200,
    error=None,
    seconds=0.1,
    waited=0.0,
    attempt=1,
    request_id=None,
)


def test_links_are_bounded(telemetry: Telemetry) -> None:
    """Of many watches that one page served, 128 have a link; of those that ended, the last thousand are remembered."""
    hook, ids = telemetry.hook(), tuple(f"id-{number}" for number in range(1_500))
    for number, each in enumerate(ids):
        hook(WatchStarted(at=0.0, activity_id=each, watch=number))
    hook(attrs.evolve(REQUEST, activity_ids=ids))
    for number, each in enumerate(ids):
        hook(WatchEnded(at=0.0, activity_id=each, watch=number, outcome="left", seconds=0.0, looks=0))
    for place in (499, 500):
        hook(attrs.evolve(REQUEST, activity_ids=ids[place : place + 1]))

    assert [128, 0, 1] == [len(span.links) for span in telemetry.requests()]
    assert {("GET", 443)} == {(span.name, attributes_of(span)["server.port"]) for span in telemetry.requests()}


def test_what_was_watched_again_is_remembered(telemetry: Telemetry) -> None:
    """The last thousand are those that have ended last, and not those that were first watched last."""
    hook, ids = telemetry.hook(), [f"id-{number}" for number in range(1_001)]
    for number, each in enumerate([*ids[:-1], ids[0], ids[-1]]):
        hook(WatchStarted(at=0.0, activity_id=each, watch=number))
        hook(WatchEnded(at=0.0, activity_id=each, watch=number, outcome="left", seconds=0.0, looks=0))
    for each in ids[:2]:
        hook(attrs.evolve(REQUEST, activity_ids=(each,)))

    assert [1, 0] == [len(span.links) for span in telemetry.requests()]


async def test_requests_may_be_left_to_another_instrumentation(vendor: VendorFactory, telemetry: Telemetry) -> None:
    """`requests=False`: watches only, and no durations."""
    async with vendor(on_event=telemetry.hook(requests=False)) as (sandbox, session):
        await session.wait(sandbox.submit(sb.Life(duration=5.0)))

    assert {"watch activity"} == {span.name for span in telemetry.spans()}
    assert telemetry.reader.get_metrics_data() is None


async def test_a_hook_that_comes_late_passes_over_what_it_did_not_see_begin(
    vendor: VendorFactory, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of a watch whose start only another hook has seen is no span, and no error."""
    async with vendor(on_event=lambda _event: None) as (sandbox, session):
        early = asyncio.create_task(session.wait(sandbox.submit(sb.Life(duration=20.0))))
        await asyncio.sleep(5)
        session.add_event_hook(telemetry.hook())
        await early

    assert [] == telemetry.spans("watch activity")
    assert not [one for one in caplog.records if "hook" in one.getMessage()]


async def test_without_an_sdk_nothing_is_recorded(vendor: VendorFactory) -> None:
    """The API alone does nothing, and harms nothing."""
    async with vendor(on_event=OpenTelemetry()) as (sandbox, session):
        assert (await session.wait(sandbox.submit(sb.Life(duration=5.0)))).succeeded
