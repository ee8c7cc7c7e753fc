"""The pictures of README.md and docs/, as SVG for dark and for light pages.

    nox -s pictures                     # draws all of them into docs/images/, a second

The live view is that of a real watch, in the middle of it: against the sandbox, from a fixed seed, in virtual time. The
costs are drawn from `economy.json` beside this file, which names the run of `economy.py` that it is of; how the planner
decides, from its own forecasts. So a second run draws the same bytes, and a test compares them. No picture loads
anything: its fonts are those of who looks at it.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Final

import attrs
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from ccactivity import ActivitySession, Pacing
from ccactivity.cli.batch.live import live_view
from ccactivity.cli.batch.render import Line, Viewport, render_frame
from ccactivity.cli.batch.state import BatchState
from ccactivity.polling.forecast import Forecast
from ccactivity.sandbox import Sandbox, Workload
from ccactivity.testing import run, utc_now

FOLDER: Final = Path(__file__).parent.parent / "docs" / "images"
ECONOMY_FILE: Final = Path(__file__).with_name("economy.json")

_MONOSPACE: Final = "ui-monospace, 'SF Mono', Menlo, 'Cascadia Mono', Consolas, 'DejaVu Sans Mono', monospace"
_SANS_SERIF: Final = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"


@attrs.frozen(kw_only=True)
class Palette:
    """The colours of a picture. `dim`: of what matters least; `ours`: of this library in the plot."""

    background: str
    border: str
    text: str
    dim: str
    ours: str
    others: str
    green: str
    red: str
    magenta: str
    cyan: str


PALETTES: Final = {
    "dark": Palette(
        background="#0d1117",
        border="#3d444d",
        text="#e6edf3",
        dim="#9198a1",
        ours="#3fb950",
        others="#f0883e",
        green="#3fb950",
        red="#ff7b72",
        magenta="#d2a8ff",
        cyan="#39c5cf",
    ),
    "light": Palette(
        background="#ffffff",
        border="#d1d9e0",
        text="#1f2328",
        dim="#59636e",
        ours="#1a7f37",
        others="#bc4c00",
        green="#1a7f37",
        red="#cf222e",
        magenta="#8250df",
        cyan="#1b7c83",
    ),
}


def _draw_frame(width: float, height: float, palette: Palette) -> str:
    size = f'x="1" y="1" width="{width - 2:g}" height="{height - 2:g}" rx="10"'
    return f'<rect {size} fill="{palette.background}" stroke="{palette.border}"/>'


# --- the live view ----------------------------------------------------------------------------------------------------

_COMMAND: Final = "ccactivity watch --all"
_SEED: Final = 8
_WORKLOAD: Final = Workload(median=30.0, sigma=0.7, lanes=8, update_every=(0.5, 4.0))
_IMPORTS: Final = 30
_FRAME_INTERVAL_S: Final = 0.125
_DRAWN_AFTER_S: Final = 360.5 * _FRAME_INTERVAL_S  # between two frames
_COLUMNS: Final = 96
_LINES: Final = 18
_ASPECT_RATIO: Final = 0.6  # of the width of a letter to its size, in the usual fonts

_MARGIN_PX: Final = 18
_LINE_PX: Final = 24.4  # of `Console.export_svg`, as are 20 px for a letter
_WIDTH_PX: Final = 2 * _MARGIN_PX + _COLUMNS * 20 * _ASPECT_RATIO
_HEIGHT_PX: Final = 2 * _MARGIN_PX + (_LINES + 1) * _LINE_PX  # the view leaves its last line free

# A terminal that shows a command and its output. The braces that are doubled are for rich, which fills them in.
_SVG_OF_TERMINAL: Final = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH_PX:g} {_HEIGHT_PX:g}">
<title>{_COMMAND}</title>
<style>
.terminal {{{{{{{{ font: 20px {_MONOSPACE}; white-space: pre }}}}}}}}
{{{{styles}}}}
</style>
{{frame}}
<g class="terminal" transform="translate({_MARGIN_PX}, {_MARGIN_PX})">
<text y="20" fill="{{dim}}">$ <tspan fill="{{text}}">{_COMMAND}</tspan></text>
<g transform="translate(0, {2 * _LINE_PX:g})">
{{{{backgrounds}}}}{{{{matrix}}}}
</g>
</g>
</svg>
"""


