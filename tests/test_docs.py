"""README.md and docs/ are true: their programs run, their commands are those of CI, and every public name is there.

Each ```python block is a program of its own, run from top to bottom in an empty namespace, as by an import: what
is under `if __name__ == "__main__":` is not run.

- What it gives to `asyncio.run` runs in virtual time, and beside it a sandbox at which the environment variables
  of `ActivitySession.from_env()` point. In it are ten activities that have ended, one that has just begun, and
  a send history for every id that the block mentions.
- A block that defines `test_...` functions has them called, with the fixture `ccactivity_sandbox` and in real time.

The sandboxes know an application with the client id of the environment; a device code is approved by the third poll.

No block may break a rule of the vendor's: the sandboxes count. `<!-- skip: next "why" -->` before a block leaves it
out.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

import ccactivity
import ccactivity.events
import ccactivity.fleet
import ccactivity.jobs
import ccactivity.oauth
import ccactivity.observe
import ccactivity.sandbox
import ccactivity.testing
import ccactivity.web
from ccactivity.cli.app import app
from ccactivity.sandbox import OAuthRules, Sandbox
from ccactivity.testing import run

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("**/*.md"))]
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def run_block(example: Example) -> None:
    source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    block: dict[str, Any] = {"__name__": f"block_{example.line}"}
    exec(compile(source, example.path, "exec"), block)
    example.namespace["block"] = block


def examples() -> list[Any]:
    sybil = Sybil(parsers=[CodeBlockParser("python", run_block), SkipParser()])
    return [
        pytest.param(one, id=f"{page.stem} {one.line}", marks=[pytest.mark.slow] if "\ndef test_" in one.parsed else [])
        for page in PAGES
        for one in sybil.parse(page).examples()
    ]


def beside_a_sandbox(main: Callable[[Sandbox], Awaitable[Any]], patch: pytest.MonkeyPatch, campaigns: list[str]) -> Any:
    """Run `main`, told the sandbox, in virtual time."""

    async def both() -> Any:
        async with Sandbox(history=10, latency=0.1, oauth=OAuthRules(approve_after=3)) as sandbox:
            sandbox.register_client()
            patch.setenv("CCACTIVITY_CLIENT_ID", "ccactivity-sandbox")
            patch.setenv("CCACTIVITY_OAUTH_URL", sandbox.oauth_base_url)
            for campaign in campaigns:
                sandbox.add_history(campaign, {})
            for name, value in sandbox.env.items():
                patch.setenv(name, value)
            result = await main(sandbox)

            assert 0 == sandbox.violations.total
            return result

    return run(both())


def beginning(main: Awaitable[Any]) -> Callable[[Sandbox], Awaitable[Any]]:
    """Run a program beside an import that has just begun."""

    def begin(sandbox: Sandbox) -> Awaitable[Any]:
        sandbox.submit()
        return main

    return begin


@pytest.mark.parametrize("example", examples())
def test_block(
    example: Example, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A block of a page runs as it stands, and keeps the vendor's rules."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    campaigns = UUID.findall(example.parsed)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run", lambda main: beside_a_sandbox(beginning(main), patch, campaigns))
        example.evaluate()
    block = example.namespace.pop("block", {})
    for name in filter(re.compile("test_").match, block):
        needs = inspect.signature(block[name]).parameters
        block[name](**{fixture: request.getfixturevalue(fixture) for fixture in needs})


@pytest.mark.parametrize(
    "command",
    ["python3 -m venv .venv && .venv/bin/pip install 'nox[uv]' && .venv/bin/nox", ".venv/bin/nox -t all"],
    ids=["the tests", "what takes longer"],
)
def test_ci_runs_the_commands_of_the_readme(command: str) -> None:
    """The lines that README.md gives for the tests are those that CI runs, character by character."""
    assert f"\n{command}\n" in README.read_text(encoding="utf-8")
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    """README.md is read in one go; what is longer is in docs/."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_exit_codes_are_those_of_the_help() -> None:
    """The page of the command line has the codes that the help has."""
    codes = re.findall(r"^\| (\d+) \|", (DOCS / "reference" / "cli.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert re.findall(r"\d+", app.help_epilogue or "") == codes


@pytest.mark.parametrize(
    ("module", "pages"),
    [
        (ccactivity, ["session", "models", "errors", "imports"]),
        (ccactivity.events, ["events"]),
        (ccactivity.fleet, ["fleet"]),
        (ccactivity.jobs, ["jobs"]),
        (ccactivity.oauth, ["oauth"]),
        (ccactivity.observe, ["observe"]),
        (ccactivity.sandbox, ["sandbox"]),
        (ccactivity.testing, ["testing"]),
        (ccactivity.web, ["web"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_public_name_has_an_entry(module: ModuleType, pages: list[str]) -> None:
    """The reference has an entry, made from the docstring, for each name that a module exports."""
    text = "".join((DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8") for page in pages)
    entries = set(re.findall(r"^\.\. auto(?:class|data|exception|function):: (\w+)", text, re.MULTILINE))

    assert {name for name in module.__all__ if not name.startswith("__")} == entries


def test_llms_txt_names_everything() -> None:
    """The page for language models is short, and names every public name of the package."""
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 80
    assert [] == [name for name in ccactivity.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", text)]


def test_every_page_is_linked() -> None:
    """README.md leads to every page but those that others lead to, and its links lead to files that are there."""
    links = set(re.findall(r"\]\(((?:docs|\.github)/[^)#]+)\)", README.read_text(encoding="utf-8")))

    assert [] == [link for link in links if not (ROOT / link).exists()]
    pages = {str(page.relative_to(ROOT)) for page in PAGES[1:]}
    assert {"docs/changelog.md", "docs/index.md"} == pages - links
