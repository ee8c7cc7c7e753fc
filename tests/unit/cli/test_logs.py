"""The library's log on stderr: its warnings, and with `-v` all of it."""

from __future__ import annotations

import errno
import io
import logging
import sys

import pytest
from support.logins import Printed

from ccactivity.cli import main
from ccactivity.cli.logs import log_on_stderr
from ccactivity.sandbox import Life, Patch, Sandbox


def test_verbose_shows_the_log_without_secrets(vendor: Sandbox, capsys: Printed) -> None:
    """`-v` shows the library's log on stderr, and no token in it."""
    log = logging.getLogger("ccactivity")
    before = log.level, log.handlers[:]
    for _ in range(2):
        assert 0 == main(["list", "-v", "--json"])

    err = capsys.readouterr().err

    assert 2 == err.count("DEBUG GET /v3/activities: HTTP 200")
    assert vendor.token not in err
    assert before == (log.level, log.handlers)


def test_a_warning_is_a_note(vendor: Sandbox, capsys: Printed) -> None:
    """What the library warns of is a line on stderr, escaped, without a level or a time."""
    vendor.submit(Life(duration=1e6))
    vendor.faults.add(Patch({"state": "odd\x1b"}))

    assert 0 == main(["list"])

    err = capsys.readouterr().err

    assert err.startswith("note: the ")
    assert err.endswith("'odd\\x1b'\n")
    assert 1 == err.count("\n")


def test_which_records_are_notes(capsys: Printed) -> None:
    """Errors say that they are, and what is for programmers is left out."""
    with log_on_stderr():
        logging.getLogger("ccactivity.connection").warning("cannot connect to %s, trying again", "host")
        logging.getLogger("ccactivity.loop").warning("the event loop did not run")
        logging.getLogger("ccactivity").error("the tokens cannot be saved")
        logging.getLogger("ccactivity").info("all well")

    out, err = capsys.readouterr()

    assert ("", "note: cannot connect to host, trying again\nerror: the tokens cannot be saved\n") == (out, err)


class FullDisk(io.StringIO):
    """A stderr that takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("stderr", [None, FullDisk()], ids=["closed", "full"])
def test_a_note_that_cannot_be_written(
    stderr: io.StringIO | None, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is lost: it neither ends what is logging, nor gets in among the output."""
    with log_on_stderr(), monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        logging.getLogger("ccactivity").warning("the API sent an undocumented value")

    assert ("", "") == capsys.readouterr()