async def draw_live_view(palettes: Mapping[str, Palette]) -> dict[str, str]:
    """Watch some imports, and return what the live view shows in the middle of it, for each palette."""
    loop = asyncio.get_running_loop()
    console = Console(
        record=True,
        file=io.StringIO(),
        width=_COLUMNS,
        height=_LINES,
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        _environ={"TERM": "xterm-256color"},  # no variable of the real one has a say in what is drawn
    )
    start = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    async with (
        Sandbox(start=start, seed=_SEED, latency=0.1, workload=_WORKLOAD) as sandbox,
        ActivitySession(sandbox.token, base_url=sandbox.base_url, now=utc_now) as session,
    ):
        ids = [sandbox.submit(file_name=f"region-{number + 1:02}.csv") for number in range(_IMPORTS)]
        batch = BatchState(loop.time(), len(ids))

        def render(viewport: Viewport) -> list[Line]:
            quota = session.quota
            return render_frame(batch, viewport, spent=quota.spent, remaining=quota.remaining, now=loop.time())

        async def follow() -> None:
            async for activity in session.watch_many(ids):
                batch.update(activity, loop.time())

        with live_view(console, render, redirect_stderr=False):
            following = asyncio.create_task(follow())
            await asyncio.sleep(_DRAWN_AFTER_S)
            console.export_text()  # which forgets the frames so far
            await asyncio.sleep(_FRAME_INTERVAL_S)
            pictures = {name: _draw_terminal(console, palette) for name, palette in palettes.items()}
            following.cancel()
    return pictures


def _draw_terminal(console: Console, palette: Palette) -> str:
    """Return what a console has recorded, below the command that it is of."""
    colors = (palette.text, palette.red, palette.green, palette.text, palette.text, palette.magenta, palette.cyan)
    theme = TerminalTheme(_rgb(palette.background), _rgb(palette.text), [*map(_rgb, colors), _rgb(palette.text)])
    svg = console.export_svg(
        theme=theme,
        clear=False,
        code_format=_SVG_OF_TERMINAL.format(
            frame=_draw_frame(_WIDTH_PX, _HEIGHT_PX, palette), text=palette.text, dim=palette.dim
        ),
        font_aspect_ratio=_ASPECT_RATIO,
        unique_id="live",
    )
    # A line of text each; no ends of lines, and no clipping of what is no longer than its line.
    svg = re.sub(r"<text[^>]*>\n</text>| clip-path=\"[^\"]*\"", "", svg).replace("</text><text", "</text>\n<text")
    # Bars have no gaps, whatever the width of the letters of a font.
    return svg.replace(" textLength=", ' lengthAdjust="spacingAndGlyphs" textLength=')


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


# --- what watching costs ----------------------------------------------------------------------------------------------

_PLOT_WIDTH_PX: Final = 830
_PLOT_HEIGHT_PX: Final = 396
_OURS: Final = "ccactivity"
_POLICIES: Final = (_OURS, "fixed", "google", "boto", "azure", "blind")  # the first letters of those that are drawn


@attrs.frozen
class Label:
    """What stands beside a mark, as lines of text. `anchor`: of the lines; `dx`, `dy`: from the mark to the first."""

    lines: Sequence[str]
    anchor: str
    dx: float
    dy: float


@attrs.frozen(kw_only=True)
class Panel:
    """One workload of the benchmark: requests for each import to the right, mean lag in seconds upwards.

    `left`: where its axes meet, in pixels. `logarithmic`: the scale of the lags. `labels`: by policy.
    """

    world: str
    title: str
    left: float
    x_ticks: Sequence[int]
    y_ticks: Mapping[float, str]
    logarithmic: bool = False
    labels: Mapping[str, Label]

    width: float = 322.0
    top: float = 74.0
    bottom: float = 320.0

    def x(self, requests: float) -> float:
        """Return where so many requests for each import are."""
        return self.left + self.width * requests / self.x_ticks[-1]

    def y(self, lag: float) -> float:
        """Return where a lag is."""
        low, high = min(self.y_ticks), max(self.y_ticks)
        share = math.log(lag / low, high / low) if self.logarithmic else (lag - low) / (high - low)
        return self.bottom - (self.bottom - self.top) * share


