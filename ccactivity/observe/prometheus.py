"""Metrics for Prometheus, as a collector for a registry of prometheus-client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ..events import ActivityChanged, Event, RequestEnded, WatchEnded, WatchStarted
from ..session import ActivitySession

__all__ = ["prometheus_collector"]

_REQUEST_BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WAIT_BUCKETS_S: Final = (0.0, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0)
_LAG_BUCKETS_S: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0)


def prometheus_collector(session: ActivitySession) -> Collector:
    """Return the metrics of a session, from now on, for `REGISTRY.register(...)`; they may be read in any thread.

    - `ccactivity_requests_total`, by `kind` and `outcome`: `ok`, or the name of the error's class.
    - `ccactivity_request_seconds`, by `kind`: how long requests take.
    - `ccactivity_gate_wait_seconds`, by `kind`: how long they wait for their permits before.
    - `ccactivity_quota_remaining`: requests that the day has left.
    - `ccactivity_watches`: those under way.
    - `ccactivity_finished_total`, by `state`: activities whose end a watch has seen.
    - `ccactivity_lag_seconds`: from such an end to when it was seen, at most.

    An activity's id is in no label. A registry takes the collector of one session.
    """
    collector = _Collector(session)
    session.add_event_hook(collector.take)
    return collector


class _Collector(Collector):
    def __init__(self, session: ActivitySession) -> None:
        self._quota = session.quota
        self._requests = Counter("ccactivity_requests", "Requests sent.", ["kind", "outcome"], registry=None)
        self._seconds = _histogram("request_seconds", "Duration of requests.", _REQUEST_BUCKETS_S, "kind")
        self._waits = _histogram("gate_wait_seconds", "Waits of requests for permits.", _WAIT_BUCKETS_S, "kind")
        self._under_way: set[int] = set()
        self._watches = Gauge("ccactivity_watches", "Watches under way.", registry=None)
        self._finished = Counter("ccactivity_finished", "Activities that ended.", ["state"], registry=None)
        self._lag = _histogram("lag_seconds", "From an end to when it was seen, at most.", _LAG_BUCKETS_S)

    def take(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, RequestEnded):
            self._requests.labels(event.kind, event.error or "ok").inc()
            self._seconds.labels(event.kind).observe(event.seconds)
            self._waits.labels(event.kind).observe(event.waited)
        elif isinstance(event, WatchStarted):
            (self._under_way.discard if isinstance(event, WatchEnded) else self._under_way.add)(event.watch)
            self._watches.set(len(self._under_way))
        elif isinstance(event, ActivityChanged) and event.activity.done:
            self._finished.labels(event.activity.state).inc()
            if event.lag is not None:
                self._lag.observe(event.lag[1])

    def collect(self) -> Iterator[Metric]:
        """Give each metric as it is now."""
        for metric in (self._requests, self._seconds, self._waits, self._watches, self._finished, self._lag):
            yield from metric.collect()
        left = self._quota.remaining
        yield GaugeMetricFamily("ccactivity_quota_remaining", "Requests that the day has left.", value=left)


def _histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"ccactivity_{name}", what, labels, buckets=buckets, registry=None)
