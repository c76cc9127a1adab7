"""Sums over the training images, from one pass: of all, and of those that are left where labels are hidden.

All is sums of x, x x' and x t' over the images, with x their feature and t their targets, in float64, so that no more
than a batch of images is in memory.

Where the labels of a fold are hidden, images that bear no other one are left out. Such an image bears labels of one
fold alone, so each image is in one sum of x x' only: that of a fold, or that of images that stay whatever is hidden.
The folds thus cost memory, a matrix [feature, feature] each, and hardly any time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from pipeline.models.fitting import Maps
from pipeline.models.ridge.network import pooled
from schemas.status import LabelCode

_BLOCK = 512
_ROUNDING = 1e-12  # of squares: float16 tells values apart by 1e-3, float32 by 1e-7
_ROWS = 1024  # that are multiplied at a time


@dataclass(frozen=True)
class Moments:
    """Of images, with x their feature.

    Attributes:
        images: how many.
        mean: of x.
        scatter: sum of (x - mean)(x - mean)'.
        labels: sum of (x - mean) t', where t is 1 for the labels of an image and 0 for others.
        shares: the same, where the labels of an image share 1.
        share_sums: sum of such t.
    """

    images: int
    mean: Float64[Tensor, "feature"]
    scatter: Float64[Tensor, "feature feature"]
    labels: Float64[Tensor, "feature label"]
    shares: Float64[Tensor, "feature label"]
    share_sums: Float64[Tensor, "label"]

    @property
    def deviation(self) -> Float64[Tensor, "feature"]:
        """Of x; 1 where it is 0."""
        found = (self.scatter.diagonal() / self.images).clamp(min=0).sqrt()
        return torch.where(found > 0, found, torch.ones_like(found))


class Sums:
    """Sums over batches of images, from which moments are taken.

    Features are counted from the mean of the first batch, so that little is lost where the mean is large.

    Args:
        first: features of the first images.
        folds: [label], the fold of each, counted from 0; -1 where none is ever hidden.
        with_labels: whether sums for targets of 1 are wanted.
        with_shares: whether sums for targets that share 1 are.
    """

    def __init__(self, first: Tensor, folds: Int64[Tensor, "label"], *, with_labels: bool, with_shares: bool) -> None:
        self._start = first.double().mean(dim=0)
        size, labels, hidings = len(self._start), len(folds), 1 + int(folds.max()) + 1
        zeros = self._start.new_zeros
        self._folds = folds
        self._images = [0] * hidings  # the first is of images that stay, then of those that go with each fold
        self._shifts = [zeros(size) for _ in range(hidings)]
        self._scatters = [zeros(size, size) for _ in range(hidings)]
        self._held: list[list[Tensor]] = [[] for _ in range(hidings)]
        self._labels = zeros(labels if with_labels else 0, size)
        self._label_sums = zeros(len(self._labels))
        # The first with no label hidden, then with those of each fold.
        self._shares = [zeros(labels if with_shares else 0, size) for _ in range(hidings)]
        self._share_sums = [zeros(len(shares)) for shares in self._shares]

    def add(self, features: Tensor, codes: Tensor) -> None:
        """Count more images."""
        x = features.double() - self._start
        present = (codes == LabelCode.PRESENT).double()
        hidden = [present[:, self._folds == fold].sum(dim=1) for fold in range(len(self._images) - 1)]
        positives = present.sum(dim=1)
        goes_with = torch.zeros(len(x), dtype=torch.long, device=x.device)
        for fold, count in enumerate(hidden):
            goes_with[count == positives] = 1 + fold
        for group in range(len(self._images)):
            rows = x if len(self._images) == 1 else x[goes_with == group]
            self._images[group] += len(rows)
            self._shifts[group] += rows.sum(dim=0)
            self._hold(group, rows)
        if len(self._labels):
            _add_products(self._labels, present, None, x)
            self._label_sums += present.sum(dim=0)
        if len(self._shares[0]):
            for hiding, count in enumerate([torch.zeros_like(positives), *hidden]):
                share = torch.where(count < positives, 1 / (positives - count).clamp(min=1), 0.0)
                _add_products(self._shares[hiding], present, share, x)
                self._share_sums[hiding] += share @ present

    def _hold(self, group: int, rows: Tensor) -> None:
        """Keep rows until there are enough of them: a matrix is read and written for each product."""
        self._held[group].append(rows)
        if sum(map(len, self._held[group])) >= _ROWS:
            self._flush(group)

    def _flush(self, group: int) -> None:
        held, self._held[group] = self._held[group], []
        if held:
            _add_square(self._scatters[group], torch.cat(held))

    def moments(self, hidden: int | None = None) -> Moments:
        """Of all images, or where the labels of a fold are hidden, of those that bear another label.

        What is told of the hidden labels means nothing.
        """
        return self._whole if hidden is None else self._moments(hidden)

    @cached_property
    def _whole(self) -> Moments:
        """Of all images. Where no fold is ever hidden this takes the sums themselves, not to hold a second copy."""
        return self._moments(None)

    def _moments(self, hidden: int | None) -> Moments:
        kept = [group for group in range(len(self._images)) if hidden is None or group != 1 + hidden]
        for group in kept:
            self._flush(group)
        images = sum(self._images[group] for group in kept)
        shift = torch.stack([self._shifts[group] for group in kept]).sum(dim=0)
        scatter = self._scatters[kept[0]] if len(self._images) == 1 else self._scatters[kept[0]].clone()
        for group in kept[1:]:
            scatter += self._scatters[group]
        _mirror(scatter)
        hiding = 0 if hidden is None else 1 + hidden
        mean_shift = shift / max(images, 1)
        mean = self._start + mean_shift
        least = _ROUNDING * (scatter.diagonal() + images * mean**2)
        scatter.addr_(shift, mean_shift, alpha=-1)
        constant = (
            scatter.diagonal() <= least
        )  # what is left there is rounding, and would be blown up to a deviation of 1
        scatter[constant], scatter[:, constant] = 0.0, 0.0
        return Moments(
            images=images,
            mean=mean,
            scatter=scatter,
            labels=self._labels.addr(self._label_sums, mean_shift, alpha=-1).T,
            shares=self._shares[hiding].addr(self._share_sums[hiding], mean_shift, alpha=-1).T,
            share_sums=self._share_sums[hiding],
        )


def sums(
    batches: Iterable[tuple[Maps, Tensor]], folds: Int64[Tensor, "label"], *, with_labels: bool, with_shares: bool
) -> Sums:
    """Those of all images, in one pass."""
    found: Sums | None = None
    for features, codes in _gathered(batches):
        found = found or Sums(features, folds, with_labels=with_labels, with_shares=with_shares)
        found.add(features, codes)
    assert found is not None, "there are training images"
    return found


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
    products: Float64[Tensor, "label feature"],
    present: Float64[Tensor, "image label"],
    share: Float64[Tensor, "image"] | None,
    x: Float64[Tensor, "image feature"],
) -> None:
    """Add t'x, with the few labels that an image bears as a sparse matrix.

    Args:
        share: of each of an image's labels; 1 where None.
    """
    if x.device.type != "cpu":
        products.addmm_((present if share is None else present * share[:, None]).T, x)
        return
    from scipy.sparse import csr_array

    targets: Any = csr_array(present.T.numpy())
    if share is not None:
        targets.data = share.numpy()[targets.indices]
    products += torch.from_numpy(targets @ x.numpy())


def _mirror(scatter: Float64[Tensor, "feature feature"]) -> None:
    """Copy what is below the diagonal above it, a few rows at a time."""
    for first in range(0, len(scatter), _BLOCK):
        end = min(first + _BLOCK, len(scatter))
        corner = scatter[first:end, first:end]
        corner.copy_(corner.tril() + corner.tril(-1).T)
        scatter[first:end, end:] = scatter[end:, first:end].T
