"""What a process watches, and what the engine is told of it: also when things change while it is being told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

from ccactivity.api.decoding import Decoder
from ccactivity.errors import NotFoundError
from ccactivity.fleet.engine import EngineError
from ccactivity.fleet.registry import Registry
from ccactivity.fleet.wire import Wish, error_to_text
from ccactivity.polling.hub import Hub, SnapshotQueue


class FakeEngine:
    """Holds what it is told in `watched`. `meanwhile`: called once while it is asked. `lost`: the answer is lost."""

    def __init__(self) -> None:
        self.watched: dict[str, Wish] = {}
        self.known: dict[str, str] = {}
        self.calls: list[str] = []
        self.hurried: list[str] = []
        self.dropped: list[tuple[str, bool]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.lost = False

    def _answer(self, name: str) -> None:
        self.calls.append(name)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.lost:
            self.lost = False
            raise EngineError("reset")

    async def watch(self, wanted: Mapping[str, str]) -> dict[str, str]:
        known = {each: self.known[each] for each in wanted if each in self.known}
        self.watched |= {each: Wish.from_text(text) for each, text in wanted.items() if known.get(each, "")[:1] != "t"}
        self._answer("watch")
        return known

    async def drop(self, ids: Sequence[str], *, ended: bool) -> None:
        for each in ids:
            self.watched.pop(each, None)
            self.dropped.append((each, ended))
        self._answer("drop")

    async def post(self, kind: str, data: str) -> None:
        assert "hurry" == kind
        self.hurried += json.loads(data)
        self._answer("post")


class Consumer:
    """Somebody who watches, through the hub of a registry."""

    def __init__(self, registry: Registry, *ids: str, every_poll: bool = False, max_staleness: float | None = None):
        def enter() -> Hub:
            return registry.hub

        self.queue = SnapshotQueue(enter=enter, grace=10.0, every_poll=every_poll, max_staleness=max_staleness)
        self.queue.unfinished.update(dict.fromkeys(ids))
        self.queue.attach(first_look=False)

    @property
    def states(self) -> dict[str, str]:
        return {each: str(activity.state) for each, activity in self.queue.pending.items()}


def text(state: str, seen_at: int = 1, percent: int = 0) -> str:
    return f"{seen_at}:" + json.dumps({"activity_id": "a", "state": state, "percent_done": percent})


def made() -> tuple[Registry, FakeEngine]:
    engine = FakeEngine()
    return Registry(engine, Decoder(lambda *_: None)), engine  # type: ignore[arg-type]


async def test_what_is_watched_is_registered_and_dropped_again() -> None:
    registry, engine = made()
    consumer = Consumer(registry, "a", "b", max_staleness=5.0)
    await registry.tell()
    assert {"a": Wish(10.0, 5.0), "b": Wish(10.0, 5.0)} == engine.watched
    assert 2 == registry.registered

    consumer.queue.detach()
    await registry.tell()
    assert {} == engine.watched
    assert [("a", False), ("b", False)] == engine.dropped
    assert 0 == registry.registered


async def test_ids_are_told_by_the_five_hundred() -> None:
    registry, engine = made()
    Consumer(registry, *(f"a{number}" for number in range(1_200)))
    await registry.tell()

    assert ["watch"] * 3 == engine.calls
    assert 1_200 == len(engine.watched)


async def test_the_strictest_wish_of_all_that_watch_here_counts() -> None:
    registry, engine = made()
    Consumer(registry, "a", max_staleness=20.0)
    Consumer(registry, "a", max_staleness=5.0)
    Consumer(registry, "a", every_poll=True)
    await registry.tell()

    assert {"a": Wish(10.0, 5.0, every_poll=True)} == engine.watched


async def test_a_wish_that_changes_while_it_is_told_is_told_again() -> None:
    registry, engine = made()
    Consumer(registry, "a")
    engine.meanwhile = lambda: Consumer(registry, "a", max_staleness=2.0)
    await registry.tell()

    assert {"a": Wish(10.0, 2.0)} == engine.watched


async def test_what_is_left_while_it_is_told_is_dropped() -> None:
    registry, engine = made()
    consumer = Consumer(registry, "a")
    engine.meanwhile = consumer.queue.detach
    await registry.tell()

    assert {} == engine.watched
    assert 0 == registry.registered


async def test_what_ends_while_ends_are_told_is_dropped_too() -> None:
    registry, engine = made()
    consumer = Consumer(registry, "a", "b")
    await registry.tell()
    registry.on_snapshot("a", text("completed"))
    engine.meanwhile = lambda: registry.on_snapshot("b", text("failed").replace('"a"', '"b"'))
    await registry.tell()

    assert {"a": "completed", "b": "failed"} == consumer.states
    assert {} == engine.watched
    assert [("a", True), ("b", True)] == engine.dropped
    assert 0 == registry.registered


async def test_an_engine_that_did_not_answer_is_told_until_it_knows() -> None:
    """It may have done what it was asked, so what is left by then is dropped."""
    registry, engine = made()
    consumer = Consumer(registry, "a", "b")
    engine.lost = True
    for _ in range(2):
        try:
            await registry.tell()
        except EngineError:
            consumer.queue.hub.unsubscribe(consumer.queue, "b")  # type: ignore[union-attr]

    assert {"a": Wish(10.0, None)} == engine.watched
    assert 1 == registry.registered


async def test_all_is_told_again_and_nothing_that_was_left_stays() -> None:
    registry, engine = made()
    consumer = Consumer(registry, "a", "b", "c")
    await registry.tell()
    registry.on_snapshot("a", text("completed"))
    consumer.queue.hub.unsubscribe(consumer.queue, "b")  # type: ignore[union-attr]
    registry.begin_again()
    await registry.tell()

    assert {"c": Wish(10.0, None)} == engine.watched
    assert 1 == registry.registered
    engine.watched.clear()
    registry.begin_again()
    await registry.tell()
    assert {"c": Wish(10.0, None)} == engine.watched


async def test_what_an_engine_with_old_data_holds_is_dropped() -> None:
    registry, engine = made()
    Consumer(registry, "a")
    await registry.tell()
    engine.watched |= {"a": Wish(60.0, None), "left": Wish(10.0, None)}
    registry.begin_again(engine.watched)
    await registry.tell()

    assert {"a": Wish(10.0, None)} == engine.watched
    assert 1 == registry.registered


async def test_an_end_that_is_known_is_told_at_once_and_once() -> None:
    registry, engine = made()
    engine.known["a"] = "t" + text("completed", percent=100)
    consumer = Consumer(registry, "a")
    await registry.tell()
    registry.on_snapshot("a", text("completed", percent=100))

    assert {"a": "completed"} == consumer.states
    assert 1 == registry.finished
    assert {} == engine.watched


async def test_who_watches_again_what_has_ended_is_told_again() -> None:
    registry, engine = made()
    Consumer(registry, "a")
    await registry.tell()
    registry.on_snapshot("a", text("completed"))
    engine.known["a"] = "t" + text("completed")
    again = Consumer(registry, "a")
    await registry.tell()

    assert {"a": "completed"} == again.states


async def test_nothing_older_replaces_what_was_seen() -> None:
    registry, _ = made()
    consumer = Consumer(registry, "a")
    registry.on_snapshot("a", text("processing", seen_at=9, percent=50))
    registry.on_snapshot("a", text("processing", seen_at=8, percent=40))
    registry.on_snapshot("a", "9:not JSON")
    registry.on_snapshot("b", text("processing"))

    assert 50 == consumer.queue.pending["a"].percent_done


async def test_what_cannot_be_followed_is_an_error_and_dropped() -> None:
    registry, engine = made()
    consumer = Consumer(registry, "a")
    await registry.tell()
    registry.on_lost("a", error_to_text(NotFoundError(status=404, method="GET", path="/a")))
    registry.on_lost("a", error_to_text(NotFoundError(status=404, method="GET", path="/a")))
    await registry.tell()

    assert isinstance(consumer.queue.failures["a"], NotFoundError)
    assert {} == engine.watched


async def test_somebody_who_waits_for_a_first_look_is_told_of_once() -> None:
    registry, engine = made()
    Consumer(registry, "a", "b")
    for each in ("a", "b"):
        registry.prioritize(each)
    registry.on_snapshot("b", text("processing").replace('"a"', '"b"'))
    await registry.tell()
    registry.prioritize("b")
    await registry.tell()

    assert ["a"] == engine.hurried


async def test_a_watch_that_goes_on_begins_with_what_was_seen() -> None:
    registry, _ = made()
    consumer = Consumer(registry, "a")
    registry.on_snapshot("a", text("processing", percent=50))
    consumer.queue.take()
    consumer.queue.detach()
    consumer.queue.attach(first_look=True)

    assert {} == consumer.states
    assert math.inf > registry.resume_point("a").looked_at
    assert 50 == getattr(registry.resume_point("a").activity, "percent_done", None)
