"""What a fetch of a remembered page is worth, by the ids that it may show."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.polling.forecast import QUEUED, UNSEEN, WORKING
from ccactivity.polling.pages import Entry, KnownPage
from ccactivity.polling.tuning import Tuning

TUNING = Tuning()


def entry_of(key: str, *, phase: str = WORKING, median: float = 10.0, quadratic: bool = False) -> Entry:
    return Entry(
        activity_id=key,
        watched_since=0.0,
        sequence=0,
        looked_at=0.0,
        phase=phase,
        median_remaining=median,
        quadratic=quadratic,
    )


@given(
    st.lists(st.tuples(st.floats(0.5, 500.0), st.booleans(), st.integers(0, 3)), max_size=20),
    st.floats(0, 300),
)
def test_a_pages_lag_is_the_sum_and_its_slope_the_ends(rows: list[tuple[float, bool, int]], now: float) -> None:
    """A page removes the expected lag of all its ids, each by how certain it is to be shown."""
    page = KnownPage(0.0)
    for i, (median, quadratic, missed) in enumerate(rows):
        page.seek(missed).add(entry_of(f"a{i}", median=median, quadratic=quadratic))
    total = sum(entry.expected_lag(now) * each.weight for each in page.cohorts for entry in each.ids.values())
    lag, ends = page.expected_lag(now, 0.0, TUNING)
    after, _ = page.expected_lag(now + 1e-4, 0.0, TUNING)

    assert math.isclose(total, lag, rel_tol=1e-5, abs_tol=1e-6)
    assert math.isclose((after - lag) / 1e-4, ends, rel_tol=0.02, abs_tol=0.05)


@pytest.mark.parametrize(
    ("phase", "elapsed", "lag", "ends"),
    [
        (UNSEEN, 4.0, 2 * 4.0**2 / (4 * 4.0), 2 * 0.5),
        (UNSEEN, 20.0, 2 * (20.0 - 4.0), 2 * 1.0),
        (QUEUED, 20.0, 0.1 * 20.0**2 / 2, 0.1 * 20.0),
    ],
)
def test_lag_of_what_has_not_begun(phase: str, elapsed: float, lag: float, ends: float) -> None:
    """The unseen are forecast together; of the queued, so many end in a second, however many there are."""
    page = KnownPage(0.0)
    for key in "ab":
        page.seek().add(entry_of(key, phase=phase))

    assert pytest.approx((lag, ends)) == page.expected_lag(elapsed, 0.1, TUNING)


def test_what_is_taken_off_a_page_counts_no_more() -> None:
    """A page that showed nothing but one id is worth nothing without it."""
    page, entry = KnownPage(0.0), entry_of("a", phase=UNSEEN)
    page.seek().add(entry)
    page.seek().remove(entry, UNSEEN)

    assert (0.0, 0.0) == page.expected_lag(100.0, 1.0, TUNING)
    assert 0 == page.queued == page.count
