"""The ridge regression's closed form, from sums over the training images.

Z: standardised features of the training images; T: what they are regressed to. W = (Z'Z + strength I)^-1 Z'T, with a
column of ones in Z that the strength counts, too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from pipeline.models.ridge.moments import Moments
from pipeline.models.ridge.settings import Target, Way, Words
from pipeline.models.shared.word_space import WordSpace, word_space


@dataclass(frozen=True)
class Solution:
    """The coefficients for one strength.

    Attributes:
        weights: [feature, target] of the standardised feature.
        offset: [target].
    """

    weights: Float64[Tensor, "feature target"]
    offset: Float64[Tensor, "target"]

    def regressed(self, standardised: Float[Tensor, "image feature"]) -> Float[Tensor, "image target"]:
        """What images are regressed to, in the type of their features."""
        return standardised @ self.weights.to(standardised) + self.offset.to(standardised)


def joined(solutions: Sequence[Solution]) -> Solution:
    """Side by side."""
    return Solution(
        torch.cat([each.weights for each in solutions], dim=1), torch.cat([each.offset for each in solutions])
    )


class Solver:
    """Solves for what some ways regress to.

    Args:
        found: of the training images.
        words: vectors of the labels that are fitted to.
        columns: of those labels in the moments.
        ways: that are asked for.
    """

    def __init__(
        self,
        found: Moments,
        words: Float64[Tensor, "label word"],
        columns: Int64[Tensor, "label"],
        ways: Iterable[Way],
    ) -> None:
        self.found = found
        self.spaces: dict[Words, WordSpace] = {}
        self._words, self._columns = words, columns
        self._squares = found.scatter / found.deviation / found.deviation[:, None]
        self._products: dict[Target, Tensor] = {}
        for way in ways:
            if way.words not in self.spaces:
                self.spaces[way.words] = word_space(way.words, words)
            for target in way.targets:
                if target not in self._products:
                    self._products[target] = self._product(target)

    def solutions(self, strength: float) -> dict[Target, Solution]:
        """The coefficients for each target."""
        lengths = [products.shape[1] for products in self._products.values()]
        every = _solved(self._squares, strength, torch.cat(list(self._products.values()), dim=1))
        parts = zip(self._products.items(), every.split(lengths, dim=1), strict=True)
        return {target: self._solution(target, products, weights, strength) for (target, products), weights in parts}

    def standardised(self, features: Float64[Tensor, "image feature"]) -> Float[Tensor, "image feature"]:
        """In float32, which is enough to choose by, and half the work."""
        return ((features - self.found.mean) / self.found.deviation).float()

    def placed(self, target: Target | Way) -> Float64[Tensor, "label word"]:
        """Vectors of the labels that are fitted to, in the space of a target or a way."""
        assert target.words is not None, "a target among words"
        return self.spaces[target.words].placed(self._words)

    def _product(self, target: Target) -> Float64[Tensor, "feature target"]:
        """Z'T.

        `labels`: T is 1 for an image's labels and 0 for others, less the mean over images. `both sides`: T is 1 and -1,
        less the mean, times the vectors, and W times (E'E + I)^-1, with the vectors as rows of E.
        """
        sums = self.found.shares if target.kind == "mean vector" else self.found.labels
        products = sums[:, self._columns] / self.found.deviation[:, None]
        if target.kind == "labels":
            return products
        words = self.placed(target)
        if target.kind == "mean vector":
            return products @ words
        of_words = words.T @ words + torch.eye(words.shape[1], dtype=words.dtype, device=words.device)
        return 2 * products @ words @ torch.linalg.inv(of_words)

    def _solution(self, target: Target, products: Tensor, weights: Tensor, strength: float) -> Solution:
        """With labels divided by the deviation of what they are regressed to over the training images."""
        offset = weights.new_zeros(weights.shape[1])
        if target.kind == "mean vector":
            offset = self.found.share_sums[self._columns] @ self.placed(target) / (self.found.images + strength)
        elif target.kind == "labels":
            # Of w over the images: w'Z'Zw = w'(Z'T - strength w), as w solves (Z'Z + strength I) w = Z'T.
            squared = (weights * (products - strength * weights)).sum(dim=0).clamp(min=0)
            spread = squared.div(self.found.images).sqrt()
            weights = weights / torch.where(spread > 0, spread, torch.ones_like(spread))
        return Solution(weights, offset)


def _solved(
    squares: Float64[Tensor, "feature feature"], strength: float, products: Float64[Tensor, "feature target"]
) -> Float64[Tensor, "feature target"]:
    """(squares + strength I)^-1 products.

    On a CPU by SciPy's LAPACK, which takes two thirds of the time of torch's.
    """
    weighted = squares.clone()
    weighted.diagonal().add_(strength)
    if weighted.device.type != "cpu":
        return torch.cholesky_solve(products, torch.linalg.cholesky(weighted))
    from scipy.linalg import cho_factor, cho_solve

    factor = cho_factor(weighted.numpy().T, lower=True, overwrite_a=True, check_finite=False)  # columns first
    return torch.from_numpy(cho_solve(factor, products.numpy(), check_finite=False))
