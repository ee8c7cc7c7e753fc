"""Whatever dies in the middle of a refresh: the next process goes on, or says exactly what happened and what to do."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.logins import (
    CLIENT,
    Crash,
    FailingStore,
    FileStore,
    expired,
    logged_in,
    record_of,
    stored_in,
    tokens_of,
    vendor,
)

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import StoredTokens, TokenStore
from ccactivity.sandbox import OAuthRules, Sandbox

UNSPENT = ["load 1", "load 2", "save 1", "after load 1", "after load 2"]


async def crash(sandbox: Sandbox, store: TokenStore, at: str) -> None:
    """Let a process die at a step of its refresh."""
    async with tokens_of(sandbox, FailingStore(store, at)) as tokens:
        caller = asyncio.ensure_future(tokens.access_token())
        with pytest.raises(Crash):
            await caller


@pytest.mark.parametrize("at", UNSPENT)
async def test_a_death_before_the_intent_is_stored_leaves_nothing_behind(tmp_path: Path, at: str) -> None:
    """The next process refreshes as if nothing had been, at once."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox, FileStore(tmp_path / "t" / "tokens.json"), **expired())
        await crash(sandbox, store, at)
        began = asyncio.get_running_loop().time()
        async with tokens_of(sandbox, store) as tokens:
            await tokens.access_token()

        assert asyncio.get_running_loop().time() - began < 1.2
        assert {0: 1} == sandbox.oauth.families[0].posts


async def test_a_death_between_the_stored_attempt_and_the_request_costs_a_short_wait(tmp_path: Path) -> None:
    """Nobody can know that the request was never sent, so it is sent with care, and succeeds."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox, FileStore(tmp_path / "t" / "tokens.json"), **expired())
        await crash(sandbox, store, "after save 1")
        began = asyncio.get_running_loop().time()
        async with tokens_of(sandbox, store) as tokens:
            account = await tokens.account()
            assert account is not None
            assert account.interrupted_at is not None
            await tokens.access_token()

        assert 9 < asyncio.get_running_loop().time() - began < 12
        assert {0: 1} == sandbox.oauth.families[0].posts


@pytest.mark.parametrize("grace", [0.0, 60.0])
async def test_a_death_between_the_answer_and_the_save_is_explained(tmp_path: Path, grace: float) -> None:
    """The token is spent: unless the vendor forgives it, the error names the time of the refresh and what to do."""
    async with vendor(grace=grace) as sandbox:
        store = await logged_in(sandbox, FileStore(tmp_path / "t" / "tokens.json"), **expired())
        await crash(sandbox, store, "save 2")
        before = await stored_in(store)
        async with tokens_of(sandbox, store, advice="run `ccactivity login`") as tokens:
            if grace:
                await tokens.access_token()
                return
            with pytest.raises(cc.ReauthorizationRequiredError) as caught:
                await tokens.access_token()
            account = await tokens.account()

        after = await stored_in(store)
        assert "an interrupted refresh of 2026-01-01 12:00:00 UTC has spent the refresh token" in str(caught.value)
        assert "run `ccactivity login`" in str(caught.value)
        assert before.attempt is not None
        assert ("interrupted", before.attempt.began) == (caught.value.reason, caught.value.since)
        assert (before.refresh_token, before.access_token) == (after.refresh_token, after.access_token)
        assert account is not None
        assert str(caught.value) == account.problem
        assert not account.refreshable
        assert {0: 2} == sandbox.oauth.families[0].posts


async def test_a_death_after_the_save_costs_nothing(tmp_path: Path) -> None:
    """What is stored is the newest; the next process uses it."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox, FileStore(tmp_path / "t" / "tokens.json"), **expired())
        await crash(sandbox, store, "after save 2")
        async with tokens_of(sandbox, store) as tokens:
            assert (await stored_in(store)).access_token == await tokens.access_token()

        assert {0: 1} == sandbox.oauth.families[0].posts


LOST: dict[str, sb.Effect] = {
    "a reset": sb.Reset(),
    "half an answer": sb.Reset(after=0.5),
    "silence": sb.Hang(),
    "a 500 after the rotation": sb.Raw(b"HTTP/1.1 500 -\r\nContent-Length: 0\r\n\r\n"),
    "a page of HTML": sb.Raw(b"HTTP/1.1 200 -\r\nContent-Length: 6\r\n\r\n<html>"),
    "half the JSON": sb.Cut(0.5),
    "a bomb": sb.Bomb(1 << 24),
}


@pytest.mark.parametrize("how", LOST)
async def test_an_answer_lost_after_the_rotation_is_explained(how: str) -> None:
    """The token is sent once more after a pause; then the error says which refresh has spent it."""
    async with vendor() as sandbox:
        sandbox.faults.add(LOST[how], where="token", times=1)
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.ReauthorizationRequiredError, match="interrupted refresh of 2026-01-01 12:00:00"):
                await tokens.access_token()
            with pytest.raises(cc.ReauthorizationRequiredError):
                await tokens.access_token()

        assert {0: 2} == sandbox.oauth.families[0].posts


NEVER_SEEN = {
    "a 503": sb.server_error(503),
    "a 502 page": sb.html(502),
    "a maintenance page": sb.html(200),
    "a 403 page": sb.html(403),
    "a gateway's 404": sb.message(404, "Not Found"),
    "an empty 200": sb.empty(200),
    "a redirect": sb.Answer(sb.Reply(status=302, headers={"Location": "https://evil.example"})),
    "an OAuth server_error": sb.Answer(sb.Reply(status=400, body=b'{"error": "server_error"}')),
}


