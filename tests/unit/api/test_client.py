"""One question through all of its attempts: what is asked again, and what becomes of each permit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, cast

import pytest
from support.limiters import RecordingLimiter

from ccactivity.api.auth import Authenticator
from ccactivity.api.client import ApiClient
from ccactivity.api.messages import Reply, Request
from ccactivity.api.outcome import Outcome
from ccactivity.api.retry import Retry
from ccactivity.api.transport import Transport
from ccactivity.errors import (
    AuthenticationError,
    BodyTooLargeError,
    CCActivityError,
    DecodeError,
    NotFoundError,
    NotSentError,
    QuotaExceededError,
    ServerError,
    SessionClosedError,
    ThrottledError,
    TransportError,
    UntrustedServerError,
)
from ccactivity.ratelimit.limiter import PermitResult
from ccactivity.tokens import TokenSource, source_of

TOKEN = "canary-secret-token"
GET = Request("get", "/v3/activities/a", idempotent=True)
POST = Request("token", "/v3/activities/contact_exports", method="POST", body=b"{}")
IDEMPOTENT_POST = Request("token", "/v3/activities/contact_exports", method="POST", body=b"{}", idempotent=True)

OK = Reply(200, body=b"{}")
UNREADABLE = Reply(200, body=b"<html>")
THROTTLED = Reply(429, body=b'{"error_key":"throttled"}')
EXCEEDED = Reply(429, body=b'{"error_key":"quota_exceeded"}')
LOST = TransportError("reset", method="POST", path="/x")
NOT_SENT = NotSentError("refused", method="POST", path="/x")
UNTRUSTED = UntrustedServerError("bad certificate", method="POST", path="/x")
TOO_LARGE = BodyTooLargeError("too large")

Script = list[Reply | Exception]


class FakeTransport:
    """Answers each send with the next of a script, and its last one for ever. `sent`: requests that left."""

    def __init__(self, script: Script, *, takes: float = 0.0) -> None:
        self.script = list(script)
        self.takes = takes
        self.host = "api.cc.email"
        self.sent: list[str] = []
        self.closed = False

    async def send(self, request: Request, before_each_send: Callable[[], Awaitable[str]]) -> Reply:
        outcome = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(outcome, NotSentError | UntrustedServerError):
            raise outcome
        self.sent.append(await before_each_send())
        await asyncio.sleep(self.takes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        self.closed = True


def client_of(
    script: Script, *, source: TokenSource | None = None, retry: Retry | None = None, takes: float = 0.0
) -> tuple[ApiClient, FakeTransport, RecordingLimiter]:
    transport, limiter = FakeTransport(script, takes=takes), RecordingLimiter()
    client = ApiClient(
        transport=cast("Transport", transport),
        auth=Authenticator(source or source_of(TOKEN)),
        limiter=limiter,
        retry=retry or Retry(budget=100.0),
    )
    return client, transport, limiter


def decode(outcome: Outcome) -> str:
    """The body, which is to be an object."""
    if not outcome.reply.body.startswith(b"{"):
        raise DecodeError("no JSON")
    return outcome.reply.body.decode()


async def outcome_of(client: ApiClient, request: Request = GET, **options: Any) -> str | CCActivityError:
    try:
        return await client.ask(request, decode, **options)
    except CCActivityError as error:
        return error


# --- what is asked again --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "idempotent", "otherwise"),
    [
        (LOST, 5, 1),  # it may have been done
        (Reply(503), 5, 1),
        (Reply(408), 5, 1),
        (UNREADABLE, 3, 1),  # it has been done
        (DecodeError("cut short"), 3, 1),
        (NOT_SENT, 5, 5),  # nothing has been done
        (THROTTLED, 10, 10),
        (Reply(429), 3, 3),
        (EXCEEDED, 1, 1),
        (UNTRUSTED, 1, 1),
        (TOO_LARGE, 1, 1),
        (Reply(400), 1, 1),
        (Reply(401), 1, 1),
        (Reply(404), 1, 1),
        (Reply(302), 1, 1),
    ],
)
async def test_attempts(failure: Reply | Exception, idempotent: int, otherwise: int) -> None:
    """What may pass is asked again; what is not idempotent only if the vendor has certainly done nothing."""
    counts = []
    for request in (GET, IDEMPOTENT_POST, POST):
        client, _, limiter = client_of([failure])
        outcome = await outcome_of(client, request)
        assert isinstance(outcome, CCActivityError)
        counts.append(len(limiter.results))

    assert [idempotent, idempotent, otherwise] == counts


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (LOST, TransportError),
        (Reply(503), ServerError),
        (UNREADABLE, DecodeError),
        (NOT_SENT, NotSentError),
        (THROTTLED, ThrottledError),
        (EXCEEDED, QuotaExceededError),
        (UNTRUSTED, UntrustedServerError),
        (TOO_LARGE, BodyTooLargeError),
        (Reply(401), AuthenticationError),
        (Reply(404), NotFoundError),
        (Reply(302), DecodeError),
    ],
)
async def test_the_last_error_is_raised_alone(failure: Reply | Exception, kind: type[CCActivityError]) -> None:
    """A caller gets the error of the last attempt, and nothing of how it was retried."""
    error = await outcome_of(client_of([failure])[0])

    assert isinstance(error, kind)
    assert (None, None) == (error.__cause__, error.__context__)


async def test_a_question_is_answered_after_failures_of_any_kind() -> None:
    """Each reason to ask again has its own count: they do not add up."""
    script: Script = [LOST, UNREADABLE, THROTTLED, Reply(429), NOT_SENT, Reply(500), UNREADABLE, LOST, OK]
    client, transport, _ = client_of(script)

    assert "{}" == await outcome_of(client)
    assert [f"Bearer {TOKEN}"] * 8 == transport.sent
    assert 8 == client.sent["get"]


async def test_a_decode_error_names_its_request() -> None:
    """An answer that cannot be understood says to what it was the answer."""
    error = await outcome_of(client_of([UNREADABLE])[0])

    assert "GET /v3/activities/a: no JSON" == str(error)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "ccactivity.connection"]


async def test_an_unreachable_host_is_named_once_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """The first attempt without a connection says so; the next of the same outage do not, those of the next one do."""
    client, _, _ = client_of([NOT_SENT, NOT_SENT, NOT_SENT, OK, NOT_SENT, LOST, OK, NOT_SENT, OK])
    calls = [asyncio.ensure_future(outcome_of(client)) for _ in range(2)]
    await asyncio.sleep(0.1)
    first = warnings_of(caplog)
    await asyncio.gather(*calls)
    await outcome_of(client)
    await outcome_of(client)

    warning = "cannot connect to api.cc.email, trying again"
    assert [warning] == first
    assert [warning] * 3 == warnings_of(caplog)
    assert {"WARNING"} == {record.levelname for record in caplog.records if record.name == "ccactivity.connection"}


@pytest.mark.parametrize(
    ("failure", "attempts", "background", "count"),
    [(NOT_SENT, 2, False, 1), (NOT_SENT, 1, False, 0), (NOT_SENT, 1, True, 1), (LOST, 2, False, 0), (LOST, 1, True, 0)],
)
async def test_trying_again_is_said_only_where_it_is_true(
    caplog: pytest.LogCaptureFixture, failure: Exception, attempts: int, background: bool, count: int
) -> None:
    """A call that is not repeated just raises; a poll always is repeated, by a later one."""
    client, _, _ = client_of([failure], retry=Retry(attempts=attempts))
    await outcome_of(client, background=background)

    assert count == len(warnings_of(caplog))


# --- permits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (OK, PermitResult.ANSWERED),
        (UNREADABLE, PermitResult.ANSWERED),
        (Reply(400), PermitResult.ANSWERED),
        (Reply(401), PermitResult.ANSWERED),
        (Reply(302), PermitResult.ANSWERED),
        (Reply(503), PermitResult.NO_ANSWER),
        (LOST, PermitResult.NO_ANSWER),
        (TOO_LARGE, PermitResult.NO_ANSWER),
        (NOT_SENT, PermitResult.NOT_SENT),
        (UNTRUSTED, PermitResult.NOT_SENT),
        (THROTTLED, PermitResult.THROTTLED),
        (Reply(429), PermitResult.THROTTLED),
        (EXCEEDED, PermitResult.QUOTA_EXCEEDED),
    ],
)
async def test_each_permit_is_settled_once(answer: Reply | Exception, result: PermitResult) -> None:
    """What became of a request is told once: a permit with which nothing was sent goes back, any other one is spent."""
    client, _, limiter = client_of([answer], retry=Retry(attempts=1))
    await outcome_of(client, POST)

    assert {result} == set(limiter.results)


async def test_a_throttle_pauses_everyone() -> None:
    """The limiter is told for how long nobody is to send."""
    client, _, limiter = client_of([THROTTLED, Reply(429), Reply(404)])
    await outcome_of(client)

    assert 1.0 <= limiter.pauses[0] <= 1.6
    assert 5.0 <= limiter.pauses[1] <= 2 * 5.0 + 0.55 * 5.0
    assert 0.0 == limiter.pauses[2]


@pytest.mark.parametrize(
    ("expires_in", "results"),
    [(1.0, [PermitResult.ANSWERED]), (-1.0, [PermitResult.NOT_SENT, PermitResult.ANSWERED])],
)
async def test_a_permit_that_was_acquired_before(expires_in: float, results: list[PermitResult]) -> None:
    """A permit that the caller has is used for the first attempt; one that is too old goes back, for another one."""
    client, _, limiter = client_of([OK])
    await outcome_of(client, permit=limiter.permit(expires_in=expires_in))

    assert results == limiter.results


async def test_a_permit_that_is_not_used_goes_back() -> None:
    """A question that fails before its first attempt leaves its permit to whoever acquired it."""

    async def broken() -> str:
        raise OSError("no disk")

    client, _, limiter = client_of([OK], source=source_of(broken))
    with closing(limiter.permit()) as permit, pytest.raises(OSError, match="no disk"):
        await client.ask(GET, decode, permit=permit)

    assert [PermitResult.NOT_SENT] == limiter.results


# --- tokens ---------------------------------------------------------------------------------------------------------


class Tokens:
    """A source with one token after the other: each report brings the next one, until there is no other."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.reported: list[str] = []

    async def access_token(self) -> str:
        return self.tokens[0]

    async def refused(self, token: str) -> None:
        self.reported.append(token)
        if len(self.tokens) > 1:
            del self.tokens[0]


