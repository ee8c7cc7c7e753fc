"""How tests run: what a test must not do is noticed, and blamed on the test that did it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

GOOD = """
import asyncio, logging, time
import pytest
from hypothesis import given, strategies as st

def test_plain():
    logging.getLogger("x").debug("no secret")

async def test_virtual(tmp_path):
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == 3600.0

@pytest.mark.real_time
async def test_real():
    assert abs(asyncio.get_running_loop().time() - time.monotonic()) < 60

LOOPS = set()

@given(st.integers())
async def test_given(number):
    LOOPS.add(id(asyncio.get_running_loop()))
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == 3600.0

async def test_vendor(vendor):
    async with vendor(history=3, per_day=2, timeout=1.0) as (sandbox, session):
        assert 3 == len(await session.list_activities())
        assert asyncio.get_running_loop().time() >= 0.06

async def test_vendor_of_a_test_that_provokes(vendor):
    async with vendor(allowed_violations=["bad_request"]) as (sandbox, session):
        sandbox.violations.bad_request += 1

async def test_tidy():
    task = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    task.cancel()

async def test_fails():
    await asyncio.sleep(1)
    assert False, "as it should"
"""

BAD = """
import asyncio, logging, socket, sys, warnings
import pytest
from support.canary import SECRETS

async def test_task():
    asyncio.create_task(asyncio.sleep(3600), name="left")

async def test_error():
    async def fail():
        raise LookupError("lost")
    asyncio.create_task(fail())
    await asyncio.sleep(1)

async def test_socket():
    socket.socket()

async def test_coroutine():
    asyncio.sleep(1)

async def test_violation(vendor):
    async with vendor(allowed_violations=["bad_request"]) as (sandbox, session):
        sandbox.violations.bad_cursor += 1

async def test_unknown_violation(vendor):
    async with vendor(allowed_violations=["bad_manners"]) as (sandbox, session):
        pass

def test_message():
    logging.getLogger("x").debug("inner-canary-1")

def test_arguments():
    logging.getLogger("x").debug("%.3s", "inner-canary-1")

def test_traceback():
    try:
        raise LookupError("inner-canary-1")
    except LookupError:
        logging.getLogger("x").debug("oops", exc_info=True)

def test_registered():
    SECRETS.add("hunter2")
    logging.getLogger("x").info("hunter2")

def test_stdout():
    print("inner-canary-1")

def test_token_of_the_sandbox():
    logging.getLogger("x").info("inner-token-1")

@pytest.fixture
def loud():
    yield
    print("inner-canary-1", file=sys.stderr)

def test_stderr_of_a_fixture(loud):
    pass
"""

WARNS = """
import warnings

def test_warns():
    warnings.simplefilter("always")
    warnings.warn("inner-canary-1")
"""


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    tests = Path(__file__).parent
    pytester.makeconftest((tests / "conftest.py").read_text(encoding="utf-8"))
    shutil.copytree(tests / "support", pytester.path / "support", ignore=shutil.ignore_patterns("__pycache__"))
    # Other canaries, or what the inner run prints would fail the test of it.
    canary = pytester.path / "support" / "canary.py"
    text = canary.read_text(encoding="utf-8")
    text = text.replace('CANARY = "canary-secret-"', 'CANARY = "inner-canary-"')
    text = text.replace('SANDBOX_TOKEN = "sandbox-token-"', 'SANDBOX_TOKEN = "inner-token-"')
    canary.write_text(text, encoding="utf-8")
    pytester.makeini("[pytest]\nfilterwarnings = error\nlog_level = DEBUG\nmarkers = real_time: real")
    pytester.makepyfile(test_it=source)
    return pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider")


@pytest.mark.slow
def test_good_tests_pass(pytester: pytest.Pytester) -> None:
    """Sync, async, real-time and Hypothesis tests run each on the loop it is meant for, and can fail."""
    result = run(pytester, GOOD)

    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines(["FAILED *::test_fails - AssertionError: as it should*"])


@pytest.mark.slow
def test_whatever_is_left_or_shown_fails_its_test(pytester: pytest.Pytester) -> None:
    """A task, an error, a socket or a coroutine left behind, a violation, a secret in a log record or on any output."""
    result = run(pytester, BAD)
    outcomes = result.parseoutcomes()

    assert 13 == outcomes["failed"] + outcomes["errors"]
    for name in ("task", "error", "socket", "coroutine", "violation", "unknown_violation"):
        result.stdout.fnmatch_lines([f"FAILED *::test_{name} *"])
    shown = ("message", "arguments", "traceback", "registered", "stdout", "token_of_the_sandbox", "stderr_of_a_fixture")
    for name in shown:
        result.stdout.fnmatch_lines([f"ERROR *::test_{name} - a secret became visible*"])


@pytest.mark.slow
def test_a_secret_in_a_warning_stops_the_run(pytester: pytest.Pytester) -> None:
    """Warnings come after the report of their test, too late to fail it."""
    result = run(pytester, WARNS)

    assert 1 == result.ret
    result.stdout.fnmatch_lines(["*a secret became visible*"])
