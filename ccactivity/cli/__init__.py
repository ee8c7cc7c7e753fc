"""The command line: arguments in, text out; it asks and decides nothing that the public API does not."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 all well, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="ccactivity", description="Watch bulk activities of the Constant Contact V3 API."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="watch a few dozen simulated imports", description="Watch simulated imports; needs no account."
    )
    demo.add_argument("--imports", type=int, default=30, metavar="N", help="how many imports (default: 30)")
    options = parser.parse_args(arguments)
    if not 1 <= options.imports <= 500:
        demo.error("--imports takes a number from 1 to 500")
    # The HTTP library takes a third of a second to import, which help and wrong usage need not wait for.
    from .demo import run  # noqa: PLC0415 -- as said above

    try:
        return run(options.imports)
    except KeyboardInterrupt:
        return 130
