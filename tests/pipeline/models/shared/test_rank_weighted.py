import pytest
import torch
from largest_tensor import LargestTensor

from pipeline.models.shared import cells
from pipeline.models.shared.rank_weighted import harmonic_numbers, rank_weighted_loss

SCORES = [[2, 1.5, 0, -1], [0, 0.2, 3, -5]]
CODES = torch.tensor([[1, -1, -1, -1], [1, -1, -1, 1]], dtype=torch.int8)
WEIGHTINGS = ["harmonic", "mean-harmonic", "uniform"]


def batch(num_images=5, num_labels=11):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(num_images, num_labels, generator=generator, dtype=torch.float64)
    codes = torch.randint(-1, 2, (num_images, num_labels), generator=generator, dtype=torch.int8)
    codes[1] = codes[1].clamp(max=0)  # nothing present
    codes[2] = codes[2].clamp(min=0)  # nothing absent
    return scores.requires_grad_(), codes


def slow(scores, codes, weighting):
    total = 0 * scores.sum()
    for row, known in zip(scores, codes, strict=True):
        for p in (known == 1).nonzero().flatten():
            violations = [1 + row[n] - row[p] for n in (known == -1).nonzero().flatten() if 1 + row[n] - row[p] > 0]
            rank = len(violations)
            harmonic = sum(1 / number for number in range(1, rank + 1))
            weight = {"harmonic": harmonic, "mean-harmonic": harmonic / max(rank, 1), "uniform": 1}[weighting]
            total = total + weight * sum(violations)
    return total / len(scores)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("cells_at_once", [1, 22, 1000])
def test_loss_and_gradient_are_those_of_a_loop(weighting, cells_at_once, monkeypatch):
    monkeypatch.setattr(cells, "CELLS_AT_ONCE", cells_at_once)
    scores, codes = batch()
    losses = rank_weighted_loss(scores, codes, weighting), slow(scores, codes, weighting)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, scores)[0] for loss in losses))


@pytest.mark.parametrize(("weighting", "expected"), [("harmonic", 15.55), ("mean-harmonic", 7.9)])
def test_losses_by_hand(weighting, expected):
    assert rank_weighted_loss(torch.tensor(SCORES), CODES, weighting).item() == pytest.approx(expected, abs=1e-5)


def test_the_gradient_by_hand():
    scores = torch.tensor(SCORES, requires_grad=True)
    rank_weighted_loss(scores, CODES, "harmonic").backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[-0.5, 0.5, 0, 0], [-1.5, 1.5, 1.5, -1.5]]))


@pytest.mark.parametrize(("file", "weighting"), [("warp", "harmonic"), ("labelem", "mean-harmonic")])
def test_losses_and_gradients_of_the_reference(reference, file, weighting):
    arrays = reference(f"competitors/{file}.npz")
    scores = torch.tensor(arrays["scores"], requires_grad=True)
    loss = rank_weighted_loss(scores, torch.tensor(arrays["codes"]), weighting)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss"]), abs=1e-6)
    torch.testing.assert_close(scores.grad, torch.tensor(arrays["grad_scores"]), rtol=0, atol=1e-6)


def test_harmonic_numbers():
    torch.testing.assert_close(harmonic_numbers(3), torch.tensor([0, 1, 1.5, 11 / 6], dtype=torch.float64))


def test_codes_without_a_pair_give_a_loss_and_a_gradient_of_zero():
    scores, codes = batch()
    loss = rank_weighted_loss(scores, torch.zeros_like(codes), "harmonic")
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def test_parts_of_a_batch_add_up_to_the_loss_of_the_whole():
    scores, codes = batch()
    parts = [rank_weighted_loss(scores[images], codes[images], "harmonic", 5) for images in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(sum(parts), rank_weighted_loss(scores, codes, "harmonic"))


def test_no_tensor_grows_with_labels_squared(monkeypatch):
    monkeypatch.setattr(cells, "CELLS_AT_ONCE", 1000)
    codes = torch.full((4, 100), -1, dtype=torch.int8)
    codes[:, ::2] = 1
    with LargestTensor() as largest:
        rank_weighted_loss(torch.randn(4, 100, requires_grad=True), codes, "harmonic").backward()
    assert largest.elements <= 1000
