"""The emitter: hands the events of a session to its hooks, in the event loop and at once.

Whoever has something to tell looks at `hooks` first, so that nothing is built where nobody listens.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Final

from .events import Event, Paused, Resumed

__all__ = ["Emitter", "Hook"]

Hook = Callable[[Event], object]
_log: Final = logging.getLogger("ccactivity")
# By so many seconds may a pause become longer without being told again: several requests are throttled at once, and of
# the end of a day there is one for single calls and one, with jitter, for the background.
_SAME_PAUSE_S: Final = {"throttled": 1.0, "quota_exceeded": 60.0}


class Emitter:
    """Calls each hook with each event.

    `hooks`: those that there are. `cause`: of the pause that they were told of, empty without one. `numbers`: of the
    watches of this process.
    """

    numbers: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(self, hooks: Hook | Iterable[Hook] | None = None) -> None:
        self.hooks: tuple[Hook, ...] = ()
        self._failed: list[Hook] = []
        self.cause: str = ""
        self._until = -math.inf
        several = () if hooks is None else hooks if isinstance(hooks, Iterable) and not callable(hooks) else (hooks,)
        for hook in several:
            self.add(hook)

    def add(self, hook: Hook) -> None:
        """Call one more hook from now on; TypeError if it cannot be called, or would have to be awaited."""
        if not callable(hook):
            raise TypeError(f"on_event must be a callable or several, not {type(hook).__name__}")
        if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
            raise TypeError(
                "on_event must be an ordinary function, since every request would wait for an async one; to await "
                "something at an event, have it call asyncio.create_task and keep the task"
            )
        self.hooks = (*self.hooks, hook)

    def emit(self, event: Event) -> None:
        """Call each hook. What one raises is logged the first time, and never reaches whoever sends or watches."""
        for hook in self.hooks:
            try:
                hook(event)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001 -- a user's code may raise anything
                if all(hook is not failed for failed in self._failed):
                    self._failed.append(hook)
                    name = getattr(hook, "__qualname__", type(hook).__qualname__)
                    _log.exception("the hook %s failed at a %s; it is said this once", name, type(event).__name__)

    def pause(self, cause: str, now: float, until: float) -> None:
        """Tell of a pause, unless one is known that lasts about as long."""
        if until > self._until + _SAME_PAUSE_S.get(cause, 0.0):
            self.cause, self._until = cause, until
            self.emit(Paused(at=now, cause=cause, until=until))

    def resume(self, now: float, *, background: bool) -> None:
        """Tell that a request may be sent after a pause. A day that is spent may have some left for single calls."""
        if background or now >= self._until:
            cause, self.cause, self._until = self.cause, "", -math.inf
            self.emit(Resumed(at=now, cause=cause))
