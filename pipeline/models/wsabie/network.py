"""The network of WSABIE, two matrices of bounded norm, and its loss with sampled ranks."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

from pipeline.models.shared import cells
from pipeline.models.shared.input_norm import InputNorm
from pipeline.models.shared.precision import long, wide
from pipeline.models.shared.rank_weighted import harmonic_numbers
from pipeline.models.wsabie import WsabieConfig
from schemas.config import TrainConfig
from schemas.status import LabelCode

_MOST = 1.0  # norm of a column of U and of a row of V


class Wsabie(nn.Module):
    """Scores V U x, with x the normalised feature.

    Args:
        settings: `input_norm`, `joint_size`.
        size: elements of the feature.
        labels: that it learns.

    Attributes:
        feature_matrix: [joint, feature], U; its columns have norms of 1 at most.
        label_matrix: [label, joint], V; so have its rows.
    """

    def __init__(self, settings: WsabieConfig, size: int, labels: int) -> None:
        super().__init__()
        joint = settings.joint_size
        self.input_norm = InputNorm(settings.input_norm, size)
        self.feature_matrix = nn.Parameter(torch.randn(joint, size) / joint**0.5)
        self.label_matrix = nn.Parameter(torch.randn(labels, joint) / joint**0.5)

    def forward(
        self, feature: Float[Tensor, "image ..."], words: Float[Tensor, "seen word"]
    ) -> Float[Tensor, "image seen"]:
        """Score of each label that it learns, in their order, float32; the words do not count."""
        del words
        return wide(self.input_norm(feature) @ self.feature_matrix.T @ self.label_matrix.T)

    @torch.no_grad()
    def project(self) -> None:
        """Shorten what is longer than a norm may be."""
        self.feature_matrix.renorm_(2, 1, _MOST)
        self.label_matrix.renorm_(2, 0, _MOST)


class ProjectedSGD(torch.optim.SGD):
    """Stochastic gradient descent; after each step the network is projected."""

    def __init__(self, network: Wsabie, train: TrainConfig) -> None:
        super().__init__(network.parameters(), lr=train.lr, momentum=train.momentum, weight_decay=train.weight_decay)
        self._project = network.project

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change the weights."""
        loss = super().step(closure)
        self._project()
        return loss


def sampled_rank_loss(
    scores: Float[Tensor, "image label"], codes: Int8[Tensor, "image label"], batch_images: int
) -> Float[Tensor, ""]:
    """Hinges of positive labels against one absent label each, weighted by what tells of their rank.

    Absent labels of an image are drawn without putting back until one scores above 1 below the positive label. With k
    of C labels drawn, its hinge is weighted by H(floor((C - 1) / k)), where H(r) = 1 + 1/2 + ... + 1/r. A positive
    label whose margin none violates adds nothing. Draws come from torch's random state.

    Args:
        scores: of any float type; the sum runs in float64.
        codes: +1 present, -1 absent, 0 unknown (never drawn).
        batch_images: size of the whole batch; the parts of several processes add up.

    After Weston, Bengio and Usunier, "WSABIE", IJCAI 2011.
    """
    num_labels = scores.shape[1]
    total = long(scores).sum() * 0  # a batch without a hinge has a gradient, too: zeros
    harmonic = harmonic_numbers(num_labels).to(total)
    absent = codes == LabelCode.ABSENT
    for image, label in cells.blocks(codes == LabelCode.PRESENT):
        own, others = scores[image, label], scores.detach()[image]
        violating = absent[image] & (1 + others > own.detach().unsqueeze(1))
        turns = torch.rand(violating.shape, device=scores.device).masked_fill(~absent[image], torch.inf)
        first, drawn = turns.masked_fill(~violating, torch.inf).min(dim=1)
        tries = (turns <= first.unsqueeze(1)).sum(dim=1).clamp(min=1)
        weights = harmonic[(num_labels - 1) // tries] * violating.any(dim=1)
        total = total + (weights * long(1 + scores[image, drawn] - own)).sum()
    return (total / batch_images).to(wide(scores).dtype)
