"""The command line without the extra `cli`: help and the demo work, every other command says what to install."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from ccactivity import __version__

__all__ = ["DESCRIPTION", "INSTALL_OAUTH", "run"]

DESCRIPTION: Final = (
    "Watch the bulk activities (imports, exports, deletions, tag changes) of a Constant Contact account."
)
_CLI_COMMANDS: Final = (
    "list",
    "get",
    "watch",
    "serve",
    "history",
    "submit",
    "import",
    "export",
    "fleet",
    "sandbox",
    "completion",
    "--install-completion",
)
_LOGIN_COMMANDS: Final = ("login", "logout", "whoami")
_INSTALL: Final = 'pip install "ccactivity[cli]"'
INSTALL_OAUTH: Final = 'pip install "ccactivity[cli,oauth]"'


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line and return its exit code."""
    if arguments and arguments[0] in (*_CLI_COMMANDS, *_LOGIN_COMMANDS):
        install = INSTALL_OAUTH if arguments[0] in _LOGIN_COMMANDS else _INSTALL
        print(f"error: ccactivity {arguments[0]} needs more packages: {install}", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(
        prog="ccactivity",
        description=DESCRIPTION,
        epilog="list, get, watch, serve, history, submit, import, export, fleet, sandbox and completion need more"
        f" packages: {_INSTALL}; login, logout and whoami need {INSTALL_OAUTH}",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="watch simulated imports", description="Watch simulated imports; needs no account."
    )
    demo.add_argument("--imports", type=int, default=30, metavar="N", help="how many (default: 30)")
    demo.add_argument("--web", action="store_true", help="serve a live page of them to this machine, too")
    options = parser.parse_args(arguments)
    if not 1 <= options.imports <= 500:
        demo.error("--imports takes a number from 1 to 500")
    # The HTTP library takes a third of a second to import, which help and wrong usage need not wait for.
    import asyncio  # noqa: PLC0415 -- as said above

    from .demo import demo as command  # noqa: PLC0415 -- as said above

    return asyncio.run(command(options.imports, web=options.web))
