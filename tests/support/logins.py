"""What the tests of logins share: a sandbox with an application, a store that holds a login, and stores that fail."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st

import ccactivity as cc
from ccactivity._secret import Secret
from ccactivity.oauth import FileStore, MemoryStore, OAuthClient, OAuthTokens, StoredTokens, TokenStore
from ccactivity.oauth.models import RefreshAttempt, RefreshRejection
from ccactivity.sandbox import OAuthRules, Sandbox, Workload
from ccactivity.testing import utc_now

CLIENT = "ccactivity-sandbox"
Printed = pytest.CaptureFixture[str]
REDIRECT = "http://localhost:8080/callback"
SCOPES = ("contact_data", "campaign_data", "offline_access")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECORD = StoredTokens(
    client_id="an-application",
    token_url="https://vendor.example/token",
    access_token=Secret("canary-secret-access"),
    refresh_token=Secret("canary-secret-refresh"),
    scopes=("contact_data", "offline_access"),
    obtained_at=NOON,
    expires_at=NOON + timedelta(days=1),
    version=1,
)
NEXT_RECORD = attrs.evolve(RECORD, version=2, access_token=Secret("canary-secret-next"))
FULL_RECORD = attrs.evolve(
    NEXT_RECORD,
    expires_at=None,
    refresh_token=None,
    attempt=RefreshAttempt(NOON, NOON + timedelta(seconds=9), 2),
    refused=RefreshRejection(NOON, "interrupted", NOON, "The refresh token is invalid."),
)
DISK_FULL = OSError(28, "No space left on device")
ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.lists(st.integers(), max_size=2)
)


@asynccontextmanager
async def vendor(*, latency: float = 0.0, lanes: int = 8, **rules: Any) -> AsyncIterator[Sandbox]:
    """A sandbox whose authorization server knows one public application."""
    life = Workload(lanes=lanes)
    oauth = OAuthRules(**rules)
    async with Sandbox(latency=latency, workload=life, per_second=None, per_day=None, oauth=oauth) as sandbox:
        sandbox.register_client(redirect_uris=[REDIRECT])
        yield sandbox


def client_of(sandbox: Sandbox, **options: Any) -> OAuthClient:
    return OAuthClient(CLIENT, base_url=sandbox.oauth_base_url, **options)


def record_of(
    sandbox: Sandbox, answer: dict[str, Any] | None = None, now: datetime | None = None, **changes: Any
) -> StoredTokens:
    """The record of a login that the sandbox has just made, or of an answer it gave."""
    answer = answer or sandbox.log_in(CLIENT)
    now = now or utc_now()
    record = StoredTokens(
        client_id=CLIENT,
        token_url=f"{sandbox.oauth_base_url}/token",
        access_token=Secret(answer["access_token"]),
        refresh_token=Secret(answer["refresh_token"]) if "refresh_token" in answer else None,
        scopes=tuple(answer["scope"].split()),
        obtained_at=now,
        expires_at=now + timedelta(seconds=sandbox.oauth.rules.access_life),
        version=1,
    )
    return attrs.evolve(record, **changes)


async def logged_in(sandbox: Sandbox, store: TokenStore | None = None, **changes: Any) -> Any:
    """A store that holds a fresh login; one in memory unless another is given."""
    store = MemoryStore() if store is None else store
    async with store.exclusive():
        assert await store.save(record_of(sandbox, **changes), replaces=0)
    return store


def tokens_of(sandbox: Sandbox, store: TokenStore, **options: Any) -> OAuthTokens:
    return OAuthTokens(client_of(sandbox), store, **{"now": utc_now, **options})


def session_of(sandbox: Sandbox, tokens: OAuthTokens) -> cc.ActivitySession:
    return cc.ActivitySession(tokens, base_url=sandbox.base_url, now=utc_now, quota=cc.Quota.unlimited())


def expired(when: datetime | None = None) -> dict[str, Any]:
    """The changes that make a record's access token one that has run out."""
    now = when or utc_now()
    return {"obtained_at": now - timedelta(days=2), "expires_at": now - timedelta(days=1)}


