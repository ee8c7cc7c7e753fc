"""How long what has failed is left alone: all together in an outage, a single id by itself."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.polling.failures import MAX_PROBE_INTERVAL_S, Failures, delay_after


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0), (5, 32.0), (6, 60.0), (7, 60.0), (10_000, 60.0)],
)
def test_delays_double_up_to_a_minute(failures: int, seconds: float) -> None:
    """After each failure in a row the wait is twice as long, up to a minute."""
    assert seconds == delay_after(failures)


def test_an_outage_is_probed_ever_more_rarely() -> None:
    """Each request without an answer puts the next probe off: 1, 2, 4, 8 seconds."""
    failures, waits = Failures(), []
    for _ in range(4):
        failures.unanswered(100.0)
        waits.append(failures.next_probe - 100.0)

    assert [1.0, 2.0, 4.0, 8.0] == waits
    assert 4 == failures.count


def test_an_answer_ends_an_outage() -> None:
    """After any answer nothing waits for a probe, and the next failure is a first one."""
    failures = Failures()
    for _ in range(5):
        failures.unanswered(100.0)
    failures.answered()
    after = failures.count, failures.next_probe
    failures.unanswered(200.0)

    assert (0, -math.inf) == after
    assert 201.0 == failures.next_probe


def test_an_id_that_fails_waits_alone() -> None:
    """An id whose request failed is not asked for before its own delay has passed; others are, and so is it when it
    is held no more.
    """
    failures = Failures()
    failures.hold("a", 100.0)
    failures.hold("a", 110.0)

    assert {"a"} == failures.held.keys()
    assert (114.0, 120.0, 112.0) == (
        failures.not_before("a", 112.0),
        failures.not_before("a", 120.0),
        failures.not_before("b", 112.0),
    )

    del failures.held["a"]

    assert 112.0 == failures.not_before("a", 112.0)


def test_an_outage_holds_no_id() -> None:
    """A request without an answer says nothing of an id, and an answer nothing of one that failed."""
    failures = Failures()
    failures.hold("a", 100.0)
    failures.unanswered(100.0)
    failures.answered()

    assert {"a"} == failures.held.keys()


@given(moments=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=50).map(sorted))
def test_no_wait_is_longer_than_a_minute(moments: list[float]) -> None:
    """However long it has failed, neither the vendor nor an id is left alone for more than a minute."""
    failures = Failures()
    for now in moments:
        failures.unanswered(now)
        failures.hold("a", now)
        assert now + 1.0 <= failures.next_probe <= now + MAX_PROBE_INTERVAL_S
        assert now + 1.0 <= failures.not_before("a", now) <= now + MAX_PROBE_INTERVAL_S
