"""The command export: a file or a pipe that gets the contacts, a bar on a terminal, and what can go wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.logins import Printed, complaint

from ccactivity.cli import main
from ccactivity.sandbox import Delay, Drip, Framing, Life, Patch, Sandbox, Workload, html
from ccactivity.sandbox.exports import csv_blocks

from .processes import Terminal, environment

LIST = str(uuid.UUID(int=7))
DONE = Life(duration=0.001)
ALL_WELL = Workload(failed_share=0.0, cancelled_share=0.0, timed_out_share=0.0)


def content(rows: int) -> bytes:
    return b"".join(csv_blocks(rows))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A vendor whose jobs are done at once."""
    with Sandbox(speed=10_000.0, workload=ALL_WELL) as sandbox:
        for name, value in sandbox.env.items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.mark.parametrize("what", [["--all"], ["--list", LIST, "--list", str(uuid.UUID(int=8))]])
def test_contacts_are_exported(fast: Sandbox, tmp_path: Path, capsys: Printed, what: list[str]) -> None:
    """The job is submitted and waited for, and its id is said at once."""
    target = tmp_path / "contacts.csv"
    assert 0 == main(["export", *what, "-o", str(target)])

    out, err = capsys.readouterr()
    (job,) = (job for job in fast.vendor.jobs.listed(fast.now, oldest=0.0, state=None, after=None))

    assert content(job.rows) == target.read_bytes()
    assert f"submitted {job.activity_id}\n" == err
    assert f"saved {job.rows:,} contacts, {len(content(job.rows)):,} bytes, to {str(target)!r}\n" == out


def test_an_export_that_there_is(vendor: Sandbox, tmp_path: Path, capsys: Printed) -> None:
    """Nothing is submitted; --json says what was saved."""
    target = tmp_path / "contacts.csv"
    export = vendor.submit(DONE, kind="contact_exports", rows=40)
    assert 0 == main(["export", export, "-o", str(target), "--json"])

    assert {
        "activity_id": export,
        "path": str(target),
        "bytes": len(content(40)),
        "records": 40,
        "expected": 40,
    } == json.loads(capsys.readouterr().out)
    assert 0 == vendor.requests["post"]


