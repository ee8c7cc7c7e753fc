"""The programs of docs/examples, as child processes and as modules."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import OpenerDirector, build_opener, urlopen

from support.canary import secrets_in

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

_TIMEOUT_S = 40.0
_OUR_VARIABLES = ("APP_", "CCACTIVITY_", "CELERY_", "REDIS_URL")


class Example:
    """An example that runs. `lines`: what it has printed so far, as far as it was waited for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.lines: list[str] = []

    def read_until(self, pattern: str) -> re.Match[str]:
        """Wait until a line of its output matches, and return the match."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no line matches {pattern}: {self.lines} {self._process.communicate()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop, and return its exit code, as `end` does."""
        self._process.send_signal(number)
        return self.end()

    def end(self) -> int:
        """Wait for its end, and return its exit code; it must have shown no secret, address or traceback."""
        out, self.stderr = self._process.communicate(timeout=_TIMEOUT_S)
        self.lines += out.splitlines()
        shown = "\n".join([*self.lines, self.stderr])
        assert [] == secrets_in(shown)
        assert "Traceback" not in shown
        assert "example.com" not in shown
        return self._process.returncode


@contextlib.contextmanager
def started(*command: str, env: Mapping[str, str] | None = None, cwd: Path = EXAMPLES) -> Iterator[Example]:
    """Start an example (`name.py` and its arguments, or `-m` and a module), and kill it at the end if it still runs.

    `env`: environment variables beside those of the tests, of which none that an example reads is left.
    """
    script = [str(EXAMPLES / command[0])] if command[0].endswith(".py") else [command[0]]
    words = [sys.executable, *script, *command[1:]]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OUR_VARIABLES)}
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    everything = {**kept, **(env or {})}
    with subprocess.Popen(words, env=everything, cwd=cwd, stdin=null, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield Example(process)
        finally:
            process.kill()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def get(url: str, opener: OpenerDirector | None = None) -> tuple[int, str]:
    """Return the status and the text of a page."""
    try:
        with (opener or build_opener()).open(url, timeout=_TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Viewer:
    """Somebody who looks at a stream of server-sent events."""

    def __init__(self, url: str) -> None:
        self._answer = urlopen(url, timeout=_TIMEOUT_S)
        self.content_type = self._answer.headers["Content-Type"]

    def next(self) -> dict[str, Any] | None:
        """Return the data of the next event, None at the end of the stream."""
        for line in self._answer:
            if line.startswith(b"data: "):
                data: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                return data
        return None

    def leave(self) -> None:
        """Close the connection."""
        self._answer.close()
