"""What the tests of several stores use."""

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a file store may keep its tokens; neither the file nor its directory exists."""
    return tmp_path / "tokens" / "tokens.json"
