"""The command line as a process: signals, pipes and terminals."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccactivity.sandbox import Life, Sandbox

from .processes import Terminal, started

LONG = Life(duration=3600, update_every=0.2)


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    with Sandbox(history=2000) as sandbox:
        yield sandbox


def lines(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n")


# --- signals and pipes ------------------------------------------------------------------------------------------------


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
    ("columns", "env", "colored"), [(80, {}, True), (40, {"NO_COLOR": "1"}, False), (30, {}, True)]
)
@pytest.mark.slow
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
