"""The simulated vendor, without a network: one request and the time in, one reply out; it keeps no clock.

Theory of operation:

1. `Vendor.handle(request, now)` is all there is. `now` is in seconds since `start`, the wall time that the
   vendor has at second 0; it never falls. Jobs are functions of time, so nothing happens between two
   requests.
2. The order at the door: the limits, then the token, then the path, scope and privilege, then scripted
   faults, then the request itself. What a caller does wrong is counted in `violations`, refused or not.
3. Where the vendor's documents are silent the vendor does what a client can least rely on: fields that are
   not yet known are absent, a list page may lag behind, ids say nothing of creation order.
4. A cursor carries the page size, the filter and the last id shown, so activities that are created while
   somebody pages shift nothing. It is signed: whatever was not issued is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import islice
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote

from attrs import frozen

from .bodies import Refused, read_order
from .effects import Answer
from .faults import Fault, Faults
from .jobs import KINDS, Job, Jobs
from .lifecycle import Life, Workload
from .limits import Limits, Tokens, Violations, bad_manners
from .messages import Reply, Request, error_array, error_object, gateway_message, json_reply
from .oauth import OAuth, OAuthRules

__all__ = ["Logged", "Vendor"]

_RETENTION = 10 * 86_400.0  # seconds that an activity stays visible (activity status page)
_QUEUE_LIMIT = 1_000  # queued activities of one account (429 of the bulk endpoints)
_FILTERS = ("processing", "completed", "cancelled", "failed", "timed_out")
_LIMIT = re.compile(r"[0-9]{1,3}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CAMPAIGN = "1ead98be-dfa0-4e04-81f7-5f1534d42e9c"
_NEEDS = {"history": ("campaign_data", "campaign:read")}
_ROUTES = {
    "list": re.compile(r"/v3/activities/?"),
    "get": re.compile(r"/v3/activities/(?P<id>[^/]+)"),
    "history": re.compile(r"/v3/emails/activities/(?P<id>[^/]+)/send_history"),
    "export": re.compile(r"/v3/contact_exports/(?P<id>[^/]+)|/v3/activities/(?P<other>[^/]+)/results"),
}


@frozen(kw_only=True)
class Logged:
    """One line of the request log. `time`: seconds since the start; `status`: of the answer, 0 if none is
    sent.
    """

    time: float
    method: str
    target: str
    status: int
    kind: str


class Vendor:
    """The vendor's side of the API: jobs, send histories, tokens, limits, faults, and a record of what was
    asked.

    - `start`: the wall time of second 0, aware.
    - `seed`: of everything that is drawn.
    - `workload`, `speed`: what default jobs are like, and a divisor of all durations of jobs.
    - `history`: how many ended activities there are already, created over the eight days before `start`.
    - `order`: of lists: "newest" first, "oldest" first or "shuffled".
    - `stale_rows`: seconds by which lists lag behind; a GET of one activity never does.
    - `per_second`, `per_day`: the limits; None is none.
    - `spent_today`: requests that the first day has already seen.
    - `token_life`: seconds that a token lives; None is for ever.
    - `oauth`: how the authorization server behaves; None is `OAuthRules()`.

    `scopes` and `privileges` are sets to take from: what a request needs and does not find there is a 403, as is a
    scope that its login was not granted.
    """

    def __init__(
        self,
        *,
        start: datetime,
        seed: int = 0,
        workload: Workload | None = None,
        speed: float = 1.0,
        history: int = 0,
        order: str = "newest",
        stale_rows: float = 0.0,
        per_second: int | None = 4,
        per_day: int | None = 10_000,
        spent_today: int = 0,
        token_life: float | None = None,
        oauth: OAuthRules | None = None,
    ) -> None:
        if start.utcoffset() is None:
            raise ValueError("start must be an aware datetime")
        self.start: datetime = start.astimezone(UTC)
        self.violations: Violations = Violations()
        self.faults: Faults = Faults()
        self.log: list[Logged] = []
        self.requests: Counter[str] = Counter()
        self.scopes: set[str] = {"contact_data", "campaign_data"}
        self.privileges: set[str] = {"contacts:write", "campaign:read"}
        self.campaign_activity_id = _CAMPAIGN
        self.tokens: Tokens = Tokens(Random(f"tokens {seed}"), life=token_life, counts=self.violations)
        self.token: str = self.tokens.issue(0.0)
        self.oauth: OAuth = OAuth(
            oauth or OAuthRules(),
            wall=self.wall,
            random=Random(f"oauth {seed}"),
            tokens=self.tokens,
            counts=self.violations,
        )
        self.limits: Limits = Limits(
            self.start,
            per_second=per_second,
            per_day=per_day,
            spent_today=spent_today,
            counts=self.violations,
        )
        self.jobs: Jobs = Jobs(
            random=Random(f"jobs {seed}"),
            workload=workload or Workload(),
            speed=speed,
            history=history,
            order=order,
        )
        self._start_ms = round(self.start.timestamp() * 1000)
        self._stale_rows = stale_rows
        self._random = Random(f"vendor {seed}")
        self._secret = f"cursors {seed}".encode()
        self._histories = {_CAMPAIGN: [self._record(code, code + 1) for code in range(13)]}

    def handle(self, request: Request, now: float, *, transit: float = 0.0) -> Reply:
        """Return the answer to a request that arrives `now`.

        It is counted at `now`; the answer tells the world `transit` seconds later, and reaches the caller as
        much later again.
        """
        kind, ids = self._route(request)
        known = now + 2 * transit
        self._count_manners(request, kind)
        reply = self._refusal(request, kind, now, known) or self._scripted(kind, ids, request, now)
        if reply is None:
            reply = self._answer(request, kind, ids, now + transit)
            ids = self._ids_shown(reply) if kind == "list" else ids
        reply = self._spoilt(reply, kind, ids, request, now)
        status = 0 if any(mishap.silent for mishap in reply.wire) else reply.status
        if status == 429 and b'"quota_exceeded"' in reply.body:
            self.limits.tell_exceeded(now, known)

        self.requests[kind] += 1
        line = Logged(time=now, method=request.method, target=request.target, status=status, kind=kind)
        self.log.append(line)
        date = format_datetime(self.wall(now + transit), usegmt=True)
        return reply.with_headers({"Date": date, "x-amzn-RequestId": self._request_id()})

    def submit(
        self,
        now: float,
        life: Life | None = None,
        *,
        kind: str = "contacts_json_import",
        rows: int | None = None,
        lists: int = 1,
        file_name: str | None = None,
    ) -> str:
        """Create a job `now`, past all limits, and return its activity id; what is None is drawn."""
        return self.jobs.submit(now, kind, rows=rows, lists=lists, file_name=file_name, life=life).activity_id

    def job(self, activity_id: str) -> Job:
        """Return what will become of an activity; `KeyError` for one that never was."""
        job = self.jobs.find(activity_id)
        if job is None:
            raise KeyError(activity_id)
        return job

    def add_history(self, campaign_activity_id: str, *records: Mapping[str, Any]) -> None:
        """Add sends to a campaign activity, the oldest first. What a record leaves out is filled in."""
        known = self._histories.setdefault(campaign_activity_id, [])
        for record in records:
            known.append({**self._record(record.get("reason_code", 0), len(known) + 1), **record})

    def issue_token(self, now: float) -> str:
        """Return a new token, which becomes `token`; earlier ones live on."""
        self.token = self.tokens.issue(now)
        return self.token

    def wall(self, now: float) -> datetime:
        """Return the vendor's wall time."""
        return self.start + timedelta(seconds=now)

    # --- the door -------------------------------------------------------------------------------------------

    def _route(self, request: Request) -> tuple[str, Sequence[str]]:
        path = request.path
        if kind := OAuth.route(request):
            return kind, ()
        if request.method == "POST":
            kind = path.removeprefix("/v3/activities/")
            return ("post", (kind,)) if kind in KINDS and kind != path else ("other", ())
        if request.method == "GET":
            for name, pattern in _ROUTES.items():
                if match := pattern.fullmatch(path):
                    return name, tuple(unquote(found) for found in match.groups() if found is not None)
        return "other", ()

    def _count_manners(self, request: Request, kind: str) -> None:
        self.violations.unknown_path += kind == "other"
        self.violations.token_in_url += self.tokens.found_in(request.target)
        if request.method == "GET" and kind not in ("authorize", "activate"):  # which are for browsers
            accepted = ("text/csv", "application/json") if kind == "export" else ("application/json",)
            self.violations.missing_headers += bad_manners(request, accepted)

    def _refusal(self, request: Request, kind: str, now: float, known: float) -> Reply | None:
        if kind in ("token", "device", "authorize", "activate"):
            return self.oauth.refusal(kind, now)
        if not request.path.startswith("/v3/"):
            return gateway_message(403, "Forbidden")
        refusal, authorization = self.limits.refusal(now), request.headers.get("authorization", "")
        if refusal is None:
            refusal = self.tokens.refusal(authorization, now, known)
        if refusal is None and kind != "other":
            scope, privilege = _NEEDS.get(kind, ("contact_data", "contacts:write"))
            if privilege not in self.privileges:
                text = "Request forbidden due to insufficient user privileges."
                refusal = error_object(403, "access_denied", text)
            elif scope not in self.scopes or self.tokens.lacks(
                authorization, scope
            ):  # this body is a guess: only that it is a 403 is documented
                refusal = error_object(403, "access_denied", "Request forbidden due to insufficient scopes.")
        return refusal

    def _scripted(self, kind: str, ids: Sequence[str], request: Request, now: float) -> Reply | None:
        for fault in self.faults:
            if isinstance(fault.effect, Answer) and self._strikes(fault, kind, ids, request, now):
                return fault.effect.reply
        return None

    def _spoilt(self, reply: Reply, kind: str, ids: Sequence[str], request: Request, now: float) -> Reply:
        for fault in self.faults:
            effect = fault.effect
            if not isinstance(effect, Answer) and self._strikes(fault, kind, ids, request, now):
                reply = effect.apply(reply, fault.activity_id)
        return reply

    def _ids_shown(self, page: Reply) -> Sequence[str]:
        if page.status != 200 or not any(fault.activity_id for fault in self.faults):
            return ()  # spares reading what was just written
        return [row["activity_id"] for row in json.loads(page.body)["activities"]]

    def _strikes(self, fault: Fault, kind: str, ids: Sequence[str], request: Request, now: float) -> bool:
        return fault.strikes(kind, ids, now=now, reused=request.reused, random=self._random)

    def _request_id(self) -> str:
        number = f"{self._random.getrandbits(128):032x}"
        return "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:]))

    # --- the answers ----------------------------------------------------------------------------------------

    def _answer(self, request: Request, kind: str, ids: Sequence[str], now: float) -> Reply:
        match kind:
            case "list":
                return self._list(request, now)
            case "get":
                return self._get(ids[0], now)
            case "history":
                return self._history(ids[0])
            case "export":
                return self._export(ids[0], now)
            case "post":
                return self._post(request, ids[0], now)
            case "token" | "device" | "authorize" | "activate":
                return self.oauth.answer(kind, request, now)
        if any(pattern.fullmatch(request.path) for pattern in _ROUTES.values()):
            refusal = error_array(405, "contacts.api.method_not_allowed", "The method is not allowed here.")
            made = request.path.removeprefix("/v3/activities/") in KINDS
            return refusal.with_headers({"Allow": "GET, POST" if made else "GET"})
        return _not_found()

    def _get(self, activity_id: str, now: float) -> Reply:
        job = self.jobs.find(activity_id)
        if job is None or not now - _RETENTION <= job.created <= now:
            return _not_found()
        return Reply(status=200, body=job.text(now, self._start_ms).encode())

    def _history(self, campaign_activity_id: str) -> Reply:
        if campaign_activity_id in self._histories:
            return json_reply(200, self._histories[campaign_activity_id])
        return json_reply(200, []) if _UUID.fullmatch(campaign_activity_id) else _not_found()

    def _export(self, export_id: str, now: float) -> Reply:
        job = self.jobs.find_export(export_id)
        if job is None or job.created < now - _RETENTION or job.state(now) != "completed":
            return _not_found()
        lines = ["Email address,First name,Last name"]
        lines += [f"person{number}@example.com,Person,{number}" for number in range(1, min(job.rows, 10) + 1)]
        return Reply(status=200, body="\r\n".join([*lines, ""]).encode(), content_type="text/csv")

    def _post(self, request: Request, kind: str, now: float) -> Reply:
        try:
            order = read_order(kind, request)
        except Refused as refused:
            self.violations.bad_request += 1
            return refused.reply
        if self.jobs.queued(now) >= _QUEUE_LIMIT:  # documented without a body
            return json_reply(429, {"error_message": "More than 1,000 activities are queued for this account."})
        job = self.jobs.submit(now, kind, rows=order.rows, lists=order.lists, file_name=order.file_name, life=None)
        return Reply(status=201, body=job.text(now, self._start_ms).encode())

    # --- lists ----------------------------------------------------------------------------------------------

    def _list(self, request: Request, now: float) -> Reply:
        query = parse_qs(request.query, keep_blank_values=True)
        if "cursor" in query:
            page = self._read_cursor(request.query)
            if page is None:
                self.violations.bad_cursor += 1
                return error_array(400, "contacts.api.validation.error", "The cursor is invalid.")
            limit, state, after = page
        else:
            text, state = query.get("limit", ["50"])[-1], query.get("state", [""])[-1] or None
            limit = int(text) if _LIMIT.fullmatch(text) else 0
            if not 1 <= limit <= 500 or ("state" in query and state not in _FILTERS):
                self.violations.bad_request += 1
                return error_array(400, "contacts.api.validation.error", "limit or state is out of range.")
            after = None
        seen = now - self._stale_rows
        listed = self.jobs.listed(seen, oldest=now - _RETENTION, state=state, after=after)
        return self._page(list(islice(listed, limit + 1)), limit, state, seen)

    def _page(self, found: list[Job], limit: int, state: str | None, seen: float) -> Reply:
        rows = ",".join([job.text(seen, self._start_ms) for job in found[:limit]])
        links: dict[str, object] = {}
        if len(found) > limit:
            cursor = self._cursor(limit, state, found[limit - 1])
            links["next"] = {"href": f"/v3/activities?cursor={cursor}"}
        return Reply(status=200, body=f'{{"activities":[{rows}],"_links":{json.dumps(links)}}}'.encode())

    def _cursor(self, limit: int, state: str | None, last: Job) -> str:
        # The documented cursor of a sister collection is base64 of `limit=1&next=<id>`, short of one "=".
        plain = f"limit={limit}&state={state or ''}&next={last.activity_id}"
        check = hashlib.blake2s(plain.encode(), key=self._secret, digest_size=4).hexdigest()
        return base64.b64encode(f"{plain}&check={check}".encode()).decode().replace("==", "=")

    def _read_cursor(self, query: str) -> tuple[int, str | None, Job] | None:
        raw = query.removeprefix("cursor=").rstrip("=")
        try:
            fields = parse_qs(base64.b64decode(raw + "=" * (-len(raw) % 4)).decode("ascii"))
            limit, state = int(fields["limit"][0]), fields.get("state", [None])[0]
            last = self.jobs.find(fields["next"][0])
        except (ValueError, KeyError):
            return None
        if last is None or query != f"cursor={self._cursor(limit, state, last)}":
            return None
        return limit, state, last

    def _record(self, reason_code: int, send_id: int) -> dict[str, Any]:
        """Return the record of one send, as the send history documents it."""
        fine = reason_code in (0, 12)  # 12 is a completed send that reached nobody
        sent = self.start - timedelta(days=30) + timedelta(days=send_id)
        record: dict[str, Any] = {
            "send_id": send_id,
            "contact_list_ids": ["f4ab800a-5adf-11e9-ba6a-fa163e6b01c1"],
            "count": 250 if reason_code == 0 else 0,
            "run_date": sent.isoformat(timespec="milliseconds")[:-6] + "Z",
            "send_status": "COMPLETED" if fine else "ERRORED",
            "reason_code": reason_code,
        }
        return record | ({"segment_ids": [57]} if send_id % 2 == 0 else {})


def _not_found() -> Reply:
    return error_array(404, "contacts.api.not_found", "The requested resource was not found.")
