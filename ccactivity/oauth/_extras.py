"""Finds the packages of the extra `oauth`; it imports none of them before something needs one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["need"]


def need(name: str) -> Any:
    """Import a module of one of these packages; ImportError that says what to install."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise
    raise ImportError(f"this needs the package {name.partition('.')[0]}: pip install 'ccactivity[oauth]'")
