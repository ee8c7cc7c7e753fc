"""What becomes of 10,000 submissions of which 5 % lose their answer: none is queued twice, none lost, none unreported.

Half of the answers are lost before the job was created, half after it: a client cannot tell. Virtual time, against the
sandbox; the truth is what the simulated vendor has. `nox -s imports` runs it and fails if a target is missed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator

import attrs

from ccactivity import ActivitySession, BatchError, CCActivityError, Quota, SubmissionUnknownError
from ccactivity.jobs import AddTags, DeleteLists, ExportContacts, ImportFile, Job, Source
from ccactivity.sandbox import Hang, Reset, Sandbox, Workload, lost_request
from ccactivity.testing import run, utc_now

SUBMISSIONS = 10_000
LOST_SHARE = 0.05
LOSSES = (lost_request(Reset()), lost_request(Hang()), Reset(), Hang())
LIST = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
CONTENT = b"email\nada@example.com\n"
# Of a partner's key: 10 requests a second, 250,000 a day.
PER_SECOND, PER_DAY = 10, 250_000


@attrs.frozen
class Outcome:
    """What became of the submissions of one kind.

    `lost`: answers. `repeated`: jobs that were sent once more. `unknown`: SubmissionUnknownError. `unreported`: lost
    answers that led to neither; of file imports, which the list of activities shows by name, it is no figure.
    `missing`: said to be queued, and not there. `twice`: there twice, by their names.
    """

    kind: str
    submitted: int
    lost: int
    repeated: int
    unknown: int
    unreported: int
    missing: int
    twice: int


def jobs(count: int) -> Iterator[Job]:
    """Half of them imports of files, the others of three kinds in turn."""
    for number in range(count):
        match number % 6:
            case 1:
                yield DeleteLists(list_ids=[LIST])
            case 3:
                yield AddTags(source=Source(list_ids=[LIST]), tag_ids=[LIST])
            case 5:
                yield ExportContacts(list_ids=[LIST])
            case _:
                yield ImportFile(CONTENT, file_name=f"part-{number}.csv", list_ids=[LIST])


async def measure(count: int) -> tuple[list[Outcome], Counter[str], float]:
    """Submit so many jobs; return what became of them, the requests by kind, and the seconds of virtual time."""
    submitted = list(jobs(count))
    kinds = sorted({job.kind for job in submitted})
    errors: dict[str, CCActivityError] = {}
    answered = 0
    workload = Workload(median=20, sigma=0.3, lanes=400)
    async with (
        Sandbox(per_second=PER_SECOND, per_day=PER_DAY, workload=workload, latency=0.2) as sandbox,
        ActivitySession(
            sandbox.token, base_url=sandbox.base_url, quota=Quota(PER_SECOND, PER_DAY), now=utc_now, timeout=10
        ) as session,
    ):
        for effect in LOSSES:
            sandbox.faults.add(effect, where="post", probability=LOST_SHARE / len(LOSSES))
        try:
            async for _ in session.submit_many(submitted, at_once=16):
                answered += 1
        except BatchError as error:
            errors = dict(error.errors)
        assert answered + len(errors) == count, "a submission came to no end"
        assert sandbox.violations.total == 0, sandbox.violations
        posts = Counter(line.target.rpartition("/")[2] for line in sandbox.log if line.kind == "post")
        unanswered = Counter(line.target.rpartition("/")[2] for line in sandbox.log if line.status == 0)
        there = list(sandbox.vendor.jobs.listed(sandbox.now, oldest=0.0, state=None, after=None))
        requests, seconds = sandbox.requests, sandbox.now

    names, created = Counter(job.file_name for job in there), Counter(job.kind for job in there)
    outcomes = []
    for kind in kinds:
        mine = {f"jobs[{place}]": job for place, job in enumerate(submitted) if job.kind == kind}
        unknown = sum(isinstance(errors.get(place), SubmissionUnknownError) for place in mine)
        lost, repeated = unanswered[kind], posts[kind] - len(mine)
        keys = {place: job.key for place, job in mine.items() if job.key is not None}
        outcomes.append(
            Outcome(
                kind=kind,
                submitted=len(mine),
                lost=lost,
                repeated=repeated,
                unknown=unknown,
                unreported=0 if keys else lost - repeated - unknown,
                missing=sum(not names[key] for place, key in keys.items() if place not in errors)
                if keys
                else max(0, len(mine) - unknown - created[kind]),
                twice=sum(names[key] > 1 for key in keys.values()),
            )
        )
    return outcomes, requests, seconds


def main() -> int:
    """Measure, print the table, and return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the submissions")
    count = SUBMISSIONS // 10 if parser.parse_args().quick else SUBMISSIONS
    logging.disable(logging.WARNING)  # a repetition is one, and there are hundreds
    began = time.perf_counter()
    outcomes, requests, seconds = run(measure(count))
    columns = [field.name for field in attrs.fields(Outcome)]
    print(f"{count:,} submissions, {LOST_SHARE:.0%} of the answers lost, half of them before the job was created")
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    for outcome in outcomes:
        print("| " + " | ".join(str(value) for value in attrs.astuple(outcome)) + " |")
    print(
        f"{requests['post']:,} POSTs and {requests['list']:,} pages of the list in {seconds / 60:.0f} virtual minutes"
    )
    print(f"({time.perf_counter() - began:.0f} s of real time)")
    missed = [outcome for outcome in outcomes if outcome.unreported or outcome.missing or outcome.twice]
    for outcome in missed:
        print(f"MISSED: {outcome}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
