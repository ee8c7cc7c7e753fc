"""The command `login` as a test walks through it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.logins import CLIENT, Printed

from ccactivity.cli.login import login
from ccactivity.sandbox import Sandbox

CODE = re.compile(r"[A-Z]{4}-[A-Z]{4}")


def log_in(
    sandbox: Sandbox | None = None, path: Path | None = None, scopes: Sequence[str] = (), *, as_json: bool = False
) -> Coroutine[Any, Any, int]:
    """The command `login`, of the application that the sandbox knows, else of the one that the environment names."""
    client_id, url = (CLIENT, sandbox.oauth_base_url) if sandbox else (None, None)
    return login(path, client_id=client_id, oauth_url=url, scopes=scopes, as_json=as_json)


def kept_in(path: Path) -> list[str]:
    """The names of what is beside a store, and of itself, but for its lock."""
    return [] if not path.parent.exists() else [one.name for one in path.parent.iterdir() if one.suffix != ".lock"]


@asynccontextmanager
async def begun(job: asyncio.Task[int], printed: Printed) -> AsyncIterator[tuple[str, str]]:
    """Wait until a login shows its code; give what it showed and the code, and have the login end in the block."""
    shown = ""
    while not CODE.search(shown):
        await asyncio.sleep(0.1)
        shown += printed.readouterr().err
    (code,) = set(CODE.findall(shown))
    yield shown, code
    assert job.done()