@pytest.mark.parametrize("how", NEVER_SEEN)
async def test_an_answer_that_says_nothing_is_waited_out(how: str) -> None:
    """If the token was not spent after all, the careful second attempt succeeds, and the caller only waited."""
    async with vendor() as sandbox:
        sandbox.faults.add(NEVER_SEEN[how], where="token", times=1)
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store) as tokens:
            await tokens.access_token()

        assert 2 == sandbox.requests["token"]
        assert {0: 1} == sandbox.oauth.families[0].posts
        assert (await stored_in(store)).attempt is None


async def test_a_vendor_that_never_answers_is_asked_ever_more_rarely() -> None:
    """Callers hear TransportError, which ends no watch; what is stored remembers the first attempt."""
    async with vendor() as sandbox:
        sandbox.faults.add(sb.server_error(), where="token", until=3000)
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.TransportError, match="2026-01-01 12:00:00 UTC got no answer"):
                await tokens.access_token()
            for _ in range(300):
                with pytest.raises(cc.TransportError):
                    await tokens.access_token()
                await asyncio.sleep(9)
            sent = sandbox.requests["token"]
            await asyncio.sleep(700)
            await tokens.access_token()

        assert 8 <= sent <= 15


async def test_no_connection_is_no_attempt() -> None:
    """Without a connection the attempt is removed again, and the next one needs no care."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox, **expired(), token_url="http://127.0.0.1:9/token")
        tokens = cc.oauth.OAuthTokens(cc.oauth.OAuthClient(CLIENT, token_url="http://127.0.0.1:9/token"), store)
        async with tokens:
            with pytest.raises(cc.TransportError, match="Connect"):
                await tokens.access_token()
        record = await stored_in(store)

        assert record.attempt is None
        assert record.refused is None


async def test_a_store_whose_lock_keeps_nobody_out_still_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """If somebody logs in while a refresh is under way, the new login counts."""
    async with vendor(latency=4.0) as sandbox:
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store) as tokens:
            caller = asyncio.ensure_future(tokens.access_token())
            await asyncio.sleep(2)
            attempted = await stored_in(store)
            login = record_of(sandbox, version=attempted.version + 1)
            assert await store.save(login, replaces=attempted.version)

            assert login.access_token == await caller
        assert login == await stored_in(store)
        assert "in spite of the lock" in caplog.text


# --- real processes -------------------------------------------------------------------------------------------------

WORKER = """
import asyncio, sys
from ccactivity import CCActivityError
from ccactivity.oauth import FileStore, OAuthClient, OAuthTokens

async def main(url, path):
    async with OAuthTokens(OAuthClient("ccactivity-sandbox", base_url=url), FileStore(path), pause=1.2) as tokens:
        seen = None
        while True:
            token = await tokens.access_token()
            if token != seen:
                print("fresh", flush=True)
                seen = token
            await asyncio.sleep(0.02)

try:
    asyncio.run(main(*sys.argv[1:]))
except CCActivityError as error:
    print(type(error).__name__, error, flush=True)
"""


@pytest.mark.parametrize("grace", [0.0, 60.0])
@pytest.mark.slow
def test_processes_share_a_login_and_survive_a_kill(tmp_path: Path, grace: float) -> None:
    """A process is killed while its refresh is on the way; others with the same file go on, or all say what it was.

    Those that go on send one request for each generation.
    """
    path = tmp_path / "t" / "tokens.json"
    with Sandbox(latency=0.3, oauth=OAuthRules(access_life=2.0, grace=grace)) as sandbox:
        sandbox.register_client()
        _store(sandbox, path)
        (family,) = sandbox.oauth.families

        def start() -> subprocess.Popen[str]:
            command = [sys.executable, "-c", WORKER, sandbox.oauth_base_url, str(path)]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        unlucky = start()
        _wait_until(lambda: family.posts[0] == 1)
        unlucky.send_signal(signal.SIGKILL)
        assert "" == unlucky.communicate()[0]
        interrupted = StoredTokens.from_json(path.read_text()).attempt
        assert interrupted is not None

        workers = [start() for _ in range(3)]
        if grace:
            _wait_until(lambda: family.generation >= 4)
            for worker in workers:
                worker.kill()
        outputs = [worker.communicate(timeout=40)[0] for worker in workers]

    if grace:
        assert [{"fresh"}] * 3 == [set(output.split()) for output in outputs]
        assert {1} == {count for generation, count in family.posts.items() if generation}
    else:
        said = f"interrupted refresh of {interrupted.began:%Y-%m-%d %H:%M:%S} UTC"
        assert all(said in output and "ReauthorizationRequiredError" in output for output in outputs), outputs
    assert 2 == family.posts[0]
    assert 0 == sandbox.violations.oauth_over_per_second
    assert StoredTokens.from_json(path.read_text()).version > 2


def _store(sandbox: Sandbox, path: Path) -> None:
    async def main() -> None:
        answer = sandbox.log_in()
        record = StoredTokens.from_json(
            record_json(answer["access_token"], answer["refresh_token"], f"{sandbox.oauth_base_url}/token")
        )
        store = FileStore(path)
        async with store.exclusive():
            assert await store.save(record, replaces=0)

    asyncio.run(main())


def record_json(access: str, refresh: str, token_url: str) -> str:
    """A login of two days ago."""
    return (
        f'{{"format": 1, "version": 1, "client_id": "{CLIENT}", "token_url": "{token_url}",'
        f' "access_token": "{access}", "refresh_token": "{refresh}", "scopes": ["contact_data"],'
        ' "obtained_at": "2026-01-01T12:00:00+00:00", "expires_at": "2026-01-02T12:00:00+00:00",'
        ' "attempt": null, "refused": null}'
    )


def _wait_until(done: object) -> None:
    deadline = time.monotonic() + 40
    assert callable(done)
    while not done():
        assert time.monotonic() < deadline, "it did not come to that in 40 s"
        time.sleep(0.02)
