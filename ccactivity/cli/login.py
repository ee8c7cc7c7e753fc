"""The commands login, logout and whoami. Each returns its exit code.

What a person has to do is said on stderr, the result on stdout. No secret is shown anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs

from ccactivity import CCActivityError, LoginFailedError, TokenStoreError
from ccactivity._text import escape
from ccactivity.oauth import Account, DeviceLogin, FileStore, OAuthClient, OAuthTokens

from .batch.render import duration
from .exit_codes import ExitCode, UsageError, usage_errors
from .login_store import RUN_LOGIN, check_client, load_login, open_store, secret_hint, tokens_of, variable
from .output import format_time, print_json, print_note

__all__ = ["login", "logout", "whoami"]

_HINTS: Final = {
    "denied": f"{RUN_LOGIN} again, and approve it",
    "expired": f"{RUN_LOGIN} again",
    "refused": "check the client id, its secret (CCACTIVITY_CLIENT_SECRET, if it has one) and the scopes, and that the"
    " application may use the device flow",
}
_OVERRIDE: Final = "CCACTIVITY_ACCESS_TOKEN"


async def login(
    path: Path | None, *, client_id: str | None, oauth_url: str | None, scopes: Sequence[str], as_json: bool
) -> int:
    """Let a person log in on any device, and store the login in the place of an earlier one.

    None and no scopes: as the environment says, else the earlier login, else the library.
    """
    store = open_store(path)
    client = await _client(store, client_id, oauth_url, scopes)
    async with OAuthTokens(client, store, advice=RUN_LOGIN) as tokens:
        try:
            device_login = await tokens.start_device_login()
            _print_instructions(device_login)
            account = await device_login
        except LoginFailedError as error:
            if hint := _HINTS.get(error.reason):
                error.add_note(hint)
            raise
    # Tokens that could not be saved are kept in memory only, and the process ends here.
    stored = await load_login(store)
    if stored is None or stored.obtained_at < account.obtained_at:
        raise TokenStoreError(
            f"the login could not be stored in {store!r}, so it is lost: fix that, then {RUN_LOGIN} again"
        )
    if not as_json:
        print(escape(f"Logged in as {account.user}." if account.user else "Logged in."))
    _print_account(account, as_json=as_json)
    if missing := [scope for scope in client.scopes if scope not in account.scopes]:
        print_note(
            f"NOT GRANTED: {escape(' '.join(missing))}; are they enabled for the application in the vendor's portal?"
        )
    _note_override()
    return ExitCode.OK


async def logout(path: Path | None) -> int:
    """Remove the login, if there is one. The vendor is not told: it documents no way to do so."""
    store = open_store(path)
    stored = await load_login(store)
    removed = False
    if stored is not None:
        with usage_errors():
            client = OAuthClient(stored.client_id)
        async with OAuthTokens(client, store) as tokens:
            removed = await tokens.log_out()
    if stored is None or not removed:
        print(escape(f"not logged in: there is no login in {store!r}"))
    else:
        print(escape(f"logged out: the login of {stored.client_id} was removed from {store!r}"))
        end = "it expires" if stored.expires_at is None else format_time(stored.expires_at)
        print_note(f"the vendor offers no way to revoke a token: copies of the access token stay valid until {end}")
    _note_override()
    return ExitCode.OK


async def whoami(path: Path | None, *, refresh: bool, as_json: bool) -> int:
    """Show the login without asking anyone; with `refresh` it is refreshed first."""
    store = open_store(path)
    stored = await load_login(store)
    if stored is None:
        _note_override()
        raise UsageError(f"not logged in: there is no login in {store!r}; {RUN_LOGIN}")
    if refresh:
        check_client(stored, store)
    async with tokens_of(stored, store) as tokens:
        try:
            account = await (tokens.refresh() if refresh else tokens.account())
        except CCActivityError as error:
            if hint := secret_hint(error):
                error.add_note(hint)
            raise
    if account is None:  # logged out since, by another process
        raise UsageError(f"not logged in: {RUN_LOGIN}")
    _print_account(account, as_json=as_json)
    _note_override()
    expired = account.expires_at is not None and account.expires_at <= datetime.now(UTC)
    return ExitCode.REFUSED if account.problem and expired else ExitCode.OK


async def _client(store: FileStore, client_id: str | None, base_url: str | None, scopes: Sequence[str]) -> OAuthClient:
    """Return the application that is named; else that of the earlier login, which is to be renewed."""
    client_id = client_id or variable("CLIENT_ID")
    base_url = base_url or variable("OAUTH_URL")
    if not client_id and (stored := await load_login(store)) is not None:
        client_id = stored.client_id
        base_url = base_url or stored.token_url.removesuffix("/token")
        print_note(f"logging in again as the application {escape(client_id)}")
    if not client_id:
        raise UsageError("set CCACTIVITY_CLIENT_ID or --client-id to the API key of your application")
    options: dict[str, Any] = {"base_url": base_url} if base_url else {}
    if scopes:
        options["scopes"] = scopes
    try:
        return OAuthClient(client_id, variable("CLIENT_SECRET") or None, **options)
    except (TypeError, ValueError) as error:
        problem = str(error).replace("base_url", "the OAuth URL")
    raise UsageError(problem)


def _print_instructions(login: DeviceLogin) -> None:
    """Tell a person what to do, and for how long this waits for it."""
    address, code, complete = login.verification_uri, login.user_code, login.verification_uri_complete
    lines = ["To log in, open this address on any device:", "", f"    {complete or address}", ""]
    if complete is None:
        lines += [f"and enter the code {code}, and approve."]
    else:
        lines += [f"and approve there if it shows the code {code}.", f"({address} asks for the code instead.)"]
    minutes = math.ceil(login.expires_in / 60)
    lines += ["", f"Waiting for up to {minutes} min; Ctrl-C gives up.", ""]
    print_note("\n".join(map(escape, lines)))


def _print_account(account: Account, *, as_json: bool) -> None:
    if as_json:
        print_json(_account_data(account))
    else:
        for name, text in _account_rows(account, datetime.now(UTC)):
            print(escape(f"{name:<13} {text}"))


def _account_rows(account: Account, now: datetime) -> list[tuple[str, str]]:
    """The rows of the table for people."""
    idle_end, end = account.refreshable_until, account.expires_at
    if idle_end is not None:
        refresh = f"automatic, if the login is used before {format_time(idle_end)}"
    else:
        refresh = "NONE: this login ends with its access token"
    if end is None:
        validity = "valid until an unknown time"
    elif end <= now:
        validity = f"expired on {format_time(end)}"
    else:
        validity = f"valid until {format_time(end)} ({duration((end - now).total_seconds())})"
    rows = [
        ("user", account.user or "unknown"),
        ("client id", account.client_id),
        ("scopes", " ".join(account.scopes)),
        ("access token", validity),
        ("refresh", refresh),
        ("stored in", account.stored_in),
    ]
    if account.interrupted_at is not None:
        rows.append(("interrupted", f"the refresh of {format_time(account.interrupted_at)} has had no answer yet"))
    return rows + ([("problem", account.problem)] if account.problem else [])


def _account_data(account: Account) -> dict[str, Any]:
    """The object for programs, with times in ISO 8601."""
    names = (*(field.name for field in attrs.fields(Account)), "refreshable_until")
    values = {name: getattr(account, name) for name in names}
    data = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
    return data | {"overridden_by": _OVERRIDE if variable("ACCESS_TOKEN") else None}


def _note_override() -> None:
    if variable("ACCESS_TOKEN"):
        print_note(f"note: {_OVERRIDE} is set, so the other commands use that token instead of a login")
