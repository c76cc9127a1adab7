import numpy as np
import pytest

from pipeline.metrics import topk
from pipeline.metrics.topk import TopK, hits, random_hits, top_labels, topk_scores


def slow(scores, codes, k):
    """Right, predicted and positive, counted cell by cell."""
    right = predicted = positives = 0
    for row, row_codes in zip(scores, codes, strict=True):
        best = sorted(range(len(row)), key=lambda label: (-row[label], label))[:k]
        right += sum(row_codes[label] == 1 for label in best)
        predicted += len(best)
        positives += sum(code == 1 for code in row_codes)
    return right, predicted, positives


def table(num_images=50, num_labels=12, seed=0):
    generator = np.random.default_rng(seed)
    scores = np.round(generator.standard_normal((num_images, num_labels)), 1).astype(np.float32)  # with ties
    return scores, generator.integers(-1, 2, scores.shape, dtype=np.int8)


@pytest.mark.parametrize("k", [1, 3, 12, 20])
@pytest.mark.parametrize("cells_at_once", [1, 100, 10**6])
def test_figures_agree_with_counting(k, cells_at_once, monkeypatch):
    monkeypatch.setattr(topk, "_CELLS_AT_ONCE", cells_at_once)
    scores, codes = table()
    right, predicted, positives = slow(scores, codes, k)
    figures = topk_scores(scores, codes, k)
    precision, recall = right / predicted, right / positives
    assert figures.precision == pytest.approx(precision, abs=1e-12)
    assert figures.recall == pytest.approx(recall, abs=1e-12)
    assert figures.f1 == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)


def test_by_hand():
    scores = np.array([[3, 2, 1], [1, 2, 3]], dtype=np.float32)
    codes = np.array([[1, -1, 1], [-1, -1, 0]], dtype=np.int8)
    # Predicted: labels 0, 1 and 2, 1; one of the four is right, one of two positives is found.
    assert topk_scores(scores, codes, 2) == TopK(f1=pytest.approx(1 / 3), precision=0.25, recall=0.5)


def test_equal_scores_go_to_the_lower_label():
    scores = np.array([[0, 1, 1, 1]], dtype=np.float32)
    assert top_labels(scores, 2).tolist() == [[1, 2]]


def test_top_labels_come_best_first_and_leave_the_scores_alone():
    scores = np.array([[1, 3, 2]], dtype=np.float32)
    assert top_labels(scores, 3).tolist() == [[1, 2, 0]]
    assert scores.tolist() == [[1, 3, 2]]


def test_several_k_are_those_one_by_one():
    scores, codes = table()
    assert hits(scores, codes, 5).figures((3, 5)) == {k: topk_scores(scores, codes, k) for k in (3, 5)}


def test_random_hits_have_the_mean_of_random_rankings():
    _, codes = table(num_images=40)
    positives = (codes == 1).sum(axis=1)
    drawn = [random_hits(positives, 12, (2, 5, 20), np.random.default_rng(seed)).by_rank for seed in range(500)]
    reached = np.cumsum(np.mean(drawn, axis=0))
    for k in (2, 5, 12):
        assert reached[k - 1] == pytest.approx(positives.sum() * k / 12, rel=0.02)
    assert {one.sum() for one in drawn} == {positives.sum()}  # 20 of 12 labels are all of them


def test_nothing_right_is_zero_not_an_error():
    scores = np.array([[1, 0]], dtype=np.float32)
    assert topk_scores(scores, np.array([[-1, 1]], dtype=np.int8), 1) == TopK(0.0, 0.0, 0.0)
    assert topk_scores(scores, np.array([[-1, -1]], dtype=np.int8), 1) == TopK(0.0, 0.0, 0.0)


@pytest.mark.parametrize("k", [3, 5, 10])
def test_reference_values(k, reference):
    arrays = reference("metrics.npz")
    figures = topk_scores(arrays["scores"], arrays["labels"], k)
    found = [figures.f1, figures.precision, figures.recall]
    np.testing.assert_allclose(found, arrays[f"f1_p_r_at_{k}"], rtol=0, atol=1e-6)
