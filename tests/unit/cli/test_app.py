"""The commands and their options: usage, help, completion, and what they make of errors."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.logins import Printed

from ccactivity.cli import main
from ccactivity.cli.app import app
from ccactivity.sandbox import Sandbox

from .processes import environment, run

UNKNOWN = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"


@pytest.mark.parametrize(
    ("arguments", "complains"),
    [
        (["list", "--state", "odd"], "initialized"),
        (["list", "--limit", "0"], "Must be >= 1"),
        (["list", "--json", "--csv"], "--json and --csv are mutually exclusive"),
        (["get", UNKNOWN, "--json", "--csv"], "--json and --csv are mutually exclusive"),
        (["get"], "ID"),
        (["get", "a/b"], "malformed activity_id"),
        (["watch"], "nothing to watch"),
        (["watch", "a b"], "malformed activity_id"),
        (["watch", UNKNOWN, "--timeout", "0"], "Must be > 0"),
        (["watch", UNKNOWN, "--timeout", "4h"], "--timeout: '4h' is not a number of seconds, as in 14400"),
        (["watch", UNKNOWN, "--max-staleness", "1m"], "'1m' is not a number of seconds, as in 14400"),
        (["sandbox", "--token-life", "1d"], "'1d' is not a number of seconds, as in 14400"),
        (["watch", "--from", "no/such/file"], "cannot read 'no/such/file': No such file"),
        (["history", "../x"], "malformed campaign_activity_id"),
        (["frobnicate"], "frobnicate"),
        (["list", "--base-url", "ftp://127.0.0.1"], "the base URL must look like https://host/v3"),
        (["sandbox", "--fault", "earthquake"], "no such fault: 'earthquake'; there are 401, "),
        (["sandbox", "--fault", "503:2"], "number from 0 to 1"),
        (["sandbox", "--fault", "503:x"], "number from 0 to 1"),
        (["completion", "tcsh"], "tcsh"),
        (["demo", "--imports", "501"], "Must be <= 500"),
    ],
)
def test_wrong_usage(vendor: Sandbox, capsys: Printed, arguments: list[str], complains: str) -> None:
    """Wrong usage is 2, and stderr says why; nothing is asked of the API."""
    assert 2 == main(arguments)

    out, err = capsys.readouterr()

    assert "" == out
    assert err.startswith("error: ")
    assert 1 == err.count("\n")
    assert complains in err
    assert 0 == vendor.requests.total()


@pytest.mark.parametrize("bug", [ZeroDivisionError("by nothing"), OSError(errno.ENOTCONN, "not connected")])
def test_a_bug_shows_its_traceback(vendor: Sandbox, monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    """What is no refusal, no wrong usage and no full disk is not dressed up as one."""

    def fail(form: object) -> None:
        raise bug

    monkeypatch.setattr("ccactivity.cli.commands.ActivityWriter", fail)
    with pytest.raises(type(bug)):
        main(["list"])


def test_help(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command has a line in the help, and help of its own that tells the exit codes."""
    monkeypatch.setenv("COLUMNS", "100")
    names = [name for name in app if not name.startswith("-")]

    asking = {"list", "get", "watch", "history", "import", "submit", "export"}

    assert asking | {"login", "logout", "whoami", "fleet", "sandbox", "demo", "serve", "completion"} == set(names)
    assert 0 == main(["--help"])

    out = capsys.readouterr().out

    assert ["0", "1", "2", "3", "4", "130", "143"] == re.findall(r"\d+", out[out.index("Exit codes") :])
    for name in names:
        assert name in out
        assert 0 == main([name, "--help"])
        assert "Exit codes: 0 all well" in capsys.readouterr().out
    for words, told in (
        (["watch"], "one id per line"),
        (["watch"], "start with #"),
        (["sandbox"], "until Ctrl-C or SIGTERM."),
        (["sandbox"], "--seed"),
        (["watch"], "[ID...]"),
        (["list"], "cannot filter for initialized"),
        ([], "`ccactivity demo`, which needs no account"),
    ):
        assert 0 == main([*words, "--help"])
        assert told in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: Printed) -> None:
    """`completion SHELL` prints a script that knows the commands and options."""
    assert 0 == main(["completion", shell])

    script = capsys.readouterr().out

    assert "ccactivity" in script
    assert {"max-staleness", "whoami", "oauth-url", "token-life"} == set(
        re.findall("max-staleness|whoami|oauth-url|token-life", script)
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["login", "--help"], ["submit", "--help"], ["--version"], ["completion", "bash"]]
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """Help does not wait for the HTTP library."""
    code = (
        "import sys\nfrom ccactivity.cli import main\n"
        "code = main()\nheavy = {'aiohttp', 'cattrs', 'backoff', 'oauthlib', 'rich.live'}\n"
        "assert not heavy & set(sys.modules)\nsys.exit(code)"
    )
    done = run(*words, code=code)

    assert (0, "") == (done.returncode, done.stderr)


def test_completion_is_installed(tmp_path: Path) -> None:
    """`--install-completion` puts a script where the shell finds it."""
    env = environment() | {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    command = [sys.executable, "-m", "ccactivity", "--install-completion", "--shell", "bash"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=False)

    assert 0 == done.returncode, done.stderr
    assert any("ccactivity" in path.read_text() for path in tmp_path.rglob("*ccactivity*") if path.is_file())
