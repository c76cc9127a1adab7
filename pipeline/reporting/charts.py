"""Line charts as SVG text that lies inside an HTML page and takes colours and fonts from that page's style sheet."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

# Matplotlib draws in these stand-ins; CSS variables of the page take their place, so that charts follow light and dark.
_INK, _GRID = "#010203", "#010204"
_SERIES = ("#010205", "#010206", "#010207", "#010208")
_VARIABLES = {_INK: "var(--ink-soft)", _GRID: "var(--line)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, start=1)
}
# Series differ by dash and marker too, for readers who do not see the colours apart.
_DASHES, _MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D")
_MARKED_POINTS = 60  # more than this, and markers run into a band


def line_chart(
    name: str,
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    selected: float | None = None,
) -> str:
    """An `<svg>` element with one line a series over epochs.

    Args:
        name: letters and digits, unlike that of any other chart of the page; the ids inside begin with it.
        title: read out in place of the picture.
        series: (epoch, value) points by name.
        selected: epoch to mark with a vertical line.

    Returns:
        The same text for the same arguments, without scripts, styles or addresses.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 8,
        "text.color": _INK,
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(visible=True, axis="y", color=_GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        for number, (label, points) in enumerate(series.items()):
            _draw(axes, number, label, points)
        if selected is not None:
            axes.axvline(selected, color=_INK, linewidth=0.8, linestyle=(0, (2, 2)), label="kept")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.legend(loc="best", frameon=False, handlelength=2.6)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _inline(text.getvalue(), name, title)


def _draw(axes: Any, number: int, label: str, points: Sequence[tuple[float, float]]) -> None:
    axes.plot(
        [epoch for epoch, _ in points],
        [value for _, value in points],
        label=label,
        color=_SERIES[number % len(_SERIES)],
        linestyle=_DASHES[number % len(_DASHES)],
        marker=_MARKERS[number % len(_MARKERS)] if len(points) <= _MARKED_POINTS else None,
        markersize=3,
        linewidth=1.5,
    )


def _inline(svg: str, name: str, title: str) -> str:
    """A stand-alone SVG file made fit for the inside of a page: no prologue, no page-wide style, ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    head = f'<svg class="chart" role="img" aria-label="{escape(title)}" {view_box.group()}>'
    svg = re.sub(r"^<svg[^>]*>", lambda _: head, svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg).replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    # Since matplotlib 3.10 the family is a property of its own; before, it closed the `font` shorthand.
    svg = re.sub(r"font: ((?:[\w.]+ )*[\d.]+px) [^;\"]*", r"font: \1 var(--sans)", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg.strip()
