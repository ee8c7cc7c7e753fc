"""Sandboxes for the command line, and an environment that points at one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.logins import only_a_store

from ccactivity.sandbox import OAuthRules, Sandbox


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in a thread, at which the environment points."""
    monkeypatch.setenv("COLUMNS", "100")
    with Sandbox() as sandbox:
        for name, value in sandbox.env.items():
            monkeypatch.setenv(name, value)
        yield sandbox


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox to be entered, with the token in the environment."""
    sandbox = Sandbox()
    monkeypatch.setenv("CCACTIVITY_ACCESS_TOKEN", sandbox.token)
    return sandbox


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the login, which is not there yet; nothing else of ours is in the environment."""
    return only_a_store(monkeypatch, tmp_path)


@pytest.fixture
def oauth_vendor(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in a thread that lets people log in; the environment points at it, and has no token."""
    with Sandbox(oauth=OAuthRules(per_second=None)) as sandbox:
        sandbox.register_client()
        monkeypatch.setenv("CCACTIVITY_BASE_URL", sandbox.base_url)
        yield sandbox
