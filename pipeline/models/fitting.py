"""What a model may look at before training, and what it makes of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Maps = tuple["Tensor", ...]


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
    """

    words: "Tensor"
    present: "Tensor"
    absent: "Tensor"
    train: Callable[[], Iterable[tuple[Maps, "Tensor"]]]
    validated: Callable[[Callable[[Maps], Sequence["Tensor"]]], list[float]] | None
    seed: int


@dataclass(frozen=True)
class Fitted:
    """What was computed.

    Attributes:
        buffers: of the network, by name.
        facts: what was chosen, and why: JSON values, for history.json.
    """

    buffers: "Mapping[str, Tensor]" = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
