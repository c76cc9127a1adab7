"""Where word vectors stand when their cosines are taken: as they are, or moved by what seen ones have in common.

Vectors of words share a large mean, and a few directions hold most of what is left. Cosines tell labels apart better
once the mean is gone and those directions weigh less.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

WordForm = Literal["plain", "centred", "whitened"]

_FLOOR, _POWER = 0.05, 0.3  # of a direction's share: 0 would leave directions as they are, 1 make them equal


@dataclass(frozen=True)
class WordSpace:
    """A place for each word that depends on its own vector and on seen ones alone.

    Attributes:
        centre: [word] that is taken off; of no element where vectors stay as they are.
        axes: [word, word] that they are multiplied by then; likewise.
    """

    centre: Float[Tensor, "word"]
    axes: Float[Tensor, "word word"]

    def placed(self, words: Float[Tensor, "label word"]) -> Float[Tensor, "label word"]:
        """The vectors in their places, each with norm 1; as they are where nothing moves them."""
        if not len(self.centre):
            return words
        return functional.normalize((words - self.centre) @ self.axes, dim=1)


def word_space(form: WordForm, seen: Float[Tensor, "label word"]) -> WordSpace:
    """The space of a form, by the vectors of seen labels X.

    `centred` takes off their mean. `whitened` then multiplies by V (s/s1 + 0.05)^-0.3 V', with s the singular values of
    what is left of X, the largest first, and V its right vectors; a direction without seen vectors has s = 0. The last
    V' turns all vectors alike, which no cosine sees, and makes the product one and the same on every machine.
    """
    if form == "plain":
        return WordSpace(seen.new_zeros(0), seen.new_zeros(0, 0))
    centre = seen.mean(dim=0)
    if form == "centred":
        return WordSpace(centre, torch.eye(len(centre), dtype=seen.dtype, device=seen.device))
    left = seen - centre
    squares, right = torch.linalg.eigh(left.T @ left)
    values = squares.clamp(min=0).sqrt()
    shares = values / values.max().clamp(min=torch.finfo(seen.dtype).tiny)
    return WordSpace(centre, (right * (shares + _FLOOR) ** -_POWER) @ right.T)
