"""The command `serve`, and the page beside `watch` and `demo`: a server for the live page, until it is interrupted."""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ccactivity import ActivitySession
from ccactivity._secret import Secret
from ccactivity.web import Board, aiohttp_app

from .exit_codes import UsageError, read_problem, usage_errors
from .output import print_note

if TYPE_CHECKING:
    from .session import SessionOpening

__all__ = ["serve", "serve_beside"]

_MIN_TOKEN_CHARACTERS: Final = 16
_MAX_TOKEN_CHARACTERS: Final = 4_096
_SHUTDOWN_TIMEOUT_S: Final = 1.0
_Allow = Callable[[web.Request], Awaitable[bool]]


async def serve(
    opening: SessionOpening, ids: Sequence[str], *, everything: bool, host: str, port: int, page_token: Path | None
) -> None:
    """Serve a page of the activities of `ids`, or of `everything` in the account, until the task is cancelled.

    `page_token`: file with the password of the page; for a `host` beyond this machine there has to be one.
    """
    if not ids and not everything:
        raise UsageError("nothing to show: give ids or --all")
    allow = None if page_token is None else _password(page_token)
    if allow is None and not _is_loopback(host):
        raise UsageError(f"whoever reaches {host} could see the page: give it a password with --page-token-file")
    async with opening as (session, _):
        board = Board(session)
        if everything:
            board.follow_all()
        with usage_errors():
            board.follow(ids)
        async with _serving(board, host, port, allow) as url:
            print(f"The page is at {url} until Ctrl-C.", flush=True)
            await asyncio.Event().wait()


@asynccontextmanager
async def serve_beside(
    session: ActivitySession, ids: Iterable[str], *, title: str = "Activities"
) -> AsyncIterator[Board]:
    """Serve a page of what a command watches, while the block lasts. Give its board."""
    board = Board(session, title=title)
    board.follow(ids)
    async with _serving(board, "127.0.0.1", 0, None) as url:
        print_note(f"The page is at {url}")
        try:
            yield board
        finally:
            await board.aclose()


@asynccontextmanager
async def _serving(board: Board, host: str, port: int, allow: _Allow | None) -> AsyncIterator[str]:
    """Serve a board while the block lasts; give its address.

    Without a password the path cannot be guessed: other users of this machine could reach the port, too.
    """
    prefix = f"/{secrets.token_urlsafe(9)}/" if allow is None else "/page/"
    app = web.Application()
    app.add_subapp(prefix, aiohttp_app(board, allow=allow))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except (OSError, UnicodeError) as error:
            problem = error.strerror if isinstance(error, OSError) else "no name that a machine can have"
            raise UsageError(f"cannot listen on {host}, port {port}: {problem}") from None
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{runner.addresses[0][1]}{prefix}"
    finally:
        await runner.cleanup()


def _password(path: Path) -> _Allow:
    """Return who may see a page: whoever logs in, under any name, with the password in the file."""
    try:
        with path.open(encoding="utf-8") as file:
            password = Secret(file.read(_MAX_TOKEN_CHARACTERS + 1).strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the page's token file {str(path)!r}: {read_problem(error)}") from None
    if not _MIN_TOKEN_CHARACTERS <= len(password) <= _MAX_TOKEN_CHARACTERS:
        least, most = _MIN_TOKEN_CHARACTERS, _MAX_TOKEN_CHARACTERS
        raise UsageError(f"the token in {str(path)!r} needs at least {least} characters, and at most {most}")

    async def allow(request: web.Request) -> bool:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        try:
            _, _, given = b64decode(credentials if scheme.lower() == "basic" else "").partition(b":")
        except ValueError:
            given = b""
        if secrets.compare_digest(given, password.encode()):
            return True
        raise web.HTTPUnauthorized(headers={"WWW-Authenticate": 'Basic realm="ccactivity", charset="UTF-8"'})

    return allow


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
