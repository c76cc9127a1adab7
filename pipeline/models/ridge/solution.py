"""The ridge regression's closed form, from sums over the training images.

Z: standardised features of the training images; T: what they are regressed to. W = (Z'Z + strength I)^-1 Z'T, with a
column of ones in Z that the strength counts, too. Both products come from sums of x, x x' and x t' over the images, in
float64, so that no more than a batch of them is in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from pipeline.models.fitting import Fitted, Fitting, Maps
from pipeline.models.ridge.network import pooled, scores
from pipeline.models.ridge.settings import RidgeConfig
from schemas.command import Command
from schemas.errors import UsageError
from schemas.status import LabelCode

STRENGTHS = (1e2, 1e3, 1e4, 1e5)
_BLOCK = 512
_ROWS = 1024  # that are multiplied at a time


@dataclass(frozen=True)
class Moments:
    """Of the training images, with x their feature and t their targets.

    Targets are 1 for positive labels; in form `devise` these share 1 among them.

    Attributes:
        images: how many.
        mean: of x.
        scatter: sum of (x - mean)(x - mean)'.
        products: sum of (x - mean) t'.
        targets: sum of t.
    """

    images: int
    mean: Float64[Tensor, "feature"]
    scatter: Float64[Tensor, "feature feature"]
    products: Float64[Tensor, "feature label"]
    targets: Float64[Tensor, "label"]

    @property
    def deviation(self) -> Float64[Tensor, "feature"]:
        """Of x; 1 where it is 0."""
        found = (self.scatter.diagonal() / self.images).clamp(min=0).sqrt()
        return torch.where(found > 0, found, torch.ones_like(found))


@dataclass(frozen=True)
class Solution:
    """The coefficients for one strength.

    Attributes:
        weights: [feature, target] of the standardised feature.
        offset: [target].
    """

    weights: Float64[Tensor, "feature target"]
    offset: Float64[Tensor, "target"]


def moments(batches: Iterable[tuple[Maps, Tensor]], form: str) -> Moments:
    """One pass over all images.

    Features are counted from the mean of the first batch, so that little is lost where the mean is large.
    """
    images, start = 0, None
    for values, codes in _gathered(batches):
        t = (codes == LabelCode.PRESENT).double()
        if form == "devise":
            t /= t.sum(dim=1, keepdim=True)
        if start is None:
            start = values.double().mean(dim=0)
            shift, targets = torch.zeros_like(start), t.new_zeros(t.shape[1])
            scatter, products = t.new_zeros(len(start), len(start)), t.new_zeros(t.shape[1], len(start))
        x = values - start  # in float64
        _add_square(scatter, x)
        _add_products(products, t, x)
        shift += x.sum(dim=0)
        targets += t.sum(dim=0)
        images += len(x)
    assert start is not None, "there are training images"
    _mirror(scatter)
    scatter.addr_(shift, shift, alpha=-1 / images)
    products.addr_(targets, shift, alpha=-1 / images)
    return Moments(images, start + shift / images, scatter, products.T, targets)


def _gathered(batches: Iterable[tuple[Maps, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pooled features and codes of more images at a time: batches are as small as whole maps ask for."""
    held: list[tuple[Tensor, Tensor]] = []
    for (values,), codes in batches:
        held.append((pooled(values), codes))
        if sum(len(part) for part, _ in held) >= _ROWS:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(held: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([features for features, _ in held]), torch.cat([codes for _, codes in held])


def _add_square(scatter: Float64[Tensor, "feature feature"], x: Float64[Tensor, "image feature"]) -> None:
    """Add x'x to the part of a matrix on and below its diagonal; what is above it means nothing.

    BLAS has a routine for it that does half the work of a product, at twice its rate; torch does not call it.
    """
    if x.device.type != "cpu":
        scatter.addmm_(x.T, x)
        return
    from scipy.linalg.blas import dsyrk

    # Columns first, as BLAS sees memory: its upper part is ours below the diagonal.
    dsyrk(1.0, x.numpy().T, beta=1.0, c=scatter.numpy().T, overwrite_c=True)


def _add_products(
    products: Float64[Tensor, "label feature"], t: Float64[Tensor, "image label"], x: Float64[Tensor, "image feature"]
) -> None:
    """Add t'x, with the few labels that an image bears as a sparse matrix."""
    if x.device.type != "cpu":
        products.addmm_(t.T, x)
        return
    from scipy.sparse import csr_array

    products += torch.from_numpy(csr_array(t.T.numpy()) @ x.numpy())


def _mirror(scatter: Float64[Tensor, "feature feature"]) -> None:
    """Copy what is below the diagonal above it, a few rows at a time."""
    for first in range(0, len(scatter), _BLOCK):
        end = min(first + _BLOCK, len(scatter))
        corner = scatter[first:end, first:end]
        corner.copy_(corner.tril() + corner.tril(-1).T)
        scatter[first:end, end:] = scatter[end:, first:end].T


def solve(
    found: Moments, words: Float64[Tensor, "label word"], form: str, strengths: Sequence[float]
) -> Iterator[Solution]:
    """The coefficients for each strength.

    `devise`: T is the mean vector of an image's labels. `conse`: T is 1 for its labels and 0 for others, less the mean
    over images, and what is regressed to is divided by its deviation over the training images. `eszsl`: T is 1 and -1,
    less the mean, times the vectors, and W times (E'E + I)^-1, with the vectors as rows of E.
    """
    squares = found.scatter / found.deviation / found.deviation[:, None]
    products = found.products / found.deviation[:, None]
    if form == "devise":
        products = products @ words
    elif form == "eszsl":
        of_words = words.T @ words + torch.eye(words.shape[1], dtype=words.dtype, device=words.device)
        products = 2 * products @ words @ torch.linalg.inv(of_words)
    for strength in strengths:
        weights = _solved(squares, strength, products)
        offset = weights.new_zeros(weights.shape[1])
        if form == "devise":
            offset = found.targets @ words / (found.images + strength)
        elif form == "conse":
            # Of w over the images: w'Z'Zw = w'(Z'T - strength w), as w solves (Z'Z + strength I) w = Z'T.
            squared = (weights * (products - strength * weights)).sum(dim=0).clamp(min=0)
            spread = squared.div(found.images).sqrt()
            weights /= torch.where(spread > 0, spread, torch.ones_like(spread))
        yield Solution(weights, offset)


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


def fit(settings: RidgeConfig, fitting: Fitting) -> Fitted:
    """The buffers of the network, and how the strength was found.

    Raises:
        UsageError: no strength is set, and there are no validation images to choose it by.
    """
    if settings.strength is None and fitting.validated is None:
        raise UsageError(
            "setting model.strength: got null, and there are no validation images to choose one by",
            expected="a number above 0",
            hint="Use:",
            run=Command(sets={"model.strength": STRENGTHS[2]}),
        )
    words = fitting.words.double()
    found = moments(fitting.train(), settings.form)
    strengths = STRENGTHS if settings.strength is None else (settings.strength,)
    solutions = list(solve(found, words, settings.form, strengths))
    facts: dict[str, Any] = {"images": found.images, "strength": strengths[0]}
    chosen = 0
    if settings.strength is None:
        assert fitting.validated is not None, "said above"

        narrow = [(solution.weights.float(), solution.offset.float()) for solution in solutions]
        mean, deviation, seen = found.mean, found.deviation, fitting.words

        def scored(maps: Maps) -> list[Tensor]:
            """In float32, which is enough to choose by, and half the work."""
            x = ((pooled(maps[0]).double() - mean) / deviation).float()
            regressed = (x @ weights + offset for weights, offset in narrow)
            return [scores(settings.form, y, seen, seen, settings.mixed_labels) for y in regressed]

        worth = fitting.validated(scored)
        chosen = max(range(len(strengths)), key=worth.__getitem__)
        facts = {
            "images": found.images,
            "strength": strengths[chosen],
            "validation_map": {f"{strength:g}": value for strength, value in zip(strengths, worth, strict=True)},
        }
    buffers = {
        "mean": found.mean,
        "deviation": found.deviation,
        "weights": solutions[chosen].weights,
        "offset": solutions[chosen].offset,
        "seen_words": words if settings.form == "conse" else words[:0],
    }
    return Fitted({name: value.float() for name, value in buffers.items()}, facts)
