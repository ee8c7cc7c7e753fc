"""An offline vendor to develop and test against. It shares no code with the client, so that it can judge the client.

async with Sandbox() as sandbox:                        # in the running loop, on its clock
    activity_id = sandbox.submit(Life(duration=30.0, end="failed"))
    sandbox.faults.add(server_error(503), where="get", times=2)
    ...                                                 # use sandbox.base_url and sandbox.token
    assert sandbox.violations.total == 0

with Sandbox(speed=60.0) as sandbox:                    # in a thread, for any client
    ...

vendor = Vendor(start=datetime.now(UTC))                # without any network
reply = vendor.handle(Request(method="GET", target="/v3/activities"), now=0.0)
"""

from .effects import (
    Answer,
    Bomb,
    Cut,
    Delay,
    Disconnect,
    Drip,
    Edit,
    Effect,
    Endless,
    Framing,
    Hang,
    Patch,
    Raw,
    Reset,
    drop_rows,
    duplicate_rows,
    empty,
    forbidden,
    html,
    lost_request,
    message,
    next_link,
    not_found,
    ok,
    quota_exceeded,
    server_error,
    throttled,
    unauthorized,
    wrong_id,
)
from .faults import Fault, Faults
from .jobs import Job
from .lifecycle import Life, Snapshot, Workload
from .limits import Violations
from .logins import Family, OAuthRules
from .messages import Reply, Request
from .oauth import OAuth, RegisteredClient
from .server import Sandbox, Truth
from .vendor import Logged, Vendor

__all__ = [
    "Answer",
    "Bomb",
    "Cut",
    "Delay",
    "Disconnect",
    "Drip",
    "Edit",
    "Effect",
    "Endless",
    "Family",
    "Fault",
    "Faults",
    "Framing",
    "Hang",
    "Job",
    "Life",
    "Logged",
    "OAuth",
    "OAuthRules",
    "Patch",
    "Raw",
    "RegisteredClient",
    "Reply",
    "Request",
    "Reset",
    "Sandbox",
    "Snapshot",
    "Truth",
    "Vendor",
    "Violations",
    "Workload",
    "drop_rows",
    "duplicate_rows",
    "empty",
    "forbidden",
    "html",
    "lost_request",
    "message",
    "next_link",
    "not_found",
    "ok",
    "quota_exceeded",
    "server_error",
    "throttled",
    "unauthorized",
    "wrong_id",
]
