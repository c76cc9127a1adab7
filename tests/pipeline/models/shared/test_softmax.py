"""The cross-entropy of all labels together, against a loop written from its definition."""

import math

import pytest
import torch
from torch import Tensor

from pipeline.models.shared.softmax import softmax_loss

CODES = torch.tensor([[1, -1, 1, 0, -1], [-1, -1, 1, -1, -1], [0, 1, 1, 1, -1]], dtype=torch.int8)
WEIGHTS = torch.tensor([1.0, 0.5, 0.25, 2.0, 1.0])


def by_loop(scores: Tensor, codes: Tensor, weights: Tensor) -> float:
    total = 0.0
    for row, known in zip(scores.tolist(), codes.tolist(), strict=True):
        among = math.log(sum(math.exp(score) for score, code in zip(row, known, strict=True) if code != 0))
        present = [label for label, code in enumerate(known) if code == 1]
        shares = sum(float(weights[label]) for label in present)
        total -= sum(float(weights[label]) / shares * (row[label] - among) for label in present)
    return total / len(scores)


def test_it_is_the_mean_over_images_of_the_shares_of_their_labels() -> None:
    scores = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert softmax_loss(scores, CODES, WEIGHTS).item() == pytest.approx(by_loop(scores, CODES, WEIGHTS), rel=1e-6)


def test_the_losses_of_processes_add_up() -> None:
    scores = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    parts = [softmax_loss(scores[rows], CODES[rows], WEIGHTS, 3) for rows in (slice(0, 1), slice(1, 3))]
    torch.testing.assert_close(sum(parts), softmax_loss(scores, CODES, WEIGHTS))


def test_unknown_labels_and_images_without_a_label_have_no_gradient() -> None:
    scores = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    codes = torch.tensor([[1, 0, -1], [-1, -1, -1]], dtype=torch.int8)
    softmax_loss(scores, codes, torch.ones(3)).backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[0, 1] == 0
    assert not scores.grad[1].any()
