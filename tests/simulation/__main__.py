"""Runs the simulation from the command line: a number of hours, or one seed with its plan."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from .world import simulate


def main() -> int:
    """Run seeds from the command line; 1 if there was a finding."""
    parser = argparse.ArgumentParser(description="Simulate the client against the sandbox.")
    parser.add_argument("--seed", type=int, help="replay this one, and show its plan")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--hours", type=float, default=100.0, help="simulated hours to go on for (default 100)")
    parser.add_argument("--log", action="store_true", help="show the library's log")
    arguments = parser.parse_args()
    if arguments.log:
        logging.basicConfig(level=logging.DEBUG, format="%(message)s")
    if arguments.seed is not None:
        report = simulate(arguments.seed)
        print(*report.plan, sep="\n")
        print(f"{report.hours:.1f} hours, {report.requests} requests, trace {report.trace}")
        if report.findings:
            print(report)
        return bool(report.findings)
    began, hours, requests, seed, failed = time.monotonic(), 0.0, 0, arguments.first, 0
    while hours < arguments.hours:
        report = simulate(seed)
        hours, requests, seed = hours + report.hours, requests + report.requests, seed + 1
        if report.findings:
            failed += 1
            print(report, flush=True)
    took = time.monotonic() - began
    print(f"{seed - arguments.first} seeds, {hours:.0f} hours, {requests} requests in {took:.0f} s, {failed} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
