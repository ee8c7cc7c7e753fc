"""The command line as a process: signals, pipes and terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccactivity.sandbox import Life, Sandbox

from .processes import Terminal, environment, into_full_disk, run, run_into, started

LONG = Life(duration=3600, update_every=0.2)


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    with Sandbox(history=2000) as sandbox:
        yield sandbox


def lines(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n")


# --- signals and pipes ------------------------------------------------------------------------------------------------


# How a shell script starts a program in the background: it does not hear Ctrl-C.
DEAF = """
import runpy, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
runpy.run_module("ccactivity", run_name="__main__")
"""

# A process that gets a signal while it imports a module, here at the very beginning of the import.
STRUCK = """
import os, signal, sys

class Striking:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.Signals[sys.argv[2]])

sys.modules.pop(sys.argv[1], None)
sys.meta_path.insert(0, Striking())
from ccactivity.cli import main
sys.exit(main(["watch", "an-id"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, None), (signal.SIGTERM, None), (signal.SIGTERM, DEAF)])
def test_a_signal_ends_a_watch(vendor: Sandbox, number: signal.Signals, code: str | None) -> None:
    """Ctrl-C and SIGTERM end a watch with the last state and the code of the signal, without a traceback."""
    job = vendor.submit(LONG)
    with started("watch", job, sandbox=vendor, code=code) as process:
        assert process.stdout is not None
        assert job in process.stdout.readline()

        process.send_signal(number)
        out, err = process.communicate(timeout=10)

    assert 128 + number == process.returncode
    assert out.endswith(" s  1 in progress\n")
    assert "" == err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["importlib.util", "cyclopts", "asyncio", "aiohttp"])
def test_a_signal_while_modules_are_imported(module: str, number: signal.Signals) -> None:
    """A signal before anything has begun ends the command without a word."""
    nowhere = {"CCACTIVITY_ACCESS_TOKEN": "a-token", "CCACTIVITY_BASE_URL": "http://127.0.0.1:9/v3"}
    done = run(module, number.name, code=STRUCK, **nowhere)

    assert (128 + number, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "words", [["list"], ["list", "--csv"], ["get", "JOB"], ["history", "CAMPAIGN"], ["watch", "JOB"]]
)
def test_a_full_disk(vendor: Sandbox, words: list[str]) -> None:
    """Output that cannot be written is one line on stderr, and has an exit code of its own."""
    ids = {"JOB": vendor.submit(Life(duration=0.01)), "CAMPAIGN": vendor.vendor.campaign_activity_id}
    done = into_full_disk(*(ids.get(word, word) for word in words), sandbox=vendor)

    assert (4, "error: cannot write the output: No space left on device\n") == (done.returncode, done.stderr)


@pytest.mark.parametrize("words", [["--help"], ["completion", "bash"]])
def test_help_on_a_full_disk(words: list[str]) -> None:
    """It is the same for what asks no API, and if stderr is as full as stdout."""
    done = into_full_disk(*words)

    assert (4, "error: cannot write the output: No space left on device\n") == (done.returncode, done.stderr)
    assert 4 == into_full_disk(*words, stderr_too=True).returncode


@pytest.mark.parametrize("words", [["list"], ["watch", "an-id", "--json"], ["--help"]])
def test_a_stdout_that_is_closed(words: list[str]) -> None:
    """A stdout that is closed before the start, as by `>&-`, is an output that cannot be written."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "ccactivity", *words]
    done = subprocess.run(command, env=environment(), stderr=subprocess.PIPE, text=True, timeout=30, check=False)

    assert (4, "error: cannot write the output: stdout is closed\n") == (done.returncode, done.stderr)


def test_help_that_nobody_reads() -> None:
    """Help that goes to a pipe which is closed ends without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = run_into(pipe, "--help")

    assert (141, "") == (done.returncode, done.stderr)


def test_broken_pipe(vendor: Sandbox) -> None:
    """Nothing is said when whoever reads the output has had enough."""
    with started("list", sandbox=vendor) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("ID ")

        process.stdout.close()

        assert 141 == process.wait(20)
        assert "" == process.stderr.read()


def test_a_demo_that_nobody_watches() -> None:
    """A demo whose output is closed ends without a word, too."""
    with started("demo") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert (141, "") == (process.wait(30), process.stderr.read())


def test_ids_from_stdin(vendor: Sandbox) -> None:
    """`--from -` reads the ids from a pipe."""
    job = vendor.submit(Life(duration=0.01))
    with started("watch", "--from", "-", "--json", sandbox=vendor) as process:
        out, err = process.communicate(f"{job}\n", timeout=20)

    assert 0 == process.returncode
    assert job in out
    assert err.endswith(" s  1 completed\n")


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


# --- terminals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "env", "colored", "number"),
    [
        (80, {}, True, signal.SIGINT),
        (40, {"NO_COLOR": "1"}, False, signal.SIGTERM),
        (30, {}, True, signal.SIGTERM),
    ],
)
@pytest.mark.slow
def test_live_view(vendor: Sandbox, columns: int, env: dict[str, str], colored: bool, number: signal.Signals) -> None:
    """On a terminal the view is drawn in place, as wide as it is.

    A signal leaves it: its last state stays, and the cursor is back, on a line of its own.
    """
    jobs = [vendor.submit(life) for life in (LONG, LONG, Life(duration=0.01))]
    terminal = Terminal("watch", *jobs, columns=columns, sandbox=vendor, env=env)
    terminal.read_until(lambda text: text.count("1 of 3 ended") >= 3 and "proc" in text)
    os.killpg(terminal.process.pid, number)

    assert 128 + number == terminal.close()
    assert max(map(len, lines(terminal.text))) <= columns
    assert terminal.text.endswith("\r\n\x1b[?25h")
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
