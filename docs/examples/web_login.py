"""A web app whose customers log in with the vendor; their logins are kept in a database.

    pip install "ccactivity[oauth]"
    python web_login.py --sandbox        # offline; then open the address and log in
    python web_login.py                  # with these in the environment:

CCACTIVITY_CLIENT_ID and CCACTIVITY_CLIENT_SECRET: the API key of your application, and its secret.
APP_URL: where people reach this app; the vendor's portal has APP_URL/callback as a redirect URI.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from ccactivity import (
    ActivitySession,
    CCActivityError,
    LoginFailedError,
    Quota,
    ReauthorizationRequiredError,
)
from ccactivity.oauth import AuthorizationRequest, OAuthClient, OAuthTokens, StoredTokens
from ccactivity.sandbox import Sandbox

log = logging.getLogger(__name__)

SCHEMA = """
    CREATE TABLE IF NOT EXISTS logins
    (customer TEXT PRIMARY KEY, version INT, record TEXT, holder TEXT, held_until REAL)
"""
LEASE_S = 300.0  # after which the lock of a process that died is free


class DatabaseStore:
    """The login of one customer: a row of the table `logins`. Any database will do."""

    def __init__(self, database: str, customer: str) -> None:
        self._database = database
        self._customer = customer

    def __repr__(self) -> str:
        return f"the database {self._database}"

    async def load(self) -> StoredTokens | None:
        query = "SELECT record FROM logins WHERE customer = ? AND record IS NOT NULL"
        rows, _ = await self._run(query, self._customer)
        return StoredTokens.from_json(rows[0][0]) if rows else None

    async def save(self, record: StoredTokens, *, replaces: int) -> bool:
        change = "UPDATE logins SET record = ?, version = ? WHERE customer = ? AND version = ?"
        values = (record.to_json(), record.version, self._customer, replaces)
        _, changed = await self._run(change, *values)
        return changed == 1

    async def delete(self) -> None:
        change = "UPDATE logins SET record = NULL, version = 0 WHERE customer = ?"
        await self._run(change, self._customer)

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        new = "INSERT OR IGNORE INTO logins (customer, version, held_until) VALUES (?, 0, 0)"
        take = "UPDATE logins SET holder = ?, held_until = ? WHERE customer = ? AND held_until < ?"
        free = "UPDATE logins SET held_until = 0 WHERE customer = ? AND holder = ?"
        holder = secrets.token_hex(8)
        await self._run(new, self._customer)
        try:
            async with asyncio.timeout(60):
                taken = 0
                while not taken:
                    now = time.time()
                    _, taken = await self._run(take, holder, now + LEASE_S, self._customer, now)
                    await asyncio.sleep(0 if taken else 0.1)
            yield
        finally:
            await self._run(free, self._customer, holder)

    async def _run(self, statement: str, *values: object) -> tuple[list[Any], int]:
        return await asyncio.to_thread(self._run_in_thread, statement, values)

    def _run_in_thread(self, statement: str, values: tuple[object, ...]) -> tuple[list[Any], int]:
        with closing(sqlite3.connect(self._database)) as connection, connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall(), cursor.rowcount


def create_database(path: str) -> None:
    Path(path).touch(mode=0o600)  # it holds tokens: nobody else may read it
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(SCHEMA)


class Customers:
    """The sessions of all customers: one for each, with its own login."""

    def __init__(self, database: str) -> None:
        self._database = database
        # One of each for all customers: the limits are those of the application's API key.
        self._client = OAuthClient.from_env()
        self._quota = Quota()
        self._connected: dict[str, tuple[OAuthTokens, ActivitySession]] = {}
        self._stack = AsyncExitStack()

    async def aclose(self) -> None:
        await self._stack.aclose()

    def start_login(self, redirect_uri: str) -> AuthorizationRequest:
        return self._client.authorization_request(redirect_uri)

    async def finish_login(self, customer: str, login: AuthorizationRequest, query: str) -> None:
        tokens, _ = self._connect(customer)
        await tokens.finish_code_login(login, query)

    async def session(self, customer: str) -> ActivitySession | None:
        """Return the session of a customer, None for one who never logged in."""
        if await DatabaseStore(self._database, customer).load() is None:
            return None
        _, session = self._connect(customer)
        return session

    def _connect(self, customer: str) -> tuple[OAuthTokens, ActivitySession]:
        if customer not in self._connected:
            tokens = OAuthTokens(self._client, DatabaseStore(self._database, customer))
            session = ActivitySession.from_env(tokens, quota=self._quota)
            self._connected[customer] = tokens, session
            self._stack.push_async_callback(tokens.aclose)
            self._stack.push_async_callback(session.aclose)
        return self._connected[customer]


CUSTOMERS = web.AppKey("customers", Customers)
PENDING = web.AppKey("pending", dict[str, AuthorizationRequest])
APP_URL = web.AppKey("app_url", str)
MAX_PENDING = 10_000


async def log_in(request: web.Request) -> web.Response:
    # In your app this is the id of the customer who is logged in to it, from its own session.
    customer = secrets.token_urlsafe()
    app_url, pending = request.app[APP_URL], request.app[PENDING]
    pending[customer] = login = request.app[CUSTOMERS].start_login(f"{app_url}/callback")
    if len(pending) > MAX_PENDING:
        del pending[next(iter(pending))]
    response = web.Response(status=302, headers={"Location": login.url})
    secure = app_url.startswith("https:")
    response.set_cookie("customer", customer, httponly=True, secure=secure, samesite="Lax")
    return response


async def callback(request: web.Request) -> web.Response:
    customer = request.cookies.get("customer", "")
    login = request.app[PENDING].pop(customer, None)
    if login is None:
        raise web.HTTPBadRequest(text="this login was not begun in this browser")
    try:
        await request.app[CUSTOMERS].finish_login(customer, login, request.query_string)
    except LoginFailedError as error:  # they declined, or came too late
        raise web.HTTPForbidden(text=str(error)) from None
    raise web.HTTPFound("/imports")


async def imports(request: web.Request) -> web.Response:
    session = await request.app[CUSTOMERS].session(request.cookies.get("customer", ""))
    if session is None:
        raise web.HTTPFound("/log-in")
    try:
        activities = await session.list_activities()
    except ReauthorizationRequiredError:  # the login is over
        raise web.HTTPFound("/log-in") from None
    return web.json_response([activity.as_dict() for activity in activities])


@web.middleware
async def unavailable(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 503 when the vendor cannot be reached, or its limit is spent."""
    try:
        return await handler(request)
    except CCActivityError as error:
        log.warning("%s: %s", request.path, error)
        raise web.HTTPServiceUnavailable(text="try again later") from None


