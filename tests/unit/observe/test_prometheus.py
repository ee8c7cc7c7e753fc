"""The metrics for Prometheus: what they count, and that a dashboard made for them finds them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from support.canary import secrets_in
from support.vendor import VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.observe import prometheus_collector

DASHBOARD = Path(__file__).parents[3] / "docs" / "examples" / "grafana.json"
NAMES = {
    "ccactivity_requests_total",
    "ccactivity_request_seconds",
    "ccactivity_gate_wait_seconds",
    "ccactivity_quota_remaining",
    "ccactivity_watches",
    "ccactivity_finished_total",
    "ccactivity_lag_seconds",
}


def registry_of(session: cc.ActivitySession) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(prometheus_collector(session))
    return registry


async def test_what_is_counted(vendor: VendorFactory) -> None:
    """Requests by kind and outcome, ends by state, the lag of each end, watches under way, what the day has left."""
    async with vendor(retry=cc.Retry(attempts=1)) as (sandbox, session):
        registry = registry_of(session)
        jobs = [sandbox.submit(sb.Life(duration=20.0)) for _ in range(3)]
        jobs.append(sandbox.submit(sb.Life(duration=20.0, end="failed")))
        waiting = asyncio.create_task(session.wait_many(jobs))
        await asyncio.sleep(5)
        under_way = registry.get_sample_value("ccactivity_watches")
        await waiting
        sandbox.faults.add(sb.server_error(503), times=1)
        with pytest.raises(cc.ServerError):
            await session.get_activity(jobs[0])
        await asyncio.gather(*[session.get_activity(jobs[0]) for _ in range(6)])
        value = registry.get_sample_value

        assert (4.0, 0.0) == (under_way, value("ccactivity_watches"))
        assert [3.0, 1.0] == [value("ccactivity_finished_total", {"state": state}) for state in ("completed", "failed")]
        assert 4.0 == value("ccactivity_lag_seconds_count")
        assert 0.0 <= (value("ccactivity_lag_seconds_sum") or 0.0) / 4 <= 10.0
        assert 1.0 == value("ccactivity_requests_total", {"kind": "get", "outcome": "ServerError"})
        sent = session.stats.requests
        for kind in ("get", "list"):
            counts = [
                sample.value
                for metric in registry.collect()
                for sample in metric.samples
                if sample.name == "ccactivity_requests_total" and sample.labels["kind"] == kind
            ]
            assert sent[kind] == sum(counts) == value("ccactivity_request_seconds_count", {"kind": kind})
            assert sent[kind] == value("ccactivity_gate_wait_seconds_count", {"kind": kind})
        assert 0.5 <= (value("ccactivity_gate_wait_seconds_sum", {"kind": "get"}) or 0.0) <= 6.0
        assert 0.06 * sent["get"] == pytest.approx(value("ccactivity_request_seconds_sum", {"kind": "get"}))
        assert session.quota.remaining == value("ccactivity_quota_remaining")


async def test_no_label_holds_an_id_or_a_secret(vendor: VendorFactory) -> None:
    """What is scraped has the documented names, few series, and no id, token or address."""
    async with vendor() as (sandbox, session):
        registry = registry_of(session)
        jobs = [sandbox.submit(sb.Life(duration=20.0)) for _ in range(30)]
        await session.wait_many(jobs)
        page = generate_latest(registry).decode()

    names = {name for name in re.findall(r"^# TYPE (\w+)", page, re.MULTILINE) if not name.endswith("_created")}
    assert NAMES == names
    assert not [job for job in jobs if job in page]
    assert "127.0.0.1" not in page
    assert [] == secrets_in(page)
    assert len(page.splitlines()) < 120


async def test_it_may_be_read_in_any_thread() -> None:
    """A scrape comes from a server's thread; it needs no running loop."""
    async with cc.ActivitySession("canary-secret-token", base_url="http://127.0.0.1:9/v3") as session:
        registry = registry_of(session)
        page = await asyncio.to_thread(generate_latest, registry)

    assert b"ccactivity_quota_remaining 10000.0" in page


def test_the_dashboard_asks_for_what_there_is() -> None:
    """Each query of the dashboard is made of names and labels that the collector has, and each name is shown."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    series = {name.removesuffix("_bucket") for query in queries for name in re.findall(r"ccactivity_\w+", query)}
    labels = {label for query in queries for group in re.findall(r"by \((.*?)\)", query) for label in group.split(", ")}

    assert NAMES == {re.sub(r"_(sum|count)$", "", name) for name in series}
    assert labels <= {"kind", "outcome", "state", "le"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