PANELS: Final = (
    Panel(
        world="N=100, k=8",
        title="100 imports",
        left=62,
        x_ticks=(0, 20, 40, 60, 80),
        y_ticks={0.0: "0", 5.0: "5 s", 10.0: "10 s", 15.0: "15 s", 20.0: "20 s"},
        labels={
            _OURS: Label(["ccactivity: {each:.1f} requests, {mean:.1f} s"], "start", 12, 5),
            "blind": Label(["blind sweep of the list"], "start", 12, 4),
            "fixed": Label(["a 5 s loop"], "middle", 0, 21),
            "google": Label(["google-api-core, 1 to 20 s"], "middle", 6, -12),
            "boto": Label(["boto waiter, 15 s"], "start", 11, 7),
            "azure": Label(["azure-core, 30 s"], "middle", 0, -12),
        },
    ),
    Panel(
        world="N=1000, k=16",
        title="1,000 imports",
        left=484,
        x_ticks=(0, 3, 6, 9, 12),
        y_ticks={1.0: "1 s", 10.0: "10 s", 60.0: "1 min", 600.0: "10 min", 3600.0: "1 h", 36_000.0: "10 h"},
        logarithmic=True,
        labels={
            _OURS: Label(["ccactivity: {each:.1f} requests, {mean:.1f} s"], "start", 12, 5),
            "blind": Label(["blind sweep of the list"], "start", 12, 4),
            # The other loops are in the same place.
            "fixed": Label(
                ["any of the loops: {hours:.1f} h", "the day's requests are gone", "within the hour"], "end", -12, 5
            ),
        },
    ),
)


def draw_costs(result: Mapping[str, Any], palette: Palette) -> str:
    """Return a plot of the figures that `economy.py --json` wrote."""
    note = "Simulated, all behind the API's limits: 4 requests a second and 10,000 a day."
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_PLOT_WIDTH_PX} {_PLOT_HEIGHT_PX}">',
        "<title>Requests for each import against mean lag: this library and polling loops</title>",
        f"<desc>Drawn from what this wrote: {escape(result['command'])}</desc>",
        f"<style>text {{ font: 13px {_SANS_SERIF}; fill: {palette.text};",
        f"paint-order: stroke; stroke: {palette.background}; stroke-width: 4px }}",
        f".dim {{ fill: {palette.dim} }} .ours {{ font-weight: bold; fill: {palette.ours} }}",
        ".title { font-size: 16px; font-weight: bold }</style>",
        _draw_frame(_PLOT_WIDTH_PX, _PLOT_HEIGHT_PX, palette),
    ]
    for panel in PANELS:
        lines += _draw_axes(panel, palette)
        # Ours is drawn last, on top of the others.
        for policy in reversed(_POLICIES):
            lines += _draw_policy(panel, policy, result["rows"], palette)
    return "\n".join([*lines, _text(_PLOT_WIDTH_PX / 2, 384, note, "middle", "dim"), "</svg>\n"])


def _draw_axes(panel: Panel, palette: Palette) -> Iterator[str]:
    yield _text(panel.left, 34, panel.title, "start", "title")
    yield _text(panel.left, 56, "mean lag (logarithmic)" if panel.logarithmic else "mean lag", "start", "dim")
    for lag, name in panel.y_ticks.items():
        y = panel.y(lag)
        yield f'<path d="M{panel.left:g} {y:.1f}h{panel.width:g}" stroke="{palette.border}" stroke-opacity="0.6"/>'
        yield _text(panel.left - 8, y + 4, name, "end", "dim")
    for requests in panel.x_ticks:
        yield _text(panel.x(requests), panel.bottom + 18, str(requests), "middle", "dim")
    yield _text(panel.left + panel.width / 2, panel.bottom + 38, "requests for each import", "middle", "dim")


def _draw_policy(panel: Panel, policy: str, rows: Sequence[Mapping[str, Any]], palette: Palette) -> Iterator[str]:
    (row,) = (row for row in rows if row["world"] == panel.world and row["policy"].startswith(policy))
    x, y = panel.x(row["each"]), panel.y(row["mean"])
    color, radius = (palette.ours, 7) if policy == _OURS else (palette.others, 5)
    fill = palette.background if policy == "blind" else color
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{color}" stroke-width="2"/>'
    if label := panel.labels.get(policy):
        for number, line in enumerate(label.lines):
            text = line.format(each=row["each"], mean=row["mean"], hours=row["mean"] / 3600)
            style = "ours" if policy == _OURS else "other"
            yield _text(x + label.dx, y + label.dy + 17 * number, text, label.anchor, style)


def _text(x: float, y: float, text: str, anchor: str, style: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} class="{style}">{escape(text, quote=False)}</text>'


# --- how the planner decides ------------------------------------------------------------------------------------------

_PLANNER_SIZE_PX: Final = (830, 390)
_PLANNER_AREA_PX: Final = (60, 46, 740, 336)  # left, top, right, bottom
_X_AXIS_END_S, _Y_AXIS_END_S = 40.0, 2.5  # the ends of the axes
_PRICE_S: Final = Pacing().price
# Seen at time 0; each has ended with probability 1/2 after so many seconds.
_FORECASTS: Final = {
    "at 90 %": Forecast(looked_at=0.0, median_remaining=30.0, quadratic=True),
    "at 60 %": Forecast(looked_at=0.0, median_remaining=45.0, quadratic=True),
    "no progress yet": Forecast(looked_at=0.0, median_remaining=150.0),
}


