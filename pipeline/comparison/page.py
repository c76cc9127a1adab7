"""The page of a comparison: one HTML file that loads nothing, made from the document alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.comparison.figures.charts import bars, curves, scatters
from pipeline.comparison.figures.made import Figures
from pipeline.comparison.grid import Grid, difference_text, percent
from pipeline.reporting.page import environment, fitting
from schemas.figures import figure_name

_EACH_END = 20  # labels shown from either end of a long list


@dataclass(frozen=True)
class Gap:
    """How far a row is below the best one, as places on an axis from 0 to 1; None where there is no interval."""

    title: str
    text: str
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Task:
    """What the page shows of one task.

    Attributes:
        zero: where no difference lies on the axis.
        labels: average precision by row, labels by what the best row gains most.
        left_out: labels between both ends that are not shown.
    """

    name: str
    headline: str
    best: str
    zero: float
    gaps: Sequence[Gap]
    rows: Sequence[str]
    labels: Sequence[Mapping[str, Any]]
    left_out: int


def page(document: Mapping[str, Any], table: Grid, figures: Figures | None = None) -> str:
    """The page, the same for an equal document and figures.

    Args:
        figures: what models show of test images; None where that is not wanted.
    """
    from pipeline.comparison.figures.gallery import gallery, legend, overlaid

    tasks = [_task(name, told) for name, told in document["tasks"].items()]
    template = environment("comparison").get_template("page.html")
    points = None if figures is None else figures.points
    drawn: dict[str, Any] = {"bars": bars(document), "curves": list(curves(document))}
    drawn |= {"points": [] if points is None else list(scatters(points))}
    shown = {"document": document, "table": table, "tasks": tasks, "charts": drawn, "figures": figures}
    shown |= {"overlaid": overlaid, "legend": legend, "percent": percent}

    def of_size(side_px: int) -> str:
        pictures = {} if figures is None else gallery(figures.pictures, side_px)
        return template.render(**shown, gallery=pictures) + "\n"

    return fitting(of_size)


def _task(name: str, told: Mapping[str, Any]) -> Task:
    differences = {
        title: figures["behind_best"] for title, figures in told["rows"].items() if figures["behind_best"] is not None
    }
    ends = [0.0, *(end for one in differences.values() for end in (one["interval"] or [one["mean"]]))]
    low, width = min(ends), max(ends) - min(ends) or 1.0
    labels = told["labels"]
    shown = labels if len(labels) <= 2 * _EACH_END else [*labels[:_EACH_END], *labels[-_EACH_END:]]
    return Task(
        name=name.upper(),
        headline=figure_name(told["headline"]),
        best=told["best"],
        zero=-low / width,
        gaps=[_gap(title, one, low, width) for title, one in differences.items()],
        rows=list(told["rows"]),
        labels=shown,
        left_out=len(labels) - len(shown),
    )


def _gap(title: str, told: Mapping[str, Any], low: float, width: float) -> Gap:
    ends = [None, None] if told["interval"] is None else [(end - low) / width for end in told["interval"]]
    return Gap(title, difference_text(told), (told["mean"] - low) / width, *ends)
