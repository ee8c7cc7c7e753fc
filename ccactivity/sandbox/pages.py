"""The list of activities: its filters, its pages, and the cursors that lead from one to the next.

A cursor carries the page size, the filter and the last id shown, so activities that are created while somebody pages
shift nothing. It is signed: whatever was not issued is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from itertools import islice
from urllib.parse import parse_qs

from .jobs import RETENTION_S, Job, Jobs
from .limits import Violations
from .messages import Reply, Request, error_array

__all__ = ["ListPages"]

_STATE_FILTERS = ("processing", "completed", "cancelled", "failed", "timed_out")
_LIMIT_PATTERN = re.compile(r"[0-9]{1,3}")
_DEFAULT_LIMIT = "50"
_MAX_LIMIT = 500


class ListPages:
    """The pages of the list. They show the jobs as of `stale_s` seconds ago.

    `start_ms`: the wall time of second 0, in milliseconds since 1970.
    """

    def __init__(self, jobs: Jobs, *, start_ms: int, stale_s: float, seed: int, violations: Violations) -> None:
        self._jobs = jobs
        self._start_ms = start_ms
        self._stale_s = stale_s
        self._key = f"cursors {seed}".encode()
        self._violations = violations

    def answer(self, request: Request, now: float) -> Reply:
        """Return the page that a GET asks for, or a 400."""
        query = parse_qs(request.query, keep_blank_values=True)
        if "cursor" in query:
            cursor = self._read_cursor(request.query)
            if cursor is None:
                self._violations.bad_cursor += 1
                return error_array(400, "contacts.api.validation.error", "The cursor is invalid.")
            return self._page(*cursor, now)
        text, state = query.get("limit", [_DEFAULT_LIMIT])[-1], query.get("state", [None])[-1]
        limit = int(text) if _LIMIT_PATTERN.fullmatch(text) else 0
        if not 1 <= limit <= _MAX_LIMIT or state not in (None, *_STATE_FILTERS):
            self._violations.bad_request += 1
            return error_array(400, "contacts.api.validation.error", "limit or state is out of range.")
        return self._page(limit, state, None, now)

    def _page(self, limit: int, state: str | None, after: Job | None, now: float) -> Reply:
        seen = now - self._stale_s
        listed = self._jobs.listed(seen, oldest=now - RETENTION_S, state=state, after=after)
        found = list(islice(listed, limit + 1))
        rows = ",".join([job.text(seen, self._start_ms) for job in found[:limit]])
        links = {}
        if len(found) > limit:
            cursor = self._cursor(limit, state, found[limit - 1])
            links = {"next": {"href": f"/v3/activities?cursor={cursor}"}}
        return Reply(status=200, body=f'{{"activities":[{rows}],"_links":{json.dumps(links)}}}'.encode())

    def _cursor(self, limit: int, state: str | None, last: Job) -> str:
        # The documented cursor of a sister collection is base64 of `limit=1&next=<id>`, short of one "=".
        plain = f"limit={limit}&state={state or ''}&next={last.activity_id}"
        check = hashlib.blake2s(plain.encode(), key=self._key, digest_size=4).hexdigest()
        return base64.b64encode(f"{plain}&check={check}".encode()).decode().replace("==", "=")

    def _read_cursor(self, query: str) -> tuple[int, str | None, Job] | None:
        raw = query.removeprefix("cursor=").rstrip("=")
        try:
            fields = parse_qs(base64.b64decode(raw + "=" * (-len(raw) % 4)).decode("ascii"))
            limit, state = int(fields["limit"][0]), fields.get("state", [None])[0]
            last = self._jobs.find(fields["next"][0])
        except (ValueError, KeyError):
            return None
        if last is None or query != f"cursor={self._cursor(limit, state, last)}":
            return None
        return limit, state, last