def test_to_a_pipe(vendor: Sandbox, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The file and nothing else."""
    export = vendor.submit(DONE, kind="contact_exports", rows=4_000)
    assert 0 == main(["export", export, "-o", "-"])

    assert (content(4_000), b"") == capsysbinary.readouterr()


def test_a_file_that_is_there(vendor: Sandbox, tmp_path: Path, capsys: Printed) -> None:
    """It is refused before anything is sent, unless it may be replaced."""
    target = tmp_path / "contacts.csv"
    target.write_text("mine")
    export = vendor.submit(DONE, kind="contact_exports", rows=4)
    assert 2 == main(["export", export, "-o", str(target)])
    assert 2 == main(["export", "--all", "-o", str(target)])
    assert 2 * [f"error: cannot write {str(target)!r}: is there already; --overwrite replaces it"] == (
        capsys.readouterr().err.splitlines()
    )
    assert 0 == vendor.requests.total()

    assert 0 == main(["export", export, "-o", str(target), "--overwrite"])
    assert content(4) == target.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "FILE"], "export what?"),
        (["--all", "--list", LIST, "-o", "FILE"], "export what?"),
        (["an-id", "--all", "-o", "FILE"], "export what?"),
        (["an-id"], "--output"),
        (["--list", "no uuid", "-o", "FILE"], "no uuid"),
        (["../x", "-o", "FILE"], "malformed activity_id"),
        (["an-id", "-o", "-", "--json"], "mutually exclusive"),
    ],
)
def test_wrong_usage(vendor: Sandbox, tmp_path: Path, capsys: Printed, arguments: list[str], says: str) -> None:
    """It is said before anything is sent."""
    words = [word.replace("FILE", str(tmp_path / "a")) for word in arguments]

    assert 2 == main(["export", *words])
    assert says in complaint(capsys)
    assert 0 == vendor.requests.total()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("none/a", "is in what is no folder"),
        (".", "is no file that could be replaced"),
        ("x" * 256, "File name too long"),
    ],
)
def test_where_no_file_can_be(vendor: Sandbox, tmp_path: Path, capsys: Printed, target: str, says: str) -> None:
    """What the system says, in a line, and before the vendor is put to work."""
    assert 2 == main(["export", "--all", "-o", str(tmp_path / target)])
    assert says in complaint(capsys)
    assert 0 == vendor.requests.total()


def test_a_device_is_not_replaced(vendor: Sandbox, capsys: Printed) -> None:
    """Not even by root; to stdout there is a way."""
    assert 2 == main(["export", "--all", "-o", "/dev/null", "--overwrite"])
    assert "a device, a pipe" in complaint(capsys)
    assert 0 == vendor.requests.total()
    assert Path("/dev/null").is_char_device()


def test_what_is_no_export(vendor: Sandbox, tmp_path: Path, capsys: Printed) -> None:
    """An import has no file; nor has an export that failed."""
    target = str(tmp_path / "a")
    assert 2 == main(["export", vendor.submit(DONE), "-o", target])
    assert "is it an export?" in complaint(capsys)
    assert 2 == main(["export", vendor.submit(DONE), "-o", "-"])
    assert "is it an export?" in complaint(capsys)
    failed = vendor.submit(Life(duration=0.001, end="failed"), kind="contact_exports")
    assert 1 == main(["export", failed, "-o", target])
    assert "ended as 'failed'" in complaint(capsys)
    slow = vendor.submit(Life(duration=1e6), kind="contact_exports")
    assert 1 == main(["export", slow, "-o", target, "--timeout", "0.1"])
    assert "did not end within 0.1 s" in complaint(capsys)
    vendor.faults.add(html(), where="export")
    assert 3 == main(["export", vendor.submit(DONE, kind="contact_exports"), "-o", target])
    assert "text/html instead of CSV" in complaint(capsys)
    assert [] == list(tmp_path.iterdir())


def test_another_number_of_contacts(vendor: Sandbox, tmp_path: Path, capsys: Printed) -> None:
    """It is no error, and is said."""
    export = vendor.submit(DONE, kind="contact_exports", rows=40)
    vendor.faults.add(Patch({"status": {"items_total_count": 1_041}}))
    assert 0 == main(["export", export, "-o", str(tmp_path / "a")])

    out, err = capsys.readouterr()

    assert out.endswith(" (the export counted 1,041)\n")
    assert "has 40 records, and 1041 were announced" in err


def test_a_full_disk(vendor: Sandbox) -> None:
    """The exit code says that it was the output."""
    export = vendor.submit(DONE, kind="contact_exports", rows=4_000)
    command = [sys.executable, "-m", "ccactivity", "export", export, "-o", "-"]
    with Path("/dev/full").open("wb") as disk:
        done = subprocess.run(
            command, env=environment(vendor), stdout=disk, stderr=subprocess.PIPE, text=True, timeout=30, check=False
        )

    assert (4, "error: cannot write the output: No space left on device\n") == (done.returncode, done.stderr)


def test_the_bar(vendor: Sandbox, tmp_path: Path) -> None:
    """On a terminal a bar is drawn, for the vendor's work and for ours, and is gone at the end."""
    export = vendor.submit(Life(duration=2.0, update_every=0.2), kind="contact_exports", rows=40_000)
    vendor.faults.add(Delay(0.1), where="export")
    terminal = Terminal("export", export, "-o", str(tmp_path / "a"), columns=80, sandbox=vendor, env={})
    code = terminal.close()

    assert (0, content(40_000)) == (code, (tmp_path / "a").read_bytes())
    assert "exporting" in terminal.text
    assert "saving" in terminal.text
    assert "100%" in terminal.text
    assert "saved 40,000 contacts" in terminal.text.splitlines()[-1]


def test_ctrl_c(vendor: Sandbox, tmp_path: Path) -> None:
    """Nothing stays behind, and one is told how to go on."""
    export = vendor.submit(DONE, kind="contact_exports", rows=4_000)
    vendor.faults.add(Drip(pause=0.05, size=2_000), where="export")
    command = [sys.executable, "-m", "ccactivity", "export", export, "-o", str(tmp_path / "a")]
    with subprocess.Popen(command, env=environment(vendor), stderr=subprocess.PIPE, text=True) as process:
        while not vendor.requests["export"]:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert 130 == process.returncode
    assert f"the export is kept for ten days: ccactivity export {export} -o FILE\n" == err
    assert [] == list(tmp_path.iterdir())


def test_a_file_that_comes_to_be_meanwhile(vendor: Sandbox, tmp_path: Path) -> None:
    """It stays as it is, and one is told of the option, as at the beginning."""
    target = tmp_path / "a"
    export = vendor.submit(DONE, kind="contact_exports", rows=40)
    vendor.faults.add(Delay(0.5), where="export")
    command = [sys.executable, "-m", "ccactivity", "export", export, "-o", str(target)]
    with subprocess.Popen(command, env=environment(vendor), stderr=subprocess.PIPE, text=True) as process:
        while not vendor.requests["export"]:
            time.sleep(0.01)
        target.write_text("mine")
        _, err = process.communicate(timeout=20)

    assert (2, "mine") == (process.returncode, target.read_text())
    assert f"error: cannot write {str(target)!r}: is there already; --overwrite replaces it\n" == err
    assert [target] == list(tmp_path.iterdir())


def test_an_end_that_never_comes(vendor: Sandbox, tmp_path: Path, capsys: Printed) -> None:
    """A file that breaks off each time is the vendor's fault: exit code 3."""
    export = vendor.submit(DONE, kind="contact_exports", rows=40)
    vendor.faults.add(Framing("close", cut=1_000), where="export")
    assert 3 == main(["export", export, "-o", str(tmp_path / "a")])
    assert "of 40 records" in complaint(capsys)
    assert [] == list(tmp_path.iterdir())
