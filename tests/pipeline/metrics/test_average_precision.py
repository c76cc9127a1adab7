from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.metrics.average_precision import average_precision, random_ranking_ap


def slow(scores, codes):
    """AP of one label: walk down the distinct scores, add precision x growth of recall."""
    known = [(score, code) for score, code in zip(scores, codes, strict=True) if code != 0]
    positives = sum(code == 1 for _, code in known)
    result, recall = 0.0, 0.0
    for threshold in sorted({score for score, _ in known}, reverse=True):
        taken = [code for score, code in known if score >= threshold]
        right = sum(code == 1 for code in taken)
        result += (right / positives - recall) * right / len(taken)
        recall = right / positives
    return result


def table(num_images=60, num_labels=40, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.standard_normal((num_images, num_labels)).astype(np.float32)
    return scores, generator.integers(-1, 2, scores.shape, dtype=np.int8)


def column(*values, dtype=np.float32):
    return np.array(values, dtype=dtype)[:, None]


def test_by_hand():
    ap = average_precision(column(0.9, 0.8, 0.7, 0.6), column(1, -1, 1, -1, dtype=np.int8))
    assert ap.tolist() == [(1 / 1 + 2 / 3) / 2]


def test_unknown_cells_are_left_out_of_the_ranking():
    ap = average_precision(column(0.9, 0.8, 0.7), column(0, 1, -1, dtype=np.int8))
    assert ap.tolist() == [1.0]


def test_a_label_without_positives_has_none():
    scores = np.zeros((3, 2), dtype=np.float32)
    codes = np.array([[-1, 0], [0, 0], [-1, 0]], dtype=np.int8)
    assert np.isnan(average_precision(scores, codes)).all()


def test_equal_scores_are_one_step_whatever_their_order():
    codes = column(1, -1, -1, 1, dtype=np.int8)
    constant = np.zeros((4, 1), dtype=np.float32)
    assert average_precision(constant, codes).tolist() == [0.5]
    assert average_precision(constant, codes[::-1]).tolist() == [0.5]


@pytest.mark.parametrize("ties", [False, True])
def test_each_label_agrees_with_the_slow_walk_and_with_scikit_learn(ties):
    scores, codes = table()
    scores = np.round(scores) if ties else scores
    ap = average_precision(scores, codes)
    for label in range(scores.shape[1]):
        known = codes[:, label] != 0
        sklearn_ap = average_precision_score(codes[known, label] == 1, scores[known, label])
        assert ap[label] == pytest.approx(sklearn_ap, abs=1e-9)
        assert ap[label] == pytest.approx(slow(scores[:, label], codes[:, label]), abs=1e-9)


def test_only_the_order_matters():
    scores, codes = table()
    np.testing.assert_array_equal(average_precision(scores, codes), average_precision(scores * 4 - 100, codes))


def test_a_memory_map_is_as_good_as_an_array(tmp_path):
    scores, codes = table()
    np.save(tmp_path / "scores.npy", scores)
    mapped = np.load(tmp_path / "scores.npy", mmap_mode="r")
    np.testing.assert_array_equal(average_precision(mapped, codes), average_precision(scores, codes))


def test_reference_values(reference):
    arrays = reference("metrics.npz")
    ap = average_precision(arrays["scores"], arrays["labels"])
    np.testing.assert_array_equal(np.isnan(ap), (arrays["labels"] != 1).all(axis=0))
    np.testing.assert_allclose(np.nan_to_num(ap), arrays["ap"], rtol=0, atol=1e-6)


def test_random_rankings_have_the_mean_over_all_sets_of_ranks():
    every = [np.mean([(n + 1) / (rank + 1) for n, rank in enumerate(ranks)]) for ranks in combinations(range(6), 2)]
    generator = np.random.default_rng(0)
    drawn = [random_ranking_ap(2, 6, generator) for _ in range(4000)]
    assert {round(one, 9) for one in drawn} == {round(one, 9) for one in every}
    assert np.mean(drawn) == pytest.approx(np.mean(every), abs=4 * np.std(every) / np.sqrt(4000))
    assert np.isnan(random_ranking_ap(0, 6, generator))
