"""Life without the extra `cli`."""

from __future__ import annotations

import signal

import pytest

from .processes import run, started

# A process that finds neither of the libraries of the extra.
BARE = """
import sys
sys.modules |= dict.fromkeys(["cyclopts", "rich"])
from ccactivity.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        *((name, "cli") for name in ("list", "get", "watch", "serve", "history", "submit", "import", "export")),
        *((name, "cli") for name in ("sandbox", "completion")),
        ("--install-completion", "cli"),
        ("login", "cli,oauth"),
    ],
)
def test_without_the_extra(command: str, extras: str) -> None:
    """Without the extra a command says in one line what to install."""
    done = run(command, "x", code=BARE)

    assert (2, "") == (done.returncode, done.stdout)
    assert f'error: ccactivity {command} needs more packages: pip install "ccactivity[{extras}]"\n' == done.stderr


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
    assert rest.endswith(" in progress\n")
    assert (130, "") == (process.returncode, err)
