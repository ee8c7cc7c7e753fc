"""Activities to show, and batches of them."""

from __future__ import annotations

from typing import Any

from ccactivity import Activity
from ccactivity.cli.batch.render import Line, Viewport, render_frame
from ccactivity.cli.batch.state import BatchState


def activity(number: int, state: str = "processing", percent: int | None = 0, **more: Any) -> Activity:
    activity_id = f"{number:08x}-cc52-11ea-9dad-fa163e3d9194"
    return Activity(activity_id=activity_id, state=state, percent_done=percent, **more)


def batch_of(*activities: Activity, now: float = 0.0) -> BatchState:
    batch = BatchState(0.0)
    for one in activities:
        batch.update(one, now)
    return batch


def texts(batch: BatchState, viewport: Viewport, now: float = 0.0) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines(batch, viewport, now)]


def lines(batch: BatchState, viewport: Viewport, now: float = 0.0) -> list[Line]:
    return render_frame(batch, viewport, spent=12, remaining=9_988, now=now)
