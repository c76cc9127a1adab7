"""What `predict` came to, as values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.command import Command
from schemas.errors import PipelineError
from schemas.status import ImageStatus


@dataclass(frozen=True)
class LabelScore:
    """One label of an image.

    Attributes:
        kind: `seen` in training, `unseen`, or `other`: no label of the data set.
        score: a larger one means more likely; scores compare within an image only.
        probability: that the label is present, in [0, 1]; None where nothing makes one of a score.
        heat_map: path of the picture that shows where the model sees the label; None where none was drawn.
    """

    label: str
    kind: str
    score: float
    probability: float | None = None
    heat_map: str | None = None


@dataclass(frozen=True)
class ImagePrediction:
    """One image; `labels` are empty where the status is not `ok`."""

    image: str
    status: str
    error: str | None = None
    labels: Sequence[LabelScore] = ()


@dataclass(frozen=True)
class Worth:
    """What the probabilities are worth.

    Attributes:
        reason: why there are none; None where there are.
        seen: expected calibration error on test images, of labels seen in training, in [0, 1].
        unseen: the same of unseen labels, for which nothing was fitted; None where there are none.
        trained_on: whether the images that they were fitted on were trained on, too.
    """

    reason: str | None
    seen: float | None = None
    unseen: float | None = None
    trained_on: bool = False

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.reason is not None:
            return f"no probabilities: {self.reason}"
        told = "probabilities are fitted on seen labels of validation images"
        told += ", which were trained on, too, so that they are too bold" if self.trained_on else ""
        if self.seen is not None:
            told += f"; on test images they are off by {self.seen:.3f} in the mean for seen labels"
        if self.unseen is not None:
            told += f", by {self.unseen:.3f} for unseen ones: expect that of words that no image was labelled with"
        return told


@dataclass(frozen=True)
class Prediction:
    """What the model says.

    Attributes:
        model: path of the model file.
        weights: the backbone's.
        random_weights: whether those are random numbers.
        words_missing: by label, words without a vector, where others of the label have one.
        words_unknown: labels that were asked for and left out: no word of theirs has a vector.
        images: in the order asked for.
        worth: of the probabilities.
        blind: whether pictures were wanted of where the model sees labels, and it does not tell.
        page: path of the page; None before it is written.
        table: path of the table; likewise.
    """

    model: str
    weights: str
    random_weights: bool
    words_missing: Mapping[str, Sequence[str]]
    images: Sequence[ImagePrediction]
    words_unknown: Sequence[str] = ()
    worth: Worth = field(default_factory=lambda: Worth("nothing was evaluated"))
    blind: bool = False
    page: str | None = None
    table: str | None = None

    @property
    def problem(self) -> PipelineError | None:
        """What makes the exit code differ from 0: that no image could be used."""
        counts = Counter(image.status for image in self.images)
        if counts[ImageStatus.OK]:
            return None
        counted, first = ", ".join(f"{name} {count}" for name, count in counts.items()), self.images[0]
        return PipelineError(
            f"predict: none of {len(self.images)} images could be used ({counted}; {first.image}: {first.error})",
            expected="at least one",
            hint="With other files, run:",
            run=Command("predict", ("photo.jpg",)),
        )

    @property
    def notes(self) -> list[str]:
        """What is to be read with the scores, a sentence each."""
        told = []
        if self.words_unknown:
            names = ", ".join(map(repr, self.words_unknown))
            told.append(f"left out, since nobody knows their words: {names}")
        told += [
            f"{name!r} goes without {', '.join(map(repr, words))}, which has no vector"
            for name, words in self.words_missing.items()
        ]
        if self.blind:
            told.append("no pictures: the model does not tell where in a picture it sees a label")
        if self.problem is None:
            told.append(self.worth.sentence)
        if self.random_weights and self.problem is None:
            told.append(f"{self.weights} weights: the scores show that the pipeline works, not what is in the pictures")
        return told

    def as_json(self) -> dict[str, Any]:
        """The prediction as JSON values, but for the problem."""
        return asdict(self)
