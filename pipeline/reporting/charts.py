"""Line charts as SVG inside an HTML page: ids say what is drawn, colours and fonts are the page's."""

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any
from xml.etree import ElementTree

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; measures texts, which the page shows in its own font
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Series differ by dash and marker too, for readers who do not see the colours apart.
_DASHES, _MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D")
_MARKED_POINTS = 60  # more than this, and markers run into a band
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def line_chart(
    name: str,
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    selected: float | None = None,
) -> str:
    """An `<svg>` element with one line a series over epochs.

    Args:
        name: letters and digits, unlike that of any other chart of the page: no two charts share an id.
        title: read out in place of the picture.
        series: (epoch, value) points by name.
        selected: epoch to mark with a vertical line.

    Returns:
        The same text for the same arguments, without scripts, styles or addresses.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    drawn = StringIO()
    with style.context(["default", _STYLE | {"svg.hashsalt": name}]):  # and not as the user's matplotlibrc wants it
        figure = Figure(figsize=(4.6, 2.7), dpi=72, layout="constrained")
        _draw(figure, series, selected)
        figure.draw_without_rendering()  # makes the ticks, which get ids as well
        for number, artist in enumerate(figure.findobj()):
            artist.set_gid(f"{name}-{number}-{artist.get_gid() or type(artist).__name__}")
        figure.savefig(drawn, format="svg", metadata=_NO_METADATA)
    return _element(drawn.getvalue(), title)


def _draw(figure: Any, series: Mapping[str, Sequence[tuple[float, float]]], selected: float | None) -> None:
    """The lines, with ids that the page's style sheet knows: `series-1` to `series-4`, `selected`."""
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot()
    for background in (figure.patch, axes.patch):
        background.set_visible(False)
    axes.grid(visible=True, axis="y", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for number, (label, points) in enumerate(series.items()):
        axes.plot(
            [epoch for epoch, _ in points],
            [value for _, value in points],
            label=label,
            linestyle=_DASHES[number % len(_DASHES)],
            marker=_MARKERS[number % len(_MARKERS)] if len(points) <= _MARKED_POINTS else None,
            markersize=4,
            markeredgewidth=0,
            linewidth=1.5,
            gid=f"series-{number % len(_DASHES) + 1}",
        )
    if selected is not None:
        axes.axvline(selected, linewidth=0.8, linestyle=(0, (2, 2)), label="kept", gid="selected")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    legend = axes.legend(loc="best", frameon=False, handlelength=2.6)
    for sample, line in zip(legend.get_lines(), axes.get_lines(), strict=True):
        sample.set_gid(line.get_gid())


def _element(svg: str, title: str) -> str:
    """An SVG file as an element of an HTML page, which has no name spaces, and whose styles are its own."""
    chart = ElementTree.fromstring(svg)  # noqa: S314 - matplotlib wrote it just now
    for element in chart.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    for definitions in chart.findall("defs[style]"):  # matplotlib's rules for all elements, here those of the page
        chart.remove(definitions)
    chart.attrib = {"class": "chart", "role": "img", "aria-label": title, "viewBox": chart.attrib["viewBox"]}
    return ElementTree.tostring(chart, "unicode").strip()
