"""The sandbox as a command: a simulated vendor for whatever program, until it is interrupted."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from ccactivity.sandbox import (
    Answer,
    Cut,
    Delay,
    Disconnect,
    Drip,
    Fault,
    Hang,
    OAuthRules,
    Reset,
    Sandbox,
    empty,
    forbidden,
    html,
    not_found,
    quota_exceeded,
    server_error,
    throttled,
    unauthorized,
)
from ccactivity.sandbox.effects import Effect

from .exit_codes import OK, UsageError
from .output import say

__all__ = ["FAULTS", "faults", "serve"]

FAULTS: Final[dict[str, Callable[[], Answer | Effect]]] = {
    "401": unauthorized,
    "403": forbidden,
    "404": not_found,
    "500": server_error,
    "502": lambda: html(502),
    "503": lambda: server_error(503),
    "504": lambda: html(504),
    "throttled": throttled,
    "quota_exceeded": quota_exceeded,
    "html": html,
    "empty": empty,
    "cut": Cut,
    "slow": lambda: Delay(5.0),
    "drip": lambda: Drip(0.01, size=16),
    "hang": Hang,
    "reset": Reset,
    "disconnect": Disconnect,
}


def faults(texts: Sequence[str]) -> list[Fault]:
    """Read faults such as `503` and `503:0.2`; UsageError for others."""
    read = []
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
        read.append(Fault(FAULTS[name](), probability=probability))
    return read


@attrs.frozen(kw_only=True)
class Plan:
    """What to serve. `speed`: how many times faster than life the jobs are. `token_life`: seconds, of a login's."""

    port: int = 0
    speed: float = 1.0
    jobs: int = 20
    token_life: float = 86_400.0
    faults: Sequence[str] = ()


async def serve(plan: Plan) -> int:
    """Serve until the task is cancelled, and then say what was asked of the vendor."""
    script = faults(plan.faults)
    # A person stands before it, who has two seconds between two polls and not five.
    rules = OAuthRules(access_life=plan.token_life, interval=2.0)
    sandbox = Sandbox(port=plan.port, speed=plan.speed, oauth=rules)
    client = sandbox.register_client()
    for fault in script:
        sandbox.faults.add(fault)
    try:
        await sandbox.__aenter__()
    except OSError as error:
        raise UsageError(f"port {plan.port} cannot be listened on: {error.strerror}") from None
    try:
        for _ in range(plan.jobs):
            sandbox.submit()
        with TemporaryDirectory(prefix="ccactivity-sandbox-") as folder:
            print(_greeting(sandbox, plan, _login(sandbox, client.client_id, folder)), flush=True)
            await asyncio.Event().wait()
    finally:
        await sandbox.__aexit__(None, None, None)
        asked, wrong = sum(sandbox.requests.values()), sandbox.violations.total
        say(f"\n{asked} requests, {wrong} of them against the vendor's rules")
    return OK


def _login(sandbox: Sandbox, client_id: str, folder: str) -> dict[str, str]:
    """The environment for a login here. Its store is one of its own, so that it replaces no login with the vendor."""
    return {
        "CCACTIVITY_BASE_URL": sandbox.base_url,
        "CCACTIVITY_OAUTH_URL": sandbox.oauth_base_url,
        "CCACTIVITY_CLIENT_ID": client_id,
        "CCACTIVITY_TOKEN_STORE": str(Path(folder, "tokens.json")),
    }


def _greeting(sandbox: Sandbox, plan: Plan, login: Mapping[str, str]) -> str:
    jobs = f"{plan.jobs} imports have been submitted" if plan.jobs != 1 else "1 import has been submitted"
    return "\n".join(
        [
            f"A simulated vendor listens at {sandbox.base_url} until Ctrl-C; {jobs}.",
            f"Its token is {sandbox.token}",
            f"A campaign activity with a send history is {sandbox.vendor.campaign_activity_id}",
            "",
            "In another terminal, with that token:",
            "",
            *_exports(sandbox.env),
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
