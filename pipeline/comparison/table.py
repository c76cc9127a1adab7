"""The document of a comparison: rows with their figures, what they differ by and what was published, as JSON values.

Figures are means over the seeds, in [0, 1]; the deviation is that of a sample, and there is none of one seed. The rows
of a task are compared by its headline: each with the row whose mean is the best, image by image (the same images drawn
anew for both, `pipeline.metrics.bootstrap`), or, where the seeds are of other splits or labels, set by set.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from pipeline.comparison.cell import Cell, Row
from pipeline.comparison.published import published, warnings
from pipeline.metrics.paired import Interval, interval
from pipeline.models.contract import EVERY_TASK
from schemas.figures import SectionName, figure_order, ks

_MOST_MISSING = 0.01  # of the test images, for a published figure to stand beside one without a remark
_FEWEST_SETS = 5  # of which an interval is told
_DRAWS = 10_000  # of sets, anew
_UPPER = 0.975  # below the upper end of an interval of 95 %
_SCALES = ("", "standardised")


@dataclass(frozen=True)
class Setting:
    """What all rows of a comparison share.

    Attributes:
        dataset: its name.
        backbone: name of that of the features.
        tasks: whose figures are shown.
        seeds: of the runs.
        vary: what the seeds are of.
        random_weights: whether the backbone's weights are random numbers.
        standardise: whether all figures are of scores on one scale (`evaluate.standardise`).
    """

    dataset: str
    backbone: str
    tasks: Sequence[SectionName]
    seeds: Sequence[int]
    vary: str
    random_weights: bool
    standardise: bool = False


def document(setting: Setting, rows: Sequence[Row]) -> dict[str, Any]:
    """All that a comparison came to.

    Returns:
        `tasks` by name, each with `headline`, `figures`, `chance`, `rows`; and `rows`: what is known of each beside its
        figures. A row of a task has `mean`, `std` (None of one run), `by_seed`, `permuted`, `constant`, `images`,
        `published`, and `behind_best`: how much the best row is above it.
    """
    whole = [row for row in rows if row.cells]
    protocols = sorted({str(cell.metrics["protocol"]) for row in whole for cell in row.cells.values()})
    measured = [task for task in EVERY_TASK if any(task in _first(row).metrics for row in whole)]
    # Without an unseen label there are standard figures alone, whatever the task.
    tasks = [task for task in measured if task in setting.tasks] or measured
    return {
        **asdict(setting),
        "protocol": ", ".join(protocols),
        "rows": [_described(row) for row in rows],
        "tasks": {task: _task(setting, task, whole) for task in tasks},
        "choice": _choice(whole),
        "warnings": [*_random(setting), *_uncovered(whole), *warnings(setting.dataset, tasks)],
    }


def _first(row: Row) -> Cell:
    return next(iter(row.cells.values()))


def _described(row: Row) -> dict[str, Any]:
    costs = [cell.cost for cell in row.cells.values()]
    return {
        "title": row.title,
        "model": row.model,
        "preset": row.preset,
        "settings": dict(row.settings),
        "failure": row.failure,
        "runs": {str(seed): cell.run for seed, cell in row.cells.items()},
        "parameters": costs[0].parameters if costs else None,
        "training_s": float(np.mean([cost.training_s for cost in costs])) if costs else None,
        "scoring_ms": float(np.mean([cost.scoring_ms for cost in costs])) if costs else None,
    }


def _random(setting: Setting) -> list[str]:
    return ["random weights: figures show that the pipeline works, not how good a model is"] * setting.random_weights


def _uncovered(rows: Sequence[Row]) -> list[str]:
    told = {cell.metrics["coverage"]["warning"] for row in rows for cell in row.cells.values()}
    return sorted(filter(None, told))


def _choice(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Which row ranks best the labels that its runs never saw, and what it and the best one come to on unseen labels.

    Returns:
        None where nothing is chosen. `rows`: the figure of hidden labels, the mean over folds and seeds; `chosen`; and
        `by_seed`: the row that one would have taken there, the best one in hindsight, and what both come to.
    """
    judged = [row for row in rows if row.hidden]
    if not judged:
        return None
    seeds = max((list(row.hidden) for row in judged), key=len)
    by_seed = {}
    for seed in seeds:
        worth = {row.title: float(np.mean(_at(row.hidden, seed))) for row in judged}
        found = {row.title: _zsl(_at(row.cells, seed)) for row in judged}
        chosen, best = max(worth, key=worth.__getitem__), max(found, key=found.__getitem__)
        by_seed[str(seed)] = {"chosen": chosen, "zsl": found[chosen], "best": best, "best_zsl": found[best]}
    means = {row.title: float(np.mean([np.mean(folds) for folds in row.hidden.values()])) for row in judged}
    return {"rows": means, "chosen": max(means, key=means.__getitem__), "by_seed": by_seed}


