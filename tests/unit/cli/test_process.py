"""The command line as a process: signals, pipes, terminals, what is imported, and life without the extra."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ccactivity.sandbox import Life, Sandbox

# A process that finds neither of the libraries of the extra.
BARE = """
import sys
sys.modules |= dict.fromkeys(["cyclopts", "rich"])
from ccactivity.cli import main
sys.exit(main())
"""
LONG = Life(duration=3600, update_every=0.2)


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    with Sandbox(history=2000) as sandbox:
        yield sandbox


def environment(sandbox: Sandbox | None = None, **more: str) -> dict[str, str]:
    ours = ("CCACTIVITY_", "NO_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"TERM": "xterm-256color"} | (sandbox.env if sandbox else {}) | more


def run(*words: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-m", "ccactivity"] if code is None else ["-c", code]
    command = [sys.executable, *start, *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30, check=False)


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

    def close(self) -> int:
        self.read_until(lambda _: self.process.poll() is not None)
        os.close(self._side)
        return self.process.wait(10)


def lines(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n")


# --- signals and pipes ----------------------------------------------------------------------------------------------


def test_ctrl_c(vendor: Sandbox) -> None:
    """Ctrl-C ends a watch with 130 and the last state, and without a traceback."""
    job = vendor.submit(LONG)
    with started("watch", job, sandbox=vendor) as process:
        assert process.stdout is not None
        assert job in process.stdout.readline()

        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)

    assert 130 == process.returncode
    assert out.endswith(" s  1 not ended\n")
    assert "" == err


def test_broken_pipe(vendor: Sandbox) -> None:
    """Nothing is said when whoever reads the output has had enough."""
    with started("list", sandbox=vendor) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("ID ")

        process.stdout.close()

        assert 141 == process.wait(20)
        assert "" == process.stderr.read()


def test_ids_from_stdin(vendor: Sandbox) -> None:
    """`--from -` reads the ids from a pipe."""
    job = vendor.submit(Life(duration=0.01))
    with started("watch", "--from", "-", "--json", sandbox=vendor) as process:
        out, err = process.communicate(f"{job}\n", timeout=20)

    assert 0 == process.returncode
    assert job in out
    assert err.endswith(" s  1 completed\n")


def test_sandbox() -> None:
    """`sandbox` says where it listens and with which token, serves, and ends with Ctrl-C."""
    with started("sandbox", "--jobs", "3", "--speed", "100", "--fault", "slow:0", "--fault", "503:0") as process:
        assert process.stdout is not None
        text = ""
        while "watch --all" not in text:
            text += process.stdout.readline()
        env = dict(re.findall(r"export (\w+)=(\S+)", text))
        command = [sys.executable, "-m", "ccactivity", "list", "--json"]
        listed = subprocess.run(
            command, env=environment() | env, capture_output=True, text=True, check=True, timeout=20
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)

    assert 3 == listed.stdout.count("\n")
    assert 130 == process.returncode
    assert "1 requests, 0 of them against the vendor's rules" in err
    assert "Traceback" not in err


def test_ctrl_c_of_a_login(vendor: Sandbox, tmp_path: Path) -> None:
    """Ctrl-C ends a login with 130, and nothing is stored or said of it."""
    vendor.register_client()
    words = ("--client-id", "ccactivity-sandbox", "--oauth-url", vendor.oauth_base_url, "--store", f"{tmp_path}/tokens")
    with started("login", *words, "--scope", "contact_data", sandbox=vendor) as process:
        assert process.stderr is not None
        while "Ctrl-C" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)

    assert (130, "", "") == (process.returncode, out, err.strip())
    assert {"device": 1} == vendor.requests
    assert not (tmp_path / "tokens").exists()


def test_a_port_that_is_taken(vendor: Sandbox) -> None:
    """A port that another program has is wrong usage."""
    port = vendor.base_url.split(":")[2].removesuffix("/v3")
    done = run("sandbox", "--port", port)

    assert 2 == done.returncode
    assert f"error: cannot listen on port {port}" in done.stderr


# --- terminals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "env", "colored"), [(80, {}, True), (40, {"NO_COLOR": "1"}, False), (30, {}, True)]
)
def test_live_view(vendor: Sandbox, columns: int, env: dict[str, str], colored: bool) -> None:
    """On a terminal the view is drawn in place, as wide as it is; Ctrl-C leaves it, with the cursor where it was."""
    jobs = [vendor.submit(life) for life in (LONG, LONG, Life(duration=0.01))]
    terminal = Terminal("watch", *jobs, columns=columns, sandbox=vendor, env=env)
    terminal.read_until(lambda text: text.count("1 of 3 ended") >= 3 and "proc" in text)
    os.killpg(terminal.process.pid, signal.SIGINT)

    assert 130 == terminal.close()
    assert max(map(len, lines(terminal.text))) <= columns
    assert terminal.text.endswith("\x1b[?25h")
    assert "Traceback" not in terminal.text
    assert vendor.token not in terminal.text
    assert colored == bool(re.search(r"\x1b\[(?:\d+;)*3[1-6]m", terminal.text))


def test_a_send_history_is_folded(vendor: Sandbox) -> None:
    """On a terminal the reasons are folded between words below each other, and nothing is lost of them."""
    terminal = Terminal("history", vendor.vendor.campaign_activity_id, columns=72, sandbox=vendor, env={})

    assert 0 == terminal.close()
    head, *rows = [line for line in lines(terminal.text) if line]
    margin = head.index("REASON")
    assert max(map(len, rows)) <= 72
    assert {"", "ERRORED", "COMPLETED"} == {row[:margin].split()[-1] if row[:margin].strip() else "" for row in rows}
    assert "the lists are empty, or hold nobody new since the last send" in " ".join(row[margin:] for row in rows)


def test_a_terminal_without_a_size(vendor: Sandbox) -> None:
    """A terminal that says it has no columns gets whole lines."""
    terminal = Terminal("list", "--limit", "2", columns=0, sandbox=vendor, env={})

    assert 0 == terminal.close()
    assert 2 == terminal.text.count("-cc52-11ea-9dad-fa163e3d9194")


def test_dumb_terminal(vendor: Sandbox) -> None:
    """A terminal that cannot be drawn on gets plain lines."""
    terminal = Terminal("watch", vendor.submit(Life(duration=0.01)), columns=80, sandbox=vendor, env={"TERM": "dumb"})

    assert 0 == terminal.close()
    assert "\x1b" not in terminal.text
    assert "1 completed" in terminal.text


# --- imports --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["login", "--help"], ["--version"], ["completion", "bash"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """Help does not wait for the HTTP library."""
    code = (
        "import sys\nfrom ccactivity.cli import main\n"
        "code = main()\nheavy = {'aiohttp', 'cattrs', 'backoff', 'oauthlib', 'rich.live'}\n"
        "assert not heavy & set(sys.modules)\nsys.exit(code)"
    )
    done = run(*words, code=code)

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        *((name, "cli") for name in ("list", "get", "watch", "history", "sandbox", "completion")),
        ("--install-completion", "cli"),
        ("login", "cli,oauth"),
    ],
)
def test_without_the_extra(command: str, extras: str) -> None:
    """Without the extra a command says in one line what to install."""
    done = run(command, "x", code=BARE)

    assert (2, "") == (done.returncode, done.stdout)
    assert f'ccactivity {command} needs more packages: pip install "ccactivity[{extras}]"\n' == done.stderr


@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"], ["--version"]])
def test_help_without_the_extra(words: list[str]) -> None:
    """Help and version work without the extra."""
    done = run(*words, code=BARE)

    assert (0, "") == (done.returncode, done.stderr)


def test_wrong_usage_without_the_extra() -> None:
    """The demo without the extra takes as many imports as with it."""
    for words in (["demo", "--imports", "0"], ["frobnicate"], []):
        assert 2 == run(*words, code=BARE).returncode


def test_demo_without_the_extra() -> None:
    """The demo runs without the extra, in plain lines."""
    with started("demo", "--imports", "2", code=BARE) as process:
        assert process.stdout is not None
        out = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=10)

    assert "A simulated vendor listens at http://127.0.0.1:" in out[0]
    assert "import   1  initialized" in out[3]
    assert rest.endswith(" not ended\n")
    assert (130, "") == (process.returncode, err)


def test_completion_is_installed(tmp_path: Path) -> None:
    """`--install-completion` puts a script where the shell finds it."""
    env = environment() | {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    command = [sys.executable, "-m", "ccactivity", "--install-completion", "--shell", "bash"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=False)

    assert 0 == done.returncode, done.stderr
    assert any("ccactivity" in path.read_text() for path in tmp_path.rglob("*ccactivity*") if path.is_file())
