"""Charts of a comparison's document: rows as bars, and rows that differ in one number as a curve.

Source: figures 5 and 7 of BiAM (ICCV 2021).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.comparison.figures.points import Points, RowPoints
from pipeline.comparison.grid import percent
from pipeline.reporting.charts import Curve, Measured, Panel, bar_chart, curve_chart, scatter_chart
from schemas.figures import figure_name

_FEWEST_POINTS = 2  # of a curve


def bars(document: Mapping[str, Any]) -> str | None:
    """An `<svg>` element with a bar for each row and task; None where no row came to an end."""
    return bar_chart("bars", "Figures of all rows by task", _panels(document)) if document["tasks"] else None


def curves(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A title and an `<svg>` element for each number in which rows of a model differ."""
    for number, (setting, rows) in enumerate(_series(document["rows"])):
        title = f"{next(iter(rows.values()))['model']} by {setting}"
        told = {
            f"{task.upper()} {figure_name(found['headline'])}": _curve(task, found, rows)
            for task, found in document["tasks"].items()
        }
        yield title, curve_chart(f"curve{number}", title, setting, told)


def scatters(points: Points) -> Iterator[tuple[RowPoints, str]]:
    """An `<svg>` element with the points of each row."""
    for number, row in enumerate(points.rows):
        yield row, scatter_chart(f"points{number}", f"Vectors of labels, {row.row}", points.by_label(row))


def _panels(document: Mapping[str, Any]) -> list[Panel]:
    titles = [row["title"] for row in document["rows"] if any(row["title"] in t["rows"] for t in _tasks(document))]
    return [
        Panel(
            title=f"{name.upper()} {figure_name(task['headline'])}, percent; chance {percent(_chance(task))}",
            bars={title: _measured(task, title) for title in titles},
            level=100 * _chance(task),
        )
        for name, task in document["tasks"].items()
    ]


def _tasks(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(document["tasks"].values())


def _chance(task: Mapping[str, Any]) -> float:
    level: float = task["chance"][task["headline"]]
    return level


def _measured(task: Mapping[str, Any], title: str) -> Measured | None:
    """The headline of a row, in percent; None where the task does not suit it."""
    if title not in task["rows"]:
        return None
    figures, headline = task["rows"][title], task["headline"]
    deviation = figures["std"][headline]
    return Measured(100 * figures["mean"][headline], None if deviation is None else 100 * deviation)


def _curve(name: str, task: Mapping[str, Any], rows: Mapping[float, Mapping[str, Any]]) -> Curve:
    points = {value: _measured(task, row["title"]) for value, row in rows.items()}
    told = {value: measured for value, measured in points.items() if measured is not None}
    return Curve(told, 100 * _chance(task), f"{name.upper()} chance")


def _series(rows: list[Mapping[str, Any]]) -> Iterator[tuple[str, dict[float, Mapping[str, Any]]]]:
    """Rows of one model that differ in one number alone: the setting, and the rows by its value, ascending.

    Args:
        rows: as the document has them.
    """
    whole = [row for row in rows if row["settings"]]
    for setting in sorted({key for row in whole for key in row["settings"]}):
        for alike in _alike(whole, setting):
            if len(alike) >= _FEWEST_POINTS:
                yield setting, dict(sorted(alike.items()))


def _alike(rows: list[Mapping[str, Any]], setting: str) -> list[dict[float, Mapping[str, Any]]]:
    """Rows by their number in a setting, those together that have all others alike."""
    groups: list[tuple[dict[str, Any], dict[float, Mapping[str, Any]]]] = []
    for row in rows:
        value = row["settings"].get(setting)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        others = {key: given for key, given in row["settings"].items() if key != setting}
        same = next((group for known, group in groups if known == others), None)
        if same is None:
            groups.append((others, same := {}))
        same[value] = row
    return [group for _, group in groups]