def only_a_store(patch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Leave nothing of ours in the environment but the file for a login, which is not there yet."""
    for name in ("ACCESS_TOKEN", "BASE_URL", "CLIENT_ID", "CLIENT_SECRET", "OAUTH_URL"):
        patch.delenv(f"CCACTIVITY_{name}", raising=False)
    path = folder / "tokens.json"
    patch.setenv("CCACTIVITY_TOKEN_STORE", str(path))
    return path


def keep(sandbox: Sandbox, path: Path, scopes: tuple[str, ...] = SCOPES, **changes: Any) -> StoredTokens:
    """Store a login that the sandbox has just made."""
    record = record_of(sandbox, sandbox.log_in(CLIENT, scopes), datetime.now(UTC), **changes)
    path.touch(mode=0o600)
    path.write_text(record.to_json())
    return record


def ran_out() -> dict[str, Any]:
    """As `expired`, by the real clock."""
    return expired(datetime.now(UTC))


def complaint(printed: Printed) -> str:
    """The one line on stderr."""
    out, err = printed.readouterr()

    assert "" == out
    assert 1 == err.count("\n"), err
    return err.strip()


class DatabaseError(Exception):
    """As databases raise them: with what was to be saved in the text."""


class Crash(BaseException):
    """The process dies here: nothing catches it."""


class FailingStore:
    """A store that dies or fails at a chosen call: `at` is "load 2" for the second load, "after save 1" for just after.

    `error`: what it raises there. After a `Crash` every call raises one: the process is dead.
    """

    def __init__(self, store: TokenStore, at: str = "", error: BaseException | None = None, times: int = 1) -> None:
        self.store = store
        self.at = at
        self.error = error or Crash()
        self.times = times
        self.calls: list[str] = []
        self.dead = False

    def __repr__(self) -> str:
        return f"failing {self.store!r}"

    def _pass(self, name: str, *, after: bool = False) -> None:
        if self.dead:
            raise Crash
        number = sum(call == name for call in self.calls)
        wanted = self.at.removeprefix("after ").split()
        if wanted and after == self.at.startswith("after ") and name == wanted[0]:
            first = int(wanted[1])
            if first <= number < first + self.times:
                self.dead = isinstance(self.error, Crash)
                raise self.error

    async def load(self) -> StoredTokens | None:
        self.calls.append("load")
        self._pass("load")
        record = await self.store.load()
        self._pass("load", after=True)
        return record

    async def save(self, record: StoredTokens, *, replaces: int) -> bool:
        self.calls.append("save")
        self._pass("save")
        saved = await self.store.save(record, replaces=replaces)
        self._pass("save", after=True)
        return saved

    async def delete(self) -> None:
        await self.store.delete()

    def exclusive(self) -> AbstractAsyncContextManager[object]:
        return self.store.exclusive()


def jwt(**claims: Any) -> str:
    """A token that says something."""
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + ".signature"


async def save(store: TokenStore, record: StoredTokens, replaces: int = 0) -> bool:
    async with store.exclusive():
        return await store.save(record, replaces=replaces)


async def stored_in(store: TokenStore) -> StoredTokens:
    record = await store.load()
    assert record is not None
    return record


async def settle(turns: int = 20) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


__all__ = [
    "ANYTHING",
    "CLIENT",
    "DISK_FULL",
    "FULL_RECORD",
    "NEXT_RECORD",
    "NOON",
    "RECORD",
    "REDIRECT",
    "SCOPES",
    "Crash",
    "DatabaseError",
    "FailingStore",
    "FileStore",
    "Printed",
    "client_of",
    "complaint",
    "expired",
    "jwt",
    "keep",
    "logged_in",
    "only_a_store",
    "ran_out",
    "record_of",
    "save",
    "session_of",
    "settle",
    "stored_in",
    "tokens_of",
    "vendor",
]
