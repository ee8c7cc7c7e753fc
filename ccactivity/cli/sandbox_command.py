"""The command `sandbox`: serves a simulated server to any program, until it is interrupted."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ccactivity import sandbox
from ccactivity.sandbox import Answer, Effect, Fault, OAuthRules, Sandbox

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
}
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


async def serve(*, port: int, speed: float, jobs: int, token_life: float, faults: Sequence[str]) -> None:
    """Serve until the task is cancelled, then say how many requests there were.

    `jobs`: how many imports there are from the start, `speed`: how many times faster than in reality they run.
    `token_life`: seconds for which the access token of a login is valid.
    """
    rules = OAuthRules(access_life=token_life, interval=_DEVICE_POLL_INTERVAL_S)
    server = Sandbox(port=port, speed=speed, oauth=rules)
    client = server.register_client()
    for fault in parse_faults(faults):
        server.faults.add(fault)
    try:
        await server.__aenter__()
    except OSError as error:
        raise UsageError(f"cannot listen on port {port}: {error.strerror}") from None
    try:
        for _ in range(jobs):
            server.submit()
        with TemporaryDirectory(prefix="ccactivity-sandbox-") as folder:
            print(_greeting(server, jobs, _login_environment(server, client.client_id, folder)), flush=True)
            await asyncio.Event().wait()
    finally:
        await server.__aexit__(None, None, None)
        requests, violations = server.requests.total(), server.violations.total
        print_note(f"\n{requests} requests, {violations} of them against the vendor's rules")


def _login_environment(server: Sandbox, client_id: str, folder: str) -> dict[str, str]:
    """The variables for a login here. It has a store of its own, so that it replaces no login with the vendor."""
    return {
        "CCACTIVITY_BASE_URL": server.base_url,
        "CCACTIVITY_OAUTH_URL": server.oauth_base_url,
        "CCACTIVITY_CLIENT_ID": client_id,
        "CCACTIVITY_TOKEN_STORE": str(Path(folder, "tokens.json")),
    }


def _greeting(server: Sandbox, jobs: int, login: Mapping[str, str]) -> str:
    imports = f"{jobs} imports have been submitted" if jobs != 1 else "1 import has been submitted"
    return "\n".join(
        [
            f"A simulated server listens at {server.base_url} until Ctrl-C; {imports}.",
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
        ]
    )


def _exports(environment: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
