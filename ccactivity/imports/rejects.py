"""The refused rows of an import as a file, to be corrected and imported again."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from .columns import ERROR_COLUMN
from .linemap import RowError
from .plan import ImportPlan, without_frames

__all__ = ["write_rejects"]


@without_frames
def write_rejects(path: str | os.PathLike[str], plan: ImportPlan, errors: Iterable[RowError]) -> int:
    """Write the header and the refused rows, byte for byte, with a column `ccactivity_error`; return how many rows.

    Correct the rows and import the file: that column is not sent. A row with several messages is there once; an error
    that may be of one of two rows brings both, which says so; one without a line brings none. What the file held before
    is replaced by the whole new one, or stays. Its mode is 0600, since rows are personal data; its encoding is UTF-8.

    Raises ImportRefusedError if the source is not what it was when it was planned, OSError, and ValueError for the path
    of the source itself. It blocks.
    """
    target = Path(path)
    if plan.path is not None and target.exists() and target.samefile(plan.path):
        raise ValueError(f"{target} is the file that was imported: name another one for its refused rows")
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    count = 0
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for record in _make_records(plan, errors):
                file.write(record)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return count - 1


def _make_records(plan: ImportPlan, errors: Iterable[RowError]) -> Iterator[bytes]:
    messages: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))  # by part, by line
    for error in errors:
        if error.line is None:
            continue
        doubt = "" if error.exact else " (this row or another one)"
        for line in sorted({error.line, *error.candidates}):
            messages[error.part][line].append(error.message + doubt)
    end = plan.header[len(plan.header.rstrip(b"\r\n")) :]
    yield _add_field(plan.header, ERROR_COLUMN, end)
    for part, of_part in sorted(messages.items()):
        for sent, record in plan.read_rows(part):
            if found := of_part.get(sent.line):
                yield _add_field(record, "; ".join(dict.fromkeys(found)), end)


def _add_field(record: bytes, value: str, end: bytes) -> bytes:
    """Add a field at the end of a record, before its line end: the last one of a file may have none."""
    body = record.rstrip(b"\r\n")
    field = io.StringIO()
    csv.writer(field, lineterminator="").writerow([" ".join(value.split())])
    return body + b"," + field.getvalue().encode() + (record[len(body) :] or end)
