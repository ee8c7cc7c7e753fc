"""The live page in a browser: how long a change takes to be seen, what viewers cost, and what one holds who is stuck.

A row says whether its target is met; the program's exit code is 1 if one is not.

    nox -s page                     # three minutes, with a Chromium on the PATH
    nox -s page -- --pictures       # draws those of docs/how-to/live-page.md
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import multiprocessing
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

# Its own neighbours, also where PYTHONPATH names another copy of the package and of the tests.
ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from support.page_server import WHERE, PageServer, chromium, find_chromium, follow  # noqa: E402

from ccactivity import Activity, ActivityStatus, Quota  # noqa: E402
from ccactivity.sandbox import Life, Sandbox, Workload  # noqa: E402

ACTIVITIES = 1_000
ROUNDS = 120
VIEWERS = 100
SECONDS = 30.0
FAILED: list[str] = []


def show(what: str, target: str, measured: str, *, met: bool) -> None:
    """Print a row of the table."""
    print(f"| {what} | {target} | {measured}{'' if met else ' **missed**'} |", flush=True)
    if not met:
        FAILED.append(what)


@contextmanager
def thousand_served(sandbox: Sandbox) -> Iterator[PageServer]:
    """Serve a page of a thousand activities, a fifth of them under way."""
    running = [sandbox.submit(Life(duration=1_200, update_every=1.0)) for _ in range(ACTIVITIES // 5)]
    ended = [Activity(activity_id=f"ended-{n:04}", state="completed") for n in range(ACTIVITIES - len(running))]
    with PageServer(sandbox, follow(running, ended), quota=Quota(per_day=1e6)) as server:
        yield server


def measure_paint(browser: Any) -> None:
    """Measure the time from a client's snapshot to the frame that shows it, at a thousand activities."""
    with Sandbox(workload=Workload(lanes=200)) as sandbox, thousand_served(sandbox) as server:
        page = browser.new_context().new_page()
        page.goto(server.url)
        page.get_by_text(f"of {ACTIVITIES:,} activities").wait_for()
        page.evaluate("""() => {
            window.painted = {};
            new MutationObserver(changes => requestAnimationFrame(() => setTimeout(() => {
              for (const row of document.querySelectorAll('tbody[data-section=failed] .name'))
                window.painted[row.textContent] ??= Date.now();
            }))).observe(document.querySelector('table'), { subtree: true, childList: true, characterData: true });
        }""")
        seconds = []
        for number in range(ROUNDS):
            time.sleep(0.1 + 0.37 * (number % 7) / 7)  # at any place between two publications
            name = f"change {number}"
            activity = Activity(activity_id=f"ended-{number:04}", state="failed", source_file_name=name)
            began = time.time()
            server.call(server.board.follow, activity)
            page.wait_for_function("name => window.painted[name]", arg=name)
            seconds.append(page.evaluate("name => window.painted[name]", name) / 1000 - began)
        seconds.sort()
        p95 = seconds[int(len(seconds) * 0.95)]
        text = f"{p95 * 1000:.0f} ms (median {statistics.median(seconds) * 1000:.0f} ms)"
        show(f"snapshot to paint, {ACTIVITIES:,} activities, p95", "400 ms", text, met=p95 <= 0.4)
        page.context.close()


