"""No module is left out of the contracts of pyproject.toml, and no public name out of `typing/api.py`.

Each contract catches the import that it is there to catch.
"""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ccactivity"
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]

# The modules that read a clock, wait, log, or touch the system; those of the purity contract do none of it.
# As in the contracts, `*` is one part of a name, and `**` one or more. A wildcard leaves out what is named as pure.
SHELL = {
    "ccactivity",
    "ccactivity.__main__",
    "ccactivity._clock",
    "ccactivity._emitter",
    "ccactivity._tasks",
    "ccactivity.api.auth",
    "ccactivity.api.client",
    "ccactivity.api.streams",
    "ccactivity.api.transport",
    "ccactivity.cli",
    "ccactivity.cli.**",
    "ccactivity.exports",
    "ccactivity.exports.download",
    "ccactivity.exports.part_file",
    "ccactivity.fleet.engine",
    "ccactivity.fleet.limiter",
    "ccactivity.fleet.link",
    "ccactivity.fleet",
    "ccactivity.fleet.member",
    "ccactivity.fleet.publisher",
    "ccactivity.fleet.redis_engine",
    "ccactivity.fleet.redis_fleet",
    "ccactivity.fleet.registry",
    "ccactivity.fleet.wire",
    "ccactivity.jobs.batch",
    "ccactivity.jobs",
    "ccactivity.jobs.file_name",
    "ccactivity.jobs.submit",
    "ccactivity.membership",
    "ccactivity.fleet.scripts",
    "ccactivity.imports.contacts",
    "ccactivity.imports.duplicates",
    "ccactivity.imports.importer",
    "ccactivity.imports.journal_file",
    "ccactivity.imports.parts",
    "ccactivity.imports.plan",
    "ccactivity.imports.planner",
    "ccactivity.imports.rejects",
    "ccactivity.imports.result",
    "ccactivity.imports.run",
    "ccactivity.imports.source",
    "ccactivity.listing",
    "ccactivity.observe",
    "ccactivity.observe.*",
    "ccactivity.oauth",
    "ccactivity.oauth._extras",
    "ccactivity.oauth.client",
    "ccactivity.oauth.device",
    "ccactivity.oauth.durable_store",
    "ccactivity.oauth.file_store",
    "ccactivity.oauth.refresher",
    "ccactivity.oauth.stores",
    "ccactivity.oauth.token_endpoint",
    "ccactivity.oauth.tokens",
    "ccactivity.polling.hub",
    "ccactivity.polling.poller",
    "ccactivity.ratelimit.limiter",
    "ccactivity.sandbox",
    "ccactivity.sandbox.*",
    "ccactivity.session",
    "ccactivity.testing",
    "ccactivity.tokens",
    "ccactivity.watch",
    "ccactivity.web",
    "ccactivity.web.aiohttp_adapter",
    "ccactivity.web.asgi_adapter",
    "ccactivity.web.board",
    "ccactivity.web.site",
}

# What the sandbox and the command line may import of the library, by the beginning of their contract's name.
APART = {
    "the sandbox judges the client": {"sandbox", "testing", "_version"},
    "the command line knows the public API": {
        "cli",
        "fleet",
        "jobs",
        "oauth",
        "sandbox",
        "testing",
        "web",
        "_secret",
        "_text",
        "_version",
    },
    "the live page knows the public API": {"web"},
}

# A module, what it must not import, and the beginning of the name of the contract that says so.
PLANTED = [
    ("models", "ccactivity.watch", "imports point one way"),
    ("oauth.client", "aiohttp", "aiohttp is known to"),
    ("oauth.client", "backoff", "backoff is known to"),
    ("oauth.client", "cattrs", "cattrs is known to"),
    ("fleet.limiter", "redis", "redis is known to"),
    ("session", "opentelemetry", "opentelemetry and prometheus-client are known to"),
    ("observe.opentelemetry", "ccactivity.polling", "an adapter knows"),
    ("web.board", "ccactivity.polling.hub", "the live page knows the public API"),
    ("session", "rich", "rich and cyclopts are known to"),
    ("polling.planner", "asyncio", "the core is pure"),
    ("cli.logs", "ccactivity.ratelimit", "the command line knows the public API"),
    ("sandbox.lifecycle", "ccactivity._secret", "the sandbox judges the client"),
    ("sandbox.lifecycle", "ccactivity.polling", "the sandbox judges the client"),
    ("sandbox.lifecycle", "ccactivity.polling.planner", "the sandbox judges the client"),
]


