"""The command that submits a job: what it sends and prints, and that nothing is deleted by accident."""

from __future__ import annotations

import io
import json
import sys
from typing import Any, get_args

import pytest
from support.logins import Printed, complaint

from ccactivity import SubmissionUnknownError
from ccactivity.cli import main
from ccactivity.cli.app import JobKind
from ccactivity.cli.output import OutputFormat
from ccactivity.cli.session import open_session
from ccactivity.cli.submit import submit
from ccactivity.jobs import KINDS
from ccactivity.sandbox import Reset, Sandbox, forbidden

from .processes import Terminal

LIST = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
DELETE = ["submit", "list_delete", "--json", json.dumps({"list_ids": [LIST]})]
PEOPLE = {"import_data": [{"email": "canary@example.com"}], "list_ids": [LIST]}


def kinds_of(sandbox: Sandbox) -> list[str]:
    jobs = sandbox.vendor.jobs.listed(sandbox.now, oldest=0.0, state=None, after=None)
    return [job.kind for job in jobs]


def give(monkeypatch: pytest.MonkeyPatch, text: str | bytes) -> None:
    """Put a text on stdin, which is no terminal."""
    data = text if isinstance(text, bytes) else text.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_each_kind_with_a_body_of_json() -> None:
    """A file has none."""
    assert set(get_args(JobKind)) == KINDS.keys() - {"contacts_file_import"}


def test_the_activity_is_printed_as_get_does(vendor: Sandbox, capsys: Printed) -> None:
    """As a table, as JSON or as CSV."""
    assert 0 == main(["submit", "contact_exports", "--json", "{}"])
    header, row = capsys.readouterr().out.splitlines()
    assert ["ID", "STATE", "DONE", "UPDATED", "DETAIL"] == header.split()
    assert "initialized" == row.split()[1]

    assert 0 == main(["submit", "contact_exports", "--json", '{"status": "active"}', "--format", "json"])
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert "initialized" == shown["state"]
    assert 0 == main(["submit", "contact_exports", "--json", "{}", "--format", "csv"])
    assert capsys.readouterr().out.startswith("activity_id,state,")
    assert ["contact_exports"] * 3 == kinds_of(vendor)


def test_people_are_read_from_stdin(vendor: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they are not in the list of processes."""
    give(monkeypatch, json.dumps(PEOPLE))

    assert 0 == main(["submit", "contacts_json_import", "--json", "-"])
    assert "import, 2 items" in capsys.readouterr().out
    assert ["contacts_json_import"] == kinds_of(vendor)


def test_more_than_one_request_takes_is_submitted_in_parts(vendor: Sandbox, capsys: Printed) -> None:
    """With a line for each."""
    body = json.dumps({"contact_ids": [f"id-{number}" for number in range(501)]})

    assert 0 == main(["submit", "contact_delete", "--json", body, "--yes"])
    assert 3 == len(capsys.readouterr().out.splitlines())
    assert ["contact_delete"] * 2 == kinds_of(vendor)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (DELETE, "a deletion needs --yes"),
        (["submit", "list_delete", "--json", "{}"], "list_ids"),
        (["submit", "list_delete", "--json", '{"lists": []}'], "DeleteLists knows no 'lists'; it knows list_ids"),
        (["submit", "list_delete", "--json", "[1]"], "the body must be an object, not list"),
        (["submit", "list_delete", "--json", "{canary}"], "the body is not JSON (line 1, column 2)"),
        (["submit", "list_delete", "--json", "[" * 100_000], "the body is not JSON"),
        (["submit", "contacts_file_import", "--json", "{}"], "contacts_file_import"),
        (["submit", "list_delete"], "--json"),
        (["submit", "contacts_json_import", "--json", json.dumps(PEOPLE | {"list_ids": []})], "at least one id"),
    ],
)
def test_wrong_usage(
    vendor: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    """It is 2, nothing is asked of the API, and no contact is shown."""
    give(monkeypatch, "yes\n")

    assert 2 == main(arguments)
    text = complaint(capsys)
    assert says in text
    assert "canary" not in text
    assert 0 == vendor.requests.total()


@pytest.mark.parametrize("data", [b"\xff", b"{"])
def test_what_cannot_be_read(vendor: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Bytes that are no text, and a text that is no JSON."""
    give(monkeypatch, data)

    assert 2 == main(["submit", "contacts_json_import", "--json", "-"])
    assert "not" in complaint(capsys)


def test_a_deletion_from_stdin_needs_yes(vendor: Sandbox, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks would read the body."""
    give(monkeypatch, json.dumps({"list_ids": [LIST]}))
    assert 2 == main(["submit", "list_delete", "--json", "-"])
    assert "--yes" in complaint(capsys)
    give(monkeypatch, json.dumps({"list_ids": [LIST]}))

    assert 0 == main(["submit", "list_delete", "--json", "-", "--yes"])
    assert ["list_delete"] == kinds_of(vendor)


@pytest.mark.parametrize(("answer", "code", "kinds"), [("yes", 0, ["list_delete"]), ("y", 1, []), ("", 1, [])])
def test_on_a_terminal_a_person_is_asked(vendor: Sandbox, answer: str, code: int, kinds: list[str]) -> None:
    """What is to be deleted, and how much; anything but yes deletes nothing."""
    terminal = Terminal(*DELETE, columns=100, sandbox=vendor, env={})
    terminal.read_until(lambda text: "Type yes" in text)
    assert "DeleteLists(1 list_ids): this cannot be undone" in terminal.text
    terminal.write(f"{answer}\n")

    assert code == terminal.close()
    assert kinds == kinds_of(vendor)


def test_a_refusal(vendor: Sandbox, capsys: Printed) -> None:
    """It is 3, with what can be done about it."""
    vendor.faults.add(forbidden(), where="post")

    assert 3 == main(["submit", "contact_exports", "--json", "{}"])
    assert "contacts:write" in complaint(capsys)


async def test_an_unknown_submission_names_what_it_may_be(offline: Sandbox) -> None:
    """The activities, as far as a line has room."""
    async with offline as sandbox:
        sandbox.faults.add(Reset(), where="post")
        opening = open_session(base_url=sandbox.base_url)
        with pytest.raises(SubmissionUnknownError) as caught:
            await submit(opening, "contact_exports", "{}", yes=False, form=OutputFormat.TABLE)
        (candidate,) = caught.value.candidates

        assert [f"look at {candidate.activity_id}"] == caught.value.__notes__


def test_a_full_queue(vendor: Sandbox, capsys: Printed) -> None:
    """It is not waited for."""
    while vendor.vendor.jobs.queued(vendor.now + 60) < 1000:
        vendor.submit()

    assert 3 == main(["submit", "contact_exports", "--json", "{}"])
    assert "as many queued activities as it may have" in complaint(capsys)
