"""The commands, in process: what they print in each form, and their exit codes."""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ccactivity import TransportError
from ccactivity.cli import main
from ccactivity.cli.app import app
from ccactivity.cli.commands import list_, watch
from ccactivity.cli.demo import demo
from ccactivity.cli.exit_codes import print_error
from ccactivity.cli.output import OutputFormat
from ccactivity.cli.sandbox_command import FAULTS, parse_faults
from ccactivity.cli.session import open_session
from ccactivity.sandbox import Fault, Life, Patch, Sandbox, not_found, server_error

UNKNOWN = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
CAMPAIGN = "1ead98be-dfa0-4e04-81f7-5f1534d42e9c"
DONE = Life(duration=0.001)
Printed = pytest.CaptureFixture[str]


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in a thread, at which the environment points."""
    monkeypatch.setenv("COLUMNS", "100")
    with Sandbox() as sandbox:
        for name, value in sandbox.env.items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox to be entered, with the token in the environment."""
    sandbox = Sandbox()
    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", sandbox.token)
    return sandbox


def said(printed: Printed) -> list[str]:
    return printed.readouterr().out.splitlines()


def complaint(printed: Printed) -> str:
    out, err = printed.readouterr()

    assert "" == out
    return err.strip()


# --- list, get, history ---------------------------------------------------------------------------------------------


def test_list(vendor: Sandbox, capsys: Printed) -> None:
    """`list` writes a line for each activity, the columns under their names."""
    ids = [vendor.submit(Life(duration=1e6), rows=100), vendor.submit(Life(duration=1e6), file_name="people.csv")]

    assert 0 == main(["list"])

    header, *rows = said(capsys)

    assert ["ID", "STATE", "DONE", "UPDATED", "DETAIL"] == header.split()
    assert set(ids) == {row.split()[0] for row in rows}
    assert any(row.endswith("people.csv") for row in rows)
    assert {header.index("STATE")} == {row.index("processing") for row in rows}


def test_list_as_json_and_csv(vendor: Sandbox, capsys: Printed) -> None:
    """Both forms have the vendor's names; CSV has the counters as columns."""
    vendor.submit(Life(duration=1e6), rows=100)

    assert 0 == main(["list", "--json"])

    (row,) = map(json.loads, said(capsys))

    assert "processing" == row["state"]
    assert 101 == row["status"]["items_total_count"]

    assert 0 == main(["list", "--csv"])

    (record,) = csv.DictReader(said(capsys))

    assert row["activity_id"] == record["activity_id"]
    assert "101" == record["items_total_count"]


@pytest.mark.parametrize(("arguments", "count"), [(["--limit", "3"], 3), (["--state", "completed"], 5), ([], 6)])
def test_list_of_some(vendor: Sandbox, capsys: Printed, arguments: list[str], count: int) -> None:
    """`--limit` bounds the rows, `--state` says which."""
    for _ in range(5):
        vendor.submit(DONE)
    vendor.submit(Life(duration=1e6))

    assert 0 == main(["list", "--json", *arguments])
    assert count == len(said(capsys))


def test_nothing_to_list(vendor: Sandbox, capsys: Printed) -> None:
    """A list without rows has its header on stdout, and is named on stderr."""
    assert 0 == main(["list"])

    out, err = capsys.readouterr()

    assert out.startswith("ID ")
    assert "no activities\n" == err


def test_get(vendor: Sandbox, capsys: Printed) -> None:
    """`get` shows each id once, in order; one that does not exist stops nobody, and is told by the code."""
    ids = [vendor.submit(DONE), vendor.submit(DONE)]

    assert 0 == main(["get", *ids, ids[0], "--json"])
    assert ids == [json.loads(line)["activity_id"] for line in said(capsys)]

    assert 3 == main(["get", UNKNOWN, ids[0]])

    out, err = capsys.readouterr()

    assert out.splitlines()[1].startswith(f"{ids[0]}  completed    100 %")
    assert err.startswith("NotFoundError: GET ")


def test_history(vendor: Sandbox, capsys: Printed) -> None:
    """`history` says how each send went, in words and in each form."""
    assert 0 == main(["history", CAMPAIGN])
    assert said(capsys)[1].endswith("COMPLETED  sent")

    assert 0 == main(["history", CAMPAIGN, "--json"])
    assert list(range(13)) == [json.loads(line)["reason_code"] for line in said(capsys)]

    assert 0 == main(["history", CAMPAIGN, "--csv"])
    assert "sent" == next(csv.DictReader(said(capsys)))["reason"]


