"""Many processes with one login in one file: how often is a refresh token shown, and is a login ever lost?

    python benchmarks/token_processes.py [--seconds 60] [--processes 8] [--kill] [--latency 0.02]

Access tokens live two seconds, each refresh token serves once, and showing a spent one again ends the login. Without
`--kill` the run fails unless each refresh token was shown exactly once and nobody had to log in again. With it,
processes are killed at random moments and started again. A login may then be lost, but only by a kill between the
vendor's answer and the saving of what it brought: the run measures that window, and fails for a loss that no kill in it
explains. It is not a check for every day: `nox -s token_soak`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ccactivity import ReauthorizationRequiredError, TransportError
from ccactivity._secret import Secret
from ccactivity.oauth import FileStore, OAuthClient, OAuthTokens, StoredTokens
from ccactivity.sandbox import Family, OAuthRules, Sandbox

LIFE = 2.0


# --- a process that uses the login ------------------------------------------------------------------------------------


class Watched(FileStore):
    """Tells when it saved what: the sandbox tells when it answered."""

    async def save(self, record: StoredTokens, *, replaces: int) -> bool:
        began = time.monotonic()
        saved = await super().save(record, replaces=replaces)
        tell(what="note" if record.attempt else "save", version=record.version, began=began, saved=saved)
        return saved


def tell(**what: Any) -> None:
    print(json.dumps({"pid": os.getpid(), "at": time.monotonic(), **what}), flush=True)


async def work(url: str, path: str) -> None:
    async with OAuthTokens(OAuthClient("ccactivity-sandbox", base_url=url), Watched(path), pause=1.2) as tokens:
        while True:
            try:
                await tokens.access_token()
            except TransportError as error:
                tell(what="wait", words=str(error))
                await asyncio.sleep(0.5)
            except ReauthorizationRequiredError as error:
                since = error.since.isoformat() if error.since else None
                tell(what="lost", reason=error.reason, since=since, words=str(error))
                return
            await asyncio.sleep(0.02)


# --- the one that watches them ----------------------------------------------------------------------------------------


class Soak:
    """One run: a sandbox in this process, the others as its children."""

    def __init__(self, options: argparse.Namespace, sandbox: Sandbox, folder: Path) -> None:
        self.options = options
        self.sandbox = sandbox
        self.path = folder / "tokens" / "tokens.json"
        self.log = folder / "log"
        self.random = random.Random(options.seed)
        self.children: list[subprocess.Popen[bytes]] = []
        self.kills: list[tuple[float, int]] = []
        self.problems: list[str] = []
        self.windows: list[float] = []
        self.losses = 0
        self.explained: list[float] = []
        self.families: list[Family] = []
        self.told = 0

    def run(self) -> int:
        self.log_in()
        self.children = [self.start() for _ in range(self.options.processes)]
        ends = time.monotonic() + self.options.seconds
        next_kill = time.monotonic() + 1.0
        while time.monotonic() < ends:
            time.sleep(0.01)
            if self.options.kill and time.monotonic() > next_kill:
                self.kill()
                next_kill = time.monotonic() + self.random.uniform(0.2, 2.0)
            if any(child.poll() not in (None, -signal.SIGKILL) for child in self.children):
                self.restart_after_loss()
        for child in self.children:
            child.kill()
            child.wait()
        self.judge()
        return 1 if self.problems else 0

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, __file__, "--worker", self.sandbox.oauth_base_url, str(self.path)]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log)

    def kill(self) -> None:
        child = self.victim()
        self.kills.append((time.monotonic(), child.pid))
        child.kill()
        child.wait()
        self.children[self.children.index(child)] = self.start()

    def victim(self) -> subprocess.Popen[bytes]:
        """Any process; three times in ten one that has just noted a refresh, which may still be at it."""
        if self.random.random() < 0.3:
            deadline = time.monotonic() + LIFE
            seen = len(self.lines())
            while time.monotonic() < deadline:
                for line in self.lines()[seen:]:
                    found = [child for child in self.children if child.pid == line["pid"]]
                    if line["what"] == "note" and found:
                        time.sleep(self.random.uniform(0.0, 2 * self.options.latency))
                        return found[0]
                time.sleep(0.002)
        return self.random.choice(self.children)

    def log_in(self) -> None:
        async def save() -> None:
            store = FileStore(self.path)
            async with store.exclusive():
                stored = await store.load()
                version = stored.version if stored else 0
                answer, now = self.sandbox.log_in(), datetime.now(UTC)
                record = StoredTokens(
                    client_id="ccactivity-sandbox",
                    token_url=f"{self.sandbox.oauth_base_url}/token",
                    access_token=Secret(answer["access_token"]),
                    refresh_token=Secret(answer["refresh_token"]),
                    scopes=("contact_data",),
                    obtained_at=now,
                    expires_at=now + timedelta(seconds=LIFE),
                    version=version + 1,
                )
                await store.save(record, replaces=version)

        asyncio.run(save())
        self.families.append(self.sandbox.oauth.families[-1])

    def restart_after_loss(self) -> None:
        """Somebody has to log in again: is there a kill that explains it? Then do so, and go on."""
        time.sleep(0.3)
        for child in self.children:
            child.kill()
            child.wait()
        new, self.told = self.lines()[self.told :], len(self.lines())
        reports = [line for line in new if line["what"] == "lost"]
        self.losses += 1
        if not reports or any(report["reason"] != "interrupted" for report in reports):
            self.problems.append(f"a login was lost, and nobody says why: {reports}")
        # The vendor's last success brought tokens that nobody saved: whose were they, and when was that one killed?
        answered = self.answers()[-1]
        owner = [line["pid"] for line in new if line["what"] == "note" and line["began"] < answered][-1]
        killed = [at - answered for at, pid in self.kills if pid == owner]
        if killed and 0 <= killed[-1] < LIFE:
            self.explained.append(killed[-1])
        else:
            self.problems.append(f"a login was lost although process {owner} was not killed while it had the answer")
        self.log_in()
        self.children = [self.start() for _ in self.children]

    def judge(self) -> None:
        lines = self.lines()
        self.measure(lines)
        posts = [count for family in self.families for count in family.posts.values()]
        generations = sum(family.generation for family in self.families)
        again = sum(count - 1 for count in posts)
        print(f"{self.options.processes} processes, {self.options.seconds:g} s, life of a token {LIFE:g} s, ", end="")
        print(f"latency {self.options.latency:g} s, {len(self.kills)} kills")
        print(f"generations: {generations}; requests for a refresh: {sum(posts)}; shown again: {again}")
        print(f"logins lost: {self.losses}, explained by a kill in the window: {len(self.explained)}")
        for seconds in self.explained:
            print(f"  killed {1000 * seconds:.1f} ms after the vendor had rotated the token")
        print(f"429 at the token endpoint: {self.sandbox.violations.oauth_over_per_second}")
        if self.windows:
            ms = sorted(1000 * window for window in self.windows)
            print(
                f"from the rotation at the vendor's to the end of the save: median {statistics.median(ms):.1f} ms,"
                f" 95 % {ms[int(0.95 * len(ms))]:.1f} ms, longest {ms[-1]:.1f} ms, of {len(ms)}"
            )
        waits = [line for line in lines if line["what"] == "wait"]
        print(f"callers that had to be told to wait: {len(waits)}")
        if not self.options.kill and (again or self.losses or generations < self.options.seconds / LIFE / 2):
            self.problems.append("without kills each generation is to be shown once, and no login lost")
        if self.losses != len(self.explained):
            self.problems.append("a login was lost that no kill explains")
        for problem in self.problems:
            print("PROBLEM:", problem)

    def measure(self, lines: Sequence[dict[str, Any]]) -> None:
        """From the moment at which the sandbox made an answer to the end of the save of what it brought."""
        made = self.answers()
        for line in lines:
            if line["what"] == "save" and line["saved"]:
                before = [at for at in made if at < line["at"]]
                if before:
                    # The answer is on its way for the whole of the latency, and lost with a process that dies then.
                    self.windows.append(line["at"] - before[-1])

    def answers(self) -> list[float]:
        """When the sandbox rotated a token, by the clock that all processes share."""
        origin = time.monotonic() - self.sandbox.now
        return [origin + line.time for line in self.sandbox.log if line.kind == "token" and line.status == 200]

    def lines(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_bytes().split(b"\n")[:-1] if line.startswith(b"{")]


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        asyncio.run(work(*sys.argv[2:4]))
        return 3
    parser = argparse.ArgumentParser(description="Soak one login in many processes.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rules = OAuthRules(access_life=LIFE, rotating=True, revoke_family=True)
    with tempfile.TemporaryDirectory() as folder, Sandbox(latency=options.latency, oauth=rules) as sandbox:
        sandbox.register_client()
        return Soak(options, sandbox, Path(folder)).run()


if __name__ == "__main__":
    sys.exit(main())
