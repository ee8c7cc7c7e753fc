"""A process that forks while it is part of a fleet."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from support.redis_server import RedisServer

from ccactivity.sandbox import Life, Sandbox, Violations

PROGRAM = Path(__file__).parent.parent / "support" / "fleet_fork.py"


@pytest.mark.long
@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_child_needs_a_session_of_its_own_and_does_the_parent_no_harm(engine: RedisServer) -> None:
    """A session that the parent uses is refused in the child, one that nobody has used yet belongs to the child."""
    async with Sandbox(latency=0.02) as sandbox:
        job = sandbox.submit(Life(duration=4.0))
        environment = {**os.environ, "CCACTIVITY_ACCESS_TOKEN": sandbox.token}
        command = [sys.executable, str(PROGRAM), sandbox.base_url, engine.url, job]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment)
        async with asyncio.timeout(30.0):
            out, problems = await process.communicate()

        assert [
            "used: this session belongs to another event loop; make one session for each loop",
            f"unused: {job}",
            "parent: completed",
            f"spent: {len(sandbox.log)}",
        ] == out.decode().splitlines()
        assert b"" == problems
        assert 0 == process.returncode
    assert Violations() == sandbox.violations