def test_a_campaign_that_was_never_sent(vendor: Sandbox, capsys: Printed) -> None:
    """No sends is an answer, not an error."""
    vendor.add_history(UNKNOWN)

    assert 0 == main(["history", UNKNOWN])
    assert "never sent" in capsys.readouterr().err


def test_what_the_server_sends_is_escaped(vendor: Sandbox, capsys: Printed) -> None:
    """No escape sequence of the server's reaches the terminal, in any form."""
    vendor.submit(Life(duration=1e6))
    change = {"state": "\x1b[31mred", "source_file_name": "\x1b]0;title\x07\u202e", "activity_errors": ["\x9b2J"]}
    vendor.faults.add(Patch(change))
    for form in ([], ["--json"], ["--csv"]):
        assert 0 == main(["list", *form])

        out, err = capsys.readouterr()

        assert out.replace("\n", "").isprintable()
        assert "\x1b" not in err


# --- wrong usage, refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complains"),
    [
        (["list", "--state", "initialized"], "initialized"),
        (["list", "--limit", "0"], "Must be >= 1"),
        (["list", "--json", "--csv"], "cannot be combined"),
        (["get"], "ID"),
        (["get", "a/b"], "malformed activity_id"),
        (["watch"], "nothing to watch"),
        (["watch", "a b"], "malformed activity_id"),
        (["watch", UNKNOWN, "--timeout", "0"], "Must be > 0"),
        (["watch", "--from", "no/such/file"], "cannot read 'no/such/file': No such file"),
        (["history", "../x"], "malformed campaign_activity_id"),
        (["frobnicate"], "frobnicate"),
        (["list", "--base-url", "ftp://127.0.0.1"], "base_url"),
        (["sandbox", "--fault", "earthquake"], "no such fault: 'earthquake'; there are 401, "),
        (["sandbox", "--fault", "503:2"], "number from 0 to 1"),
        (["sandbox", "--fault", "503:x"], "number from 0 to 1"),
        (["completion", "tcsh"], "tcsh"),
        (["demo", "--imports", "501"], "Must be <= 500"),
    ],
)
def test_wrong_usage(vendor: Sandbox, capsys: Printed, arguments: list[str], complains: str) -> None:
    """Wrong usage is 2, and one line on stderr says why; nothing is asked of the API."""
    assert 2 == main(arguments)
    assert complains in complaint(capsys)
    assert 0 == vendor.requests.total()


