"""Imports the packages of the extra `oauth` when they are first needed, and says what to install if one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["import_extra"]


def import_extra(name: str) -> Any:
    """Import a module of such a package; ImportError that names the extra."""
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise  # the package is there, and lacks something itself
    raise ImportError(f"this needs the package {package}: pip install 'ccactivity[oauth]'")
