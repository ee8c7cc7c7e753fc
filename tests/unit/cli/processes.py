"""The command line as a child process: on pipes, and on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ccactivity.sandbox import Sandbox


def environment(sandbox: Sandbox | None = None, **more: str) -> dict[str, str]:
    ours = ("CCACTIVITY_", "NO_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"TERM": "xterm-256color"} | (sandbox.env if sandbox else {}) | more


def run(*words: str, code: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    start = ["-m", "ccactivity"] if code is None else ["-c", code]
    command = [sys.executable, *start, *words]
    return subprocess.run(
        command, env=environment(None, **env), capture_output=True, text=True, timeout=30, check=False
    )


def run_into(
    out: IO[str], *words: str, sandbox: Sandbox | None = None, stderr_too: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run with stdout, and perhaps stderr, in a file."""
    command = [sys.executable, "-m", "ccactivity", *words]
    err = out if stderr_too else subprocess.PIPE
    return subprocess.run(command, env=environment(sandbox), stdout=out, stderr=err, text=True, timeout=30, check=False)


def into_full_disk(
    *words: str, sandbox: Sandbox | None = None, stderr_too: bool = False
) -> subprocess.CompletedProcess[str]:
    with Path("/dev/full").open("w") as disk:
        return run_into(disk, *words, sandbox=sandbox, stderr_too=stderr_too)


@contextlib.contextmanager
def started(*words: str, sandbox: Sandbox | None = None, code: str | None = None) -> Iterator[subprocess.Popen[str]]:
    start = ["-m", "ccactivity"] if code is None else ["-c", code]
    command = [sys.executable, *start, *words]
    env = environment(sandbox)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A process on a terminal of its own, and what it has written there."""

    def __init__(self, *words: str, columns: int, sandbox: Sandbox | None, env: dict[str, str]) -> None:
        self._side, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        command = [sys.executable, "-m", "ccactivity", *words]
        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, env=environment(sandbox, **env), start_new_session=True
        )
        os.close(other)
        self.text = ""

    def read_until(self, enough: Callable[[str], bool]) -> None:
        until = time.monotonic() + 20
        while not enough(self.text):
            assert time.monotonic() < until, self.text
            if select.select([self._side], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self._side, 1 << 16).decode()
                except OSError:  # the other side is closed
                    return

    def write(self, text: str) -> None:
        os.write(self._side, text.encode())

    def close(self) -> int:
        self.read_until(lambda _: self.process.poll() is not None)
        os.close(self._side)
        return self.process.wait(10)
