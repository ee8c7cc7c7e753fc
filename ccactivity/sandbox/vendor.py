"""The simulated vendor, without a network and without a clock: one request and the time in, one reply out.

Theory of operation:

1. `Vendor.handle(request, now)` answers everything. `now` is in seconds since `start`, the wall time that the vendor
   has at second 0; it never falls. Jobs are functions of time, so nothing happens between two requests.
2. The order of checks: the limits, then the token, then the path, scope and privilege, then scripted faults, then the
   request itself. What a caller does wrong is counted in `violations`, refused or not.
3. Where the vendor's documents do not say what happens, the sandbox does what a client can least rely on: fields that
   are not yet known are absent, a list page may lag behind, ids say nothing of creation order.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Any
from urllib.parse import unquote

from attrs import frozen

from .bodies import InvalidBodyError, read_bulk_request
from .effects import Answer, Framing, forbidden, not_found
from .exports import Exports
from .faults import Fault, Faults
from .jobs import JOB_KINDS, RETENTION_S, Job, Jobs
from .lifecycle import Life, Workload
from .limits import AccessTokens, Limits, Violations, missing_headers
from .logins import OAuthRules
from .messages import Reply, Request, error_array, error_object, gateway_message, json_reply
from .oauth import OAuth
from .pages import ListPages
from .uploads import Uploads

__all__ = ["Logged", "Vendor"]

_MAX_QUEUED_JOBS = 1_000  # of one account (429 of the bulk endpoints)
_UUID_PATTERN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_REWRITTEN_FILE_NAME = "add_contacts.csv"
_CAMPAIGN_ACTIVITY_ID = "1ead98be-dfa0-4e04-81f7-5f1534d42e9c"
_GET_ROUTES = {
    "list": re.compile(r"/v3/activities/?"),
    "get": re.compile(r"/v3/activities/(?P<id>[^/]+)"),
    "history": re.compile(r"/v3/emails/activities/(?P<id>[^/]+)/send_history"),
    "export": re.compile(r"/v3/contact_exports/(?P<id>[^/]+)|/v3/activities/(?P<other>[^/]+)/results"),
}


@frozen(kw_only=True)
class Logged:
    """One line of the request log. `time`: seconds since the start; `status`: of the answer, 0 if none is sent."""

    time: float
    method: str
    target: str
    status: int
    kind: str


class Vendor:
    """The vendor's side of the API: jobs, send histories, tokens, limits, faults, and a log of all requests.

    - `start`: the wall time of second 0, aware.
    - `seed`: of everything that is drawn.
    - `workload`, `speed`: what default jobs are like, and a divisor of all durations of jobs.
    - `history`: how many ended activities there are at the start, created over the eight days before it.
    - `order`: of lists: "newest" first, "oldest" first or "shuffled".
    - `stale_rows`: seconds by which lists lag behind; a GET of one activity never does.
    - `line_numbers`: what `Line N` in a row error counts: "physical" lines, or "record"s, of which one with a quoted
      line end takes several lines. The header is line 1.
    - `echo_file_name`: the `source_file_name` of a file import: "as sent", "rewritten" by the vendor, or "absent".
    - `keep_uploads`: bytes of the newest uploads that are kept, for `rows` and `upload`.
    - `per_second`, `per_day`: the limits; None is no limit.
    - `spent_today`: requests that the first day has already seen.
    - `token_life`: seconds that a token lives; None is for ever.
    - `oauth`: how the authorization server behaves; None is `OAuthRules()`.
    - `export_redirect`: whether the files of exports are on another host, to which the API redirects.

    A request that needs what is not in `scopes` or `privileges` gets a 403; so does one whose login was not granted the
    scope. Both are sets: discard from them at any time. `unsubscribed` is another one, of addresses in lower case:
    imports count their rows in `cannot_add_to_list_count`.
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
        line_numbers: str = "physical",
        echo_file_name: str = "as sent",
        keep_uploads: int = 128_000_000,
        per_second: int | None = 4,
        per_day: int | None = 10_000,
        spent_today: int = 0,
        token_life: float | None = None,
        oauth: OAuthRules | None = None,
        export_redirect: bool = False,
    ) -> None:
        if start.utcoffset() is None:
            raise ValueError("start must be an aware datetime")
        if echo_file_name not in ("as sent", "rewritten", "absent"):
            raise ValueError("echo_file_name is as sent, rewritten or absent")
        self.start: datetime = start.astimezone(UTC)
        self.violations: Violations = Violations()
        self.faults: Faults = Faults()
        self.log: list[Logged] = []
        self.requests: Counter[str] = Counter()
        self.scopes: set[str] = {"contact_data", "campaign_data"}
        self.privileges: set[str] = {"contacts:write", "campaign:read"}
        self.campaign_activity_id = _CAMPAIGN_ACTIVITY_ID
        self.tokens: AccessTokens = AccessTokens(Random(f"tokens {seed}"), life=token_life, violations=self.violations)
        self.token: str = self.tokens.issue(0.0)
        self.oauth: OAuth = OAuth(
            oauth or OAuthRules(),
            wall=self.wall,
            random=Random(f"oauth {seed}"),
            tokens=self.tokens,
            violations=self.violations,
        )
        self.limits: Limits = Limits(
            self.start, per_second=per_second, per_day=per_day, spent_today=spent_today, violations=self.violations
        )
        self.jobs: Jobs = Jobs(
            random=Random(f"jobs {seed}"),
            workload=workload or Workload(),
            speed=speed,
            history=history,
            order=order,
        )
        self.exports: Exports = Exports(self.jobs, self.violations, redirect=export_redirect)
        self._start_ms = round(self.start.timestamp() * 1000)
        self._pages = ListPages(
            self.jobs, start_ms=self._start_ms, stale_s=stale_rows, seed=seed, violations=self.violations
        )
        self._uploads = Uploads(line_numbers=line_numbers, keep_bytes=keep_uploads)
        self.unsubscribed: set[str] = self._uploads.unsubscribed
        self._echo_file_name = echo_file_name
        self._random = Random(f"vendor {seed}")
        self._send_histories = {_CAMPAIGN_ACTIVITY_ID: [self._record(code, code + 1) for code in range(13)]}

    def handle(self, request: Request, now: float, *, transit: float = 0.0) -> Reply:
        """Return the answer to a request that arrives `now`.

        It is counted at `now`; the answer shows the state of `transit` seconds later, and reaches the caller as much
        later again.
        """
        kind, ids = self._route(request)
        known = now + 2 * transit
        self._count_violations(request, kind)
        reply = self._refusal(request, kind, now, known) or self._scripted_answer(kind, ids, request, now)
        if reply is None:
            reply = self._answer(request, kind, ids, now + transit)
            ids = self._ids_shown(reply) if kind == "list" else ids
        reply = self._apply_effects(reply, kind, ids, request, now)
        status = 0 if any(fault.silent for fault in reply.wire) else reply.status
        if status == 429 and b'"quota_exceeded"' in reply.body:
            self.limits.tell_exceeded(now, known)

        self.requests[kind] += 1
        self.log.append(Logged(time=now, method=request.method, target=request.target, status=status, kind=kind))
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

    def rows(self, activity_id: str) -> list[dict[str, str]]:
        """Return the rows of an upload that the account will have of it when its job has ended, by column.

        None is refused, and none is there twice: of several with one address in any case, the last one is. A job that
        does not complete leaves those behind that it came to. `KeyError` for an unknown id; `LookupError` for a job
        without an upload, or whose upload is no longer kept.
        """
        job = self.job(activity_id)
        return self._uploads.take(job.activity_id, int(job.rows * job.life.at(math.inf).done))

    def upload(self, activity_id: str) -> bytes:
        """Return the file, or the JSON, that an import was given; raises what `rows` does."""
        return self._uploads.find(self.job(activity_id).activity_id).data

    def add_history(self, campaign_activity_id: str, *records: Mapping[str, Any]) -> None:
        """Add sends to a campaign activity, the oldest first. What a record leaves out is filled in."""
        known = self._send_histories.setdefault(campaign_activity_id, [])
        for record in records:
            known.append({**self._record(record.get("reason_code", 0), len(known) + 1), **record})

    def issue_token(self, now: float) -> str:
        """Return a new token, which becomes `token`; earlier ones live on."""
        self.token = self.tokens.issue(now)
        return self.token

    def wall(self, now: float) -> datetime:
        """Return the vendor's wall time."""
        return self.start + timedelta(seconds=now)

    # --- checks ----------------------------------------------------------------------------------------------

    def _route(self, request: Request) -> tuple[str, Sequence[str]]:
        path = request.path
        if kind := OAuth.route(request):
            return kind, ()
        if export_id := Exports.route(request):
            return "file", (export_id,)
        if request.method == "POST":
            kind = path.removeprefix("/v3/activities/")
            return ("post", (kind,)) if kind in JOB_KINDS and kind != path else ("other", ())
        if request.method == "GET":
            for name, pattern in _GET_ROUTES.items():
                if match := pattern.fullmatch(path):
                    return name, tuple(unquote(found) for found in match.groups() if found is not None)
        return "other", ()

    def _count_violations(self, request: Request, kind: str) -> None:
        self.violations.unknown_path += kind == "other"
        self.violations.token_in_url += self.tokens.found_in(request.target)
        if request.method == "GET" and kind not in ("authorize", "activate", "file"):  # which are for browsers too
            accepted = ("text/csv", "application/json") if kind == "export" else ("application/json",)
            self.violations.missing_headers += missing_headers(request, accepted)

    def _refusal(self, request: Request, kind: str, now: float, known: float) -> Reply | None:
        if kind in ("token", "device", "authorize", "activate"):
            return self.oauth.refusal(kind, now)
        if kind == "file":
            return None
        if not request.path.startswith("/v3/"):
            return gateway_message(403, "Forbidden")
        refusal, authorization = self.limits.refusal(now), request.headers.get("authorization", "")
        if refusal is None:
            refusal = self.tokens.refusal(authorization, now, known)
        if refusal is None and kind != "other":
            scope, privilege = ("contact_data", "contacts:write")
            if kind == "history":
                scope, privilege = ("campaign_data", "campaign:read")
            if privilege not in self.privileges:
                refusal = forbidden().reply
            elif scope not in self.scopes or self.tokens.lacks(authorization, scope):
                # This text is a guess: only that it is a 403 is documented.
                refusal = error_object(403, "access_denied", "Request forbidden due to insufficient scopes.")
        return refusal

    def _scripted_answer(self, kind: str, ids: Sequence[str], request: Request, now: float) -> Reply | None:
        for fault in self.faults:
            if isinstance(fault.effect, Answer) and self._strikes(fault, kind, ids, request, now):
                return fault.effect.reply
        return None

    def _apply_effects(self, reply: Reply, kind: str, ids: Sequence[str], request: Request, now: float) -> Reply:
        for fault in self.faults:
            effect = fault.effect
            if not isinstance(effect, Answer) and self._strikes(fault, kind, ids, request, now):
                framed = isinstance(effect, Framing)
                reply = effect.apply(reply if framed else reply.whole(), fault.activity_id)
        return reply

    def _ids_shown(self, page: Reply) -> Sequence[str]:
        if page.status != 200 or not any(fault.activity_id for fault in self.faults):
            return ()  # nobody needs them: do not parse what was just written
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
                return self._pages.answer(request, now)
            case "get":
                return self._get(ids[0], now)
            case "history":
                return self._send_history(ids[0])
            case "export":
                return self.exports.answer(ids[0], now)
            case "file":
                return self.exports.signed(ids[0], request, now)
            case "post":
                return self._post(request, ids[0], now)
            case "token" | "device" | "authorize" | "activate":
                return self.oauth.answer(kind, request, now)
        if any(pattern.fullmatch(request.path) for pattern in _GET_ROUTES.values()):
            refusal = error_array(405, "contacts.api.method_not_allowed", "The method is not allowed here.")
            bulk = request.path.removeprefix("/v3/activities/") in JOB_KINDS
            return refusal.with_headers({"Allow": "GET, POST" if bulk else "GET"})
        return not_found().reply

    def _get(self, activity_id: str, now: float) -> Reply:
        job = self.jobs.find(activity_id)
        if job is None or not now - RETENTION_S <= job.created <= now:
            return not_found().reply
        return Reply(status=200, body=job.text(now, self._start_ms).encode())

    def _send_history(self, campaign_activity_id: str) -> Reply:
        if campaign_activity_id in self._send_histories:
            return json_reply(200, self._send_histories[campaign_activity_id])
        return json_reply(200, []) if _UUID_PATTERN.fullmatch(campaign_activity_id) else not_found().reply

    def _post(self, request: Request, kind: str, now: float) -> Reply:
        try:
            asked = read_bulk_request(kind, request)
        except InvalidBodyError as error:
            self.violations.bad_request += 1
            return error.reply
        if self.jobs.queued(now) >= _MAX_QUEUED_JOBS:  # documented without a body
            return json_reply(429, {"error_message": "More than 1,000 activities are queued for this account."})
        file_name = asked.file_name
        if file_name is not None and self._echo_file_name != "as sent":
            file_name = _REWRITTEN_FILE_NAME if self._echo_file_name == "rewritten" else None
        rows, outcome = (asked.rows, None) if asked.upload is None else self._uploads.judge(asked.upload)
        job = self.jobs.submit(now, kind, rows=rows, lists=asked.lists, file_name=file_name, life=None, outcome=outcome)
        if asked.upload is not None:
            self._uploads.keep(job.activity_id, asked.upload)
        return Reply(status=201, body=job.text(now, self._start_ms).encode())

    def _record(self, reason_code: int, send_id: int) -> dict[str, Any]:
        """Return the record of one send, as the send history documents it."""
        completed = reason_code in (0, 12)  # 12 is a completed send that reached nobody
        sent = self.start - timedelta(days=30) + timedelta(days=send_id)
        record: dict[str, Any] = {
            "send_id": send_id,
            "contact_list_ids": ["f4ab800a-5adf-11e9-ba6a-fa163e6b01c1"],
            "count": 250 if reason_code == 0 else 0,
            "run_date": sent.isoformat(timespec="milliseconds")[:-6] + "Z",
            "send_status": "COMPLETED" if completed else "ERRORED",
            "reason_code": reason_code,
        }
        return record | ({"segment_ids": [57]} if send_id % 2 == 0 else {})
