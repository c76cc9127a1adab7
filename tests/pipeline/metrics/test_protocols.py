import json

import numpy as np
import pytest

from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.protocols import Baselines, chance, combined_map, derangement, evaluate, measure, permuted
from schemas.errors import PipelineError, UsageError

BASELINES = Baselines(draws=4, seed=0)


def table(num_images=80, num_labels=10, seed=0):
    """Scores that know the codes to a degree; every label has positives."""
    generator = np.random.default_rng(seed)
    codes = np.where(generator.random((num_images, num_labels)) < 0.3, 1, -1).astype(np.int8)
    scores = (codes + generator.standard_normal(codes.shape)).astype(np.float32)
    return scores, codes


def test_a_label_without_positives_counts_as_zero_and_stays_in_the_mean():
    scores = np.array([[2, 1], [1, 2]], dtype=np.float32)
    codes = np.array([[1, -1], [-1, -1]], dtype=np.int8)
    measured = measure("nuswide", scores, codes, ())
    assert measured.map == 0.5
    assert measured.weighted_map == 1.0
    np.testing.assert_array_equal(measured.per_label, [1.0, np.nan])


def test_weighted_map_weighs_labels_by_their_positives():
    scores, codes = table()
    ap, positives = average_precision(scores, codes), (codes == 1).sum(axis=0)
    measured = measure("nuswide", scores, codes, ())
    assert measured.map == pytest.approx(ap.mean(), abs=1e-12)
    assert measured.weighted_map == pytest.approx(sum(ap * positives) / sum(positives), abs=1e-12)


def test_no_positive_anywhere_is_zero():
    scores = np.zeros((2, 3), dtype=np.float32)
    measured = measure("nuswide", scores, np.full((2, 3), -1, dtype=np.int8), (1,))
    assert set(measured.as_json().values()) == {0.0}


def test_a_section_has_the_names_of_metrics_json():
    scores, codes = table()
    section = json.loads(json.dumps(evaluate("nuswide", scores, codes, (3, 5), BASELINES).as_json()))
    figures = {"map", "weighted_map"} | {f"{name}@{k}" for name in ("f1", "precision", "recall") for k in (3, 5)}
    assert section.keys() == figures | {"labels", "chance", "permuted"}
    assert section["chance"].keys() == figures
    assert section["permuted"].keys() == {"map"}
    assert section["labels"] == 10
    assert all(0 <= section[name] <= 1 and 0 <= section["chance"][name] <= 1 for name in figures)


def test_generalised_map_is_the_mean_over_seen_and_unseen_labels():
    scores, codes = table(num_labels=10)
    codes[:, 8] = -1
    everything = evaluate("nuswide", scores, codes, (), BASELINES)
    seen = evaluate("nuswide", scores[:, :7], codes[:, :7], (), BASELINES)
    unseen = evaluate("nuswide", scores[:, 7:], codes[:, 7:], (), BASELINES)
    expected = (7 * seen.measured.map + 3 * unseen.measured.map) / 10
    assert combined_map(seen, unseen) == expected
    assert everything.measured.map == pytest.approx(expected, abs=1e-12)


def test_chance_is_the_mean_over_random_score_matrices():
    _, codes = table()
    maps = []
    for draw in range(4):
        random = np.random.default_rng([0, draw]).random(codes.shape, dtype=np.float32)
        maps.append(average_precision(random, codes).mean())
    assert chance("nuswide", codes, (), BASELINES)["map"] == pytest.approx(np.mean(maps), abs=1e-12)


def test_chance_lies_near_the_share_of_positives_and_far_below_a_good_score():
    scores, codes = table(num_images=2000)
    by_chance = chance("nuswide", codes, (3,), BASELINES)
    assert by_chance["map"] == pytest.approx(0.3, abs=0.02)
    assert by_chance["precision@3"] == pytest.approx(0.3, abs=0.02)
    assert by_chance["recall@3"] == pytest.approx(0.3, abs=0.02)  # three of ten labels
    assert measure("nuswide", scores, codes, ()).map > 0.8


def test_exchanged_labels_fall_to_chance_where_labels_are_independent():
    scores, codes = table(num_images=2000)
    assert permuted("nuswide", scores, codes, BASELINES) == pytest.approx(0.3, abs=0.02)


def test_exchanged_labels_keep_what_comes_from_the_image_alone():
    generator = np.random.default_rng(0)
    codes = np.repeat(np.where(generator.random((200, 1)) < 0.3, 1, -1), 5, axis=1).astype(np.int8)
    assert permuted("nuswide", codes.astype(np.float32), codes, BASELINES) == 1.0


def test_one_label_has_no_exchange():
    scores, codes = table(num_labels=1)
    section = evaluate("nuswide", scores, codes, (), BASELINES)
    assert section.permuted_map is None
    assert section.as_json()["permuted"] == {"map": None}


@pytest.mark.parametrize("size", [2, 3, 40])
def test_a_derangement_moves_everything(size):
    order = derangement(size, np.random.default_rng(0))
    assert sorted(order) == list(range(size))
    assert all(place != label for place, label in enumerate(order))


def test_equal_seeds_give_equal_figures_and_others_differ():
    scores, codes = table()
    first, again, other = (evaluate("nuswide", scores, codes, (3,), Baselines(2, seed)).as_json() for seed in (0, 0, 1))
    assert first == again
    assert first["chance"] != other["chance"]
    assert first["permuted"] != other["permuted"]
    assert first["map"] == other["map"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(value):
    scores, codes = table()
    scores[3, 2] = value
    with pytest.raises(PipelineError, match="1 of 800 scores are not finite"):
        measure("nuswide", scores, codes, ())


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_nothing_to_evaluate_is_an_error(shape):
    with pytest.raises(PipelineError, match=f"nothing to evaluate: {shape[0]} images x {shape[1]} labels"):
        measure("nuswide", np.zeros(shape, np.float32), np.zeros(shape, np.int8), (3,))


def test_an_unknown_protocol_suggests_the_nearest():
    scores, codes = table()
    with pytest.raises(UsageError, match="Did you mean 'nuswide'"):
        measure("nus-wide", scores, codes, ())


def test_reference_mean(reference):
    arrays = reference("metrics.npz")
    measured = measure("nuswide", arrays["scores"], arrays["labels"], (3, 5))
    assert measured.map == pytest.approx(arrays["ap"].astype(np.float64).mean(), abs=1e-6)
    assert [measured.topk[k].f1 for k in (3, 5)] == pytest.approx(
        [arrays[f"f1_p_r_at_{k}"][0] for k in (3, 5)], abs=1e-6
    )