def _at(by_seed: Mapping[int, Any], seed: int) -> Any:
    """What there is of a seed; where nothing of a row is drawn, of the one that it has."""
    return by_seed[seed] if seed in by_seed else next(iter(by_seed.values()))


def _zsl(cell: Cell) -> float:
    section = cell.metrics["zsl"]
    return float(section[section["headline"]])


def _task(setting: Setting, task: SectionName, rows: Sequence[Row]) -> dict[str, Any]:
    shown = [row for row in rows if task in _first(row).metrics]
    section = _first(shown[0]).metrics[task]
    figures = sorted(section["chance"], key=figure_order)
    headline = section["headline"]
    told = {row.title: _figures(setting, task, row, figures) for row in shown}
    best = max(shown, key=lambda row: told[row.title]["mean"][headline])
    for row in shown:
        told[row.title]["behind_best"] = _difference(setting, task, headline, best, row) if row is not best else None
    return {
        "headline": headline,
        "figures": [headline, *(f"f1@{k}" for k in ks(section))],
        "best": best.title,
        "chance": _shared([cell.metrics[task]["chance"] for row in shown for cell in row.cells.values()]),
        "rows": told,
        "labels": _label_gains(task, best, shown),
    }


def _shared(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of what is equal where all runs are over the same images and labels."""
    return {name: float(np.mean([one[name] for one in figures])) for name in figures[0]}


def _figures(setting: Setting, task: SectionName, row: Row, figures: Sequence[str]) -> dict[str, Any]:
    sections = {seed: cell.metrics[task] for seed, cell in row.cells.items()}
    scales = {"": sections} | {
        "standardised": {
            seed: section["standardised"] for seed, section in sections.items() if "standardised" in section
        }
    }
    told: dict[str, Any] = {
        "by_seed": {str(seed): {name: section[name] for name in figures} for seed, section in sections.items()},
        **_summary(scales[""], figures),
        "standardised": _summary(scales["standardised"], figures) if scales["standardised"] else None,
        "images": _first(row).metrics["images"],
        "coverage": _first(row).metrics["coverage"]["fraction"],
        "published": _published(setting, task, row),
    }
    for control in ("permuted", "constant"):
        values = [section[control] for section in sections.values()]
        told[control] = None if None in values[0].values() else _shared(values)
    return told


def _summary(sections: Mapping[int, Mapping[str, float]], figures: Sequence[str]) -> dict[str, Any]:
    """Mean and deviation of each figure over seeds."""
    values = {name: [section[name] for section in sections.values()] for name in figures}
    return {
        "mean": {name: float(np.mean(found)) for name, found in values.items()},
        "std": {name: float(np.std(found, ddof=1)) if len(found) > 1 else None for name, found in values.items()},
    }


def _published(setting: Setting, task: SectionName, row: Row) -> dict[str, Any] | None:
    """What a paper prints for the row, and what makes the comparison loose."""
    metrics = _first(row).metrics
    found = published(setting.dataset, metrics["protocol"], setting.backbone, task, row.published_as)
    if found is None:
        return None
    remarks = [found.remark] if found.remark else []
    remarks += ["random weights"] if setting.random_weights else []
    remarks += ["scores on one scale"] if setting.standardise else []
    remarks += [f"{', '.join(row.changed)} set here"] if row.changed else []
    covered = metrics["coverage"]["fraction"]
    remarks += [f"only {covered:.0%} of the test images"] if covered < 1 - _MOST_MISSING else []
    return {"figures": dict(found.figures), "source": found.source, "loose": "; ".join(remarks) or None}


def _difference(setting: Setting, task: SectionName, headline: str, best: Row, row: Row) -> dict[str, Any]:
    """How much the best row is above another, with the interval in which that lies.

    `over` says what was drawn anew: `images`, or `sets` where the seeds are of other splits or labels. It is None, and
    so is the interval, where runs cannot be paired.
    """
    seeds = sorted(best.cells.keys() | row.cells.keys())
    pairs = [(_at(best.cells, seed), _at(row.cells, seed)) for seed in seeds]
    gaps = np.array([first.metrics[task][headline] - second.metrics[task][headline] for first, second in pairs])
    found: tuple[str, Interval] | None = None
    if setting.vary != "training" and len(seeds) >= _FEWEST_SETS:
        found = "sets", over_sets(gaps)
    elif (replicates := _paired(pairs, f"{task}/{headline}")) is not None:
        found = "images", interval(replicates)
    return {
        "mean": float(gaps.mean()),
        "over": found[0] if found else None,
        "interval": [found[1].low, found[1].high] if found else None,
        "beyond_luck": found[1].excludes_zero if found else None,
    }


def _paired(pairs: Sequence[tuple[Cell, Cell]], figure: str) -> Float64[np.ndarray, " replicate"] | None:
    """Replicates of the mean difference; None where a run has none, or two are over other images."""
    for first, second in pairs:
        both = first.replicates, second.replicates
        if both[0].pairing != both[1].pairing or any(figure not in one.figures for one in both):
            return None
    gaps = [first.replicates.figures[figure] - second.replicates.figures[figure] for first, second in pairs]
    return np.array(gaps, dtype=np.float64).mean(axis=0)


def over_sets(gaps: Float64[np.ndarray, " set"]) -> Interval:
    """The interval of a mean over sets, of sets drawn anew.

    Means of few sets drawn anew are too near each other: of 5 sets their middle 95 % hold the true mean in 85 cases of
    100, of 20 in 93. So they are stretched as Student's distribution is, which knows that the deviation is an estimate:
    by 1.58 for 5 sets, by 1.10 for 20.
    """
    from scipy.special import ndtri, stdtrit

    sets, mean = len(gaps), gaps.mean()
    drawn = np.random.default_rng(0).integers(sets, size=(_DRAWS, sets))
    stretch = stdtrit(sets - 1, _UPPER) / ndtri(_UPPER) * np.sqrt(sets / (sets - 1))
    return interval(mean + stretch * (gaps[drawn].mean(axis=1) - mean))


def _label_gains(task: SectionName, best: Row, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Average precision of each label of a task by row, the mean over seeds; labels by what the best row gains most."""
    by_row = {row.title: dict(_label_means(task, row)) for row in rows}
    names = sorted({label for means in by_row.values() for label in means})
    told = [{"label": label, "rows": {title: means.get(label) for title, means in by_row.items()}} for label in names]

    def gain(line: dict[str, Any]) -> float:
        """Of the best row above the best of the others."""
        own = line["rows"][best.title] or 0.0
        return own - max((value or 0.0 for title, value in line["rows"].items() if title != best.title), default=own)

    return sorted(told, key=gain, reverse=True)


def _label_means(task: SectionName, row: Row) -> Iterator[tuple[str, float]]:
    cells = row.cells.values()
    for label in sorted({name for cell in cells for name in cell.labels}):
        found = [cell.labels.get(label) for cell in cells if task != "zsl" or label in cell.unseen]
        if known := [value for value in found if value is not None]:
            yield label, float(np.mean(known))
