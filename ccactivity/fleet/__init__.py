"""The fleet: many processes with one API key spend what one would, over Redis or Valkey.

It needs redis-py: `pip install 'ccactivity[fleet]'`.
"""

from __future__ import annotations

from ..membership import FleetStats
from .engine import FleetStatus

try:
    from .redis_fleet import RedisFleet
except ModuleNotFoundError as _error:
    if _error.name != "redis":
        raise
    raise ImportError("ccactivity.fleet needs redis-py: pip install 'ccactivity[fleet]'") from None

__all__ = ["FleetStats", "FleetStatus", "RedisFleet"]