@pytest.mark.parametrize("command", [["list"], ["get", UNKNOWN], ["watch", UNKNOWN], ["history", UNKNOWN]])
def test_without_a_token(command: list[str], capsys: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing token is wrong usage, and the complaint names the three ways to have one."""
    monkeypatch.delenv("CCACTIVITY_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("CCACTIVITY_TOKEN_STORE", str(tmp_path / "none"))

    assert 2 == main(command)

    said = complaint(capsys)

    assert all(way in said for way in ("`ccactivity login`", "CCACTIVITY_ACCESS_TOKEN", "--token-file"))
    assert 1 == len(said.splitlines())


def test_token_from_a_file(vendor: Sandbox, capsys: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--token-file` stands in for the environment, and so does `--base-url`."""
    file = tmp_path / "token"
    file.write_text(f"{vendor.token}\n")
    monkeypatch.delenv("CCACTIVITY_ACCESS_TOKEN")
    monkeypatch.delenv("CCACTIVITY_BASE_URL")

    assert 0 == main(["list", "--token-file", str(file), "--base-url", vendor.base_url])


@pytest.mark.parametrize(
    ("content", "complains"),
    [
        (b"", "is empty"),
        (b"canary-secret-a b", "other than printable ASCII"),
        (b"\xff\xfe", "not UTF-8 text"),
        (None, "No such"),
    ],
)
def test_a_token_file_that_cannot_be_used(
    vendor: Sandbox, capsys: Printed, tmp_path: Path, content: bytes | None, complains: str
) -> None:
    """A token that cannot be sent is wrong usage, and the complaint does not show it."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    assert 2 == main(["list", "--token-file", str(file)])
    assert complains in complaint(capsys)


def test_a_token_file_is_read_again_when_its_token_is_refused(vendor: Sandbox, tmp_path: Path, capsys: Printed) -> None:
    """A token that another program renews in its file is used."""
    file = tmp_path / "token"
    file.write_text(vendor.token)
    vendor.expire_token()

    assert 3 == main(["list", "--token-file", str(file)])
    assert complaint(capsys).startswith("AuthenticationError: GET /v3/activities: HTTP 401")

    file.write_text(vendor.issue_token())

    assert 0 == main(["list", "--token-file", str(file)])


async def test_the_api_cannot_be_reached(offline: Sandbox, capsys: Printed) -> None:
    """An API that cannot be reached is 3, with one line on stderr."""
    async with offline:
        pass
    with pytest.raises(TransportError) as caught:
        await list_(open_session(base_url=offline.base_url), OutputFormat.TABLE, state=None, limit=None)

    assert 3 == print_error(caught.value)
    assert complaint(capsys).startswith("TransportError: GET /v3/activities: ")


def test_verbose_shows_the_log_without_secrets(vendor: Sandbox, capsys: Printed) -> None:
    """`-v` shows the library's log on stderr, and no token in it."""
    log = logging.getLogger("ccactivity")
    level, handlers = log.level, log.handlers[:]
    try:
        for _ in range(2):
            assert 0 == main(["list", "-v", "--json"])

        err = capsys.readouterr().err

        assert 2 == err.count("DEBUG GET /v3/activities: HTTP 200")
        assert vendor.token not in err
    finally:
        log.setLevel(level)
        log.handlers[:] = handlers


def test_a_bug_shows_its_traceback(vendor: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no refusal and no wrong usage is not dressed up as one."""
    monkeypatch.setattr("ccactivity.cli.commands.ActivityWriter", lambda form: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


# --- help and completion --------------------------------------------------------------------------------------------


def test_help(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command has a line in the help, and help of its own that tells the exit codes."""
    monkeypatch.setenv("COLUMNS", "100")
    names = [name for name in app if not name.startswith("-")]

    asking = {"list", "get", "watch", "history"}

    assert asking | {"login", "logout", "whoami", "sandbox", "demo", "completion"} == set(names)
    assert 0 == main(["--help"])

    out = capsys.readouterr().out
    for name in names:
        assert name in out
        assert 0 == main([name, "--help"])
        assert "Exit codes: 0 all well" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: Printed) -> None:
    """`completion SHELL` prints a script that knows the commands and options."""
    assert 0 == main(["completion", shell])

    script = capsys.readouterr().out

    assert "ccactivity" in script
    assert {"max-staleness", "whoami", "oauth-url", "token-life"} == set(
        re.findall("max-staleness|whoami|oauth-url|token-life", script)
    )


def test_faults() -> None:
    """Every fault has a name, and strikes always unless it has a chance."""
    script = parse_faults([*FAULTS, "503:0.25"])

    assert len(FAULTS) + 1 == len(script)
    assert {1.0, 0.25} == {fault.probability for fault in script}


# --- watch and demo, in virtual time --------------------------------------------------------------------------------


def run_watch(ids: list[str], sandbox: Sandbox, **options: Any) -> Any:
    chosen: dict[str, Any] = {"source": None, "everything": False, "timeout": None, "max_staleness": None}
    return watch(open_session(base_url=sandbox.base_url), ids, **chosen | {"as_json": False} | options)


async def test_watch(offline: Sandbox, capsys: Printed) -> None:
    """`watch` writes a line for each state and quarter, and how it all ended; 0 says that all completed."""
    async with offline:
        job = offline.submit(Life(duration=60), rows=100)

        assert 0 == await run_watch([job, job], offline)

    *lines, last = said(capsys)

    assert f"{job}  processing" in lines[0]
    assert f"{job}  completed" in lines[-1]
    assert len(lines) <= 6
    assert last.endswith(" s  1 completed")


async def test_watch_as_json(offline: Sandbox, capsys: Printed) -> None:
    """`--json` gives every change as a line on stdout, and keeps stdout to that."""
    async with offline:
        job = offline.submit(Life(duration=60))

        assert 0 == await run_watch([job], offline, as_json=True)

    out, err = capsys.readouterr()
    snapshots = [json.loads(line) for line in out.splitlines()]

    assert {job} == {snapshot["activity_id"] for snapshot in snapshots}
    assert "completed" == snapshots[-1]["state"]
    assert err.endswith(" s  1 completed\n")


async def test_watch_all(offline: Sandbox, capsys: Printed) -> None:
    """`--all` watches what has not ended; when all has, there is nothing to do."""
    async with offline:
        old, new = offline.submit(Life(duration=1)), offline.submit(Life(duration=600))
        await asyncio.sleep(10)

        assert 0 == await run_watch([], offline, everything=True)

        out = capsys.readouterr().out

        assert new in out
        assert old not in out
        assert 0 == await run_watch([], offline, everything=True)
        assert "everything has ended" in capsys.readouterr().err


async def test_ids_from_a_file(offline: Sandbox, capsys: Printed, tmp_path: Path) -> None:
    """`--from` takes an id a line, and passes over empty lines and comments."""
    file = tmp_path / "ids"
    async with offline:
        ids = [offline.submit(Life(duration=5)) for _ in range(3)]
        file.write_text("# of tonight\n\n" + "\r\n".join(ids[1:]))

        assert 0 == await run_watch(ids[:1], offline, source=str(file))

    assert said(capsys)[-1].endswith(" s  3 completed")

    file.write_text("\n")

    assert 0 == await run_watch([], offline, source=str(file))
    assert "no ids" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end", "code", "last"),
    [
        ("failed", 1, "1 completed, 1 failed"),
        ("cancelled", 1, "1 completed, 1 cancelled"),
        ("completed", 0, "2 completed"),
    ],
)
async def test_code_of_a_watch(offline: Sandbox, capsys: Printed, end: Any, code: int, last: str) -> None:
    """1 says that an activity has not completed."""
    async with offline:
        ids = [offline.submit(Life(duration=10)), offline.submit(Life(duration=20, end=end))]

        assert code == await run_watch(ids, offline)

    assert said(capsys)[-1].endswith(f" s  {last}")


