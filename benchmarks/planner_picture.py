"""The picture of how the planner decides: expected lag, from the library's own `Forecast`, against the price."""

from __future__ import annotations

import attrs

from ccactivity.polling.forecast import Forecast

__all__ = ["draw"]

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 60, 70, 34, 48
SECONDS, LAG, PRICE = 40.0, 2.5, 1.0  # the ends of the axes, and `Pacing.price`

# Three activities that were seen at time 0, and would end after so many seconds with probability 1/2.
ACTIVITIES = {
    "at 90 %": Forecast(looked_at=0.0, median_remaining=30.0, quadratic=True),
    "at 60 %": Forecast(looked_at=0.0, median_remaining=45.0, quadratic=True),
    "no progress yet": Forecast(looked_at=0.0, median_remaining=150.0),
}


@attrs.frozen
class Colors:
    """The colours of one theme."""

    paper: str
    ink: str
    faint: str
    single: str
    page: str


LIGHT = Colors("#ffffff", "#1f2328", "#d1d9e0", "#8250df", "#0969da")
DARK = Colors("#0d1117", "#e6edf3", "#3d444d", "#bc8cff", "#58a6ff")


def _x(seconds: float) -> float:
    return LEFT + seconds / SECONDS * (WIDTH - LEFT - RIGHT)


def _y(lag: float) -> float:
    return HEIGHT - BOTTOM - lag / LAG * (HEIGHT - TOP - BOTTOM)


def _page_lag(at: float) -> float:
    return sum(forecast.expected_lag(at) for forecast in ACTIVITIES.values())


def _first_at(lag: float) -> float:
    """When the page's expected lag reaches so many seconds, to a hundredth of a second."""
    return next(tick / 100 for tick in range(int(SECONDS) * 100) if _page_lag(tick / 100) >= lag)


def _text(x: float, y: float, text: str, color: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}" font-weight="{weight}">{text}</text>'


def _curve(points: list[tuple[float, float]], color: str, width: float) -> str:
    path = " ".join(f"{_x(at):.1f},{_y(lag):.1f}" for at, lag in points if lag <= LAG)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"/>'


def draw(*, dark: bool) -> str:
    """Return the picture as SVG."""
    colors = DARK if dark else LIGHT
    ticks = [tick / 2 for tick in range(int(SECONDS) * 2 + 1)]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="14">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{colors.paper}"/>',
    ]
    for seconds in range(0, int(SECONDS) + 1, 10):
        parts.append(f'<path d="M{_x(seconds):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{colors.faint}"/>')
        parts.append(_text(_x(seconds), HEIGHT - BOTTOM + 20, f"{seconds}", colors.ink, anchor="middle"))
    for lag in range(int(LAG) + 1):
        parts.append(f'<path d="M{LEFT} {_y(lag):.1f}H{WIDTH - RIGHT}" stroke="{colors.faint}"/>')
        parts.append(_text(LEFT - 10, _y(lag) + 5, f"{lag} s", colors.ink, anchor="end"))
    parts.append(_text(_x(SECONDS / 2), HEIGHT - 8, "seconds since the last look", colors.ink, anchor="middle"))

    for name, forecast in ACTIVITIES.items():
        parts.append(_curve([(at, forecast.expected_lag(at)) for at in ticks], colors.single, 1.5))
        parts.append(_text(_x(forecast.lag_reaches(LAG)), TOP - 10, name, colors.single, anchor="middle"))
    parts.append(_curve([(at, _page_lag(at)) for at in ticks], colors.page, 3.0))
    top = _x(_first_at(LAG))
    parts.append(_text(top, TOP - 10, "the page of all three", colors.page, anchor="end", weight="bold"))

    across = f"M{LEFT} {_y(PRICE):.1f}H{WIDTH - RIGHT}"
    parts.append(f'<path d="{across}" stroke="{colors.ink}" stroke-width="1.5" stroke-dasharray="6 4"/>')
    parts.append(_text(LEFT + 8, _y(PRICE) - 8, "price of a request", colors.ink))
    meets = _first_at(PRICE)
    parts.append(f'<circle cx="{_x(meets):.1f}" cy="{_y(PRICE):.1f}" r="6" fill="{colors.page}"/>')
    down = f"M{_x(meets):.1f} {_y(PRICE) + 6:.1f}V{HEIGHT - BOTTOM}"
    parts.append(f'<path d="{down}" stroke="{colors.page}" stroke-dasharray="2 3"/>')
    note = f"one request, after {meets:.0f} s"
    parts.append(_text(_x(meets) + 8, HEIGHT - BOTTOM - 8, note, colors.page, weight="bold"))
    return "\n".join([*parts, "</svg>", ""])
