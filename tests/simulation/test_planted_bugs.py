"""The net holds: bugs that are easily made, planted into the library one at a time, are each caught.

A bug is a piece of a module's source and what stands in its place; the functions that it changes get their new code for
the duration of one test. `caught` is a seed of the simulation, found by trying the first two hundred, or a check that
is a test of its own elsewhere.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from types import FunctionType, ModuleType
from typing import Any

import pytest
from scenarios import test_cancellation, test_fault_answers, test_retry_budget, test_single_calls

from ccactivity import testing

from .world import simulate

Check = int | Callable[[], Coroutine[Any, Any, None]]


def functions(place: Any, seen: set[int]) -> Iterator[tuple[str, FunctionType]]:
    """All functions of a module, or of a class in it, with their qualified names."""
    for value in list(vars(place).values()):
        plain: Any = value.fget if isinstance(value, property) else value
        found = inspect.unwrap(getattr(plain, "__func__", plain))
        if isinstance(found, FunctionType):
            yield found.__qualname__, found
        elif isinstance(found, type) and id(found) not in seen and found.__module__ == _module_of(place):
            seen.add(id(found))  # it may have two names
            yield from functions(found, seen)


def _module_of(place: Any) -> Any:
    return place.__module__ if isinstance(place, type) else place.__name__


def plant(patch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """Give the functions of `ccactivity.NAME` the code that they would have with `new` in the place of `old`."""
    module = importlib.import_module(f"ccactivity.{name}")
    source = inspect.getsource(module)
    assert 1 == source.count(old), f"{source.count(old)} places in {name} look like {old!r}"
    changed = ModuleType(module.__name__)
    changed.__dict__.update(__package__=module.__package__, __file__=module.__file__)
    exec(compile(source.replace(old, new), f"<{module.__name__} with a bug>", "exec"), changed.__dict__)
    codes = {where: function.__code__ for where, function in functions(changed, set())}
    for where, function in functions(module, set()):
        if function.__module__ == module.__name__ and function.__code__.co_freevars == codes[where].co_freevars:
            patch.setattr(function, "__code__", codes[where])


def fails(check: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Whether a test says anything, by whatever it raises."""
    try:
        testing.run(check())
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 -- a test may fail in any way
        return True
    return False


async def unsafe_lists() -> None:
    await test_fault_answers.test_lists_of_no_use_cost_no_watch(test_fault_answers.UNSAFE)


async def evil_link() -> None:
    await test_single_calls.test_a_link_that_leads_away_is_never_followed("https://evil.example/v3/activities?cursor=x")


async def links_in_a_circle() -> None:
    async with asyncio.timeout(600):
        await test_single_calls.test_links_in_a_circle_are_an_error_after_what_was_good([0])


BUGS: dict[str, tuple[str, str, str, Check]] = {
    "the check of links is off": (
        "api.endpoint",
        ".origin == self.origin:",
        ".origin:",
        evil_link,
    ),
    "quota_exceeded is taken for a throttle": (
        "api.outcome",
        '"quota_exceeded": OutcomeKind.QUOTA_EXCEEDED}',
        '"quota_exceeded": OutcomeKind.THROTTLED}',
        6,
    ),
    "midnight of another zone": (
        "ratelimit.quota",
        "utc = wall.astimezone(UTC)\n",
        "utc = wall.astimezone(UTC) - timedelta(hours=5)\n",
        13,
    ),
    "an unknown state is an end": (
        "models",
        "return self.state in TERMINAL_STATES",
        'return self.state not in ("initialized", "processing")',
        2,
    ),
    "what a sweep does not show has completed": (
        "polling.scheduler",
        "            missing.intersection_update(self._audience.wanted())\n",
        """\
            missing.intersection_update(self._audience.wanted())
            for key in sorted(missing):
                if (last := self._audience.last(key)) is not None:
                    self._audience.saw(attrs.evolve(last, state="completed"), when, listed=True)
""",
        16,
    ),
    "the hidden second send is not paid for": (
        "api.client",
        "        if self.permit.sent:\n            # The",
        "        if False:\n            # The",
        9,
    ),
    "a terminal snapshot is dropped when another waits": (
        "polling.mailbox",
        "        self.pending[activity.activity_id] = activity\n",
        "        self.pending.setdefault(activity.activity_id, activity)\n",
        34,
    ),
    "None becomes a word": (
        "api.decoding",
        "            if value is None or type(value) is str:\n                return value\n",
        "            return str(value)\n",
        38,
    ),
    "a cancelled iteration just ends": (
        "watch",
        "            self._subscription.detach()\n            self._stop_source()\n            raise\n",
        "            self._subscription.detach()\n            self._stop_source()\n",
        57,
    ),
    "a window of half a second": (
        "ratelimit.quota",
        "self._log[-int(self._burst)] + _WINDOW_S",
        "self._log[-int(self._burst)] + 0.5",
        7,
    ),
    "a place in the queue is not given up": (
        "ratelimit.limiter",
        "            quota.leave(ticket)",
        "            pass",
        10,
    ),
    "the token is logged": ("api.client", '_log.debug("%s", failed)', '_log.debug("%s %s", failed, attempt.token)', 48),
    "what a sweep showed that turned lists off is never asked for": (
        "polling.planner",
        "            page = None  # it was",
        "            pass  # it was",
        unsafe_lists,
    ),
    "a failed look ends the watch": (
        "polling.monitor",
        '        if is_transient(error):\n            _log.debug("a look',
        '        if False:\n            _log.debug("a look',
        30,
    ),
    "a grant that was not sent is kept": (
        "api.client",
        "            attempt.permit.close()\n",
        "            pass\n",
        test_cancellation.test_a_permit_that_was_not_used_comes_back,
    ),
    "the circle of links is not seen": (
        "session",
        "(request.target in passed or barren >= MAX_BARREN_PAGES)",
        "barren >= 10**9",
        links_in_a_circle,
    ),
    "wait_for around the wait": (
        "_tasks",
        "        async with asyncio.timeout(timeout):\n            await event.wait()\n",
        "        await asyncio.wait_for(event.wait(), timeout)\n",
        test_cancellation.test_a_cancellation_that_meets_the_wake_up_is_heard,
    ),
    "grants wait for a refresh, and are sent all at once": (
        "ratelimit.limiter",
        "asyncio.get_running_loop().time() > self._expires_at",
        "False",
        test_fault_answers.test_no_burst_follows_a_refresh,
    ),
    "two layers of retries": (
        "api.client",
        "                return await self._with_retries(operation)\n",
        """\
                for _ in range(9):
                    with suppress(_RetryableError):
                        return await self._with_retries(operation)
                return await self._with_retries(operation)
""",
        test_retry_budget.test_an_hour_without_answers_costs_few_requests,
    ),
}


# asyncio.wait_for is sound from Python 3.12 on, and no bug there.
PLANTED = [bug for bug in BUGS if sys.version_info < (3, 12) or not bug.startswith("wait_for")]


@pytest.mark.parametrize("bug", PLANTED)
@pytest.mark.timeout(120)
def test_a_planted_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the simulation or the named check says nothing of without the bug, it does with it."""
    module, old, new, caught = BUGS[bug]
    with monkeypatch.context() as patch:
        plant(patch, module, old, new)
        patch.setattr(logging.getLogger("ccactivity"), "propagate", False)  # or the suite's own canary sings first
        if isinstance(caught, int):
            assert simulate(caught).findings
        else:
            assert fails(caught)
        gc.collect()  # what a bug left behind complains now, not in the run without it
    if isinstance(caught, int):
        assert [] == simulate(caught).findings
