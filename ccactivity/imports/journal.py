"""The journal of an import: what is known of each part, as lines of JSON. Pure; `journal_file` keeps it on a disk.

The first line says which import it is. Then there is a line before a part is sent, with the name of its file, one for
each activity that the vendor has made of it, and one when such an activity has ended:

    {"journal": "ccactivity import", "version": 1, "source": "9f86d0…", "list_ids": ["…"], …}
    {"part": 1, "sending": "contacts-1of2-5c1f09ab.csv"}
    {"part": 1, "activity_id": "04fe9a97-…"}
    {"part": 1, "activity_id": "04fe9a97-…", "state": "completed", "status": {"error_count": 0}}

It holds no row and no message of the vendor about one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

from ..models import Activity, ActivityStatus

__all__ = ["Journal", "PartRecord"]

_FIRST_LINE: Final[Mapping[str, Any]] = {"journal": "ccactivity import", "version": 1}
_BEGINNING: Final = json.dumps(_FIRST_LINE)[:-1].encode()


@attrs.define
class PartRecord:
    """What is known of a part. `file_name`: under which it was sent, or was about to be; None if it never was.

    `activity_ids`: of the activities that the vendor made of it, two if an answer was lost. `ended`: those of them that
    have ended, as they were then, without their messages.
    """

    file_name: str | None = None
    activity_ids: list[str] = attrs.field(factory=list)
    ended: dict[str, Activity] = attrs.field(factory=dict)


class Journal:
    """What is known of the parts of one import. `identity`: what makes it this import and no other.

    The methods that note something return the line for it, which has to be kept before anything else is done.
    """

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self.identity: Mapping[str, Any] = json.loads(json.dumps(identity))  # as it is read again: lists, no tuples
        self._parts: dict[int, PartRecord] = {}

    def part(self, number: int) -> PartRecord:
        """Return what is known of a part."""
        return self._parts.setdefault(number, PartRecord())

    def first_line(self) -> bytes:
        """Return the line that says which import it is."""
        return _encode({**_FIRST_LINE, **self.identity})

    def sending(self, number: int, file_name: str) -> bytes:
        """Note that a part is about to be sent under this name."""
        return self._note({"part": number, "sending": file_name})

    def not_sent(self, number: int) -> bytes:
        """Note that a part was not accepted, for certain, so that nobody needs to look for it."""
        return self._note({"part": number, "sending": None})

    def accepted(self, number: int, activity_id: str) -> bytes:
        """Note that an activity is the part's."""
        return self._note({"part": number, "activity_id": activity_id})

    def ended(self, number: int, activity: Activity) -> bytes:
        """Note that an activity of the part has ended."""
        end = {"state": str(activity.state), "status": activity.status.as_dict()}
        return self._note({"part": number, "activity_id": activity.activity_id, **end})

    def read(self, content: bytes) -> int:
        """Take over what a journal says, and return the length in bytes of its whole lines; 0 if there is none.

        A last line without its end was cut off when a process or the machine died: it does not count, nor did what it
        says begin. Raises ValueError for another import, and for what is no journal; the journal is of no use then.
        """
        size = content.rfind(b"\n") + 1
        if not size:
            if not (_BEGINNING.startswith(content) or content.startswith(_BEGINNING)):
                raise ValueError("it is not the journal of an import")
            return 0
        first, *lines = content[:size].splitlines()
        self._check_identity(first)
        for number, line in enumerate(lines, 2):
            try:
                self._apply(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                raise ValueError(f"line {number} is not one of a journal") from None
        return size

    def _check_identity(self, line: bytes) -> None:
        try:
            found = dict(json.loads(line))
        except (ValueError, TypeError):
            found = {}
        if found.get("journal") != _FIRST_LINE["journal"]:
            raise ValueError("it is not the journal of an import")
        expected = {**_FIRST_LINE, **self.identity}
        if different := sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key)):
            named = ["source"] if "source" in different else different  # of another one, all else differs too
            raise ValueError(f"it belongs to an import of another {' and '.join(named)}")

    def _note(self, line: Mapping[str, Any]) -> bytes:
        self._apply(line)
        return _encode(line)

    def _apply(self, line: Mapping[str, Any]) -> None:
        record = self.part(int(line["part"]))
        if "sending" in line:
            record.file_name = None if line["sending"] is None else str(line["sending"])
            return
        activity_id = str(line["activity_id"])
        if activity_id not in record.activity_ids:
            record.activity_ids.append(activity_id)
        if "state" in line:
            status = ActivityStatus(**{name: int(count) for name, count in line["status"].items()})
            record.ended[activity_id] = Activity(
                activity_id=activity_id, state=line["state"], source_file_name=record.file_name, status=status
            )


def _encode(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"