def draw_planner(palette: Palette) -> str:
    """Draw expected lag against the price of a request: of three activities, and of the page that shows them all."""
    left, top, right, bottom = _PLANNER_AREA_PX
    width, height = _PLANNER_SIZE_PX

    def x(seconds: float) -> float:
        return left + seconds / _X_AXIS_END_S * (right - left)

    def y(lag: float) -> float:
        return bottom - lag / _Y_AXIS_END_S * (bottom - top)

    def curve(lag_at: Callable[[float], float], color: str, thickness: float) -> str:
        ticks = (tick / 4 for tick in range(int(_X_AXIS_END_S) * 4 + 1))
        points = " ".join(f"{x(at):.1f},{y(lag_at(at)):.1f}" for at in ticks if lag_at(at) <= _Y_AXIS_END_S)
        return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{thickness:g}"/>'

    def page_lag(at: float) -> float:
        return sum(forecast.expected_lag(at) for forecast in _FORECASTS.values())

    def page_reaches(lag: float) -> float:
        return next(tick / 100 for tick in range(int(_X_AXIS_END_S) * 100) if page_lag(tick / 100) >= lag)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        "<title>How the planner decides: expected lag against the price of a request</title>",
        f"<style>text {{ font: 14px {_SANS_SERIF}; fill: {palette.text} }} .dim {{ fill: {palette.dim} }}",
        f".one {{ fill: {palette.magenta} }} .page {{ font-weight: bold; fill: {palette.ours} }}</style>",
        _draw_frame(width, height, palette),
    ]
    for seconds in range(0, int(_X_AXIS_END_S) + 1, 10):
        lines.append(f'<path d="M{x(seconds):.1f} {top}V{bottom}" stroke="{palette.border}"/>')
        lines.append(_text(x(seconds), bottom + 20, f"{seconds}", "middle", "dim"))
    for lag in range(int(_Y_AXIS_END_S) + 1):
        lines.append(f'<path d="M{left} {y(lag):.1f}H{right}" stroke="{palette.border}"/>')
        lines.append(_text(left - 10, y(lag) + 5, f"{lag} s", "end", "dim"))
    lines.append(_text((left + right) / 2, bottom + 42, "seconds since the last look", "middle", "dim"))

    for name, forecast in _FORECASTS.items():
        lines.append(curve(forecast.expected_lag, palette.magenta, 1.5))
        lines.append(_text(x(forecast.lag_reaches(_Y_AXIS_END_S)), top - 12, name, "middle", "one"))
    lines.append(curve(page_lag, palette.ours, 3))
    lines.append(_text(x(page_reaches(_Y_AXIS_END_S)), top - 12, "the page of all three", "end", "page"))

    price, meets = y(_PRICE_S), page_reaches(_PRICE_S)
    lines.append(f'<path d="M{left} {price:.1f}H{right}" stroke="{palette.text}" stroke-dasharray="6 4"/>')
    lines.append(_text(left + 8, price - 8, "price of a request", "start", "price"))
    lines.append(f'<circle cx="{x(meets):.1f}" cy="{price:.1f}" r="6" fill="{palette.ours}"/>')
    lines.append(f'<path d="M{x(meets):.1f} {price + 6:.1f}V{bottom}" stroke="{palette.ours}" stroke-dasharray="2 3"/>')
    lines.append(_text(x(meets) + 8, bottom - 8, f"one request, after {meets:.0f} s", "start", "page"))
    return "\n".join([*lines, "</svg>", ""])


# --- all of them ------------------------------------------------------------------------------------------------------


def draw_all() -> dict[str, str]:
    """Return all pictures by the names of their files."""
    live = run(draw_live_view(PALETTES))
    result = json.loads(ECONOMY_FILE.read_text(encoding="utf-8"))
    costs = {name: draw_costs(result, palette) for name, palette in PALETTES.items()}
    planner = {name: draw_planner(palette) for name, palette in PALETTES.items()}
    kinds = {"live": live, "economy": costs, "planner": planner}
    return {f"{kind}-{name}.svg": text for kind, pictures in kinds.items() for name, text in pictures.items()}


def main() -> int:
    """Draw into `FOLDER`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in draw_all().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"Drawn: docs/images/{name}, {len(text) / 1000:.1f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
