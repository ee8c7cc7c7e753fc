"""The types that users see, one `assert_type` for each public call; checked by mypy and pyright, and never run.

`nox -s types` checks it. A line that ends in `type: ignore` is a call that has to be refused: one that is allowed
makes the comment needless, which is an error too.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, assert_type

import aiohttp
import aiohttp.web
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from prometheus_client.registry import Collector

import ccactivity as cc
from ccactivity import events, fleet, jobs, oauth, observe, testing, web
from ccactivity import sandbox as sb

# --- ccactivity: a session and its settings -------------------------------------------------------------------------


async def give_token() -> str:
    return "token"


def now() -> datetime:
    return datetime.now(UTC)


class OwnSource:
    async def access_token(self) -> str:
        return "token"

    async def refused(self, token: str) -> None: ...


def sessions(http: aiohttp.ClientSession, source: cc.TokenSource, tokens: oauth.OAuthTokens) -> None:
    assert_type(cc.ActivitySession("token"), cc.ActivitySession)
    assert_type(cc.ActivitySession(give_token), cc.ActivitySession)
    assert_type(cc.ActivitySession(source), cc.ActivitySession)
    assert_type(cc.ActivitySession(OwnSource()), cc.ActivitySession)
    assert_type(cc.ActivitySession(tokens), cc.ActivitySession)
    every = cc.ActivitySession(
        "token",
        base_url="https://api.cc.email/v3",
        http=http,
        quota=cc.Quota(),
        retry=cc.Retry(),
        pacing=cc.Pacing(),
        timeout=None,
        now=now,
    )
    assert_type(every, cc.ActivitySession)
    assert_type(cc.ActivitySession("token", http=None, quota=None, timeout=5), cc.ActivitySession)
    assert_type(cc.ActivitySession("token", retry=None, pacing=None), cc.ActivitySession)
    assert_type(cc.ActivitySession.from_env(), cc.ActivitySession)
    assert_type(cc.ActivitySession.from_env(tokens, timeout=10.0), cc.ActivitySession)
    assert_type(every.quota, cc.Quota)
    assert_type(every.stats, cc.Stats)
    assert_type(cc.__version__, str)

    cc.ActivitySession()  # type: ignore[call-arg]
    cc.ActivitySession(lambda: "token")  # type: ignore[arg-type, return-value]
    cc.ActivitySession("token", "https://api.cc.email/v3")  # type: ignore[call-arg]


async def sources(source: cc.TokenSource) -> None:
    assert_type(await source.access_token(), str)
    await source.refused("token")


def settings() -> None:
    assert_type(cc.Quota(10, 250_000, 0, spent=7), cc.Quota)
    quota = cc.Quota.unlimited()
    assert_type(quota, cc.Quota)
    assert_type(quota.per_second, float)
    assert_type(quota.per_day, float)
    assert_type(quota.reserve, float)
    assert_type(quota.spent, float)
    assert_type(quota.remaining, float)
    assert_type(quota.resets_at, datetime | None)

    retry = cc.Retry(attempts=3, base=1, cap=10, deadline=60, budget=5)
    assert_type(retry.attempts, int)
    assert_type(retry.base, float)
    assert_type(retry.cap, float)
    assert_type(retry.deadline, float)
    assert_type(retry.budget, float)

    pacing = cc.Pacing(price=4, floor=2, ceiling=120)
    assert_type(pacing.price, float)
    assert_type(pacing.floor, float)
    assert_type(pacing.ceiling, float)

    cc.Retry(3)  # type: ignore[call-arg]
    pacing.price = 2.0  # type: ignore[misc]


def stats(seen: cc.Stats) -> None:
    assert_type(seen.watching, int)
    assert_type(seen.finished, int)
    assert_type(seen.requests, Mapping[str, int])
    assert_type(seen.requests_per_finished, float | None)
    assert_type(seen.price, float)
    assert_type(seen.credit, float)


# --- ccactivity: its calls ------------------------------------------------------------------------------------------


async def single_calls() -> None:
    async with cc.ActivitySession("token") as session:
        assert_type(session, cc.ActivitySession)
        assert_type(await session.get_activity("id"), cc.Activity)
        assert_type(await session.get_send_history("id"), list[cc.SendRecord])

        assert_type(session.list_activities(), cc.ActivityList)
        found = session.list_activities(state="failed", page_size=100)
        assert_type(await found, list[cc.Activity])
        async for activity in found:
            assert_type(activity, cc.Activity)
        assert_type(found.pages(), AsyncIterator[list[cc.Activity]])
        async for page in found.pages():
            assert_type(page, list[cc.Activity])
        assert_type(await session.list_activities(state=cc.ActivityState.FAILED), list[cc.Activity])

        await session.get_activity(7)  # type: ignore[arg-type]
        session.list_activities("failed")  # type: ignore[call-arg]
    await session.aclose()


async def exports(session: cc.ActivitySession, activity: cc.Activity) -> None:
    file = await session.save_export(activity, "contacts.csv")
    assert_type(file, cc.ExportFile)
    assert_type(file.path, Path)
    assert_type(file.bytes, int)
    assert_type(file.records, int)
    assert_type(file.expected, int | None)
    seen: list[tuple[int, int]] = []
    await session.save_export(
        activity,
        Path("a"),
        overwrite=True,
        most=9,
        grace=0,
        on_progress=lambda size, records: seen.append((size, records)),
    )
    async with session.open_export(activity, most=None, grace=1.5) as chunks:
        assert_type(chunks, AsyncIterator[bytes])

    assert_type(await session.export_contacts(jobs.ExportContacts(), "contacts.csv"), cc.ExportFile)
    await session.export_contacts(
        jobs.ExportContacts(), Path("a"), overwrite=True, most=9, timeout=60, on_progress=print
    )

    await session.save_export("id", "contacts.csv")  # type: ignore[arg-type]
    await session.save_export(activity, "contacts.csv", True)  # type: ignore[call-arg]


async def own_requests(session: cc.ActivitySession, http: aiohttp.ClientSession) -> None:
    async with session.request_permit() as permit, http.post("https://api.cc.email/v3/activities") as response:
        assert_type(permit, cc.RequestPermit)
        permit.answered(response.status, response.headers, await response.read())
    async with session.request_permit() as permit:
        permit.answered(204)

    permit.answered("204")  # type: ignore[arg-type]


async def one_watch(session: cc.ActivitySession) -> None:
    watch = session.watch("id", timeout=60, grace=0, max_staleness=5, every_poll=True)
    assert_type(watch, cc.Watch)
    assert_type(watch.activity_id, str)
    assert_type(await watch, cc.Watch)
    async with watch as same:
        assert_type(same, cc.Watch)
        async for activity in same:
            assert_type(activity, cc.Activity)
        assert_type(await anext(same), cc.Activity)
    await watch.aclose()
    async for activity in session.watch("id"):
        assert_type(activity, cc.Activity)
    async for activity in await session.watch("id", timeout=None, max_staleness=None):
        assert_type(activity, cc.Activity)
    assert_type(await session.wait("id"), cc.Activity)
    assert_type(await session.wait("id", timeout=60, grace=0, max_staleness=5), cc.Activity)
    assert_type(await session.wait(await session.get_activity("id")), cc.Activity)


async def ids_to_come() -> AsyncIterator[str]:
    yield "id"


def print_line(line: str) -> None:
    print(line)


async def many_watches(session: cc.ActivitySession) -> None:
    watch = session.watch_many(["id"], timeout=60, grace=0, max_staleness=5)
    assert_type(watch, cc.BatchWatch)
    assert_type(watch.errors, Mapping[str, cc.CCActivityError])
    assert_type(await watch, cc.BatchWatch)
    async with watch as same:
        assert_type(same, cc.BatchWatch)
        async for activity in same:
            assert_type(activity, cc.Activity)
    await watch.aclose()
    assert_type(session.watch_many({"id"}), cc.BatchWatch)
    assert_type(session.watch_many(each for each in ("id",)), cc.BatchWatch)
    assert_type(session.watch_many(ids_to_come()), cc.BatchWatch)

    result = await session.wait_many(["id"], timeout=60, grace=0, max_staleness=5)
    assert_type(result, cc.BatchResult)
    assert_type(result.completed, Mapping[str, cc.Activity])
    assert_type(result.failed, Mapping[str, cc.Activity])
    assert_type(result.errors, Mapping[str, cc.CCActivityError])
    assert_type(await session.wait_many(ids_to_come()), cc.BatchResult)
    seen: list[cc.Activity] = []
    assert_type(await session.wait_many(["id"], on_change=seen.append), cc.BatchResult)
    assert_type(await session.wait_many(["id"], on_change=lambda activity: activity.progress), cc.BatchResult)
    assert_type(await session.wait_many(["id"], on_change=None), cc.BatchResult)

    session.watch_many([7])  # type: ignore[list-item]
    await session.wait_many(["id"], on_change=print_line)  # type: ignore[arg-type]


# --- ccactivity: its models -----------------------------------------------------------------------------------------


def activities(activity: cc.Activity, other: cc.Activity) -> None:
    assert_type(activity.activity_id, str)
    assert_type(activity.state, cc.ActivityState | str | None)
    assert_type(activity.created_at, datetime | None)
    assert_type(activity.started_at, datetime | None)
    assert_type(activity.updated_at, datetime | None)
    assert_type(activity.completed_at, datetime | None)
    assert_type(activity.source_file_name, str | None)
    assert_type(activity.percent_done, int | None)
    assert_type(activity.activity_errors, tuple[str, ...])
    assert_type(activity.self_url, str | None)
    assert_type(activity.results_url, str | None)
    assert_type(activity.raw, Mapping[str, Any])
    assert_type(activity.done, bool)
    assert_type(activity.succeeded, bool)
    assert_type(activity.partial, bool)
    assert_type(activity.progress, float | None)
    assert_type(activity.older_than(other), bool)
    assert_type(activity.changed_from(other), bool)
    activity.raise_for_state()
    assert_type(activity.as_dict(), dict[str, Any])
    assert_type(cc.Activity(activity_id="id", state="failed"), cc.Activity)
    assert_type(cc.TERMINAL_STATES, frozenset[cc.ActivityState])

    status = activity.status
    assert_type(status, cc.ActivityStatus)
    assert_type(status.items_total_count, int | None)
    assert_type(status.items_completed_count, int | None)
    assert_type(status.person_count, int | None)
    assert_type(status.error_count, int | None)
    assert_type(status.correctable_count, int | None)
    assert_type(status.cannot_add_to_list_count, int | None)
    assert_type(status.list_count, int | None)
    assert_type(status.refused_count, int)
    assert_type(status.as_dict(), dict[str, int])

    activity.state = "failed"  # type: ignore[misc]
    cc.Activity("id")  # type: ignore[call-arg]


def sends(record: cc.SendRecord) -> None:
    assert_type(record.send_id, int | None)
    assert_type(record.contact_list_ids, tuple[str, ...])
    assert_type(record.segment_ids, tuple[int, ...])
    assert_type(record.count, int | None)
    assert_type(record.run_date, datetime | None)
    assert_type(record.send_status, cc.SendStatus | str | None)
    assert_type(record.reason_code, int | None)
    assert_type(record.raw, Mapping[str, Any])
    assert_type(record.reason, str | None)
    assert_type(record.succeeded, bool)
    assert_type(record.as_dict(), dict[str, Any])


# --- ccactivity.jobs ------------------------------------------------------------------------------------------------


def every_job() -> list[jobs.Job]:
    source = jobs.Source(contact_ids=["a"], exclude=())
    assert_type(source.by, str)
    return [
        jobs.AddTags(source=source, tag_ids=["a"]),
        jobs.AddToLists(source=jobs.Source(segment_id=1), list_ids=["a"]),
        jobs.DeleteContacts(contact_ids=["a"]),
        jobs.DeleteCustomFields(custom_field_ids=["a"]),
        jobs.DeleteLists(list_ids=["a"]),
        jobs.DeleteTags(tag_ids=["a"]),
        jobs.ExportContacts(list_ids=["a"], status="active", fields=["email_address"]),
        jobs.ImportContacts(import_data=[{"email": "a@example.com"}], list_ids=["a"]),
        jobs.ImportFile(
            b"email\na", file_name=jobs.make_file_name("a", part=1, parts=2, key="00000000"), list_ids=["a"]
        ),
        jobs.RemoveFromLists(source=source, list_ids=["a"]),
        jobs.RemoveTags(source=jobs.Source(new_subscriber=True), tag_ids=["a"]),
    ]


async def submissions(session: cc.ActivitySession, job: jobs.DeleteLists) -> None:
    assert_type(job.split(), tuple[jobs.DeleteLists, ...])
    assert_type(job.body(), dict[str, Any])
    assert_type(job.kind, str)
    assert_type(job.repeatable, bool)
    assert_type(job.list_ids, tuple[str, ...])
    assert_type(jobs.KINDS["list_delete"].from_body({}), jobs.Job)
    assert_type(await session.submit(job), cc.Activity)
    assert_type(await session.submit(job, queue=False), cc.Activity)
    async for activity in session.submit_many(every_job(), at_once=2):
        assert_type(activity, cc.Activity)
    assert_type(await session.wait_many(session.submit_many(job.split())), cc.BatchResult)


# --- ccactivity: its errors -----------------------------------------------------------------------------------------


def answers() -> list[type[cc.ResponseError]]:
    return [
        cc.AuthenticationError,
        cc.BadRequestError,
        cc.NotFoundError,
        cc.PermissionDeniedError,
        cc.QueueFullError,
        cc.ServerError,
        cc.ThrottledError,
    ]


def others() -> list[type[cc.CCActivityError]]:
    return [cc.FleetUnavailableError, cc.JournalError, cc.PagingError, cc.SessionClosedError, cc.TokenError]


def unanswered() -> list[type[cc.TransportError]]:
    return [cc.NotSentError, cc.UntrustedServerError]


def unread() -> type[cc.DecodeError]:
    return cc.BodyTooLargeError


def token_errors() -> list[type[cc.TokenError]]:
    return [cc.LoginFailedError, cc.ReauthorizationRequiredError, cc.TokenStoreError]


async def errors(session: cc.ActivitySession) -> None:
    try:
        await session.wait("id", timeout=60)
    except cc.TransportError as error:
        assert_type(error.reason, str)
        assert_type(error.method, str)
        assert_type(error.path, str)
    except cc.PermissionDeniedError as error:
        assert_type(error.scope, str | None)
        assert_type(error.privilege, str | None)
    except cc.ResponseError as error:
        assert_type(error.status, int)
        assert_type(error.method, str)
        assert_type(error.path, str)
        assert_type(error.error_key, str | None)
        assert_type(error.error_message, str | None)
        assert_type(error.request_id, str | None)
        assert_type(error.hint, str | None)
    except cc.QuotaExceededError as error:
        assert_type(error.resets_at, datetime)
    except cc.DecodeError as error:
        assert_type(error.problem, str)
        assert_type(error.status, int)
        assert_type(error.excerpt, str)
        assert_type(error.method, str | None)
        assert_type(error.path, str | None)
    except cc.UnsafeLinkError as error:
        assert_type(error.problem, str)
        assert_type(error.link, str)
    except cc.ActivityFailedError as error:
        assert_type(error.activity, cc.Activity)
    except cc.ActivityExpiredError as error:
        assert_type(error.activity, cc.Activity)
    except cc.WatchTimeoutError as error:
        assert_type(error.activity_id, str)
        assert_type(error.activity, cc.Activity | None)
        assert_type(error.timeout, float)
    except cc.LoginFailedError as error:
        assert_type(error.reason, str)
    except cc.ReauthorizationRequiredError as error:
        assert_type(error.reason, str)
        assert_type(error.since, datetime | None)
    timed_out: type[TimeoutError] = cc.WatchTimeoutError
    group: type[ExceptionGroup[cc.CCActivityError]] = cc.BatchError
    assert timed_out, group


async def submission_errors(session: cc.ActivitySession, job: jobs.Job) -> None:
    try:
        await session.submit(job)
    except cc.SubmissionUnknownError as error:
        assert_type(error.job, jobs.Job | None)
        assert_type(error.since, datetime)
        assert_type(error.candidates, tuple[cc.Activity, ...])
        assert_type(error.listed, bool)
        assert_type(error.reason, str)


async def batch_errors(session: cc.ActivitySession) -> None:
    try:
        async for activity in session.watch_many(["id"]):
            activity.raise_for_state()
    except cc.BatchError as error:
        assert_type(error.errors, Mapping[str, cc.CCActivityError])
        assert_type(error.derive([cc.PagingError()]), cc.BatchError)
    try:
        await session.watch_many(["id"])
    except* cc.NotFoundError as group:
        assert_type(group, ExceptionGroup[cc.NotFoundError])


# --- ccactivity.oauth -----------------------------------------------------------------------------------------------


class OwnStore:
    async def load(self) -> oauth.StoredTokens | None:
        return None

    async def save(self, record: oauth.StoredTokens, *, replaces: int) -> bool:
        return True

    async def delete(self) -> None: ...

    def exclusive(self) -> AbstractAsyncContextManager[object]:
        return nullcontext()


def clients(http: aiohttp.ClientSession) -> None:
    assert_type(oauth.OAuthClient("id"), oauth.OAuthClient)
    assert_type(oauth.OAuthClient("id", "secret"), oauth.OAuthClient)
    client = oauth.OAuthClient(
        "id",
        None,
        scopes=["contact_data"],
        base_url="https://authz.example/v1",
        token_url="https://partner.example/token",
        authorize_url=None,
        device_url=None,
        pkce=False,
        http=http,
        timeout=None,
    )
    assert_type(client.client_id, str)
    assert_type(client.scopes, tuple[str, ...])
    assert_type(client.token_url, str)
    assert_type(client.authorization_request("https://app.example/callback"), oauth.AuthorizationRequest)
    assert_type(oauth.OAuthClient.from_env(), oauth.OAuthClient)
    assert_type(oauth.OAuthClient.from_env(timeout=10.0), oauth.OAuthClient)

    oauth.OAuthClient("id", secret="secret")  # type: ignore[call-arg]


async def stores(store: oauth.TokenStore) -> None:
    assert_type(await store.load(), oauth.StoredTokens | None)
    await store.delete()
    kept: list[oauth.TokenStore] = [oauth.MemoryStore(), oauth.FileStore(), OwnStore()]
    file = oauth.FileStore(Path("tokens.json"), lock_timeout=5)
    assert_type(file.path, Path)
    assert_type(oauth.FileStore("tokens.json"), oauth.FileStore)
    for place in (file, oauth.MemoryStore()):
        record = await place.load()
        assert_type(record, oauth.StoredTokens | None)
        if record is not None:
            assert_type(await place.save(record, replaces=0), bool)
        async with place.exclusive():
            await place.delete()
    assert kept


def records(record: oauth.StoredTokens) -> None:
    secret: str = record.access_token
    rotating: str | None = record.refresh_token
    assert_type(record.client_id, str)
    assert_type(record.token_url, str)
    assert_type(record.scopes, tuple[str, ...])
    assert_type(record.obtained_at, datetime)
    assert_type(record.expires_at, datetime | None)
    assert_type(record.version, int)
    assert_type(record.to_json(), str)
    assert_type(oauth.StoredTokens.from_json(secret), oauth.StoredTokens)
    assert_type(oauth.StoredTokens.from_json(b"{}"), oauth.StoredTokens)
    assert rotating


async def logins(client: oauth.OAuthClient, store: oauth.TokenStore) -> None:
    async with oauth.OAuthTokens(client, store, now=now, advice="log in", pause=1) as tokens:
        assert_type(tokens, oauth.OAuthTokens)
        source: cc.TokenSource = tokens
        assert_type(await source.access_token(), str)
        await tokens.refused("token")
        assert_type(await tokens.refresh(), oauth.Account)
        assert_type(await tokens.account(), oauth.Account | None)
        assert_type(await tokens.log_out(), bool)

        device = await tokens.start_device_login()
        assert_type(device, oauth.DeviceLogin)
        assert_type(device.user_code, str)
        assert_type(device.verification_uri, str)
        assert_type(device.verification_uri_complete, str | None)
        assert_type(device.expires_in, float)
        assert_type(await device, oauth.Account)

        request = tokens.start_code_login("https://app.example/callback")
        assert_type(request, oauth.AuthorizationRequest)
        assert_type(request.url, str)
        assert_type(request.redirect_uri, str)
        assert_type(request.state, str)
        assert_type(request.code_verifier, str | None)
        assert_type(await tokens.finish_code_login(request, "?code=1"), oauth.Account)
    await tokens.aclose()


def accounts(account: oauth.Account) -> None:
    assert_type(account.client_id, str)
    assert_type(account.user, str | None)
    assert_type(account.scopes, tuple[str, ...])
    assert_type(account.obtained_at, datetime)
    assert_type(account.expires_at, datetime | None)
    assert_type(account.refreshable, bool)
    assert_type(account.refreshable_until, datetime | None)
    assert_type(account.interrupted_at, datetime | None)
    assert_type(account.problem, str | None)
    assert_type(account.stored_in, str)


# --- ccactivity.sandbox ---------------------------------------------------------------------------------------------


async def sandboxes() -> None:
    async with sb.Sandbox() as sandbox:
        assert_type(sandbox, sb.Sandbox)
    with sb.Sandbox(
        start=now(),
        latency=0.1,
        host="127.0.0.1",
        port=0,
        seed=1,
        workload=sb.Workload(median=30, lanes=2),
        speed=60,
        history=10,
        order="oldest",
        stale_rows=20,
        line_numbers="record",
        echo_file_name="absent",
        keep_uploads=1 << 20,
        per_second=None,
        per_day=None,
        spent_today=1,
        token_life=3600,
        oauth=sb.OAuthRules(rotating=False, approve_after=3),
        export_redirect=True,
    ) as threaded:
        assert_type(threaded, sb.Sandbox)
    assert_type(sandbox.base_url, str)
    assert_type(sandbox.oauth_base_url, str)
    assert_type(sandbox.oauth, sb.OAuth)
    assert_type(sandbox.oauth.families, list[sb.Family])
    assert_type(sandbox.vendor, sb.Vendor)
    assert_type(sandbox.token, str)
    assert_type(sandbox.env, dict[str, str])
    assert_type(sandbox.faults, sb.Faults)
    assert_type(sandbox.violations, sb.Violations)
    assert_type(sandbox.violations.total, int)
    assert_type(sandbox.requests, Counter[str])
    assert_type(sandbox.log, list[sb.Logged])
    assert_type(sandbox.now, float)
    assert_type(sandbox.wall, datetime)
    assert_type(sandbox.submit(), str)
    assert_type(sandbox.submit(sb.Life(), kind="contact_exports", rows=9, lists=2, file_name="a.csv"), str)
    assert_type(sandbox.truth("id"), sb.Truth | None)
    assert_type(sandbox.rows("id"), list[dict[str, str]])
    assert_type(sandbox.upload("id"), bytes)
    assert_type(sandbox.issue_token(), str)
    sandbox.expire_token()
    assert_type(sandbox.register_client(), sb.RegisteredClient)
    assert_type(sandbox.register_client("id", secret="s", redirect_uris=["https://app.example"]), sb.RegisteredClient)
    assert_type(sandbox.register_client(loopback_redirects=True).accepts("http://localhost/"), bool)
    sandbox.approve_device("KPQZ-BXMD")
    sandbox.deny_device("KPQZ-BXMD")
    assert_type(sandbox.log_in("id", ["contact_data"]), dict[str, Any])
    sandbox.revoke_logins()
    sandbox.add_history("id", {"count": 5}, {})

    sandbox.submit(duration=5)  # type: ignore[call-arg]


def vendors() -> None:
    vendor = sb.Vendor(start=now(), seed=1, workload=sb.Workload(), oauth=sb.OAuthRules())
    request = sb.Request(method="GET", target="/v3/activities", headers={"accept": "application/json"})
    reply = vendor.handle(request, now=0.0, transit=0.1)
    assert_type(reply, sb.Reply)
    assert_type(reply.status, int)
    assert_type(reply.body, bytes)
    assert_type(vendor.submit(0.0, sb.Life()), str)
    assert_type(vendor.job("id"), sb.Job)
    assert_type(vendor.job("id").state(1.0), str)
    assert_type(vendor.wall(0.0), datetime)
    assert_type(vendor.rows("id"), list[dict[str, str]])
    assert_type(vendor.upload("id"), bytes)
    assert_type(vendor.unsubscribed, set[str])


def lives(truth: sb.Truth, logged: sb.Logged, client: sb.RegisteredClient, family: sb.Family) -> None:
    life = sb.Life(
        duration=60,
        end="failed",
        delay=1,
        progress="stall",
        update_every=5,
        errors=["Line 2: Invalid birthday"],
        error_count=1,
        correctable_count=1,
        cannot_add_to_list_count=1,
    )
    assert_type(sb.Life(progress=[(0.0, 0.0), (1.0, 1.0)]), sb.Life)
    assert_type(life.at(1.0), sb.Snapshot)
    assert_type(life.at(1.0).state, str)
    assert_type(life.at(1.0).percent_done, int)
    assert_type(life.faster(60.0), sb.Life)
    assert_type(sb.Workload().draw(Random(), rows=10), sb.Life)
    assert_type(truth.state, str)
    assert_type(truth.ended_at, float)
    assert_type(logged.time, float)
    assert_type(logged.method, str)
    assert_type(logged.target, str)
    assert_type(logged.status, int)
    assert_type(logged.kind, str)
    assert_type(client.client_id, str)
    assert_type(family.generation, int)
    assert_type(family.revoked, float | None)

    sb.Life(end="lost")  # type: ignore[arg-type]


class OwnEffect:
    def apply(self, reply: sb.Reply, touched: str | None, /) -> sb.Reply:
        return reply


def faults(script: sb.Faults) -> None:
    fault = sb.Fault(
        sb.throttled({"Retry-After": "1"}),
        where="get",
        activity_id="id",
        times=2,
        skip=1,
        after=600,
        until=2400,
        probability=0.5,
    )
    assert_type(fault.hits, int)
    assert_type(script.add(fault), sb.Fault)
    assert_type(script.add(sb.server_error(503), where="list", times=2), sb.Fault)
    assert_type(script.add(OwnEffect()), sb.Fault)
    assert_type(len(script), int)
    for each in script:
        assert_type(each, sb.Fault)
    script.remove(fault)
    script.clear()

    sb.Fault(sb.empty(), where="nowhere")  # type: ignore[arg-type]
    script.add("503")  # type: ignore[arg-type]


def effects() -> list[sb.Answer | sb.Effect]:
    answers = [
        sb.empty(204),
        sb.forbidden(),
        sb.html(502),
        sb.lost_request(),
        sb.lost_request(sb.Hang()),
        sb.message(429, "Limit Exceeded"),
        sb.not_found(),
        sb.ok({"activities": []}),
        sb.quota_exceeded(),
        sb.server_error(),
        sb.throttled(),
        sb.unauthorized(),
    ]
    assert_type(answers, list[sb.Answer])
    assert_type(sb.Answer(sb.Reply(status=200)), sb.Answer)
    assert_type([sb.drop_rows("id"), sb.duplicate_rows(), sb.next_link(None)], list[sb.Edit])
    assert_type(sb.wrong_id(), sb.Patch)
    effects: list[sb.Effect] = [
        sb.Bomb(size=1024),
        sb.Cut(0.5),
        sb.Delay(1.0),
        sb.Disconnect(),
        sb.Drip(pause=0.1, size=10, head=True),
        sb.Edit(lambda body: body),
        sb.Endless(declared=None),
        sb.Framing("close", gzip=True, cut=9),
        sb.Hang(after=0.5),
        sb.Patch({"state": "failed"}),
        sb.Patch(lambda row: {**row, "state": "failed"}),
        sb.Raw(b"HTTP/1.1 200 OK\r\n\r\n"),
        sb.Reset(after=0.5, hard=False, chunked=True),
    ]
    return [*answers, *effects]


# --- ccactivity: imports of files -----------------------------------------------------------------------------------


def plan_of_a_file(file: BinaryIO) -> None:
    plan = cc.plan_import("contacts.csv", list_ids=["id"])
    assert_type(plan, cc.ImportPlan)
    assert_type(cc.plan_import(b"email", list_ids=("id",), encoding="cp1252", duplicates="keep-last"), cc.ImportPlan)
    assert_type(cc.plan_import(Path("contacts.csv"), list_ids=["id"], sms_permission_to_send="explicit"), cc.ImportPlan)
    assert_type(cc.plan_import(file, list_ids=["id"], progress=print), cc.ImportPlan)
    assert_type(plan.parts, tuple[cc.PlannedPart, ...])
    assert_type(plan.problems, tuple[cc.ImportProblem, ...])
    assert_type(plan.duplicates, tuple[tuple[int, int], ...])
    assert_type(plan.warnings, tuple[str, ...])
    assert_type(plan.requests, int)
    part = plan.read_part(1)
    assert_type(part, cc.ImportPart)
    assert_type(part.content, bytes)
    assert_type(part.line_map, cc.LineMap)
    errors = part.line_map.locate(["Line 2: Invalid email"], 1, "id")
    assert_type(errors, tuple[cc.RowError, ...])
    assert_type(errors[0].line, int | None)
    assert_type(cc.ImportRefusedError("no").problems, tuple[cc.ImportProblem, ...])

    cc.plan_import("contacts.csv")  # type: ignore[call-arg]
    cc.plan_import("contacts.csv", list_ids=["id"], duplicates="drop")  # type: ignore[arg-type]


async def importing(session: cc.ActivitySession, file: BinaryIO, rows: AsyncIterator[dict[str, str]]) -> None:
    begun = session.import_file("contacts.csv", list_ids=["id"], journal=Path("journal"), parts_at_once=2, timeout=None)
    assert_type(begun, cc.Import)
    async for step in begun:
        assert_type(step, cc.ImportProgress)
        assert_type(step.percent, float)
        assert_type(step.activities, tuple[cc.Activity, ...])
    result = await begun
    assert_type(result, cc.ImportResult)
    assert_type(result.errors, tuple[cc.RowError, ...])
    assert_type(result.plan, cc.ImportPlan | None)
    assert_type(result.write_rejects("rejects.csv"), int)
    assert_type(await session.import_file(file, list_ids=("id",), problems="send", encoding="cp1252"), cc.ImportResult)
    assert_type(session.import_contacts(rows, list_ids=["id"]), cc.Import)
    assert_type(session.import_contacts([{"email": "a"}], list_ids=["id"], duplicates="keep-last"), cc.Import)
    async with begun:
        await begun.aclose()

    session.import_file("contacts.csv")  # type: ignore[call-arg]
    session.import_file("contacts.csv", list_ids=["id"], problems="ignore")  # type: ignore[arg-type]


def a_failed_import(error: cc.ImportFailedError) -> None:
    assert_type(error.result, cc.ImportResult)
    assert_type(error.errors, Mapping[str, cc.CCActivityError])


# --- ccactivity.fleet -----------------------------------------------------------------------------------------------


async def one_key_for_many_processes() -> None:
    shared = fleet.RedisFleet("redis://cache", key="k", account="a", lease=3.0, patience=10.0, candidate=True)
    session = cc.ActivitySession("token", fleet=shared)
    assert_type(session.stats.fleet, fleet.FleetStats | None)
    status = await shared.status()
    assert_type(status, fleet.FleetStatus)
    assert_type(status.poller, str)
    assert_type(status.members, Mapping[str, int])

    fleet.RedisFleet(["redis://cache"])  # type: ignore[arg-type]


# --- ccactivity.events and ccactivity.observe -----------------------------------------------------------------------


def what_an_operator_sees(tracer_provider: TracerProvider, meter_provider: MeterProvider) -> None:
    tracing = observe.OpenTelemetry(tracer_provider, meter_provider, requests=False)
    assert_type(tracing, observe.OpenTelemetry)
    cc.ActivitySession("token", on_event=print)
    session = cc.ActivitySession("token", on_event=[observe.OpenTelemetry(), show])
    assert_type(session.add_event_hook(show), None)
    assert_type(session.closed, bool)
    assert_type(observe.prometheus_collector(session), Collector)

    cc.ActivitySession("token", on_event="print")  # type: ignore[arg-type]


def show(event: events.Event) -> str:
    assert_type(event.at, float)
    if isinstance(event, events.RequestEnded):
        assert_type(event.status, int | None)
        assert_type(event.error, str | None)
        assert_type(event.activity_ids, tuple[str, ...])
    elif isinstance(event, events.WatchEnded):
        assert_type((event.watch, event.activity_id, event.outcome), tuple[int, str, str])
    elif isinstance(event, events.ActivityChanged):
        assert_type(event.activity, cc.Activity)
        assert_type(event.previous, cc.Activity | None)
        assert_type(event.lag, tuple[float, float] | None)
    elif isinstance(event, events.Submitted):
        assert_type(event.activity_id, str | None)
    elif isinstance(event, events.Paused | events.Resumed):
        assert_type(event.cause, str)
    elif isinstance(event, events.Retrying):
        assert_type(event.delay, float)
    elif isinstance(event, events.TokenRefreshed | events.WatchStarted):
        return type(event).__name__
    return ""


# --- ccactivity.web -------------------------------------------------------------------------------------------------


async def live_page(session: cc.ActivitySession, snapshot: cc.Activity) -> None:
    async def allow_request(request: aiohttp.web.Request) -> bool:
        return request.secure

    async def allow_scope(scope: MutableMapping[str, Any]) -> bool:
        return "user" in scope

    board = web.Board(session, title="Tonight's imports")
    board.follow("id")
    board.follow(snapshot)
    board.follow(["id", snapshot])
    board.follow_all()
    assert_type(board.as_dict(), dict[str, Any])
    async for event in board.events(last_event_id=None):
        assert_type(event, web.PageEvent)
        assert_type(event.encoded, bytes)
    assert_type(web.aiohttp_app(board, allow=allow_request), aiohttp.web.Application)
    assert_type(web.aiohttp_app(board, allow=None), aiohttp.web.Application)
    app = web.asgi_app(board, allow=allow_scope)
    await app({}, None, None)  # type: ignore[arg-type]
    await board.aclose()

    web.aiohttp_app(board)  # type: ignore[call-arg]
    web.aiohttp_app(board, allow=lambda request: True)  # type: ignore[arg-type, return-value]
    board.follow(1)  # type: ignore[arg-type]


# --- ccactivity.testing ---------------------------------------------------------------------------------------------


async def main() -> int:
    return 1


def virtual_time() -> None:
    assert_type(testing.run(main()), int)
    assert_type(testing.run(main(), debug=True, utc_start=now()), int)
    assert_type(testing.utc_now(), datetime)
    assert_type(testing.record(cc.ActivitySession("token")), list[events.Event])
    loop = testing.VirtualTimeLoop(utc_start=now())
    assert_type(loop.time(), float)
    assert_type(loop.utc_now(), datetime)
    loop.set_utc(now())
    loop.step_utc(-60)
    with loop.hold():
        pass
    deadlock: type[RuntimeError] = testing.DeadlockError
    assert deadlock

    testing.run(main)  # type: ignore[arg-type]
