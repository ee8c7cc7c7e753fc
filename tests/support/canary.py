"""Finds secrets in texts and in log records.

A token that a test makes up starts with `CANARY`, every token of the sandbox holds `SANDBOX_TOKEN`; another string that
must stay secret is added to `SECRETS`.
"""

from __future__ import annotations

import logging

CANARY = "canary-secret-"
SANDBOX_TOKEN = "sandbox-token-"
SECRETS: set[str] = set()


def secrets_in(*texts: object) -> list[str]:
    """Return the beginning of each secret that one of these shows."""
    text = "\n".join(map(str, texts))
    return [secret[:16] for secret in SECRETS | {CANARY, SANDBOX_TOKEN} if secret in text]


def texts_of(record: logging.LogRecord) -> list[str]:
    """Return all that a handler could write of a record: message, arguments, traceback."""
    trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    parts = record.getMessage(), repr(record.args), record.exc_text, record.stack_info, trace, repr(record.exc_info)
    return [str(part) for part in parts]


class Canary(logging.Handler):
    """Looks into each record as it is made, and keeps only what leaked."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []

    def look(self, where: str, *texts: object) -> None:
        """Look for secrets in these texts."""
        excerpt = "\n".join(map(str, texts))[:500]
        self.found += [f"{secret}... in {where}: {excerpt}" for secret in secrets_in(*texts)]

    def emit(self, record: logging.LogRecord) -> None:
        """Look into one record."""
        self.look(f"a record of {record.name}", *texts_of(record))
