"""From the options of a command to an open session. Its token comes from a file, from the environment or from a login.

It never comes from the command line, which every user of the machine can read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ccactivity import ActivitySession, AuthenticationError, CCActivityError, PermissionDeniedError, TokenError
from ccactivity._secret import Secret

from .exit_codes import UsageError, read_problem, usage_errors
from .fleet import find_fleet
from .login_store import RUN_LOGIN, check_client, load_login, open_store, secret_hint, tokens_of, variable

if TYPE_CHECKING:
    from ccactivity import TokenSource
    from ccactivity.oauth import StoredTokens

__all__ = ["Advice", "SessionOpening", "open_session"]

Advice = Callable[[CCActivityError], str | None]
"""Says what the user can do about an error; None if the error says so itself, or nothing is known."""
SessionOpening = AbstractAsyncContextManager[tuple[ActivitySession, Advice]]
"""What `open_session` returns, to be entered."""

_MAX_TOKEN_FILE_CHARACTERS: Final = 65_536
_OTHER_WAYS: Final = "set CCACTIVITY_ACCESS_TOKEN, or name a file with --token-file"


@asynccontextmanager
async def open_session(
    *,
    token_file: Path | None = None,
    store: Path | None = None,
    base_url: str | None = None,
    fleet_url: str | None = None,
) -> AsyncIterator[tuple[ActivitySession, Advice]]:
    """Open a session. It comes together with the advice on its errors; an error that leaves the block has it as a note.

    The token is that in `token_file`, or that of the login in `store`; with neither it is CCACTIVITY_ACCESS_TOKEN, else
    that of the user's own login. `base_url` of the API; else CCACTIVITY_BASE_URL, else the vendor's. `fleet_url`: of
    the server that shares the quota; else CCACTIVITY_FLEET_URL, else the session is on its own.

    Entering raises UsageError without a token or for one that cannot be sent, TokenStoreError for a login that cannot
    be read. Leaving waits for a refresh under way, whose refresh token would be lost otherwise.
    """
    base_url = base_url or variable("BASE_URL")
    options: dict[str, Any] = {"fleet": find_fleet(fleet_url), **({"base_url": base_url} if base_url else {})}
    async with AsyncExitStack() as stack:
        token, login = await _find_token(token_file, store, stack)
        advice = partial(_advice, login)
        with usage_errors():
            session = ActivitySession(token, **options)
        await stack.enter_async_context(session)
        try:
            yield session, advice
        except CCActivityError as error:
            if text := advice(error):
                error.add_note(text)
            raise


async def _find_token(
    file: Path | None, store_path: Path | None, stack: AsyncExitStack
) -> tuple[str | Callable[[], Awaitable[str]] | TokenSource, StoredTokens | None]:
    """Return the token, and the login that it is of, if any; the tokens of a login are closed by `stack`."""
    if file is not None and store_path is not None:
        raise UsageError("--token-file and --store are mutually exclusive")
    if file is not None:
        return _token_file_source(file), None
    if store_path is None and (token := Secret(variable("ACCESS_TOKEN"))):
        return token, None
    try:
        store = open_store(store_path)
    except UsageError as error:
        raise UsageError(f"no access token: {_OTHER_WAYS}; {error}") from None
    login = await load_login(store)
    if login is None:
        raise UsageError(f"no access token: {RUN_LOGIN}, {_OTHER_WAYS} (no login in {store!r})")
    check_client(login, store)
    return await stack.enter_async_context(tokens_of(login, store)), login


def _advice(login: StoredTokens | None, error: CCActivityError) -> str | None:
    if isinstance(error, AuthenticationError):
        if login is None:
            return f"an access token lives for a day: get a new one, or {RUN_LOGIN}, which keeps it fresh"
        return "do CCACTIVITY_BASE_URL and the login belong to the same server?"
    if login is None:
        return None
    if isinstance(error, PermissionDeniedError) and error.scope is not None:
        if error.scope not in login.scopes:
            return f"the login was not granted {error.scope}: {RUN_LOGIN} without --scope, or add --scope {error.scope}"
        roles = "account owners and account managers have it"
        return f"the login has that scope, so its user lacks {error.privilege}: {roles}"
    return secret_hint(error)


def _token_file_source(path: Path) -> Callable[[], Awaitable[str]]:
    """Return what reads the token from a file, once that has worked; UsageError if it does not."""
    try:
        token = _read_token(path)
    except TokenError as error:
        raise UsageError(str(error)) from None
    with usage_errors():
        ActivitySession(token)  # says what is wrong with a token before anything is sent

    async def read() -> str:
        return _read_token(path)  # called again when the token is refused: another program may have renewed it

    return read


def _read_token(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            token = Secret(file.read(_MAX_TOKEN_FILE_CHARACTERS).strip())
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot read the token file {str(path)!r}: {read_problem(error)}"
    else:
        if token:
            return token
        problem = f"the token file {str(path)!r} is empty"
    raise TokenError(problem)