async def test_ids_that_cannot_be_followed(offline: Sandbox, capsys: Printed) -> None:
    """An id that does not exist is 3, whatever became of the others; each is complained of on stderr."""
    async with offline:
        good, bad = offline.submit(Life(duration=30)), offline.submit(Life(duration=30, end="failed"))

        assert 3 == await run_watch([good, UNKNOWN, bad], offline)

    out, err = capsys.readouterr()

    assert out.endswith(" s  1 completed, 1 failed, 1 could not be followed\n")
    assert err.startswith("NotFoundError: ")
    assert 1 == err.count("\n")


async def test_an_activity_that_takes_too_long(offline: Sandbox, capsys: Printed) -> None:
    """An activity that has not ended by `--timeout` has not completed."""
    async with offline:
        assert 1 == await run_watch([offline.submit(Life(duration=3600))], offline, timeout=60.0)

    assert "did not end within 60 s" in capsys.readouterr().err


async def test_a_silent_api_is_remarked_on(offline: Sandbox, capsys: Printed) -> None:
    """Who watches is told when nothing has been heard for ten seconds: a watch itself is patient."""
    offline.faults.add(Fault(server_error(503), until=60.0))
    async with offline:
        assert 0 == await run_watch([offline.submit(Life(duration=90))], offline)

    assert 1 == capsys.readouterr().err.count("no answer from the API so far")


async def test_an_interrupted_watch_shows_its_last_state(offline: Sandbox, capsys: Printed) -> None:
    """A watch that is cut short says how things stood."""
    async with offline:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await run_watch([offline.submit(Life(duration=3600))], offline)

    assert said(capsys)[-1].endswith("30.0 s  1 not ended")


async def test_demo(capsys: Printed) -> None:
    """The demo submits imports, watches all to their end, of which one fails, and keeps the vendor's rules."""
    code = await demo(20)
    out = capsys.readouterr().out

    assert 0 == code
    assert "1 failed" in out
    assert "All 20 imports ended within" in out
    assert "refused by the vendor 0" in out
    assert "import  20" in out


def test_not_found_is_no_bug_of_get(vendor: Sandbox, capsys: Printed) -> None:
    """A scripted 404 is told as any other."""
    job = vendor.submit(DONE)
    vendor.faults.add(not_found(), where="get")

    assert 3 == main(["get", job])
    assert "NotFoundError" in capsys.readouterr().err
