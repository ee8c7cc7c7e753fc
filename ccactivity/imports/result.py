"""What an import tells: how far it is, how it ended, and the error of one of which some parts failed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs

from ..errors import BatchError, CCActivityError
from ..models import Activity
from .linemap import RowError
from .plan import ImportPlan
from .rejects import write_rejects

__all__ = ["ImportFailedError", "ImportProgress", "ImportResult"]


def _count(several: tuple[object, ...]) -> str:
    return f"<{len(several):,}>"


@attrs.frozen(kw_only=True)
class ImportProgress:
    """How far an import is.

    `rows`: that are to be imported. `sent`: those of them in parts that the vendor has accepted. `parts`: how many
    there are. `activities`: the newest snapshot of each part that was accepted, in the order of the parts. `percent`:
    0.0 to 100.0, of the rows; 100.0 means that all parts have ended, well or not.
    """

    rows: int
    sent: int
    parts: int
    activities: tuple[Activity, ...] = attrs.field(repr=_count)
    percent: float


@attrs.frozen(kw_only=True)
class ImportResult:
    """How an import ended: of its `rows`, all but `refused` and `lost` were imported.

    `plan`: of the file; None for rows of a program, and in a result that was pickled.
    `activities`: the last snapshots, in the order of the parts. `refused`: rows that the vendor refused, by its
    counters. `errors`: its messages, with where the row of each is; there may be fewer or more of them than `refused`.
    `duplicates`: (line, line of the next row with the same address), the first 1,000 of them, as in `ImportPlan`.
    `lost`: rows of parts that were not imported: `ImportFailedError` says why. `repeated`: the numbers of parts that
    were or may have been sent twice, because an answer was lost or a process died; that has the effect of once.
    """

    activities: tuple[Activity, ...] = attrs.field(repr=_count)
    rows: int
    refused: int
    errors: tuple[RowError, ...] = attrs.field(repr=_count)  # which may quote rows
    duplicates: tuple[tuple[int, int], ...] = attrs.field(repr=_count)
    lost: int
    repeated: tuple[int, ...]
    plan: ImportPlan | None = attrs.field(default=None, repr=False, eq=False)

    def write_rejects(self, path: str | os.PathLike[str]) -> int:
        """Write the rows that were refused into a file, to be corrected and imported again; return how many.

        It holds the header, each row byte for byte, and a last column `ccactivity_error` with the vendor's message,
        which an import leaves out. The source is read again, and must not have changed; the file has mode 0600. It
        blocks. Raises ValueError for the path of the source itself, and without a `plan`: `RowError.row` says which
        rows they are.
        """
        if self.plan is None:
            raise ValueError("there is no file that could be read again; RowError.row is the number of each, from 1")
        return write_rejects(path, self.plan, self.errors)

    def __reduce__(self) -> tuple[Any, ...]:
        kept = attrs.asdict(self, recurse=False, filter=attrs.filters.exclude("plan"))  # it may hold an open file
        return partial(ImportResult, **kept), ()


class ImportFailedError(BatchError):
    """Some parts of an import failed; all others were imported.

    `errors`: the error of each such part, by its name, as "part 3". `result`: how everything ended.
    """

    result: ImportResult

    @classmethod
    def of_parts(cls, errors: Mapping[str, CCActivityError], result: ImportResult) -> ImportFailedError:
        """Make the error from the error of each part."""
        count = len(errors)
        message = f"{count} {'part' if count == 1 else 'parts'} of the import failed, with {result.lost:,} rows"
        error = cls(message, list(errors.values()), errors)
        error.result = result
        return error
