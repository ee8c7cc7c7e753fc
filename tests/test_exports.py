"""What the library shows of itself: names, their order, and a docstring for each."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import ccactivity

PACKAGES = (
    "ccactivity.api",
    "ccactivity.imports",
    "ccactivity.polling",
    "ccactivity.ratelimit",
)  # packages that export nothing themselves
# The command line needs an extra; everything else can be imported wherever the library can.
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(ccactivity.__path__, "ccactivity.")
    if found.name not in PACKAGES and not re.search(r"\.(cli|__main__|pytest_plugin)\b", found.name)
]
NAMED = {
    "errors": None,  # everything that the module exports
    "models": None,
    "session": {"ActivitySession", "RequestPermit", "Stats"},
    "exports": None,
    "imports.columns": {"ImportProblem"},
    "imports.linemap": {"LineMap", "RowError"},
    "imports.plan": {"ImportPart", "ImportPlan", "PlannedPart"},
    "imports.planner": {"plan_import"},
    "imports.result": {"ImportFailedError", "ImportProgress", "ImportResult"},
    "imports.run": {"Import"},
    "listing": {"ActivityList"},
    "watch": {"BatchResult", "BatchWatch", "Watch"},
    "ratelimit.quota": {"Quota"},
    "polling.pacing": {"Pacing"},
    "api.retry": {"Retry"},
    "tokens": {"TokenSource"},
}


def in_order(names: list[str]) -> list[str]:
    """Names in the order that linters keep: constants, classes, the rest; each part by the alphabet."""

    def place(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    return sorted(names, key=place)


def public(module: ModuleType) -> list[tuple[str, Any]]:
    return [(name, getattr(module, name)) for name in module.__all__]


def own_members(kind: type) -> list[tuple[str, Any]]:
    """Public functions and properties that a class defines itself."""
    kinds = (property, staticmethod, classmethod)
    return [
        (name, member)
        for name, member in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, kinds))
    ]


@pytest.mark.parametrize("module", [ccactivity, *MODULES], ids=lambda module: module.__name__)
def test_all(module: ModuleType) -> None:
    """Each module lists what it exports, in order and without repetition, and has all of it."""
    assert in_order(module.__all__) == list(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    assert set() == {name for name in module.__all__ if not hasattr(module, name)}


@pytest.mark.parametrize("module", [ccactivity, *MODULES], ids=lambda module: module.__name__)
def test_docstrings(module: ModuleType) -> None:
    """Each module, and each class, function, method and property that it exports, has a docstring."""
    silent = [] if (module.__doc__ or "").strip() else [module.__name__]
    for name, value in public(module):
        if isinstance(value, type):
            silent += [] if vars(value).get("__doc__") else [name]
            silent += [
                f"{name}.{member}" for member, _ in own_members(value) if not inspect.getdoc(getattr(value, member))
            ]
        elif inspect.isroutine(value):
            silent += [] if inspect.getdoc(value) else [name]

    assert [] == silent


@pytest.mark.parametrize("name", NAMED)
def test_public_names(name: str) -> None:
    """Every public class is there at the top level, and is the same one."""
    module = importlib.import_module(f"ccactivity.{name}")
    names = NAMED[name] or set(module.__all__)

    assert set() == names - set(ccactivity.__all__)
    assert [] == [each for each in names if getattr(ccactivity, each) is not getattr(module, each)]


def test_nothing_else() -> None:
    """The top level exports exactly the public names and the version; what it imports it exports."""
    expected = {"__version__"}
    for name, names in NAMED.items():
        expected |= names or set(importlib.import_module(f"ccactivity.{name}").__all__)
    tools = {"TYPE_CHECKING", "import_module"}  # with which it imports the others when they are first asked for
    shown = {name for name in dir(ccactivity) if not isinstance(getattr(ccactivity, name), ModuleType)}

    assert expected == set(ccactivity.__all__)
    assert expected == {name for name in shown - tools if not name.startswith("_")} | {"__version__"}


def test_star_import() -> None:
    """`from ccactivity import *` brings the public names."""
    names: dict[str, Any] = {}
    exec("from ccactivity import *", names)

    assert set(ccactivity.__all__) == names.keys() - {"__builtins__"}


def test_who_only_watches_imports_no_jobs() -> None:
    """Eleven classes take some time to make."""
    code = "import ccactivity, sys; ccactivity.ActivitySession('token'); assert 'ccactivity.jobs' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_version() -> None:
    """The version is one that packaging understands."""
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?(\.dev\d+)?", ccactivity.__version__)
