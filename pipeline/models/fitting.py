"""What a model may look at before training, and what it makes of it."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Maps = tuple["Tensor", ...]


@dataclass(frozen=True)
class Validation:
    """The validation images, to choose settings by what is known of their seen labels.

    What foretells how unseen labels will be ranked are seen ones that were hidden from the fit, and are scored by their
    words (`fold_of_labels`); seen labels that were fitted to choose the wrong settings.

    Attributes:
        images: how many.
        passed: a pass over them, as `Fitting.train` is one, in an order that is always the same. An image may be
            without a positive label.
        mean_ap: mean average precision of labels, by scores and codes [image, label]; labels that no image bears are
            left out, and NaN is told where none does.
    """

    images: int
    passed: Callable[[], Iterable[tuple[Maps, "Tensor"]]]
    mean_ap: Callable[["Tensor", "Tensor"], float]


@dataclass(frozen=True)
class Fitting:
    """Seen words, and images with what is known of their seen labels. Nothing of an unseen label is in here.

    Attributes:
        words: float32 [label, word], l2-normalised, of the seen labels.
        present: int64 [label], training images that bear each label.
        absent: int64 [label], training images that are known not to.
        train: a pass over the training images, in an order that is always the same: maps as `needs` names them,
            [image, *shape], and codes int8 [image, label]. Each image has a positive label.
        validated: what several ways to score the validation images are worth: for each the mAP of seen labels, from one
            pass. None where there are no validation images.
        seed: of the run, for what is drawn.
        validation: the validation images; None where there are none.
        zero_shot: whether there are unseen labels, which will be scored by their words.
        reading: gives the same with other maps, by the names that `needs` has for them: a pass over small ones need not
            wait for large ones. None where the maps cannot be chosen.
    """

    words: "Tensor"
    present: "Tensor"
    absent: "Tensor"
    train: Callable[[], Iterable[tuple[Maps, "Tensor"]]]
    validated: Callable[[Callable[[Maps], Sequence["Tensor"]]], list[float]] | None
    seed: int
    validation: Validation | None = None
    zero_shot: bool = True
    reading: "Callable[[Sequence[str]], Fitting] | None" = None


def fold_of_labels(labels: int, folds: int) -> list[int]:
    """The fold that each seen label is hidden in, from 0; the sizes of folds differ by 1 at most.

    The draw is always the same, so that what is chosen by it depends on no seed.
    """
    fold = [0] * labels
    for place, label in enumerate(random.Random(0).sample(range(labels), labels)):
        fold[label] = place % folds
    return fold


@dataclass(frozen=True)
class Fitted:
    """What was computed.

    Attributes:
        buffers: of the network, by name.
        facts: what was chosen, and why: JSON values, for history.json.
    """

    buffers: "Mapping[str, Tensor]" = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