def make_app(database: str, app_url: str) -> web.Application:
    async def open_customers(app: web.Application) -> AsyncIterator[None]:
        create_database(database)
        app[CUSTOMERS] = Customers(database)
        yield
        await app[CUSTOMERS].aclose()

    app = web.Application(middlewares=[unavailable])
    app[PENDING] = {}
    app[APP_URL] = app_url
    app.cleanup_ctx.append(open_customers)
    app.add_routes(
        [
            web.get("/log-in", log_in),
            web.get("/callback", callback),
            web.get("/imports", imports),
        ]
    )
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Let customers log in, and show their imports.")
    parser.add_argument("--sandbox", action="store_true", help="offline, with simulated imports")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    app_url = os.environ.get("APP_URL", f"http://127.0.0.1:{options.port}")
    database = os.environ.get("APP_DATABASE", "app.db")
    with ExitStack() as stack:
        if options.sandbox:
            vendor = stack.enter_context(Sandbox(history=10))
            client = vendor.register_client(redirect_uris=[f"{app_url}/callback"])
            os.environ["CCACTIVITY_BASE_URL"] = vendor.base_url
            os.environ["CCACTIVITY_OAUTH_URL"] = vendor.oauth_base_url
            os.environ["CCACTIVITY_CLIENT_ID"] = client.client_id
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            database = f"{folder}/app.db"
            print(f"{app_url}/imports", flush=True)
        try:
            web.run_app(make_app(database, app_url), host="127.0.0.1", port=options.port)
        except ValueError as error:  # no client id
            parser.error(str(error))


if __name__ == "__main__":
    main()