class Viewer:
    """One who looks without a browser. `received`: bytes."""

    def __init__(self, url: str, *, reads: bool = True) -> None:
        self._socket = socket.socket()
        if not reads:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        parts = urlsplit(url)
        self._socket.connect((parts.hostname, parts.port))
        self._socket.sendall(f"GET {parts.path}events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.received = 0

    def read(self) -> None:
        """Read what is there, until the end."""
        try:
            while piece := self._socket.recv(1 << 16):
                self.received += len(piece)
        except OSError:
            pass

    def leave(self) -> None:
        """Close the connection."""
        self._socket.close()


def serve_in_child(pipe: Any) -> None:
    """Serve a page in this process, and tell what that has cost: a child's work, so that nothing else is counted."""
    with Sandbox(seed=5, workload=Workload(lanes=200)) as sandbox, thousand_served(sandbox) as server:
        pipe.send(server.url)
        pipe.recv()
        requests, cpu = sandbox.requests.total(), time.process_time()
        time.sleep(SECONDS)
        pipe.send((sandbox.requests.total() - requests, (time.process_time() - cpu) / SECONDS, server.streams))
        pipe.recv()


def cost_of(viewers: int) -> tuple[int, float, float]:
    """Return the requests to the vendor, the share of a core, and the bytes a minute for each of so many viewers."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=serve_in_child, args=(theirs,))
    child.start()
    url = ours.recv()
    looking = [Viewer(url) for _ in range(viewers)]
    threads = [threading.Thread(target=viewer.read, daemon=True) for viewer in looking]
    for thread in threads:
        thread.start()
    time.sleep(10.0)
    before = sum(viewer.received for viewer in looking)
    ours.send(None)
    requests, share, streams = ours.recv()
    received = sum(viewer.received for viewer in looking) - before
    assert streams == viewers, streams
    for viewer in looking:
        viewer.leave()
    ours.send(None)
    child.join(30)
    return requests, share, received * 60 / SECONDS / viewers


def measure_viewers() -> None:
    """Measure what a hundred viewers cost beside one."""
    one, many = cost_of(1), cost_of(VIEWERS)
    share = max(0.0, many[1] - one[1])
    show(
        f"{VIEWERS} viewers: share of a core", "5 %", f"{share:.1%} (the watch itself {one[1]:.1%})", met=share <= 0.05
    )
    more = many[0] - one[0]
    show(f"{VIEWERS} viewers: requests more than one", "0", f"{more} (of {one[0]} in {SECONDS:.0f} s)", met=more <= 0)
    show("bytes a minute for a viewer", "", f"{many[2] / 1000:.0f} kB", met=True)


def resident_kb() -> int:
    """Return how much memory this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def hold_stuck_viewers(pipe: Any, kind: str) -> None:
    """Serve viewers who do not read, in a process of its own; tell the most that one held, in kB, and until when."""
    with Sandbox() as sandbox:
        rows = [Activity(activity_id=f"a{n}", state="failed", activity_errors=("x" * 280,)) for n in range(ACTIVITIES)]
        with PageServer(sandbox, follow(rows), adapter=kind) as server:
            warm = Viewer(server.url)
            time.sleep(1.0)
            warm.leave()
            before, tasks = resident_kb(), server.call(lambda: len(asyncio.all_tasks()))
            stuck = [Viewer(server.url, reads=False) for _ in range(VIEWERS)]
            began, held, gone_at, number = time.monotonic(), 0, 0.0, 0
            while time.monotonic() < began + 90.0 and not gone_at:
                number += 1
                changed = [attrs.evolve(row, activity_errors=(f"{number} {'x' * 280}",)) for row in rows]
                server.call(server.board.follow, changed)
                time.sleep(0.25)
                held = max(held, resident_kb() - before)
                if number > 20 and server.call(lambda: len(asyncio.all_tasks())) <= tasks + 5:
                    gone_at = time.monotonic() - began
            for viewer in stuck:
                viewer.leave()
    pipe.send((held / VIEWERS, gone_at))


def measure_stuck(kind: str) -> None:
    """Measure what a hundred viewers hold who do not read, while a thousand rows change four times a second."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=hold_stuck_viewers, args=(theirs, kind))
    child.start()
    each, gone_at = ours.recv()
    child.join(30)
    show(f"a viewer who does not read ({kind}): memory", "256 kB", f"{each:.0f} kB", met=each <= 256)
    # The buffers of the system take some seconds to fill; until then nobody can know that they do not read.
    what, target = f"a viewer who does not read ({kind}): dropped after", "30 s, and what fills the buffers"
    show(what, target, f"{gone_at:.0f} s", met=30 <= gone_at < 60)


def measure_weight() -> None:
    """Measure the files of the page, as a server that compresses would send them."""
    files = sorted((ROOT / "ccactivity" / "web" / "static").iterdir())
    size = sum(len(gzip.compress(file.read_bytes(), 9)) for file in files)
    show("page weight, all files, gzip", "12 kB", f"{size / 1000:.1f} kB", met=size <= 12_000)


def draw_pictures(browser: Any) -> None:
    """Draw the pictures of the how-to page."""
    folder = ROOT / "docs" / "images"
    workload = Workload(median=400, lanes=9, failed_share=0.0, cancelled_share=0.0, timed_out_share=0.0)
    with Sandbox(seed=4, workload=workload, per_second=None, speed=8) as sandbox, ExitStack() as stack:
        names = [f"spring-{n}.csv" for n in range(1, 5)] + [f"customers-{n}of5-0123abcd.csv" for n in range(1, 6)]
        ids = [sandbox.submit(file_name=name, rows=4_000 + 811 * n) for n, name in enumerate(names)]
        ids += [sandbox.submit(file_name=f"shop-{n}.csv") for n in range(20, 38)]
        malformed = (
            "Line 3: email_address is malformed",
            "Line 77: email_address is missing",
            "Line 80: unknown column",
        )
        others = tuple(f"Line {n}: email_address is malformed" for n in range(90, 107))
        told: list[Any] = [
            Activity(
                activity_id="0d4b1a9e-8c1f-4f6e-9a53-2f6f5a2b7c11",
                state="failed",
                source_file_name="autumn.csv",
                percent_done=62,
                activity_errors=malformed + others,
                status=ActivityStatus(person_count=812, correctable_count=20),
            ),
            [Activity(activity_id=f"done-{n}", state="completed", source_file_name=f"d{n}.csv") for n in range(58)],
        ]
        server = stack.enter_context(PageServer(sandbox, follow(ids, *told)))
        for name, scheme, width, height in (
            ("page-light", "light", 860, 600),
            ("page-dark", "dark", 860, 600),
            ("page-narrow", "light", 320, 760),
        ):
            page = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": height}, locale="en-GB", timezone_id="UTC"
            ).new_page()
            page.goto(server.url)
            page.get_by_text("autumn.csv").wait_for()
            page.wait_for_timeout(15_000)
            page.screenshot(path=folder / f"{name}.png")
            page.context.close()
            print(f"docs/images/{name}.png", (folder / f"{name}.png").stat().st_size, "bytes")


def main() -> int:
    """Measure everything, or draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", action="store_true", help="draw the pictures of docs/ instead")
    options = parser.parse_args()
    program = find_chromium()
    if program is None:
        print(f"no browser: no {WHERE}", file=sys.stderr)
        return 2
    steps: list[Callable[[], None]] = [measure_viewers, measure_weight]
    with chromium(program) as browser:
        if options.pictures:
            draw_pictures(browser)
            return 0
        print("| what | target | measured |\n|---|---|---|")
        measure_paint(browser)
    for step in steps:
        step()
    for kind in ("aiohttp", "asgi"):
        measure_stuck(kind)
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
