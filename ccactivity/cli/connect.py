"""From the options of every command to a session; the token comes from the environment or a file, never from argv.

What is on a command line can be read by every user of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs

from ccactivity import ActivitySession, TokenError

from .problems import UsageError, arguments

__all__ = ["Connection", "connect"]

_MOST = 65_536


@attrs.frozen(kw_only=True)
class Connection:
    """Where the API is, and where the token is: in the environment when no file is named."""

    token_file: Path | None = None
    base_url: str | None = None


def connect(connection: Connection) -> ActivitySession:
    """Make a session; UsageError without a token, or with one that cannot be sent."""
    base_url = connection.base_url or os.environ.get("CCACTIVITY_BASE_URL", "").strip()
    options: dict[str, Any] = {"base_url": base_url} if base_url else {}
    if connection.token_file is None:
        with arguments():
            return ActivitySession.from_env(**options)
    try:
        token = _read(connection.token_file)
    except TokenError as error:
        raise UsageError(str(error)) from None
    with arguments():
        ActivitySession(token, **options)  # says what is wrong with a token before anything is sent
        return ActivitySession(_reader(connection.token_file), **options)


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
