"""The commands that log in and out, and tell who has logged in; a login is the library's, the words are of here.

Addresses and codes for a person go to stderr, what became of it to stdout. No secret is shown, in no form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs

from ccactivity import CCActivityError, LoginFailedError, TokenStoreError
from ccactivity.oauth import Account, DeviceLogin, FileStore, OAuthClient, OAuthTokens

from .batch.render import safe
from .exit_codes import OK, REFUSED, UsageError, arguments
from .login_store import CONFIDENTIAL, LOGIN, check_application, load, missing_secret, open_store, tokens_of, variable
from .output import emit, say

__all__ = ["Application", "login", "logout", "whoami"]

_MORE: Final = {
    "denied": f"{LOGIN} again, and agree",
    "expired": f"{LOGIN} again",
    "refused": f"check the client id and the scopes, and that the application may use the device flow; {CONFIDENTIAL}",
}


@attrs.frozen(kw_only=True)
class Application:
    """Who asks for a login, and where; None and no scopes: as the environment or the library has it."""

    client_id: str | None = None
    oauth_url: str | None = None
    scopes: Sequence[str] = ()


async def login(application: Application, path: Path | None, *, as_json: bool) -> int:
    """Have a person log in on any device, and store what comes of it in the place of an earlier login."""
    store = open_store(path)
    client = await _client(application, store)
    async with OAuthTokens(client, store, advice=LOGIN) as tokens:
        try:
            begun = await tokens.start_device_login()
            _invite(begun)
            account = await begun
        except LoginFailedError as error:
            if advice := _MORE.get(error.reason):
                error.add_note(advice)
            raise
    # What cannot be saved serves from memory, which ends here.
    kept = await load(store)
    if kept is None or kept.obtained_at < account.obtained_at:
        raise TokenStoreError(
            f"the login could not be stored in {store!r}, so it is lost: see to that, and {LOGIN} again"
        )
    _show(account, as_json=as_json, hello=f"{account.user or 'Somebody'} has logged in.")
    if missing := [scope for scope in client.scopes if scope not in account.scopes]:
        say(f"NOT GRANTED: {safe(' '.join(missing))}; does the application ask for it in the vendor's portal?")
    _say_what_wins()
    return OK


async def logout(path: Path | None) -> int:
    """Forget the login, if there is one; the vendor is not told, for it documents no way to."""
    store = open_store(path)
    stored = await load(store)
    gone = False
    if stored is not None:
        with arguments():
            client = OAuthClient(stored.client_id)
        async with OAuthTokens(client, store) as tokens:
            gone = await tokens.log_out()
    if stored is None or not gone:
        print(safe(f"nobody was logged in: there is no login in {store!r}"))
    else:
        print(safe(f"logged out: the login of {stored.client_id} was removed from {store!r}"))
        end = "it runs out" if stored.expires_at is None else _when(stored.expires_at)
        say(f"the vendor cannot be told so: a copy of the access token that somebody has stays good until {end}")
    _say_what_wins()
    return OK


async def whoami(path: Path | None, *, refresh: bool, as_json: bool) -> int:
    """Tell of the login without asking anyone, unless it is to be refreshed first."""
    store = open_store(path)
    stored = await load(store)
    if stored is None:
        _say_what_wins()
        raise UsageError(f"nobody has logged in: there is no login in {store!r}; {LOGIN}")
    if refresh:
        check_application(stored, store)
    async with tokens_of(stored, store) as tokens:
        try:
            account = await (tokens.refresh() if refresh else tokens.account())
        except CCActivityError as error:
            if missing_secret(error):
                error.add_note(CONFIDENTIAL)
            raise
    if account is None:  # somebody has logged out in this very moment
        raise UsageError(f"nobody has logged in: {LOGIN}")
    _show(account, as_json=as_json)
    _say_what_wins()
    ended = account.expires_at is not None and account.expires_at <= datetime.now(UTC)
    return REFUSED if account.problem and ended else OK


async def _client(application: Application, store: FileStore) -> OAuthClient:
    """Return the application that is named; else the one of the earlier login, which is to be renewed."""
    client_id = application.client_id or variable("CLIENT_ID")
    base_url = application.oauth_url or variable("OAUTH_URL")
    if not client_id and (stored := await load(store)) is not None:
        client_id = stored.client_id
        base_url = base_url or stored.token_url.removesuffix("/token")
        say(f"logging in again as the application {safe(client_id)}")
    if not client_id:
        raise UsageError("set CCACTIVITY_CLIENT_ID or --client-id to the API key of your application")
    options: dict[str, Any] = {"base_url": base_url} if base_url else {}
    if application.scopes:
        options["scopes"] = application.scopes
    try:
        return OAuthClient(client_id, variable("CLIENT_SECRET") or None, **options)
    except (TypeError, ValueError) as error:
        problem = str(error).replace("base_url", "the OAuth URL")
    raise UsageError(problem)


def _invite(begun: DeviceLogin) -> None:
    """Say what a person has to do."""
    where, code, complete = safe(begun.verification_uri), safe(begun.user_code), begun.verification_uri_complete
    steps = ["To log in, open this address on any device:", "", f"    {safe(complete or where)}", ""]
    if complete is None:
        steps += [f"and type in the code {code}, and agree."]
    else:
        steps += [f"and agree there, if it shows the code {code}.", f"({where} asks for the code instead.)"]
    minutes = math.ceil(begun.expires_in / 60)
    say("\n".join([*steps, "", f"Waiting, for {minutes} min at most; Ctrl-C gives up.", ""]))


def _show(account: Account, *, as_json: bool, hello: str | None = None) -> None:
    if as_json:
        emit(_data(account))
        return
    lines = [*([hello] if hello else []), *(f"{name:<13} {text}" for name, text in _rows(account, datetime.now(UTC)))]
    print("\n".join(safe(line) for line in lines))


def _rows(account: Account, now: datetime) -> list[tuple[str, str]]:
    """The rows of the table for people; `now`: what spans are counted from."""
    until, ends = account.refreshable_until, account.expires_at
    if until is not None:
        renewal = f"by itself, if the login is used before {_when(until)}"
    else:
        renewal = "NONE: this login ends with its access token"
    token = "good for an unknown time" if ends is None else f"good until {_when(ends)} ({_span(now, ends)})"
    if ends is not None and ends <= now:
        token = f"ran out on {_when(ends)}"
    rows = [
        ("user", account.user or "unknown"),
        ("client id", account.client_id),
        ("scopes", " ".join(account.scopes)),
        ("access token", token),
        ("refresh", renewal),
        ("stored in", account.stored_in),
    ]
    if account.interrupted_at is not None:
        rows.append(("interrupted", f"a refresh that began on {_when(account.interrupted_at)} had no answer yet"))
    return rows + ([("problem", account.problem)] if account.problem else [])


def _data(account: Account) -> dict[str, Any]:
    """The object for programs; instants are in ISO 8601."""
    fields = (*(field.name for field in attrs.fields(Account)), "refreshable_until")
    values = {name: getattr(account, name) for name in fields}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()} | {
        "overridden_by": _WINNER if variable("ACCESS_TOKEN") else None
    }


_WINNER: Final = "CCACTIVITY_ACCESS_TOKEN"


def _say_what_wins() -> None:
    if variable("ACCESS_TOKEN"):
        say(f"note: {_WINNER} is set, so the other commands use that token, and no login")


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _span(now: datetime, end: datetime) -> str:
    seconds = max(0, round((end - now).total_seconds()))
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
