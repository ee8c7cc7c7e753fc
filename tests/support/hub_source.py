"""A hub without a poller: what it is told to poll is remembered, and nothing is asked."""

from __future__ import annotations

from typing import cast

from ccactivity.models import Activity
from ccactivity.polling.hub import Hub, ResumePoint
from ccactivity.polling.poller import Poller


class FakeSource:
    """What polls for a hub: remembers what it was told, and knows where each id may go on.

    `last`: the last snapshot of each id, to be set by a test.
    """

    def __init__(self) -> None:
        self.last: dict[str, Activity] = {}
        self.polled: dict[str, list[tuple[float, float | None]]] = {}
        self.strictest: list[tuple[str, float | None]] = []
        self.resumed: list[ResumePoint] = []
        self.prioritized: list[str] = []
        self.settled_count = 0

    def add(
        self, activity_id: str, *, grace: float, max_staleness: float | None, resume_from: ResumePoint
    ) -> Activity | None:
        self.polled.setdefault(activity_id, []).append((grace, max_staleness))
        self.resumed.append(resume_from)
        return self.last.get(activity_id, resume_from.activity)

    def set_max_staleness(self, activity_id: str, max_staleness: float | None) -> None:
        self.strictest.append((activity_id, max_staleness))

    def remove(self, activity_id: str) -> None:
        del self.polled[activity_id]
        self.last.pop(activity_id, None)

    def resume_point(self, activity_id: str) -> ResumePoint:
        return ResumePoint(self.last.get(activity_id), 7.0, gives_up_at=17.0)

    def prioritize(self, activity_id: str) -> None:
        self.prioritized.append(activity_id)

    async def settled(self) -> None:
        self.settled_count += 1


def connected() -> tuple[Hub, FakeSource]:
    hub, source = Hub(), FakeSource()
    hub.connect(cast("Poller", source))
    return hub, source


def publish(hub: Hub, activity: Activity, *, changed: bool = True) -> None:
    """Tell a hub of a look at an activity, as what polls does."""
    hub.publish(activity, changed=changed, final=activity.done)
