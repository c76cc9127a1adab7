import pytest
import torch
from largest_tensor import LargestTensor
from torch.nn import functional

from pipeline.models.shared import cells
from pipeline.models.shared.diversity import DiversityConfig
from pipeline.models.shared.pairs import pair_sums, ranknet_loss, sdl_loss

LABELS, WORD, ROWS = 6, 4, 3

pytestmark = pytest.mark.usefixtures("one_thread")


def batch(seed=0):
    """Vectors of five images, codes and words. One image bears nothing, one everything, one a single label."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(5, WORD, ROWS, generator=generator, dtype=torch.float64)
    codes = torch.randint(-1, 2, (5, LABELS), generator=generator, dtype=torch.int8)
    codes[1] = codes[1].clamp(max=0)
    codes[2] = 1
    codes[3] = torch.tensor([-1, 0, 1, 0, -1, -1])
    words = functional.normalize(torch.randn(LABELS, WORD, generator=generator, dtype=torch.float64), dim=1)
    return vectors.requires_grad_(), codes, words


def scores_of(vectors, words):
    return (words @ vectors).amax(dim=2)


def slow_ranknet(scores, codes):
    total = 0
    for row, known in zip(scores, codes, strict=True):
        present, absent = (known == 1).nonzero().flatten(), (known == -1).nonzero().flatten()
        terms = [functional.softplus(row[n] - row[p]) for p in present for n in absent]
        total = total + (sum(terms) / len(terms) if terms else 0 * row.sum())
    return total / len(scores)


def slow_sdl(vectors, codes, words, settings):
    losses = []
    for own, known in zip(vectors, codes, strict=True):
        row = scores_of(own[None], words)[0]
        present = (known == 1).nonzero().flatten()
        others = (known == -1 if settings.unknown == "ignore" else known != 1).nonzero().flatten()
        if len(present) == 0:
            continue
        omega = 1 + (words[present].var(dim=0).sum() if len(present) > 1 else 0)
        sums = 0
        for p in present:
            gaps = [row[n] - row[p] for n in others] or [-row[p]]
            softplus = sum(functional.softplus(gap) for gap in gaps)
            sums = sums + (softplus / len(gaps) if settings.mean_negatives else softplus)
        share = settings.variance_weight
        losses.append(2 * ((1 - share) * omega / len(present) * sums + share * own.var(dim=1).sum()))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("cells_at_once", [1, 2 * LABELS, 1000])
def test_the_mean_over_pairs_is_that_of_a_loop_and_so_is_its_gradient(cells_at_once, monkeypatch):
    monkeypatch.setattr(cells, "CELLS_AT_ONCE", cells_at_once)
    _, codes, _ = batch()
    scores = torch.randn(codes.shape, dtype=torch.float64).requires_grad_()
    losses = ranknet_loss(scores, codes), slow_ranknet(scores, codes)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, scores)[0] for loss in losses))


def test_the_mean_over_pairs_by_hand():
    scores = torch.tensor([[2, 1.5, 0, -1], [0, 0.2, 3, -5]])
    codes = torch.tensor([[1, -1, -1, -1], [1, -1, -1, 1]], dtype=torch.int8)
    assert ranknet_loss(scores, codes).item() == pytest.approx(2.239836, abs=1e-6)


def test_the_mean_over_pairs_of_the_reference(reference):
    arrays = reference("competitors/fast0tag.npz")
    scores = torch.tensor(arrays["scores"], requires_grad=True)
    loss = ranknet_loss(scores, torch.tensor(arrays["codes"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss"]), abs=1e-6)
    torch.testing.assert_close(scores.grad, torch.tensor(arrays["grad_scores"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("unknown", ["ignore", "negative"])
@pytest.mark.parametrize("mean_negatives", [False, True])
def test_the_loss_of_sdl_is_that_of_a_loop_and_so_is_its_gradient(unknown, mean_negatives):
    vectors, codes, words = batch()
    settings = DiversityConfig(variance_weight=0.4, unknown=unknown, mean_negatives=mean_negatives)
    ours = sdl_loss(scores_of(vectors, words), vectors, codes, words, settings)
    slow = slow_sdl(vectors, codes, words, settings)
    torch.testing.assert_close(ours, slow)
    torch.testing.assert_close(*(torch.autograd.grad(loss, vectors)[0] for loss in (ours, slow)))


def test_the_loss_of_sdl_by_hand():
    words = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
    vectors = torch.tensor([[[1.0, 0], [0, 2]]])
    codes = torch.tensor([[1, 1, -1]], dtype=torch.int8)
    loss = sdl_loss(scores_of(vectors, words), vectors, codes, words, DiversityConfig(variance_weight=0.4))
    assert loss.item() == pytest.approx(2.528228, abs=1e-6)


@pytest.mark.parametrize("weight", [0.3, 0.4])
def test_the_loss_of_sdl_is_the_released_one(reference, weight):
    arrays = reference("competitors/sdl_loss.npz")
    output = torch.tensor(arrays["output"], requires_grad=True)
    codes, words = torch.tensor(arrays["codes"]), torch.tensor(arrays["words"])
    vectors = output.view(len(output), int(arrays["dim"]), int(arrays["rows"]))
    settings = DiversityConfig(variance_weight=weight, unknown="negative")
    loss = sdl_loss(scores_of(vectors, words), vectors, codes, words, settings)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays[f"loss_{weight}"]), abs=1e-6)
    torch.testing.assert_close(output.grad, torch.tensor(arrays[f"grad_{weight}"]), rtol=0, atol=1e-6)


def test_a_single_row_has_no_variance_and_an_image_without_labels_no_gradient():
    vectors, codes, words = batch()
    vectors = vectors[:, :, :1].detach().requires_grad_()
    losses = [
        sdl_loss(scores_of(vectors, words), vectors, codes, words, DiversityConfig(variance_weight=share))
        for share in (0.0, 1.0)
    ]
    sum(losses).backward()
    assert losses[0] > 0
    assert losses[1] == 0
    assert torch.isfinite(vectors.grad).all()
    assert not vectors.grad[1].any()


def test_batches_without_a_label_have_a_loss_and_a_gradient_of_zero():
    vectors, codes, words = batch()
    scores, none = scores_of(vectors, words), torch.zeros_like(codes)
    total = ranknet_loss(scores, none) + sdl_loss(scores, vectors, none, words, DiversityConfig())
    total.backward()
    assert total.item() == 0
    assert not vectors.grad.any()


def test_scores_of_unknown_cells_change_nothing():
    vectors, codes, words = batch()
    scores = scores_of(vectors, words).detach()
    disturbed = torch.where(codes == 0, 1e6, scores)
    for given in (scores, disturbed):
        given.requires_grad_()
    settings = DiversityConfig()
    pairs = [(ranknet_loss(s, codes), sdl_loss(s, vectors, codes, words, settings)) for s in (scores, disturbed)]
    assert pairs[0] == pairs[1]
    sum(pairs[0]).backward()
    assert not scores.grad[codes == 0].any()


def test_parts_of_a_batch_add_up_to_the_mean_over_pairs_of_the_whole():
    _, codes, _ = batch()
    scores = torch.randn(codes.shape, dtype=torch.float64)
    parts = [ranknet_loss(scores[images], codes[images], 5) for images in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(sum(parts), ranknet_loss(scores, codes))


def test_huge_gaps_overflow_nowhere_and_half_precision_comes_out_as_float32():
    scores = torch.tensor([[-1000.0, 1000.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = ranknet_loss(scores, torch.tensor([[1, -1]], dtype=torch.int8))
    loss.backward()
    assert (loss.item(), loss.dtype, scores.grad.tolist()) == (2000, torch.float32, [[-1, 1]])


def test_no_tensor_grows_with_labels_squared(monkeypatch):
    monkeypatch.setattr(cells, "CELLS_AT_ONCE", 1000)
    present = torch.zeros(4, 100, dtype=torch.bool)
    present[:, ::2] = True
    scores = torch.randn(4, 100, requires_grad=True)
    with LargestTensor() as largest:
        pair_sums(scores, present, ~present).sum().backward()
    assert largest.elements <= 1000
