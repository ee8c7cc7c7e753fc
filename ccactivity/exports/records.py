"""The records of a CSV file, counted as it passes, to tell whether all of it has come. Pure.

Nothing is parsed: a record ends at a line break outside of quotes. All but quotes and line breaks is deleted first, by
one call that takes no longer than copying, and pairs of quotes with nothing between them change nothing; what is left
of a megabyte is small.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RecordCounter"]

_QUOTE: Final = b'"'
_OTHERS: Final = bytes(set(range(256)) - set(b'"\n'))


class RecordCounter:
    """Counts the records of a CSV file. `size`: bytes so far. `open_quote`: whether a field in quotes is not closed."""

    def __init__(self) -> None:
        self.size: int = 0
        self.open_quote: bool = False
        self._line_ends = 0
        self._last = b""

    @property
    def ended(self) -> bool:
        """Whether the last record has its line break, which a file may leave out."""
        return self._last == b"\n" and not self.open_quote

    @property
    def records(self) -> int:
        """Records without the header."""
        return max(0, self._line_ends + (self.size > 0 and not self.ended) - 1)

    def feed(self, piece: bytes) -> None:
        """Take the next piece, which may begin and end anywhere."""
        self.size += len(piece)
        self._last = piece[-1:] or self._last
        if _QUOTE not in piece:
            self._line_ends += 0 if self.open_quote else piece.count(b"\n")
            return
        marks = piece.translate(None, _OTHERS).replace(_QUOTE * 2, b"")
        parts = (_QUOTE * self.open_quote + marks).split(_QUOTE)
        self._line_ends += sum(part.count(b"\n") for part in parts[::2])
        self.open_quote = len(parts) % 2 == 0
