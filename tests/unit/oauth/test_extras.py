"""Without the extra `oauth`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ccactivity.oauth._extras import import_extra


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    """Without the extra everything can be imported, and what needs it says what to install."""
    program = (
        "import sys\n"
        "for name in ('oauthlib', 'filelock', 'platformdirs'): sys.modules[name] = None\n"
        "from ccactivity.oauth import FileStore, OAuthClient\n"
        "for make in (lambda: FileStore('x'), lambda: OAuthClient('x')):\n"
        "    try: make()\n"
        "    except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert 2 == len(re.findall(r"pip install 'ccactivity\[oauth\]'", done.stdout)), done.stderr
    assert re.search("filelock.*\n.*oauthlib", done.stdout)


def test_what_a_package_lacks_itself_is_not_blamed_on_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is there, and cannot import one of its own needs, raises the error as it is."""
    (tmp_path / "needy_package.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        import_extra("needy_package")
