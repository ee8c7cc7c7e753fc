"""The scripts that the engine runs, as text."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

__all__ = ["read_script"]

_OF_THE_QUOTA: Final = ("acquire", "settle", "beat")


def read_script(name: str) -> str:
    """Return the Lua text of a script, with what it shares with others."""
    folder = files(__name__)
    names = ("common", "quota" if name in _OF_THE_QUOTA else "news", name)
    return "\n".join(folder.joinpath(f"{each}.lua").read_text(encoding="utf-8") for each in names)
