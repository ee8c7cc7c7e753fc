"""The pytest fixture of the sandbox."""

from __future__ import annotations

import subprocess
import sys

from ccactivity.sandbox import Sandbox
from ccactivity.sandbox.pytest_plugin import ccactivity_sandbox

from .helpers import fetch_blocking

__all__ = ["ccactivity_sandbox"]  # a fixture of this module, as it would be of a user's


def test_the_fixture_gives_each_test_a_sandbox(ccactivity_sandbox: Sandbox) -> None:
    """With fast jobs, in a thread, for any kind of test."""
    assert [] == fetch_blocking(ccactivity_sandbox, "/activities")["activities"]
    assert {"list": 1} == ccactivity_sandbox.requests


def test_the_plugin_itself_imports_nothing_heavy() -> None:
    """Every run of pytest loads it, wanted or not."""
    code = (
        "import runpy, sys, ccactivity.sandbox.pytest_plugin as plugin;"
        "before = set(sys.modules);"
        "[sys.modules.pop(name) for name in before if name.partition('.')[0] in ('aiohttp', 'ccactivity')];"
        "runpy.run_path(plugin.__file__);"
        "assert not {'aiohttp', 'ccactivity'} & set(sys.modules)"
    )

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
