"""Every number of the planner that was fitted, with its unit and reason. None is the vendor's. Pure."""

from __future__ import annotations

import attrs

__all__ = ["Tuning"]


@attrs.frozen(kw_only=True)
class Tuning:
    """The fitted numbers, by `nox -s economy`. Change one at a time (`-- --tune NAME=VALUE`), and quote the table.

    "x2" is what doubling does to requests and mean lag, in percent, for 10 activities, for 100, and for 100 that report
    no progress (`-- --double all`); "x2: 0" changes none of them by one percent: the number is for other workloads.
    """

    # The price of a request.
    reserved_share: float = 0.1
    """Of the budget's capacity: kept from watches that want to be seen more often than is worth it. x2: 0."""
    min_budget_level: float = 1e-3
    """Share of the capacity: the price rises no further below it. x2: 0."""
    revalue_below: float = 0.98
    """Of the expected price: when requests are cheaper than this, due times are worked out again. x2: 0."""
    age_to_ceiling: float = 6.0
    """Time at work to ceiling: what has been at work for an hour may go unseen for ten minutes. x2: +3 +0, 0, 0."""
    ceiling_per_page_s: float = 10.0
    """Seconds of ceiling for each page, or id without lists, that has to be seen within it. x2: 0."""

    # Choosing a request.
    single_get_penalty: float = 1.05
    """Of the price: what a GET must be worth, or it alternates with its id's page. x2: -7 +8, -2 +2, -1 +3."""
    page_threshold: float = 0.98
    """Of the price: a page is fetched a hair before a GET for one id on it is due. x2: -16 +13, -22 +38, -26 +33."""
    queue_sweep_bonus: float = 1.3
    """A page with queued ids shows who has started, which sharpens forecasts. x2: +3 -8, +4 -2, +2 +0."""
    prior_starts: float = 0.5
    """Starts that all pages together are credited with, before any was seen on one. x2: 0."""
    start_decay: float = 0.9
    """Of the starts counted on a page: what is left of them when another one is seen. x2: 0."""
    page_step: float = 0.05
    """Seconds, and share of the time since a fetch: due times are no finer. x2: -1 +3, -3 +7, -4 -1."""
    recheck_s: float = 0.25
    """Seconds until an id that is about to be shown by an answer on its way is considered again. x2: 0."""
    max_false_suspicions: int = 3
    """Ids in a row that the list of those at work lacked though they were, before it is fetched no more. x2: 0."""

    # Forecasting an end.
    unseen_median_s: float = 4.0
    """Seconds: the median of what remains of an id that nobody has looked at; it may have ended. x2: -1 +4, 0, 0."""
    min_median_s: float = 0.5
    """Seconds: no forecast is sharper. x2: +0 -10, +1 +0, 0."""
    unknown_state_median_s: float = 60.0
    """Seconds: the least median of what remains in a state that the vendor has not documented. x2: 0."""
    remaining_bias: float = 1.05
    """Stalls and last steps make what remains 5 % longer than extrapolation says. x2: -21 +26, -20 +31, 0."""
    silent_share: float = 0.4
    """Of typical duration and time at work: the median of what remains without progress. x2: -5 +0, -7 +13, -25 +40."""
    stalled_share: float = 0.7
    """Of the time without progress between two stamps: the least median of what remains. x2: -1 +2, 0, 0."""
    unreported_share: float = 0.5
    """Of the time since progress was last reported, stamp or not: likewise. x2: -3 -10, -2 +8, 0."""
    stalled_typical_share: float = 0.2
    """Of the typical duration: the least median of what remains of one that has stalled. x2: -3 +4, -3 +14, 0."""

    # Learning from ends.
    first_unseen_share: float = 0.2
    """The share of ends that nobody saw at work, before one was seen. x2: +3 -8, +2 +0, +1 -1."""
    unseen_share_weight: float = 0.08
    """Of one end, in that share. x2: +0 +1, +0 +1, +0 -1."""
    first_duration_s: float = 40.0
    """Seconds: the typical duration, before an end was seen. x2: -2 -11, +0 +1, -1 +0."""
    max_learned_ends: int = 20
    """Ends after which each further one weighs as much as the one before. x2: 0, +1 +2, +1 +0."""
    recent_ends: int = 13
    """Ends that the completion rate is taken from. x2: 0, +0 +2, +0 -3."""
    min_rate_window_s: float = 5.0
    """Seconds: ends closer together than this say no more of the rate. x2: 0, 0, +0 +2."""
    first_interval_s: float = 6.0
    """Seconds between two ends that are expected right after something changed. x2: -3 -1, +0 +5, +0 +4."""
    interval_growth: float = 0.5
    """Seconds by which that grows with each second without a change. x2: -3 -1, +0 +2, +0 +3."""
    min_stalls: int = 5
    """Ends after a stall, before their stalls are taken for alike. x2: 0."""
    max_stall_spread: float = 0.25
    """Of the mean stall: the mean deviation up to which stalls are taken for alike. x2: +0 -1, +1 +0, 0."""

    # Pages.
    first_page_margin: int = 25
    """Rows fetched beyond the last one needed, doubled when they did not suffice. x2: 0."""
