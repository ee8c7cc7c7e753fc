"""The fixtures of the examples: a vendor whose jobs are short, and an example as a module."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from support.examples import EXAMPLES

from ccactivity.sandbox import Sandbox, Workload


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    with Sandbox(workload=Workload(median=0.2, sigma=0.1, shortest=0.1, delay=(0, 0.1))) as sandbox:
        yield sandbox
        assert sandbox.violations.total == 0, sandbox.violations


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module(request.param)
