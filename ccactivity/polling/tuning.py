"""Every number of the planner that was fitted, with its unit and reason. None is the vendor's. Pure.

They were fitted by `nox -s economy`. Change one at a time, and quote the table: `nox -s economy -- --tune NAME=VALUE`.
"""

from __future__ import annotations

import attrs

__all__ = ["Tuning"]


@attrs.frozen(kw_only=True)
class Tuning:
    """The fitted numbers. What doubling one does is the mean over ten seeds each of ten and of a hundred activities."""

    # The price of a request.
    reserved_share: float = 0.1
    """Of the budget's capacity: what is kept from watches that want to be seen more often than is worth it."""
    min_budget_level: float = 1e-3
    """Share of the capacity: the price does not rise further below it."""
    revalue_below: float = 0.98
    """Of the expected price: when it is lower than this, due times that were worked out are worked out again."""
    age_to_ceiling: float = 6.0
    """Time at work to ceiling: an activity that has been at work for an hour may go unseen for ten minutes."""
    ceiling_per_page_s: float = 10.0
    """Seconds that the ceiling is raised to, for each page (or id without lists) that has to be seen within it."""

    # Choosing a request.
    single_get_penalty: float = 1.05
    """A GET must be 5 % more worthwhile than its price, or it alternates with the page that shows the same id."""
    page_threshold: float = 0.98
    """Of the price: a page is fetched a hair before a GET for one id on it is due."""
    queue_sweep_bonus: float = 1.3
    """A page with queued ids also shows who has started, which sharpens later forecasts: worth 30 % more requests."""
    prior_starts: float = 0.5
    """Starts that every page is credited with, before any was seen there."""
    start_decay: float = 0.9
    """Of the starts counted so far: what is left of them when another one is seen."""
    page_step: float = 0.05
    """Seconds, and share of the time since the last fetch: a page's due time is not worked out more finely."""
    recheck_s: float = 0.25
    """Seconds until an id that is about to be shown by an answer on its way is considered again."""
    max_false_suspicions: int = 3
    """Ids in a row that were missing from the list of those at work, and yet at work, before it is fetched no more."""

    # Forecasting an end.
    unseen_median_s: float = 4.0
    """Seconds: the median of what remains, for an id that nobody has looked at. It may have ended long ago."""
    min_median_s: float = 0.5
    """Seconds: no forecast is sharper."""
    unknown_state_median_s: float = 60.0
    """Seconds: the least median of what remains, in a state that the vendor has not documented."""
    remaining_bias: float = 1.05
    """Stalls and last steps make what remains 5 % longer than linear extrapolation says."""
    silent_share: float = 0.4
    """Of the typical duration and the time at work: the median of what remains without any progress."""
    stalled_share: float = 0.7
    """Of the time without progress between two stamps: the least median of what remains."""
    unreported_share: float = 0.5
    """Of the time since progress was last reported, stamp or not: likewise."""
    stalled_typical_share: float = 0.2
    """Of the typical duration: the least median of what remains of an activity that has stalled."""

    # Learning from ends.
    first_unseen_share: float = 0.2
    """The share of ends that nobody saw at work, before one was seen."""
    unseen_share_weight: float = 0.08
    """Of one end, in that share."""
    first_duration_s: float = 40.0
    """Seconds: the typical duration, before an end was seen."""
    max_learned_ends: int = 20
    """Ends after which each further one weighs as much as the one before."""
    recent_ends: int = 13
    """Ends that the completion rate is taken from."""
    min_rate_window_s: float = 5.0
    """Seconds: ends closer together than this say no more of the rate."""
    first_interval_s: float = 6.0
    """Seconds between two ends that are expected right after something changed."""
    interval_growth: float = 0.5
    """Seconds by which that grows with each second without a change."""
    min_stalls: int = 5
    """Ends after a stall, before their stalls are taken for alike."""
    max_stall_spread: float = 0.25
    """Of the mean stall: the mean deviation up to which stalls are alike, so that the next is expected to be, too."""

    # Pages.
    first_page_margin: int = 25
    """Rows fetched beyond the last one needed, doubled when they did not suffice."""
