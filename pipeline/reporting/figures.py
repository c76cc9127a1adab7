"""metrics.json and history.json as what the page shows: sections of measures, each beside chance and the control."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.figures import CONTROLS, NO_FIGURES, figure_name, figure_order

_SECTIONS = {
    "zsl": ("Zero-shot (ZSL)", "ranked among the unseen labels only"),
    "gzsl": ("Generalised zero-shot (GZSL)", "ranked among seen and unseen labels together"),
    "standard": ("Standard multi-label", "trained and tested on the same labels"),
}


@dataclass(frozen=True)
class Measure:
    """One figure in [0, 1] beside what no knowledge reaches; None where it was not measured."""

    name: str
    value: float | None
    chance: float | None
    constant: float | None
    permuted: float | None

    @property
    def times_chance(self) -> float | None:
        """How many times the chance level the figure is."""
        return self.value / self.chance if self.value is not None and self.chance else None


@dataclass(frozen=True)
class Section:
    """The measures of one way to rank labels, the one that stands first among them.

    Attributes:
        remarks: why figures are 0, or mean less than they seem to.
    """

    title: str
    note: str
    remarks: tuple[str, ...]
    labels: int | None
    headline: Measure
    measures: tuple[Measure, ...]

    @property
    def has_control(self) -> bool:
        """Whether any measure was also taken with permuted labels."""
        return any(measure.permuted is not None for measure in self.measures)

    @property
    def has_constant(self) -> bool:
        """Whether any measure was also taken with one ranking for all images."""
        return any(measure.constant is not None for measure in self.measures)


def sections(metrics: Mapping[str, Any]) -> dict[str, Section]:
    """The sections that metrics.json has, by key, unseen labels first."""
    counted = f", counted by protocol {metrics['protocol']}"
    return {
        key: _section(title, note + counted, metrics[key], metrics.get("remarks", {}).get(key))
        for key, (title, note) in _SECTIONS.items()
        if key in metrics
    }


def _section(title: str, note: str, section: Mapping[str, Any], remarks: Sequence[str] | None) -> Section:
    controls = [section.get(name) or {} for name in CONTROLS]
    measures = {
        key: Measure(figure_name(key), finite(section[key]), *(finite(control.get(key)) for control in controls))
        for key in sorted(section.keys() - NO_FIGURES, key=figure_order)
    }
    if remarks is None and (without := section["labels_without_positive"]):  # from before there were remarks
        note += f"; {without:,} of the labels have no positive test image"
    return Section(
        title, note, tuple(remarks or ()), section["labels"], measures[section["headline"]], tuple(measures.values())
    )


def finite(value: object) -> float | None:
    """The value as a float, or None where it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


@dataclass(frozen=True)
class Epoch:
    """One line of the training history."""

    number: int
    lr: float | None
    loss: float | None
    validation: Mapping[str, float]


@dataclass(frozen=True)
class History:
    """What training wrote down.

    Attributes:
        epochs: in order.
        selected: the epoch whose weights were kept, if the history says.
        images: images used, by split.
        given: name of the file that gave the weights, where nothing was trained.
        given_sha256: hash of that file.
        began_with: run whose weights training started from, where it did; with their hash.
    """

    epochs: tuple[Epoch, ...]
    selected: int | None
    images: Mapping[str, int]
    given: str | None = None
    given_sha256: str | None = None
    began_with: str | None = None

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the validation measures, in the order in which they first appear."""
        return tuple(dict.fromkeys(name for epoch in self.epochs for name in epoch.validation))

    def losses(self) -> dict[str, list[tuple[float, float]]]:
        """The loss curve as a series."""
        return {"training loss": [(epoch.number, epoch.loss) for epoch in self.epochs if epoch.loss is not None]}

    def validations(self) -> dict[str, list[tuple[float, float]]]:
        """The validation curves as series; epochs without a validation have no point."""
        return {
            name: [(epoch.number, epoch.validation[name]) for epoch in self.epochs if name in epoch.validation]
            for name in self.measures
        }


def history(written: Mapping[str, Any]) -> History:
    """history.json as a History."""
    epochs = tuple(
        Epoch(epoch["epoch"], finite(epoch.get("lr")), finite(epoch.get("train_loss")), dict(_finite_values(epoch)))
        for epoch in written["epochs"]
    )
    given = written.get("weights") or {}
    selected, images = written.get("selected_epoch"), written.get("images") or {}
    began = written.get("start")
    told = None if began is None else f"run {began['run']}, sha256 {began['sha256']}"
    return History(epochs, selected, images, given.get("file"), given.get("sha256"), told)


def _finite_values(epoch: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in (epoch.get("validation") or {}).items():
        number = finite(value)
        if number is not None:
            yield figure_name(key), number
