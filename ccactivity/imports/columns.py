"""The columns of a file of contacts, and what the vendor documents of their values. Pure.

What is checked is what the API's specification says of an import. What an address has to look like it does not say, so
one that looks strange is counted, and never refused here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

import attrs

from .._text import escape
from ..jobs.rows import (
    ADDRESS_KINDS,
    MAX_ADDRESSES,
    MAX_CHARACTERS,
    MAX_CUSTOM_FIELDS,
    MAX_PHONES,
    PHONES,
    PLACE_PARTS,
    STREET_PARTS,
    get_longest,
)

__all__ = [
    "ERROR_COLUMN",
    "FILE_COLUMNS",
    "Columns",
    "ImportProblem",
    "find_header_problems",
    "looks_like_address",
    "spell_names",
]

ERROR_COLUMN: Final = "ccactivity_error"
"""The column that `write_rejects` adds. It is never sent."""

_MAX_NAMES_SHOWN: Final = 20
_MAX_NAME_CHARACTERS: Final = 50

# What the specification names for a file. The home_, work_ and other_ columns of a JSON import may be taken, or not.
FILE_COLUMNS: Final = (
    *("email", "first_name", "last_name", "phone", "job_title", "anniversary", "birthday_day", "birthday_month"),
    *("company_name", "street", "street2", "city", "state", "zip", "country", "sms_number", "sms_consent_date"),
)

_MONTH: Final = "(?:0?[1-9]|1[0-2])"
_DAY: Final = "(?:0?[1-9]|[12][0-9]|3[01])"
_YEAR: Final = "[0-9]{4}"
# M-D-YYYY and M-DD-YYYY are documented, MM-DD-YYYY is not.
_DATE: Final = (
    f"(?:{_MONTH}/{_DAY}/{_YEAR}|{_YEAR}/{_MONTH}/{_DAY}|{_YEAR}-{_MONTH}-{_DAY}|(?:[1-9]|1[0-2])-{_DAY}-{_YEAR})"
)
_VALUES: Final = {
    "anniversary": (_DATE, "a date such as 2026-11-24 or 11/24/2026"),
    "birthday_month": (_MONTH, "a number from 1 to 12"),
    "birthday_day": (_DAY, "a number from 1 to 31"),
}
_BIRTHDAY: Final = ("birthday_month", "birthday_day")
# An address is something@some.thing. The second pattern, for lines, takes it in printable ASCII alone.
_ADDRESS: Final = re.compile(r"[^\s@,\"]++@(?:[^\s@,\".]++\.)++[^\s@,\".]++")
_ASCII_ADDRESS: Final = r"[!#-+\--?A-~]++@(?:[!#-+\-/-?A-~]++\.)++[!#-+\-/-?A-~]++"

Found = list[tuple[str | None, str]]  # a column, None for the whole line, and what is wrong with it


@attrs.frozen
class ImportProblem:
    """Something in a file that the vendor would not take.

    `line`: of the file, from 1; of a record that takes several, the first. `column`: its name as the vendor knows it,
    None for the whole line. `message`: what is wrong; never what the file says there.
    """

    line: int
    column: str | None
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {f'{self.column}: ' if self.column else ''}{self.message}"


def _read_names(fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(field.strip().casefold() for field in fields)


def spell_names(fields: Sequence[str]) -> list[str]:
    """Return the names of a header as they are sent: those that the vendor documents in its spelling, lower case."""
    return [_spell(field) for field in fields]


def _spell(field: str) -> str:
    name = field.strip()
    if name.casefold().startswith("cf:"):  # what follows is as the account has it
        return "cf:" + name[len("cf:") :]
    return name.casefold() if name.casefold() in {*FILE_COLUMNS, *MAX_CHARACTERS} else field


def looks_like_address(text: str) -> bool:
    """Whether text has the shape of an email address, which is all that can be told from here."""
    return len(text) <= MAX_CHARACTERS["email"] and _ADDRESS.fullmatch(text) is not None


def find_header_problems(fields: Sequence[str], *, sms_explicit: bool) -> Found:
    """Return what is wrong with the names in a header."""
    names = _read_names(fields)
    if any(map(_ADDRESS.fullmatch, names)):
        return [(None, "this line holds an address: the file needs a header, such as email,first_name,last_name")]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    found: Found = [(_show(name), "this column is there twice") for name in repeated]
    if not {"email", "sms_number"} & set(names):
        found.append((None, _describe_missing(names)))
    if sms_explicit and "sms_consent_date" not in names:
        found.append(("sms_consent_date", "sms_permission_to_send='explicit' needs this column"))
    return found


@attrs.frozen(eq=False)
class Columns:
    """A header without problems, and the checks of the rows below it.

    `names`: as the vendor knows them: in lower case, without space around them.
    """

    names: tuple[str, ...] = attrs.field(converter=_read_names)
    sms_explicit: bool = False
    _limits: tuple[tuple[str, int | None], ...] = attrs.field(init=False)  # the longest that each value may be
    _can_exceed: bool = attrs.field(init=False)  # whether a contact could have too many values of a kind
    # What they match is a record without problems. None where there are rules that no regular expression can check.
    _good: re.Pattern[bytes] | None = attrs.field(init=False)
    _good_quoted: re.Pattern[bytes] | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_limits", tuple((name, get_longest(name)) for name in self.names))
        object.__setattr__(self, "_can_exceed", bool(_check_counts(dict.fromkeys(self.names, "x"))))
        object.__setattr__(self, "_good", self._compile_good(quotes=False))
        object.__setattr__(self, "_good_quoted", self._compile_good(quotes=True))

    @property
    def error_column(self) -> int | None:
        """The index of the column that is not sent, None if there is none."""
        return self.names.index(ERROR_COLUMN) if ERROR_COLUMN in self.names else None

    @property
    def warnings(self) -> list[str]:
        """What may not be what was meant, a sentence each."""
        known = (*FILE_COLUMNS, ERROR_COLUMN)
        unknown = [name for name in self.names if name and name not in known and not name.startswith("cf:")]
        found = []
        for name in unknown[:_MAX_NAMES_SHOWN]:
            if name in MAX_CHARACTERS:
                found.append(f"column {name} is documented for JSON imports only: the vendor may not read it in a file")
                continue
            meant = _guess(name)
            advice = f"did you mean {meant}?" if meant else f"a custom field is named cf:{_show(name)}"
            found.append(f"column {_show(name)} is not known to the vendor: {advice}")
        if len(unknown) > _MAX_NAMES_SHOWN:
            found.append(f"{len(unknown) - _MAX_NAMES_SHOWN} more columns are not known to the vendor")
        if "" in self.names:
            found.append(f"column {self.names.index('') + 1} has no name")
        return found

    def get(self, fields: Sequence[str], name: str) -> str:
        """Return a value of a record, empty if it is not there."""
        index = self.names.index(name) if name in self.names else len(fields)
        return fields[index] if index < len(fields) else ""

    def check(self, fields: Sequence[str]) -> Found:
        """Return what is wrong with a record."""
        if len(fields) > len(self.names):
            return [(None, f"{len(fields)} fields, and the header has {len(self.names)}")]
        row = {name: value.strip() for name, value in zip(self.names, fields, strict=False)}
        found: Found = []
        if not row.get("email") and not row.get("sms_number"):
            found.append(("email", "neither email nor sms_number"))
        for (name, longest), value in zip(self._limits, fields, strict=False):
            if longest is not None and len(value) > longest:
                found.append((_show(name), f"{len(value):,} characters, and the longest is {longest}"))
        for name, (pattern, wanted) in _VALUES.items():
            given = self.get(fields, name)
            if given and not re.fullmatch(pattern, given):
                spaced = re.fullmatch(pattern, given.strip()) is not None
                found.append((name, "space around the value" if spaced else f"not {wanted}"))
        if bool(row.get("birthday_month")) != bool(row.get("birthday_day")):
            found.append(("birthday_day", "birthday_month and birthday_day go together, or both are empty"))
        if self.sms_explicit and not row.get("sms_consent_date"):
            found.append(("sms_consent_date", "empty, and sms_permission_to_send='explicit' needs it in each row"))
        return found + (_check_counts(row) if self._can_exceed else [])

    def find_suspect(self, fields: Sequence[str]) -> frozenset[str]:
        """Return the columns that the vendor may complain about: those with problems, and a strange address."""
        suspect = {column for column, _ in self.check(fields) if column}
        address = self.get(fields, "email")
        return frozenset(suspect if looks_like_address(address) else suspect | {"email"})

    def match(self, lines: bytes, count: int) -> list[bytes] | None:
        """Return the addresses of so many lines, each a record, that have no problem; None if one needs a closer look.

        There is a match for each line only if no match takes more than one.
        """
        pattern = self._good_quoted if b'"' in lines else self._good
        if pattern is None:
            return None
        found = pattern.findall(lines)
        if len(found) != count:
            return None
        addresses = found if pattern.groups == 1 else [groups[pattern.groupindex["email"] - 1] for groups in found]
        return addresses if max(map(len, addresses)) <= MAX_CHARACTERS["email"] else None

    def _compile_good(self, *, quotes: bool) -> re.Pattern[bytes] | None:
        if "email" not in self.names or self._can_exceed:
            return None
        fields = [self._compile_field(index, quotes=quotes) for index in range(len(self.names))]
        return re.compile(rf"(?m)^{','.join(fields)}\r?$".encode())

    def _compile_field(self, index: int, *, quotes: bool) -> str:
        # The line is known to be one record, so a quote at one end of a field is at the other too.
        name, quote = self.names[index], '"?' if quotes else ""
        longest = get_longest(name)
        if name == "email":
            return f"{quote}(?P<email>{_ASCII_ADDRESS}){quote}"
        if name in _BIRTHDAY:
            both = [one for one in self.names if one in _BIRTHDAY]
            value = f"(?P<first>{_VALUES[name][0]})?" if name == both[0] else f"(?(first){_VALUES[name][0]}|)"
            return f"{quote}{value if len(both) > 1 else ''}{quote}"
        if name in _VALUES:
            return f"{quote}{_VALUES[name][0]}?{quote}"
        if name == "sms_consent_date" and self.sms_explicit:
            return rf'{quote}[^\s",]{{1,{longest}}}+{quote}'
        bound = "*+" if longest is None else f"{{0,{longest}}}+"
        if quotes:
            return rf'(?:"[^"\r\n]{bound}"|[^",\r\n]{bound})'
        # The shortest class is matched fastest. One that takes a line end takes the next line too: see `match`.
        return rf"[^,\r\n]{bound}" if index == len(self.names) - 1 else f"[^,]{bound}"


def _check_counts(row: Mapping[str, str]) -> Found:
    """Check how many a contact has of what it may have some of."""
    custom = sum(1 for name, value in row.items() if value and name.startswith("cf:"))
    phones = sum(1 for name in PHONES if row.get(name))
    parts = (*STREET_PARTS, *PLACE_PARTS)
    addresses = sum(1 for kind in ADDRESS_KINDS if any(row.get(f"{kind}{part}") for part in parts))
    counts = (
        (custom, MAX_CUSTOM_FIELDS, "custom fields"),
        (phones, MAX_PHONES, "phones"),
        (addresses, MAX_ADDRESSES, "street addresses"),
    )
    return [(None, f"{count} {what}, and a contact has {most} at most") for count, most, what in counts if count > most]


def _describe_missing(names: Sequence[str]) -> str:
    """Say what to do about a header with neither email nor sms_number."""
    for character, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
        if len(names) == 1 and character in names[0]:
            return f"no column email: the columns are separated by {called}; convert them to commas"
    for name in names:
        if _guess(name) == "email":
            return f"no column email: rename {_show(name)} to email"
    shown = ", ".join(map(_show, names[:_MAX_NAMES_SHOWN]))
    return f"no column email and none sms_number; the columns are {shown}"


def _guess(name: str) -> str | None:
    """The column that somebody means who writes this name, None if there is no telling."""
    letters = "".join(filter(str.isalnum, name))
    if letters in {"mail", "emails"} or letters.startswith(("email", "mailaddress")):
        return "email"
    plain = {column.replace("_", ""): column for column in FILE_COLUMNS}
    close = get_close_matches(letters, plain, n=1, cutoff=0.8)
    return plain[close[0]] if close else None


def _show(name: str) -> str:
    return escape(name, _MAX_NAME_CHARACTERS)
