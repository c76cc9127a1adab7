import pytest
import torch
from largest_tensor import LargestTensor

from pipeline.models.shared import cells
from pipeline.models.shared.ranking import ranking_loss


def every_pair(scores, codes, form):
    """The loss with the [image, label, label] tensor of all hinges, differentiated by autograd."""
    hinges = (1 + scores[:, None, :] - scores[:, :, None]).clamp(min=0)
    pairs = (codes[:, :, None] == 1) & (codes[:, None, :] == -1)
    hinges = hinges * pairs
    if form == "paper":
        return hinges.sum()
    return (hinges.sum(dim=(1, 2)) / ((hinges > 0).sum(dim=(1, 2)).double() + 1e-8)).mean()


def batch(num_images=5, num_labels=17, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(num_images, num_labels, generator=generator, dtype=torch.float64)
    codes = torch.randint(-1, 2, (num_images, num_labels), generator=generator, dtype=torch.int8)
    codes[1] = codes[1].clamp(max=0)  # nothing present
    codes[2] = codes[2].clamp(min=0)  # nothing absent
    codes[:, 3] = 0  # a column that nobody looked at
    return scores.requires_grad_(), codes


def loss_and_gradient(function, scores, codes, form):
    loss = function(scores, codes, form)
    return loss.detach(), torch.autograd.grad(loss, scores)[0]


@pytest.mark.parametrize("form", ["paper", "released"])
@pytest.mark.parametrize("rows_at_once", [1, 2, 1000])
def test_loss_and_gradient_are_those_of_all_pairs(form, rows_at_once, monkeypatch):
    scores, codes = batch()
    monkeypatch.setattr(cells, "CELLS_AT_ONCE", rows_at_once * scores.shape[1])
    loss, gradient = loss_and_gradient(ranking_loss, scores, codes, form)
    expected, expected_gradient = loss_and_gradient(every_pair, scores, codes, form)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["paper", "released"])
def test_gradient_is_the_slope_of_the_loss(form):
    scores, codes = batch(num_images=3, num_labels=6)
    assert torch.autograd.gradcheck(lambda values: ranking_loss(values, codes, form), scores, eps=1e-7)


def test_paper_form_by_hand():
    scores = torch.tensor([[2.0, 1.5, 0.0, 9.0]], requires_grad=True)
    codes = torch.tensor([[1, -1, -1, 0]], dtype=torch.int8)
    loss = ranking_loss(scores, codes, "paper")
    loss.backward()
    assert loss.item() == 0.5  # 1 + 1.5 - 2; the third label is 2 below, the fourth unknown
    assert scores.grad.tolist() == [[-1, 1, 0, 0]]


def test_released_form_averages_over_violating_pairs_and_all_images():
    scores = torch.tensor([[0.0, 0.5, 0.0, -3.0], [0.0, 0.0, 0.0, 0.0]])
    codes = torch.tensor([[1, -1, -1, -1], [-1, -1, -1, -1]], dtype=torch.int8)
    # First image: hinges 1.5 and 1 of two violating pairs; second image: no pair, but it counts.
    assert ranking_loss(scores, codes, "released").item() == pytest.approx((1.5 + 1) / 2 / 2, abs=1e-7)


@pytest.mark.parametrize("form", ["paper", "released"])
def test_a_pair_exactly_at_the_margin_does_not_violate(form):
    scores = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = ranking_loss(scores, torch.tensor([[1, -1]], dtype=torch.int8), form)
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.tolist() == [[0, 0]]


@pytest.mark.parametrize("form", ["paper", "released"])
def test_codes_without_a_pair_give_zero_loss_and_zero_gradient(form):
    scores = torch.randn(3, 4, requires_grad=True)
    loss = ranking_loss(scores, torch.zeros(3, 4, dtype=torch.int8), form)
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def test_scores_of_unknown_cells_change_nothing():
    scores, codes = batch()
    disturbed = torch.where(codes == 0, 1e6, scores.detach()).requires_grad_()
    assert torch.equal(ranking_loss(scores, codes, "released"), ranking_loss(disturbed, codes, "released"))


@pytest.mark.parametrize("form", ["paper", "released"])
def test_nan_scores_give_a_nan_loss(form):
    scores, codes = batch()
    assert ranking_loss(scores * torch.nan, codes, form).isnan()


@pytest.mark.parametrize("form", ["paper", "released"])
def test_parts_of_a_batch_add_up_to_the_loss_of_the_whole(form):
    scores, codes = batch()
    parts = [ranking_loss(scores[one], codes[one], form, batch_images=5) for one in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(sum(parts), ranking_loss(scores, codes, form), rtol=1e-12, atol=1e-12)


def test_no_tensor_grows_with_labels_squared():
    num_images, num_labels, present = 8, 3000, 7
    codes = torch.full((num_images, num_labels), -1, dtype=torch.int8)
    codes[:, :present] = 1
    scores = torch.randn(num_images, num_labels, requires_grad=True)
    with LargestTensor() as largest:
        ranking_loss(scores, codes, "released").backward()
    assert num_images * num_labels <= largest.elements <= num_images * num_labels * present


def test_many_present_cells_are_compared_a_bounded_number_at_once(monkeypatch):
    monkeypatch.setattr(cells, "CELLS_AT_ONCE", 1000)
    codes = torch.full((4, 100), -1, dtype=torch.int8)
    codes[:, ::2] = 1
    with LargestTensor() as largest:
        ranking_loss(torch.randn(4, 100), codes, "paper")
    assert largest.elements <= 1000


def test_reference_loss_and_gradient(reference):
    arrays = reference("ranking_loss.npz")
    scores = torch.tensor(arrays["logits"], requires_grad=True)
    loss = ranking_loss(scores, torch.tensor(arrays["labels"]), "released")
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss"]), abs=1e-6)
    torch.testing.assert_close(scores.grad, torch.tensor(arrays["grad"]), rtol=0, atol=1e-6)