def find_modules() -> set[str]:
    """All modules of the package, but for an `__init__` that holds no code."""
    modules = set()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__":
            if all(isinstance(part, ast.Expr) for part in ast.parse(path.read_text(encoding="utf-8")).body):
                continue
            parts = parts[:-1]
        modules.add(".".join(parts))
    return modules


def contract(begins: str) -> dict[str, Any]:
    """Return the contract whose name begins like that; of several, the one with the shortest name."""
    return min((one for one in CONTRACTS if one["name"].startswith(begins)), key=lambda one: len(one["name"]))


def match(pattern: str, names: set[str]) -> set[str]:
    """Those that a pattern of the contracts names."""
    parts = {"*": r"[^.]+", "**": r".+"}
    expression = r"\.".join(parts.get(part, re.escape(part)) for part in pattern.split("."))
    return {name for name in names if re.fullmatch(expression, name)}


MODULES = find_modules()
PURE = set(contract("the core is pure")["source_modules"])


def test_each_module_is_pure_or_shell() -> None:
    """A new module has to be named as one of both; nothing is both, and a wildcard decides only for the rest."""
    pure = set().union(*(match(pattern, MODULES) for pattern in PURE))
    shell = set().union(*(match(pattern, MODULES) for pattern in SHELL))

    assert set() == MODULES - pure - shell, "name them in pyproject.toml as pure, or in SHELL"
    assert set() == PURE & SHELL
    assert set() == {name for name in pure & shell if name in SHELL}


@pytest.mark.parametrize("pattern", sorted(PURE | SHELL))
def test_each_name_is_that_of_a_module(pattern: str) -> None:
    """What was renamed or removed does not stay in the lists."""
    assert match(pattern, MODULES)


@pytest.mark.parametrize("begins", APART)
def test_each_part_of_the_library_is_forbidden_or_allowed_by_name(begins: str) -> None:
    """A new part is out of reach of the sandbox and of the command line until somebody says otherwise."""
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    forbidden = {name.removeprefix("ccactivity.") for name in contract(begins)["forbidden_modules"]}

    assert parts - {"__init__", "__main__"} == {name for name in forbidden if "." not in name} | APART[begins]


def lint_imports(folder: Path) -> tuple[list[str], str]:
    """Run the linter in a folder with a copy of the package; return the broken contracts, and all that it printed."""
    linter = shutil.which("lint-imports", path=sysconfig.get_path("scripts"))
    assert linter, "import-linter is not installed"
    command = [linter, "--no-logo", "--no-cache"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    broken = re.findall(r"^(.+) BROKEN", run.stdout, re.MULTILINE)
    assert f"Contracts: {len(CONTRACTS) - len(broken)} kept, {len(broken)} broken." in run.stdout.splitlines(), (
        run.stdout
    )
    assert bool(broken) == bool(run.returncode), run.stdout + run.stderr
    return broken, run.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its contracts, to be spoiled."""
    shutil.copytree(PACKAGE, tmp_path / "ccactivity", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_package_keeps_its_contracts(copy: Path) -> None:
    """Without a planted import nothing is found."""
    broken, printed = lint_imports(copy)

    assert [] == broken, printed


def test_each_contract_is_tried() -> None:
    """There is a planted import for each contract that forbids one."""
    assert {one["name"] for one in CONTRACTS if one["type"] == "forbidden"} <= {
        contract(begins)["name"] for _, _, begins in PLANTED
    }


@pytest.mark.parametrize(("module", "imported", "begins"), PLANTED)
def test_a_planted_import_is_caught(copy: Path, module: str, imported: str, begins: str) -> None:
    """The contract that forbids it is broken, and names module and import."""
    with (copy / "ccactivity" / module.replace(".", "/")).with_suffix(".py").open("a", encoding="utf-8") as source:
        source.write(f"import {imported}\n")

    broken, printed = lint_imports(copy)

    assert contract(begins)["name"] in broken, printed
    assert f"ccactivity.{module} -> {imported} (l." in printed


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("cc", "ccactivity"),
        ("events", "ccactivity.events"),
        ("fleet", "ccactivity.fleet"),
        ("jobs", "ccactivity.jobs"),
        ("oauth", "ccactivity.oauth"),
        ("observe", "ccactivity.observe"),
        ("sb", "ccactivity.sandbox"),
        ("testing", "ccactivity.testing"),
        ("web", "ccactivity.web"),
    ],
)
def test_each_public_name_has_its_types_asserted(name: str, module: str) -> None:
    """A new public name has to be used in the typed-API test, which nothing but the type checkers reads."""
    tree = ast.parse((ROOT / "tests" / "typing" / "api.py").read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }

    assert set() == set(importlib.import_module(module).__all__) - used
