"""Plots as SVG for a page: bars, intervals, a histogram, a line over time, curves over anything else.

Drawn by matplotlib without a screen. Text stays text, colours are the page's own, and equal figures give
equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tasks.pages.page import Cell, Plot, Table, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins that matplotlib writes into the SVG; the page's colours take their place.
_COLOURS = {"#010203": "var(--ink)", "#040506": "var(--line)", "#070809": "var(--bar)"}
_INK, _LINE, _BAR = _COLOURS
_WIDTH = 4.6  # inches of 72 points: half of the page, or a phone


def bars(title: str, values: Mapping[str, float], unit: str = "") -> Plot:
    """Horizontal bars, one per name, in the order given.

    Args:
        title: What the bars show.
        values: Length of each bar by its name; at least one.
        unit: Of the values.
    """

    def draw(axes: Axes) -> None:
        drawn = axes.barh(list(values), list(values.values()), color=_BAR, height=0.65)
        axes.bar_label(drawn, [text(value) for value in values.values()], padding=4, color=_INK)
        axes.invert_yaxis()
        axes.margins(x=0.16)
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)

    table = Table(["name", unit or "value"], [[name, value] for name, value in values.items()])
    return Plot(title, _svg(draw, title, 0.5 + 0.3 * len(values)), table)


def intervals(
    title: str, values: Mapping[str, tuple[float, float, float]], middle: float | None = None, unit: str = ""
) -> Plot:
    """A dot with its interval per name, in the order given, such as shares with what is known about them.

    Args:
        title: What the dots show.
        values: Value, low and high by name; at least one.
        middle: Where a dashed line is drawn: the value that would mean no difference.
        unit: Of the values.
    """

    def draw(axes: Axes) -> None:
        names = list(values)
        for at, (value, low, high) in enumerate(values.values()):
            axes.plot([low, high], [at, at], color=_BAR, linewidth=2.4, solid_capstyle="butt")
            axes.plot([value], [at], "o", color=_BAR, markersize=7)
        if middle is not None:
            axes.axvline(middle, color=_INK, linewidth=1, linestyle="--")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(unit)
        axes.grid(axis="x", color=_LINE)
        axes.set_axisbelow(True)

    rows: list[list[Cell]] = [[name, *found] for name, found in values.items()]
    return Plot(
        title, _svg(draw, title, 0.9 + 0.34 * len(values)), Table(["name", unit or "value", "low", "high"], rows)
    )


def histogram(title: str, edges: Sequence[float], counts: Sequence[float], unit: str = "") -> Plot:
    """How many fall between each two edges.

    Args:
        title: What is counted.
        edges: One more than counts, ascending.
        counts: How many lie between an edge and the next.
        unit: What the edges measure.
    """

    def draw(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=_BAR)
        axes.set_xlabel(unit)
        axes.set_xlim(edges[0], edges[-1])
        _figures_upwards(axes)

    spans = [f"{text(start)} to {text(end)}" for start, end in pairwise(edges)]
    table = Table([unit or "between", "count"], list(zip(spans, counts, strict=True)))
    return Plot(title, _svg(draw, title, 2.6), table)


def line(title: str, times: Sequence[float], values: Sequence[float], unit: str = "") -> Plot:
    """A value over time.

    Args:
        title: What changes.
        times: Seconds since 1970, ascending; shown as UTC.
        values: One per time.
        unit: Of the values.
    """
    moments = [datetime.fromtimestamp(time, UTC) for time in times]

    def draw(axes: Axes) -> None:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        # Numbers as dates: matplotlib takes datetimes, its stubs do not say so.
        axes.plot(moments, values, color=_BAR, linewidth=1.6)  # type: ignore[arg-type]
        axes.fill_between(moments, values, color=_BAR, alpha=0.15, linewidth=0)  # type: ignore[arg-type]
        # With these two the locator finds a step for every span; with fewer ticks it warns and guesses.
        locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC, show_offset=False))  # type: ignore[no-untyped-call]
        axes.tick_params(axis="x", labelsize=10)
        axes.set_xlabel(f"UTC, from {moments[0]:%Y-%m-%d %H:%M}")
        _figures_upwards(axes)

    table = Table(
        ["UTC", unit or "value"],
        [[f"{moment:%Y-%m-%d %H:%M:%S}", value] for moment, value in zip(moments, values, strict=True)],
    )
    return Plot(title, _svg(draw, title, 2.6), table)


def curves(title: str, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], along: str, unit: str) -> Plot:
    """One or two curves over a number, such as a loss over steps; the second one is dashed.

    Args:
        title: What changes.
        series: By name the places, ascending, and the value at each.
        along: What the places count.
        unit: Of the values.
    """

    def draw(axes: Axes) -> None:
        for (name, (places, values)), style in zip(series.items(), (("-", _BAR), ("--", _INK)), strict=False):
            marker = "o" if len(places) < 2 else None  # a single point is no line
            axes.plot(places, values, style[0], color=style[1], linewidth=1.6, marker=marker, label=name)
        if len(series) > 1:
            axes.legend(frameon=False)
        axes.set_xlabel(along)
        _figures_upwards(axes)

    rows: list[list[Cell]] = [
        [name, place, value] for name, points in series.items() for place, value in zip(*points, strict=True)
    ]
    return Plot(title, _svg(draw, title, 2.6), Table(["curve", along, unit], rows))


def _figures_upwards(axes: Axes) -> None:
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: text(int(value) if value == int(value) else value))
    axes.grid(axis="y", color=_LINE)
    axes.set_axisbelow(True)


def _svg(draw: Callable[[Axes], None], title: str, height: float) -> str:
    """Draw on empty axes and return the ``svg`` element, coloured by the page."""
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.size": 12.0,
        "text.color": _INK,
        "axes.edgecolor": _LINE,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "ytick.major.size": 0.0,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(_WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.1))
        draw(figure.subplots())
        out = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    drawing = out.getvalue()
    drawing = drawing[drawing.index("<svg") :].strip()
    for stand_in, colour in _COLOURS.items():
        drawing = drawing.replace(stand_in, colour)
    # Ids that nothing refers to would stand twice on a page with two plots.
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', drawing))
    drawing = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", drawing)
    drawing = re.sub(r' (?:width|height)="[\d.]+pt"', "", drawing, count=2)
    return drawing.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
