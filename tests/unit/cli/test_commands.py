"""The commands that ask the API: what they print in each form, and their exit codes."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from support.logins import Printed, complaint

from ccactivity import TransportError
from ccactivity.cli import main
from ccactivity.cli.commands import list_, watch
from ccactivity.cli.exit_codes import print_error
from ccactivity.cli.output import OutputFormat
from ccactivity.cli.session import open_session
from ccactivity.sandbox import Life, Patch, Sandbox, not_found, server_error

UNKNOWN = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
CAMPAIGN = "1ead98be-dfa0-4e04-81f7-5f1534d42e9c"
DONE = Life(duration=0.001)


def said(printed: Printed) -> list[str]:
    return printed.readouterr().out.splitlines()


# --- list, get, history -----------------------------------------------------------------------------------------------


def test_list(vendor: Sandbox, capsys: Printed) -> None:
    """`list` writes a line for each activity, the columns under their names."""
    ids = [
        vendor.submit(Life(duration=1e6), rows=100),
        vendor.submit(Life(duration=1e6), file_name="people.csv", rows=6),
    ]

    assert 0 == main(["list"])

    header, *rows = said(capsys)

    assert ["ID", "STATE", "DONE", "UPDATED", "DETAIL"] == header.split()
    assert set(ids) == {row.split()[0] for row in rows}
    assert {"import, 101 items", "people.csv, 7 items"} == {row[header.index("DETAIL") :] for row in rows}
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


@pytest.mark.parametrize("stamp", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_a_time_that_cannot_be_converted(vendor: Sandbox, capsys: Printed, stamp: str, form: list[str]) -> None:
    """It is shown as one that the vendor did not send, and the command is well."""
    job = vendor.submit(Life(duration=1e6), rows=100)
    stamps = dict.fromkeys(("created_at", "started_at", "updated_at", "completed_at", "run_date"), stamp)
    vendor.faults.add(Patch(stamps))

    assert 0 == main(["list", *form])
    assert 0 == main(["history", CAMPAIGN, *form])
    assert 0 == main(["get", job, *form])

    out = capsys.readouterr().out
    assert job in out
    assert stamp not in out


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--limit", "3"], 3),
        (["--state", "completed"], 5),
        (["--state", "initialized"], 2),
        (["--state", "initialized", "--limit", "1"], 1),
        ([], 8),
    ],
)
def test_list_of_some(vendor: Sandbox, capsys: Printed, arguments: list[str], count: int) -> None:
    """`--limit` bounds the rows, `--state` says which, also if it is one that the vendor cannot be asked for."""
    for _ in range(5):
        vendor.submit(DONE)
    for delay in (0.0, 1e6, 1e6):
        vendor.submit(Life(delay=delay, duration=1e6))

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

    assert 0 == main(["get", *ids, "--csv"])
    assert ids == [row["activity_id"] for row in csv.DictReader(said(capsys))]

    assert 3 == main(["get", UNKNOWN, ids[0]])

    out, err = capsys.readouterr()

    assert out.splitlines()[1].startswith(f"{ids[0]}  completed    100%")
    assert f"error: {UNKNOWN}: not found (404)\n" == err


def test_not_found_is_no_bug_of_get(vendor: Sandbox, capsys: Printed) -> None:
    """A scripted 404 is told as any other."""
    job = vendor.submit(DONE)
    vendor.faults.add(not_found(), where="get")

    assert 3 == main(["get", job])
    assert f"error: {job}: not found (404)" == complaint(capsys)


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


async def test_the_api_cannot_be_reached(offline: Sandbox, capsys: Printed) -> None:
    """An API that cannot be reached is 3, with one line on stderr."""
    async with offline:
        pass
    with pytest.raises(TransportError) as caught:
        await list_(open_session(base_url=offline.base_url), OutputFormat.TABLE, state=None, limit=None)

    assert 3 == print_error(caught.value)
    assert complaint(capsys).startswith("error: GET /v3/activities: Cannot connect to host 127.0.0.1:")


# --- watch, in virtual time -------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("others", [0, 1, 30])
@pytest.mark.parametrize("timeout", [None, 5.0, 1.0])
async def test_an_id_that_does_not_exist(offline: Sandbox, capsys: Printed, timeout: float | None, others: int) -> None:
    """It is said not to be found, and not to be late, however short the timeout is, and whatever else is watched."""
    async with offline:
        jobs = [offline.submit(Life(duration=0.1)) for _ in range(others)]

        assert (1 if others else 3) == await run_watch([*jobs, UNKNOWN], offline, timeout=timeout)

    assert f"error: {UNKNOWN}: not found (404)" in capsys.readouterr().err.splitlines()


async def test_what_is_known_not_to_exist_is_not_asked_for_again(offline: Sandbox) -> None:
    """Half of a long timeout later nobody doubts what the watch has found out."""
    unknown = [f"{number:08x}{UNKNOWN[8:]}" for number in range(20)]
    async with offline:
        job = offline.submit(Life(duration=200))

        await run_watch([job, *unknown], offline, timeout=300.0)

    asked = [line.target for line in offline.log if line.kind == "get" and line.time > 140 and job not in line.target]
    assert [] == asked


async def test_what_is_late_in_an_outage(offline: Sandbox, capsys: Printed) -> None:
    """Nothing is known of an id while nothing is answered, so it is late."""
    offline.faults.add(server_error(503))
    async with offline:
        job = offline.submit(Life(duration=1))

        assert 1 == await run_watch([job], offline, timeout=5.0)

    out, err = capsys.readouterr()

    assert out.endswith(" s  no answer for 1\n")
    assert f"error: {job}: did not end within 5 s, never seen\n" == err


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


def test_malformed_ids(vendor: Sandbox, capsys: Printed, tmp_path: Path) -> None:
    """Each is named with its line if it is from a file, and what an id may be is said once."""
    file = tmp_path / "ids"
    file.write_text(f"# of tonight\n{UNKNOWN}\na: b\n\nc/d\n")

    assert 2 == main(["watch", "e f", "--from", str(file)])

    told = complaint(capsys)

    assert told.startswith("error: malformed activity_id 'e f', 'a: b' (line 3), 'c/d' (line 5): expected 1 to 128 ")
    assert 1 == told.count("expected")

    file.write_text("a b\n" * 3 + "".join(f"{number}/\n" for number in range(9)))

    assert 2 == main(["watch", "--from", str(file)])
    assert "'3/' (line 7) and 5 more: expected" in complaint(capsys)


@pytest.mark.parametrize("stdin", [True, False])
def test_a_line_of_a_file_of_ids_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed, offline: Any, stdin: bool
) -> None:
    """A line as long as 64 KiB may be a comment; a longer one is wrong usage, and not read to its end."""
    file = tmp_path / "ids"
    lines = ["#" * 65_534, "", "#" * 65_535, "#" * 10**7]
    file.write_text("\n".join(lines))
    with file.open(encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdin", stream)

        assert 2 == main(["watch", "--from", "-" if stdin else str(file)])

        left = stream.read()

    assert "line 4 is longer than 65536 characters" in complaint(capsys)
    assert not stdin or len(left) > 9 * 10**6
