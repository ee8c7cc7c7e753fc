"""Without the extra `oauth`."""

from __future__ import annotations

import re
import subprocess
import sys


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
