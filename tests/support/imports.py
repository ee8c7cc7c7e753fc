"""Files of contacts, and what tests of imports ask of the vendor afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ccactivity import ActivitySession
from ccactivity.sandbox import Sandbox, Workload

LISTS = ["5b8f3a2c-0d0e-4c1a-9f43-2f0a7d1e6b11"]
ROWS_OF_A_PART = 11
_LONG_ROWS = 6  # of them; a seventh does not fit into the 40,000 lines that the vendor takes
_LONG_CELLS = 25
_LINES_OF_A_CELL = 255
STEADY = Workload(
    median=20.0,
    sigma=0.3,
    silent_share=0.0,
    idle_share=0.0,
    stall_share=0.0,
    failed_share=0.0,
    cancelled_share=0.0,
    timed_out_share=0.0,
)


def addresses(count: int) -> list[str]:
    return [f"{number}@a.io" for number in range(1, count + 1)]


def contacts(count: int, *, bad: Iterable[int] = ()) -> bytes:
    """A file of so many rows, numbered from 1; those that are `bad` have no address that the vendor takes.

    It is small, and yet has a part for every `ROWS_OF_A_PART` rows: the first ones of each take thousands of lines.
    """
    rows = addresses(count)
    for row in bad:
        rows[row - 1] = f"{row} at a.io"
    if count <= ROWS_OF_A_PART:
        return "\n".join(["email", *rows, ""]).encode()
    columns = [f"cf:{number}" for number in range(_LONG_CELLS)]
    long_cells = ['"' + "\n" * _LINES_OF_A_CELL + '"'] * _LONG_CELLS
    lines = [",".join(["email", *columns])]
    for index, address in enumerate(rows):
        cells = long_cells if index % ROWS_OF_A_PART < _LONG_ROWS else [""] * _LONG_CELLS
        lines.append(",".join([address, *cells]))
    return "\n".join([*lines, ""]).encode()


def line_of_long(row: int) -> int:
    """The line at which a row begins that is one of the long ones of the first part."""
    return 2 + (row - 1) * (_LONG_CELLS * _LINES_OF_A_CELL + 1)


def line_of(row: int) -> int:
    """The line of a row of a file with more than one part; of the short ones, which may be bad."""
    part, index = divmod(row - 1, ROWS_OF_A_PART)
    assert index >= _LONG_ROWS, "this is a long row"
    long_lines = _LONG_ROWS * (_LONG_CELLS * _LINES_OF_A_CELL + 1)
    return 2 + part * (long_lines + ROWS_OF_A_PART - _LONG_ROWS) + long_lines + index - _LONG_ROWS


async def imported(sandbox: Sandbox, session: ActivitySession) -> Counter[str]:
    """How often each address was imported, by all jobs that the vendor has."""
    found: Counter[str] = Counter()
    async for activity in session.list_activities():
        found.update(row["email"] for row in sandbox.rows(activity.activity_id))
    return found


def once(count: int) -> Counter[str]:
    """What `imported` returns of so many rows that were imported once each."""
    return Counter(addresses(count))
