"""Where the login of the command line is kept, and its tokens; nothing of it is loaded before a command needs it.

Which application a login is of, and where its tokens are refreshed, is read from the login itself: whoever has logged
in once need not name either again. Only a client secret is not stored, so it has to be in the environment.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ccactivity import CCActivityError

from .exit_codes import UsageError

if TYPE_CHECKING:
    from ccactivity.oauth import FileStore, OAuthTokens, StoredTokens

__all__ = [
    "CONFIDENTIAL",
    "INSTALL",
    "LOGIN",
    "check_application",
    "has_extra",
    "load",
    "missing_secret",
    "open_store",
    "tokens_of",
    "variable",
]

LOGIN: Final = "run `ccactivity login`"
CONFIDENTIAL: Final = "if the application has a secret, set CCACTIVITY_CLIENT_SECRET"
INSTALL: Final = 'pip install "ccactivity[cli,oauth]"'
_PACKAGES: Final = ("filelock", "oauthlib", "platformdirs")


def variable(name: str) -> str:
    """The value of an environment variable of ours, such as CLIENT_ID for CCACTIVITY_CLIENT_ID; empty if unset."""
    return os.environ.get(f"CCACTIVITY_{name}", "").strip()


def has_extra() -> bool:
    """Whether the packages of the extra `oauth` are here."""
    return all(find_spec(name) is not None for name in _PACKAGES)


def open_store(path: Path | None) -> FileStore:
    """Return the store that an option or CCACTIVITY_TOKEN_STORE names, else the user's own one.

    It touches no file. UsageError without the extra.
    """
    if not has_extra():
        raise UsageError(f"logins need more than the command line: {INSTALL}")
    from ccactivity.oauth import FileStore  # noqa: PLC0415 -- a token in the environment needs none of it

    return FileStore(path or variable("TOKEN_STORE") or None)


async def load(store: FileStore) -> StoredTokens | None:
    """Return what is stored, whoever's it is; UsageError or TokenStoreError if that cannot be read."""
    try:
        return await store.load()
    except OSError as error:
        raise UsageError(f"{store!r} cannot be read: {error.strerror}") from None


def tokens_of(login: StoredTokens, store: FileStore) -> OAuthTokens:
    """Return the tokens of a stored login, as the application that it is of; UsageError if that cannot be."""
    from ccactivity.oauth import OAuthClient, OAuthTokens  # noqa: PLC0415 -- as above

    try:
        # Held to the rules for any endpoint: https, or this machine.
        client = OAuthClient(login.client_id, variable("CLIENT_SECRET") or None, token_url=login.token_url)
    except (TypeError, ValueError) as error:
        problem = str(error)
    else:
        return OAuthTokens(client, store, advice=LOGIN)
    raise UsageError(f"the login in {store!r} cannot be used ({problem}): {LOGIN}")


def check_application(login: StoredTokens, store: FileStore) -> None:
    """UsageError if the environment names another application: its secret is not for this login's server."""
    named = variable("CLIENT_ID")
    if named and named != login.client_id:
        raise UsageError(
            f"the login in {store!r} is of the application {login.client_id}, but CCACTIVITY_CLIENT_ID names {named}:"
            f" {LOGIN} to log in with that one, or unset the variable"
        )


def missing_secret(error: CCActivityError) -> bool:
    """Whether an authorization server refused an application that gave no secret."""
    code = getattr(error, "error", None)
    return code in ("invalid_client", "unauthorized_client") and not variable("CLIENT_SECRET")
