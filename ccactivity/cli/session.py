"""From the options of every command to a session. Its token is that of a file, of the environment, or of a login.

Never of argv: what is on a command line can be read by every user of the machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import attrs

from ccactivity import ActivitySession, AuthenticationError, CCActivityError, PermissionDeniedError, TokenError

from .exit_codes import UsageError, arguments
from .login_store import (
    CONFIDENTIAL,
    INSTALL,
    LOGIN,
    check_application,
    has_extra,
    load,
    missing_secret,
    open_store,
    tokens_of,
    variable,
)

if TYPE_CHECKING:
    from ccactivity import TokenSource
    from ccactivity.oauth import StoredTokens

__all__ = ["Connection", "Reach", "connect"]

_MOST = 65_536


@attrs.frozen(kw_only=True)
class Connection:
    """Where the API is, and where the token is: in a file, or in the store of a login; None looks for one.

    It is then that of the environment, and without one that of the user's own login.
    """

    token_file: Path | None = None
    store: Path | None = None
    base_url: str | None = None


def connect(connection: Connection) -> Reach:
    """Prepare a session, to be entered."""
    return Reach(connection)


class Reach:
    """A session for the block in which it is entered: `async with connect(connection) as session`.

    Entering raises UsageError without a token, or with one that cannot be sent; TokenStoreError for a login that cannot
    be read. After the session the tokens of a login are closed too, so that a refresh under way is not lost.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stack = AsyncExitStack()
        self._login: StoredTokens | None = None

    async def __aenter__(self) -> ActivitySession:
        base_url = self._connection.base_url or variable("BASE_URL")
        options: dict[str, Any] = {"base_url": base_url} if base_url else {}
        async with AsyncExitStack() as stack:
            token = await self._token(stack)
            with arguments():
                session = ActivitySession(token, **options)
            await stack.enter_async_context(session)
            self._stack = stack.pop_all()
        return session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, CCActivityError) and (advice := self.advice(error)):
            error.add_note(advice)
        await self._stack.aclose()

    def advice(self, error: CCActivityError) -> str | None:
        """What whoever reads an error can do about it, None if it says so itself or nobody knows."""
        if self._login is None:
            expired = isinstance(error, AuthenticationError)
            return f"a token lives for a day: get a new one, or {LOGIN}, which keeps it fresh" if expired else None
        if isinstance(error, AuthenticationError):
            return "do CCACTIVITY_BASE_URL and the login belong together?"
        if isinstance(error, PermissionDeniedError) and error.scope is not None:
            return _permission(error.scope, error.privilege, self._login.scopes)
        return CONFIDENTIAL if missing_secret(error) else None

    async def _token(self, stack: AsyncExitStack) -> str | Callable[[], Awaitable[str]] | TokenSource:
        file, named = self._connection.token_file, self._connection.store
        if file is not None and named is not None:
            raise UsageError("--token-file and --store cannot both be had")
        if file is not None:
            return _token_of(file)
        if named is None and (token := variable("ACCESS_TOKEN")):
            return token
        if named is None and not has_extra():
            raise UsageError(
                f"no access token: set CCACTIVITY_ACCESS_TOKEN, or name a file with --token-file; to log in: {INSTALL}"
            )
        store = open_store(named)
        self._login = await load(store)
        if self._login is None:
            raise UsageError(
                f"no access token: {LOGIN}, set CCACTIVITY_ACCESS_TOKEN, or name a file with --token-file"
                f" (no login in {store!r})"
            )
        check_application(self._login, store)
        return await stack.enter_async_context(tokens_of(self._login, store))


def _permission(scope: str, privilege: str | None, granted: tuple[str, ...]) -> str:
    if scope not in granted:
        return f"the login was not granted {scope}: {LOGIN} without --scope, or with --scope {scope} too"
    return f"the login has that scope, so its user lacks {privilege}: account owners and account managers have it"


def _token_of(file: Path) -> Callable[[], Awaitable[str]]:
    try:
        token = _read(file)
    except TokenError as error:
        raise UsageError(str(error)) from None
    with arguments():
        ActivitySession(token)  # says what is wrong with a token before anything is sent
    return _reader(file)


def _reader(path: Path) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        return _read(path)  # again when the token was refused: another program may have renewed it

    return read


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            token = file.read(_MOST).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        problem = f"the token file {str(path)!r} cannot be read: {reason}"
    else:
        if token:
            return token
        problem = f"the token file {str(path)!r} is empty"
    raise TokenError(problem)
