"""How every test runs: `async def` tests on the virtual loop, and no secret in anything that a test makes visible.

- An `async def` test runs by itself on a fresh `VirtualTimeLoop`; marked `@pytest.mark.real_time`, on an ordinary
  loop. It fails when it leaves behind a task, an error that nobody retrieved, or an object that should have been
  closed. `@given` works on it: one loop for each example. asyncio's debug mode is on, but not while coverage is
  measured: the two together take four times as long.
- A string that must stay secret starts with `CANARY`, is a token of the sandbox, or is added to `SECRETS` (forgotten
  after the test).
  A test fails when one of them shows up in a log record (any logger, DEBUG included: message, arguments,
  traceback), in what it prints, or in a warning that reaches pytest.
- With CCACTIVITY_TEST_EAGER in the environment every loop starts its tasks eagerly.
- `vendor` is the one fixture of most tests; what is behind it, and other helpers, are in `support`.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import signal
import warnings
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings
from support.canary import SECRETS, Canary
from support.eager_tasks import install_if_asked
from support.redis_server import WHERE, RedisServer, find_server, run_server
from support.vendor import VendorFactory
from support.vendor import vendor as open_vendor
from support.virtual_time import as_plain_function

from ccactivity import testing

settings.register_profile("ccactivity", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("ccactivity")
install_if_asked()

_canary = Canary()


@pytest.fixture(scope="session")  # it keeps nothing between tests, and so may be used under @given
def vendor() -> VendorFactory:
    """Give a simulated vendor and a session against it; fail on any violation of the vendor's rules.

    async with vendor(latency=1.0, timeout=5.0) as (sandbox, session): ...
    """
    return open_vendor


@pytest.fixture(scope="session")
def engine_server() -> Iterator[RedisServer]:
    """Give a server of Redis or Valkey; without one on this machine, skip, or fail where CI is set."""
    program = find_server()
    if program is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"no server for the fleet: neither {WHERE}")
    with run_server(program) as server:
        yield server


@pytest.fixture
def engine(engine_server: RedisServer) -> RedisServer:
    """Give a server of Redis or Valkey that is empty."""
    with engine_server.client() as client:
        client.flushall()
    return engine_server


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test, or have Hypothesis run it once for each example."""
    test = pyfuncitem.obj
    run = asyncio.run if pyfuncitem.get_closest_marker("real_time") else testing.run
    if hypothesis := getattr(test, "hypothesis", None):
        if inspect.iscoroutinefunction(hypothesis.inner_test):
            hypothesis.inner_test = as_plain_function(hypothesis.inner_test, run)
        return None
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    as_plain_function(test, run)(**arguments)
    return True


def pytest_collection_finish() -> None:
    """Hide all that was imported from the collector, so that collecting after each test is cheap."""
    gc.collect()
    gc.freeze()


def pytest_configure() -> None:
    """Listen at the root; `log_level = DEBUG` in the configuration opens every logger while a test runs."""
    logging.getLogger().addHandler(_canary)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # What a shell starts in the background inherits deafness to Ctrl-C, and so would the programs under test.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail the test at its very end, when all that it logged and printed is known."""
    report = yield
    if call.when == "teardown":
        for title, text in report.sections:
            _canary.look(title, text)
        if _canary.found:
            report.outcome = "failed"
            report.longrepr = "a secret became visible:\n" + "\n".join(_canary.found)
        _canary.found = []
        SECRETS.clear()
    return report


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    """Stop at a warning with a secret: it comes after the report of its test."""
    _canary.look(f"a warning of {nodeid}", warning_message.message)
    if _canary.found:
        pytest.exit("a secret became visible:\n" + "\n".join(_canary.found), returncode=1)