@pytest.mark.parametrize(
    ("tokens", "script", "sent", "reported"),
    [
        ("a", [Reply(401), OK], "a", "a"),
        ("ab", [Reply(401), OK], "ab", "a"),
        ("abc", [Reply(401), Reply(401), OK], "ab", "a"),  # one refresh for a question is enough
    ],
)
async def test_a_refused_token(tokens: str, script: Script, sent: str, reported: str) -> None:
    """A refused token is reported, and the question asked again if there is another one: once."""
    source = Tokens(*tokens)
    client, transport, _ = client_of(script, source=source)
    await outcome_of(client)

    assert [f"Bearer {token}" for token in sent] == transport.sent
    assert list(reported) == source.reported


async def test_a_token_that_was_replaced_meanwhile() -> None:
    """A token that is not current any more when it is refused is no reason to report it: there is another one."""
    source = Tokens("a", "b")
    client, transport, _ = client_of([Reply(401), OK], source=source, takes=1.0)
    asyncio.get_running_loop().call_later(0.5, source.tokens.pop, 0)

    assert "{}" == await outcome_of(client)
    assert (["Bearer a", "Bearer b"], []) == (transport.sent, source.reported)


async def test_a_token_in_a_body_is_not_shown() -> None:
    """A vendor's words that quote the token reach nobody."""
    body = b'{"error_key":"unauthorized","error_message":"bad token ' + TOKEN.encode() + b'"}'
    error = await outcome_of(client_of([Reply(403, body=body)])[0])

    assert "bad token (token)" == getattr(error, "error_message", None)


# --- closing --------------------------------------------------------------------------------------------------------


async def test_a_closed_client_asks_nothing() -> None:
    """A question under way when the client is closed ends with SessionClosedError, as does any later one."""
    client, transport, limiter = client_of([OK], takes=60.0)
    under_way = asyncio.ensure_future(outcome_of(client))
    await asyncio.sleep(1)
    await client.aclose()
    outcomes = [await under_way, await outcome_of(client)]

    assert [SessionClosedError, SessionClosedError] == [type(outcome) for outcome in outcomes]
    assert ([PermitResult.NO_ANSWER], True) == (limiter.results, transport.closed)
    assert 1.0 == asyncio.get_running_loop().time()
