"""In what two runs differ: their settings, and their figures over the test images that both have.

Where both were tested on the same images and labels, the images that each drew anew are compared one by one. Else the
figures of both are counted once more over the images that they share, from the scores that each kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.commands.runs.found import SECTIONS, sections_of, shaping
from pipeline.files.inputs import Inputs
from pipeline.metrics.paired import Replicates, difference, interval
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.figures import NO_FIGURES, SectionName, figure_order, ks
from schemas.status import LabelRole

if TYPE_CHECKING:
    from pipeline.inference.kept_scores import KeptScores


@dataclass(frozen=True)
class FigureDifference:
    """One figure of two runs.

    Attributes:
        first: of the first run, over the images of both where these differ.
        second: of the second one.
        gain: the second less the first.
        interval: 95 % of the gain over images drawn anew for both alike; None where it cannot be told.
    """

    section: str
    figure: str
    first: float
    second: float
    chance: float | None
    gain: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class RunDifference:
    """In what two runs differ.

    Attributes:
        settings: by dotted key what each has, None where it has no such setting.
        figures: those that both have.
        images: test images of the first, of the second, and of both.
        note: why figures or intervals are missing; None where none is.
    """

    first: str
    second: str
    settings: Mapping[str, tuple[Any, Any]]
    figures: Sequence[FigureDifference]
    images: tuple[int, int, int]
    note: str | None = None

    @property
    def shared(self) -> float:
        """The share of test images that both have, of the run that has more: in [0, 1]."""
        first, second, both = self.images
        return both / max(first, second, 1)

    def figure(self, name: str) -> FigureDifference | None:
        """The one called `section/figure`."""
        return next((one for one in self.figures if f"{one.section}/{one.figure}" == name), None)


@dataclass(frozen=True)
class _Evaluated:
    """What the evaluation of a run left."""

    name: str
    left: Inputs
    metrics: Mapping[str, Any] = field(init=False)
    drawn: Replicates = field(init=False)

    def __post_init__(self) -> None:
        if not self.left.has("evaluate"):
            raise PipelineError(
                f"runs: {self.name} was not evaluated",
                expected="figures of both",
                hint="With its settings, run:",
                run=Command("evaluate", dataset=self.left.dataset),
            )
        object.__setattr__(self, "metrics", self.left.json("evaluate", "metrics"))
        object.__setattr__(self, "drawn", Replicates.of(self.left.read("evaluate", "bootstrap")))

    @cached_property
    def scores(self) -> "KeptScores | None":
        from pipeline.inference.kept_scores import read_scores

        return read_scores(self.left)

    @property
    def sections(self) -> list[SectionName]:
        return [section for section in SECTIONS if section in self.metrics]


def differences(first: str, first_left: Inputs, second: str, second_left: Inputs) -> RunDifference:
    """In what two runs differ.

    Raises:
        PipelineError: one was not evaluated.
        IntegrityError: a file of one is damaged.
    """
    one, other = _Evaluated(first, first_left), _Evaluated(second, second_left)
    settings = [shaping(sections_of(left)) for left in (first_left, second_left)]
    keys = sorted(
        key for key in settings[0].keys() | settings[1].keys() if settings[0].get(key) != settings[1].get(key)
    )
    apart = {key: (settings[0].get(key), settings[1].get(key)) for key in keys}
    images = one.metrics["images"], other.metrics["images"]
    if one.metrics["protocol"] != other.metrics["protocol"]:
        note = f"they are counted by other protocols: {one.metrics['protocol']} and {other.metrics['protocol']}"
        return RunDifference(first, second, apart, (), (*images, 0), note)
    if one.drawn.pairing == other.drawn.pairing:
        return RunDifference(first, second, apart, _as_drawn(one, other), (*images, images[0]))
    kept = one.scores, other.scores
    if kept[0] is None or kept[1] is None:
        return _without_scores(one, other, apart)
    figures, both, silence = _over_shared(one, kept[0], other, kept[1])
    return RunDifference(first, second, apart, figures, (*images, both), silence)


def _figures(one: _Evaluated, other: _Evaluated, section: SectionName) -> list[str]:
    """Names of the figures that both have in a section, as they are shown."""
    both = one.metrics[section].keys() & other.metrics[section].keys() - NO_FIGURES
    return sorted(both, key=figure_order)


def _shared_sections(one: _Evaluated, other: _Evaluated) -> list[SectionName]:
    return [section for section in one.sections if section in other.sections]


def _as_drawn(one: _Evaluated, other: _Evaluated) -> list[FigureDifference]:
    """The figures of runs over the same images and labels."""
    found = []
    for section in _shared_sections(one, other):
        for name in _figures(one, other, section):
            told = difference([other.drawn], [one.drawn], f"{section}/{name}")
            limits = None if told is None else (told.low, told.high)
            found.append(_told(one, other, section, name, limits))
    return found


def _told(
    one: _Evaluated, other: _Evaluated, section: SectionName, name: str, limits: tuple[float, float] | None
) -> FigureDifference:
    first, second = (run.metrics[section][name] for run in (one, other))
    chance = other.metrics[section]["chance"].get(name)
    return FigureDifference(section, name, first, second, chance, second - first, limits)


def _without_scores(one: _Evaluated, other: _Evaluated, apart: Mapping[str, tuple[Any, Any]]) -> RunDifference:
    """The figures of each over its own images, and why there is no interval."""
    silent = [run.name for run in (one, other) if run.scores is None]
    sections = _shared_sections(one, other)
    figures = [_told(one, other, section, name, None) for section in sections for name in _figures(one, other, section)]
    images = one.metrics["images"], other.metrics["images"]
    note = (
        f"they were tested on other images or labels, and {' and '.join(silent)} kept no scores "
        "(evaluate.kept_scores_bytes), so that nobody can tell what the difference is worth"
    )
    return RunDifference(one.name, other.name, apart, figures, (*images, 0), note)


def _over_shared(
    one: _Evaluated, kept: "KeptScores", other: _Evaluated, others_kept: "KeptScores"
) -> tuple[list[FigureDifference], int, str | None]:
    """The figures counted over the images of both, how many these are, and what cannot be compared.

    What is known of the images is taken from the second run, whose data are the newer ones.
    """
    from pipeline.metrics.bootstrap import Resampling
    from pipeline.metrics.protocols import measure, replicates
    from pipeline.metrics.score_table import ScoreTable

    rows = {image_id: row for row, image_id in enumerate(kept.image_ids)}
    shared = [(rows[image_id], row) for row, image_id in enumerate(others_kept.image_ids) if image_id in rows]
    if not shared:
        return [], 0, "no test image is in both"
    mine, theirs = (np.array(column) for column in zip(*shared, strict=True))
    protocol, notes, found = one.metrics["protocol"], [], []
    resampling = Resampling.of([others_kept.image_ids[row] for row in theirs], _replicates(other))
    for section in _shared_sections(one, other):
        columns = _columns(kept, others_kept, section)
        if columns is None:
            notes.append(f"{section.upper()}: they rank other labels")
            continue
        codes = others_kept.codes[theirs][:, columns[1]]
        tables = [
            ScoreTable.of(kept.scores[mine][:, columns[0]], codes),
            ScoreTable.of(others_kept.scores[theirs][:, columns[1]], codes),
        ]
        asked = [k for k in ks(one.metrics[section]) if k in ks(other.metrics[section])]
        first, second = (measure(protocol, section, table, asked).figures for table in tables)
        drawn = [replicates(protocol, section, table, asked, resampling) for table in tables]
        for name in sorted(first, key=figure_order):
            gains = None if name not in drawn[0] else drawn[1][name].astype(np.float64) - drawn[0][name]
            limits = None if gains is None else interval(gains)
            found.append(
                FigureDifference(
                    section,
                    name,
                    first[name],
                    second[name],
                    other.metrics[section]["chance"].get(name),
                    second[name] - first[name],
                    None if limits is None else (limits.low, limits.high),
                )
            )
    return found, len(shared), "; ".join(notes) or None


def _replicates(run: _Evaluated) -> int:
    return max(map(len, run.drawn.figures.values()), default=0)


def _columns(kept: "KeptScores", others: "KeptScores", section: SectionName) -> tuple[list[int], list[int]] | None:
    """Columns of the labels of a section in both, in one order; None where they are not the same labels."""
    wanted = [column for column, role in enumerate(others.roles) if section != "zsl" or role == LabelRole.UNSEEN]
    own = {
        label: column
        for column, (label, role) in enumerate(zip(kept.label_ids, kept.roles, strict=True))
        if section != "zsl" or role == LabelRole.UNSEEN
    }
    ids = [others.label_ids[column] for column in wanted]
    same = own.keys() == set(ids) and all(
        kept.roles[own[label]] == others.roles[column] for label, column in zip(ids, wanted, strict=True)
    )
    return ([own[label] for label in ids], wanted) if same else None
