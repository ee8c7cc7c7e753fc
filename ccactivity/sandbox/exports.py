"""The files of exports: CSV of any number of rows, made in blocks as it is sent, on the API's host or on another one.

A row follows from its number alone, so no file is kept, and its length is known before it is made. Rows have what a
reader of CSV has to cope with: quoted commas and quotes, and now and then a line break inside a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from random import Random

from .effects import not_found
from .jobs import RETENTION_S, Job, Jobs
from .limits import Violations
from .messages import Reply, Request

__all__ = ["Exports", "csv_blocks", "csv_length"]

_BLOCK_ROWS = 1_000
_HEADER = b"Email address,First name,Last name,Notes\r\n"
_BLOCK_NUMBER = b"#######"  # seven digits go in its place
_FILE_PATH = re.compile(r"/exported/(?P<id>[^/]+)\.csv")


def _row(place: int) -> bytes:
    number = f"{_BLOCK_NUMBER.decode()}{place:03d}"
    name = '"Ann ""Annie"", jr."' if place % 10 == 9 else "Ann"
    notes = '"moved\r\nin spring"' if place % 250 == 249 else "met at the spring fair by the fountain"
    return f"person{number}@example.com,{name},Number {number},{notes}\r\n".encode()


_ROWS = [_row(place) for place in range(_BLOCK_ROWS)]
_BLOCK = b"".join(_ROWS)


def csv_blocks(rows: int) -> Iterator[bytes]:
    """Yield a file of a header and `rows` rows, a thousand rows at a time."""
    yield _HEADER
    for begin in range(0, rows, _BLOCK_ROWS):
        block = _BLOCK if rows - begin >= _BLOCK_ROWS else b"".join(_ROWS[: rows - begin])
        yield block.replace(_BLOCK_NUMBER, b"%07d" % (begin // _BLOCK_ROWS))


def csv_length(rows: int) -> int:
    """Return how many bytes `csv_blocks` yields."""
    blocks, rest = divmod(rows, _BLOCK_ROWS)
    return len(_HEADER) + blocks * len(_BLOCK) + sum(map(len, _ROWS[:rest]))


class Exports:
    """Answers requests for the files of exports, once these have completed.

    `redirect`: whether the API answers with a redirect to a signed URL on `host`, which wants no token and must not get
    one: a request there that carries a credential, a cookie or a Referer is a violation.
    """

    def __init__(self, jobs: Jobs, violations: Violations, *, redirect: bool) -> None:
        self.redirect: bool = redirect
        self.host: str = "https://files.example"
        self._jobs = jobs
        self._violations = violations

    @staticmethod
    def route(request: Request) -> str | None:
        """Return the id in a request for a signed URL, None for any other."""
        found = _FILE_PATH.fullmatch(request.path)
        return found["id"] if found else None

    def answer(self, export_id: str, now: float) -> Reply:
        """Answer what the `results` link leads to."""
        job = self._find(export_id, now)
        if job is None:
            return not_found().reply
        if self.redirect:
            location = f"{self.host}/exported/{export_id}.csv?{_signature(export_id)}"
            return Reply(status=302, headers={"Location": location})
        return _file_of(job)

    def signed(self, export_id: str, request: Request, now: float) -> Reply:
        """Answer a request for a signed URL, as a host of files does."""
        private = ("authorization", "cookie", "referer")
        self._violations.credentials_elsewhere += any(name in request.headers for name in private)
        job = self._find(export_id, now)
        if job is None or request.query != _signature(export_id):
            return Reply(status=403, body=b"<Error><Code>AccessDenied</Code></Error>", content_type="application/xml")
        return _file_of(job)

    def _find(self, export_id: str, now: float) -> Job | None:
        job = self._jobs.find_export(export_id)
        gone = job is None or job.created < now - RETENTION_S or job.state(now) != "completed"
        return None if gone else job


def _file_of(job: Job) -> Reply:
    return Reply(status=200, blocks=partial(csv_blocks, job.rows), length=csv_length(job.rows), content_type="text/csv")


def _signature(export_id: str) -> str:
    # It begins as the tokens do, so that what looks for leaked tokens finds it as well.
    return f"X-Signature=sandbox-token-{Random(export_id).getrandbits(128):032x}"
