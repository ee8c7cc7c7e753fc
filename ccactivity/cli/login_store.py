"""The login that the command line keeps, and its tokens. `ccactivity.oauth` is imported only when a command needs it.

A stored login says which application it is of and where its tokens are refreshed, so that these need not be named
again. Only a client secret is not stored: it has to be in the environment.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ccactivity import CCActivityError

from .exit_codes import UsageError, read_problem
from .no_extra import INSTALL_OAUTH

if TYPE_CHECKING:
    from ccactivity.oauth import FileStore, OAuthTokens, StoredTokens

__all__ = ["RUN_LOGIN", "check_client", "load_login", "open_store", "secret_hint", "tokens_of", "variable"]

RUN_LOGIN: Final = "run `ccactivity login`"
_OAUTH_PACKAGES: Final = ("filelock", "oauthlib", "platformdirs")


def variable(name: str) -> str:
    """The value of CCACTIVITY_`name` in the environment, without white space around it; empty if unset."""
    return os.environ.get(f"CCACTIVITY_{name}", "").strip()


def open_store(path: Path | None) -> FileStore:
    """Return the store at `path`, else at CCACTIVITY_TOKEN_STORE, else the user's own; it touches no file yet.

    UsageError without the extra `oauth`.
    """
    if any(find_spec(name) is None for name in _OAUTH_PACKAGES):
        raise UsageError(f"to log in, more packages are needed: {INSTALL_OAUTH}")
    from ccactivity.oauth import FileStore  # noqa: PLC0415 -- not needed for a token in the environment

    return FileStore(path or variable("TOKEN_STORE") or None)


async def load_login(store: FileStore) -> StoredTokens | None:
    """Return the stored login, None if there is none; UsageError or TokenStoreError if it cannot be read."""
    try:
        return await store.load()
    except OSError as error:
        raise UsageError(f"cannot read {store!r}: {read_problem(error)}") from None


def tokens_of(login: StoredTokens, store: FileStore) -> OAuthTokens:
    """Return the tokens of a stored login, to be entered; UsageError if it names a server that is not allowed."""
    from ccactivity.oauth import OAuthClient, OAuthTokens  # noqa: PLC0415 -- as above

    try:
        # Checks the stored address as any other: https, or this machine.
        client = OAuthClient(login.client_id, variable("CLIENT_SECRET") or None, token_url=login.token_url)
    except (TypeError, ValueError) as error:
        problem = str(error)
    else:
        return OAuthTokens(client, store, advice=RUN_LOGIN)
    raise UsageError(f"cannot use the login in {store!r} ({problem}): {RUN_LOGIN}")


def check_client(login: StoredTokens, store: FileStore) -> None:
    """Raise UsageError if the environment names another application: its secret is not for this login's server."""
    named = variable("CLIENT_ID")
    if named and named != login.client_id:
        raise UsageError(
            f"the login in {store!r} belongs to the application {login.client_id}, but CCACTIVITY_CLIENT_ID is {named}:"
            f" {RUN_LOGIN} for that one, or unset the variable"
        )


def secret_hint(error: CCActivityError) -> str | None:
    """Say what to do if the authorization server refused the application, and no client secret was sent."""
    if getattr(error, "error", None) in ("invalid_client", "unauthorized_client") and not variable("CLIENT_SECRET"):
        return "if the application has a secret, set CCACTIVITY_CLIENT_SECRET"
    return None
