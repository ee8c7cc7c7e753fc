"""Names of files to import, each of its own: by them a submission is found again whose answer was lost."""

from __future__ import annotations

import os
import re
from typing import Final

__all__ = ["make_file_name"]

_MAX_STEM_CHARACTERS: Final = 60


def make_file_name(stem: str = "contacts", *, part: int = 1, parts: int = 1, key: str | None = None) -> str:
    """Return a name such as `contacts-1of2-3f9c0a17.csv`, which no other import has.

    `stem`: such as the name of the user's own file; what a name may not hold becomes a hyphen. `part`, `parts`: which
    of how many files it is. `key`: 8 hexadecimal digits of the caller's own, for a name that can be made again; None:
    random ones.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem.removesuffix(".csv")).strip("-.")[:_MAX_STEM_CHARACTERS]
    return f"{plain or 'contacts'}-{part}of{parts}-{os.urandom(4).hex() if key is None else key}.csv"
