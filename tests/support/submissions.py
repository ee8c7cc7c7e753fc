"""Submissions: a file to import, and what the vendor has of what was submitted."""

from __future__ import annotations

from ccactivity import ActivitySession
from ccactivity import sandbox as sb
from ccactivity.jobs import ImportFile
from ccactivity.jobs.submit import Submitter

LIST = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
NAME = "contacts-1of1-3f9c0a17.csv"
FILE = ImportFile(b"email\nada@example.com\n", file_name=NAME, list_ids=[LIST])
LATER = sb.Workload(median=3600, sigma=0.0)  # in which a job ends when a test is over
ONE_WORKER = sb.Workload(lanes=1)


def submitter_of(session: ActivitySession) -> Submitter:
    """What the session's own calls go by, which also says how a submission went."""
    return session._submitter


def jobs_of(sandbox: sb.Sandbox) -> list[str]:
    """The names, or else the kinds, of the jobs that were created since the sandbox has started."""
    jobs = sandbox.vendor.jobs.listed(sandbox.now, oldest=0.0, state=None, after=None)
    return [job.file_name or job.kind for job in jobs]


def posts_of(sandbox: sb.Sandbox) -> list[float]:
    """The times of the submissions that have arrived."""
    return [line.time for line in sandbox.log if line.kind == "post"]


def fill_queue(sandbox: sb.Sandbox) -> None:
    """Fill the queue of an account with one worker: a job of it begins each 50 seconds."""
    while sandbox.vendor.jobs.queued(sandbox.now + 40) < 1000:
        sandbox.submit(sb.Life(delay=0.0, duration=50.0))
