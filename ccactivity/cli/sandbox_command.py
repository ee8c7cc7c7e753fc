"""The command `sandbox`: serves a simulated server to any program, until it is interrupted."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

import attrs

from ccactivity import sandbox
from ccactivity._text import escape
from ccactivity.sandbox import Answer, Effect, Fault, Logged, OAuthRules, Sandbox, Workload

from .exit_codes import UsageError
from .output import print_note

__all__ = ["FAULTS", "parse_faults", "serve"]

FAULTS: Final[dict[str, Callable[[], Answer | Effect]]] = {
    "401": sandbox.unauthorized,
    "403": sandbox.forbidden,
    "404": sandbox.not_found,
    "500": sandbox.server_error,
    "502": lambda: sandbox.html(502),
    "503": lambda: sandbox.server_error(503),
    "504": lambda: sandbox.html(504),
    "throttled": sandbox.throttled,
    "quota_exceeded": sandbox.quota_exceeded,
    "html": sandbox.html,
    "empty": sandbox.empty,
    "cut": sandbox.Cut,
    "slow": lambda: sandbox.Delay(5.0),
    "drip": lambda: sandbox.Drip(0.01, size=16),
    "hang": sandbox.Hang,
    "reset": sandbox.Reset,
    "disconnect": sandbox.Disconnect,
    "lost_request": sandbox.lost_request,
}
_JOBS_AT_A_TIME: Final = 1_000
_MAX_TARGET_CHARACTERS: Final = 200  # of a request, in its log line
_DEVICE_POLL_INTERVAL_S: Final = 2.0  # shorter than the vendor's 5 s: a person is waiting


def parse_faults(texts: Sequence[str]) -> list[Fault]:
    """Read faults such as `503`, or `503:0.2` with a probability; UsageError for others."""
    faults = []
    for text in texts:
        name, colon, chance = text.partition(":")
        if name not in FAULTS:
            raise UsageError(f"no such fault: {name!r}; there are {', '.join(FAULTS)}")
        try:
            probability = float(chance) if colon else 1.0
        except ValueError:
            probability = -1.0
        if not 0.0 <= probability <= 1.0:
            raise UsageError(f"the probability of a fault is a number from 0 to 1, as in {name}:0.2, not {chance!r}")
        faults.append(Fault(FAULTS[name](), probability=probability))
    return faults


async def serve(
    *,
    port: int,
    speed: float,
    jobs: int,
    workers: int,
    seed: int,
    token_life: float,
    redirect_uris: Sequence[str],
    faults: Sequence[str],
    log_requests: bool,
) -> None:
    """Serve until the task is cancelled, then say how many requests there were.

    `jobs`: how many imports there are from the start, `workers`: how many of them run at once, `speed`: how many times
    faster than in reality. `seed`: of all that is drawn. `token_life`: seconds for which the access token of a login is
    valid. `redirect_uris`: where a web login may come back to, beside http addresses of this machine. `log_requests`:
    print a line for each request.
    """
    broken: Counter[str] = Counter()

    def print_request(logged: Logged) -> None:
        nonlocal broken
        before, broken = broken, Counter(attrs.asdict(server.violations))
        print_note(_request_line(logged, list(broken - before)))

    rules = OAuthRules(access_life=token_life, interval=_DEVICE_POLL_INTERVAL_S)
    server = Sandbox(
        port=port,
        seed=seed,
        speed=speed,
        workload=Workload(lanes=workers),
        oauth=rules,
        on_request=print_request if log_requests else None,
    )
    client = server.register_client(redirect_uris=_checked_redirect_uris(redirect_uris), loopback_redirects=True)
    for fault in parse_faults(faults):
        server.faults.add(fault)
    try:
        await server.__aenter__()
    except OSError as error:
        raise UsageError(f"cannot listen on port {port}: {error.strerror}") from None
    try:
        for number in range(jobs):
            server.submit()
            if number % _JOBS_AT_A_TIME == 0:
                await asyncio.sleep(0)  # Ctrl-C ends this too
        with TemporaryDirectory(prefix="ccactivity-sandbox-") as folder:
            login = _login_environment(server, client.client_id, folder)
            print(_greeting(server, jobs, workers, client.redirect_uris, login), flush=True)
            await asyncio.Event().wait()
    finally:
        await server.__aexit__(None, None, None)
        print_note(f"\n{_totals(server)}")


def _checked_redirect_uris(uris: Sequence[str]) -> Sequence[str]:
    for uri in uris:
        if not _is_whole_url(uri):
            raise UsageError(f"a redirect URI is a whole URL, as in https://app.example/callback, not {uri!r}")
    return uris


def _is_whole_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc) and not parts.fragment


def _request_line(logged: Logged, broken_rules: Sequence[str]) -> str:
    target = logged.target
    if "token_in_url" in broken_rules:
        target = f"{target.partition('?')[0]}?..."  # the token may be in use
    line = f"{time.strftime('%H:%M:%S')} {logged.method} {escape(target, _MAX_TARGET_CHARACTERS)}"
    status = str(logged.status) if logged.status else "no answer"
    return f"{line} {status}" + (f", against the rules: {', '.join(broken_rules)}" if broken_rules else "")


def _totals(server: Sandbox) -> str:
    broken = Counter(attrs.asdict(server.violations))
    names = ", ".join(f"{name} {count:,}" for name, count in broken.most_common() if count)
    violations = _count(broken.total(), "violation")
    return f"{_count(server.requests.total(), 'request')}, {violations} of the vendor's rules" + (
        f": {names}" if names else ""
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _login_environment(server: Sandbox, client_id: str, folder: str) -> dict[str, str]:
    """The variables for a login here. It has a store of its own, so that it replaces no login with the vendor."""
    return {
        "CCACTIVITY_BASE_URL": server.base_url,
        "CCACTIVITY_OAUTH_URL": server.oauth_base_url,
        "CCACTIVITY_CLIENT_ID": client_id,
        "CCACTIVITY_TOKEN_STORE": str(Path(folder, "tokens.json")),
    }


def _greeting(server: Sandbox, jobs: int, workers: int, redirect_uris: Sequence[str], login: Mapping[str, str]) -> str:
    verb = "has" if jobs == 1 else "have"
    return "\n".join(
        [
            f"A simulated server listens at {server.base_url} until Ctrl-C.",
            f"{_count(jobs, 'import')} {verb} been submitted, of which {workers:,} at most run at once.",
            f"Its token is {server.token}",
            f"A campaign activity with a send history is {server.vendor.campaign_activity_id}",
            "",
            "In another terminal, with that token:",
            "",
            *_exports(server.env),
            "ccactivity watch --all",
            "",
            "Or with a login, which is approved in a browser:",
            "",
            "unset CCACTIVITY_ACCESS_TOKEN",
            *_exports(login),
            "ccactivity login",
            "ccactivity watch --all",
            "",
            f"A web login may come back to {' or '.join([*redirect_uris, 'any http:// address of this machine'])}.",
        ]
    )


def _exports(environment: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
