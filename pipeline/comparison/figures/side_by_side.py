"""The best labels of two rows of a comparison for the same test images.

Source: figures 8 and 9 of BiAM (ICCV 2021). Differs: images are drawn, and those where the rows differ most are shown
on both sides and called so.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32, Int8, Int64

from pipeline.comparison.figures.rows import FigureRow, Looking, ShownImage, borne, first_column, label, shown_images
from pipeline.metrics.topk import top_labels
from pipeline.reporting.examples import Shown
from schemas.figures import SectionName
from schemas.status import LabelCode

if TYPE_CHECKING:
    from pipeline.inference.opened import OpenedRun

_OF_A_KIND = 6  # images that are drawn, of the largest gains, of the largest losses
_TOP: Mapping[SectionName, int] = {"zsl": 3, "gzsl": 5, "standard": 5}  # as the paper shows them
Outcome = Literal["right", "wrong", "unknown"]
_OUTCOMES: Mapping[int, Outcome] = {
    LabelCode.PRESENT: "right",
    LabelCode.ABSENT: "wrong",
    LabelCode.UNKNOWN: "unknown",
}


@dataclass(frozen=True)
class Guess:
    """A label among the best of an image: `unknown` where nobody says whether the image shows it."""

    label: Shown
    score: float
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"label": self.label.name, "score": self.score, "outcome": self.outcome}


@dataclass(frozen=True)
class GuessedImage:
    """A test image with the best labels of both rows, by title."""

    image: ShownImage
    guesses: Mapping[str, tuple[Guess, ...]]

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        best = {row: [guess.as_json() for guess in guesses] for row, guesses in self.guesses.items()}
        return self.image.as_json() | {"best": best}


@dataclass(frozen=True)
class SideBySide:
    """Two rows in one task.

    Attributes:
        task: whose labels are ranked.
        rows: titles; a gain is one of the first.
        top: labels shown of each image.
        num_images: test images among which those of the largest gains and losses were sought.
        drawn: images drawn at random among those with a label of the task.
        gains: where the first row has most right labels more than the second.
        losses: where it has most fewer.
    """

    task: SectionName
    rows: tuple[str, str]
    top: int
    num_images: int
    drawn: tuple[GuessedImage, ...]
    gains: tuple[GuessedImage, ...]
    losses: tuple[GuessedImage, ...]

    @property
    def images(self) -> Iterator[ShownImage]:
        """All that are shown, some maybe twice."""
        for shown in (*self.drawn, *self.gains, *self.losses):
            yield shown.image

    def as_json(self) -> dict[str, Any]:
        """As figures.json has it."""
        kinds = {"drawn": self.drawn, "gains": self.gains, "losses": self.losses}
        told = {kind: [image.as_json() for image in images] for kind, images in kinds.items()}
        return {"task": self.task, "rows": self.rows, "top": self.top, "num_images": self.num_images, **told}


@dataclass(frozen=True)
class _Best:
    """The best labels of all test images, with scores and codes of these."""

    columns: Int64[np.ndarray, "image rank"]
    scores: Float32[np.ndarray, "image rank"]
    codes: Int8[np.ndarray, "image rank"]

    @property
    def right(self) -> Int64[np.ndarray, " image"]:
        return np.count_nonzero(self.codes == LabelCode.PRESENT, axis=1)


def side_by_side(pair: Sequence[FigureRow], tasks: Sequence[SectionName], looking: Looking) -> list[SideBySide]:
    """What two rows, which were counted over the same images and labels, say of these, task by task.

    Both score all test images, to find where they differ most.
    """
    runs = [looking.opened(row) for row in pair]
    best = [_best(run, tasks) for run in runs]
    titles = (pair[0].title, pair[1].title)
    return [_of_task(runs[0], task, titles, [found[task] for found in best], looking) for task in tasks]


def _best(run: "OpenedRun", tasks: Sequence[SectionName]) -> dict[SectionName, _Best]:
    parts: dict[SectionName, list[tuple[np.ndarray, ...]]] = {task: [] for task in tasks}
    with closing(run.scorer.stream(run.images)) as stream:
        for batch, scores in stream:
            for task, found in parts.items():
                first = first_column(run, task)
                columns = first + top_labels(scores[:, first:], _TOP[task])
                found.append((columns, *(np.take_along_axis(of, columns, axis=1) for of in (scores, batch.codes))))
    return {task: _Best(*map(np.concatenate, zip(*found, strict=True))) for task, found in parts.items()}


def _of_task(
    run: "OpenedRun", task: SectionName, titles: tuple[str, str], best: Sequence[_Best], looking: Looking
) -> SideBySide:
    first, order = first_column(run, task), looking.order(len(run.images))
    bearing = np.zeros(len(order), dtype=np.bool_)
    bearing[borne(run, first)[0]] = True
    gain = best[0].right - best[1].right
    kinds = [order[bearing[order]][:_OF_A_KIND], _largest(gain, order), _largest(-gain, order)]
    images = shown_images(run, sorted({position for kind in kinds for position in kind.tolist()}), first)

    def guessed(position: int) -> GuessedImage:
        guesses = {title: _guesses(run, found, position) for title, found in zip(titles, best, strict=True)}
        return GuessedImage(images[position], guesses)

    shown = (tuple(guessed(position) for position in kind.tolist()) for kind in kinds)
    return SideBySide(task, titles, best[0].columns.shape[1], len(order), *shown)


def _largest(gain: Int64[np.ndarray, " image"], order: Int64[np.ndarray, " image"]) -> Int64[np.ndarray, " chosen"]:
    """Images of the largest gains, where there is any; of equal ones those that a random order has first."""
    by_gain = order[np.argsort(-gain[order], kind="stable")]
    return by_gain[gain[by_gain] > 0][:_OF_A_KIND]


def _guesses(run: "OpenedRun", best: _Best, position: int) -> tuple[Guess, ...]:
    values = (best.columns[position].tolist(), best.scores[position].tolist(), best.codes[position].tolist())
    return tuple(Guess(label(run, column), score, _OUTCOMES[code]) for column, score, code in zip(*values, strict=True))
