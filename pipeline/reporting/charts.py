"""Charts as SVG inside an HTML page: ids say what is drawn, colours and fonts are the page's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

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
_PANEL_IN, _BAR_IN, _AROUND_BARS_IN = 3.4, 0.24, 0.8
_NAME_IN = 0.06  # a sign of the longest name beside bars


@dataclass(frozen=True)
class Measured:
    """A value, and how far such values lie apart.

    Attributes:
        deviation: None where there is one value alone.
    """

    value: float
    deviation: float | None


@dataclass(frozen=True)
class Panel:
    """Bars of one measure.

    Attributes:
        title: what is measured, and what the line is.
        bars: by name, the same in all panels of a chart; None where there is none.
        level: what the bars are compared with, drawn as a line.
    """

    title: str
    bars: Mapping[str, Measured | None]
    level: float


@dataclass(frozen=True)
class Curve:
    """Values of one measure over a setting.

    Attributes:
        points: by the value of the setting, ascending.
        level: what they are compared with, drawn as a line.
        level_name: what that is.
    """

    points: Mapping[float, Measured]
    level: float
    level_name: str


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
    return _svg(name, title, (4.6, 2.7), lambda figure: _draw(figure, series, selected))


def bar_chart(name: str, title: str, panels: Sequence[Panel]) -> str:
    """An `<svg>` element with a panel of bars beside the other, each bar with its deviation, in the order given.

    Args:
        name: as for `line_chart`.
        title: read out in place of the picture.
        panels: at least one.

    Returns:
        The same text for the same arguments, without scripts, styles or addresses.
    """
    names = list(panels[0].bars)
    width = _PANEL_IN * len(panels) + _NAME_IN * max(map(len, names))
    return _svg(name, title, (width, _AROUND_BARS_IN + _BAR_IN * len(names)), lambda figure: _bars(figure, panels))


def curve_chart(name: str, title: str, setting: str, curves: Mapping[str, Curve]) -> str:
    """An `<svg>` element with one line a measure over the values of a setting, each point with its deviation.

    Args:
        name: as for `line_chart`.
        title: read out in place of the picture.
        setting: what stands along the axis.
        curves: by measure.

    Returns:
        The same text for the same arguments, without scripts, styles or addresses.
    """
    return _svg(name, title, (4.6, 2.7), lambda figure: _curves(figure, setting, curves))


def scatter_chart(name: str, title: str, groups: "Mapping[str, Float[np.ndarray, 'point 2']]") -> str:
    """An `<svg>` element with points in a plane, those of a group in one colour and form.

    Args:
        name: as for `line_chart`.
        title: read out in place of the picture.
        groups: places by name, ten at most.

    Returns:
        The same text for the same arguments, without scripts, styles or addresses.
    """
    return _svg(name, title, (4.6, 3.6), lambda figure: _scatter(figure, groups))


def _svg(name: str, title: str, size_in: tuple[float, float], draw: Callable[[Any], None]) -> str:
    """What is drawn on a figure, each of its artists with an id that no other chart has."""
    from matplotlib import style
    from matplotlib.figure import Figure

    drawn = StringIO()
    with style.context(["default", _STYLE | {"svg.hashsalt": name}]):  # and not as the user's matplotlibrc wants it
        figure = Figure(figsize=size_in, dpi=72, layout="constrained")
        figure.patch.set_visible(False)
        draw(figure)
        figure.draw_without_rendering()  # makes the ticks, which get ids as well
        for number, artist in enumerate(figure.findobj()):
            artist.set_gid(f"{name}-{number}-{artist.get_gid() or type(artist).__name__}")
        figure.savefig(drawn, format="svg", metadata=_NO_METADATA)
    return _element(drawn.getvalue(), title)


def _draw(figure: Any, series: Mapping[str, Sequence[tuple[float, float]]], selected: float | None) -> None:
    """The lines, with ids that the page's style sheet knows: `series-1` to `series-4`, `selected`."""
    from matplotlib.ticker import MaxNLocator

    axes = _axes(figure.add_subplot(), "y")
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
    _legend(axes)


def _axes(axes: Any, grid: str) -> Any:
    """Axes as all charts have them, with lines across one of them."""
    axes.patch.set_visible(False)
    axes.grid(visible=True, axis=grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return axes


def _legend(axes: Any, *, beside: bool = False) -> None:
    """Names of the lines, in the axes or beside them, each sample with the id of what it stands for."""
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if beside else {"loc": "best"}
    legend = axes.legend(**place, frameon=False, handlelength=1 if beside else 2.6)
    named = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    for sample, line in zip(legend.get_lines(), named, strict=True):
        sample.set_gid(line.get_gid())


def _bars(figure: Any, panels: Sequence[Panel]) -> None:
    """The bars, with the ids `bar`, `deviation` and `level`; the names stand beside the first panel."""
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _axes(axes, "x")
        for place, told in enumerate(panel.bars.values()):
            if told is None:
                continue
            axes.barh(place, told.value, height=0.64, gid="bar")
            _deviation(axes, ([told.value], [place]), "xerr", told.deviation)
        axes.axvline(panel.level, linewidth=1.2, linestyle=(0, (3, 2)), gid="level")
        axes.set_title(panel.title)
    all_axes[0].set_yticks(range(len(panels[0].bars)), list(panels[0].bars))
    all_axes[0].invert_yaxis()


def _curves(figure: Any, setting: str, curves: Mapping[str, Curve]) -> None:
    """The lines, with the ids `series-1` to `series-4`, those of deviations and levels alike."""
    axes = _axes(figure.add_subplot(), "y")
    for number, (measure, curve) in enumerate(curves.items()):
        gid, dash = f"series-{number % len(_DASHES) + 1}", _DASHES[number % len(_DASHES)]
        values = [told.value for told in curve.points.values()]
        drawn = {"markersize": 4, "markeredgewidth": 0, "linewidth": 1.5, "gid": gid}
        axes.plot(list(curve.points), values, dash, marker=_MARKERS[number % len(_MARKERS)], label=measure, **drawn)
        for at, told in curve.points.items():
            _deviation(axes, ([at], [told.value]), "yerr", told.deviation, gid)
        axes.axhline(curve.level, linewidth=0.8, linestyle=(0, (2, 2)), label=curve.level_name, gid=gid)
    axes.set_xlabel(setting)
    axes.set_xticks(sorted({at for curve in curves.values() for at in curve.points}))
    _legend(axes)


def _scatter(figure: Any, groups: "Mapping[str, Float[np.ndarray, 'point 2']]") -> None:
    """The points, with the ids `point-1`, `point-2` and so on."""
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.set_axis_off()
    for number, (group, places) in enumerate(groups.items()):
        drawn = {"markersize": 3, "markeredgewidth": 0, "gid": f"point-{number + 1}"}
        axes.plot(*places.T, linestyle="none", marker=_MARKERS[number % len(_MARKERS)], label=group, **drawn)
    _legend(axes, beside=True)


def _deviation(
    axes: Any, at: tuple[Sequence[float], Sequence[float]], along: str, deviation: float | None, gid: str = "deviation"
) -> None:
    """A bar of error to both sides of a point, where there is one."""
    if deviation is not None:
        drawn = axes.errorbar(*at, **{along: [deviation]}, fmt="none", elinewidth=1, ecolor="black")
        for lines in drawn.lines[2]:
            lines.set_gid(gid)


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
