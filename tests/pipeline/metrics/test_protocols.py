import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.metrics import PROTOCOLS
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.protocols import Baselines, derangement, evaluate, measure
from pipeline.metrics.score_table import ScoreTable
from pipeline.metrics.topk import topk_scores
from schemas.errors import PipelineError, UsageError

BASELINES = Baselines(draws=4, seed=0)


def table(num_images=80, num_labels=10, seed=0):
    """Scores that know the codes to a degree; every label has positives."""
    generator = np.random.default_rng(seed)
    codes = np.where(generator.random((num_images, num_labels)) < 0.3, 1, -1).astype(np.int8)
    scores = (codes + generator.standard_normal(codes.shape)).astype(np.float32)
    return scores, codes


def verified(num_images=60, num_labels=12, seed=0):
    """Scores and codes of which most are unknown; some images have no positive, some labels no verified cell."""
    scores, codes = table(num_images, num_labels, seed)
    generator = np.random.default_rng([seed, 1])
    codes[generator.random(codes.shape) < 0.7] = 0
    codes[::9] = np.minimum(codes[::9], 0)
    codes[:, ::6] = 0
    return scores, codes


def measured(protocol, scores, codes, ks, section="gzsl"):
    return measure(protocol, section, ScoreTable.of(scores, codes), ks)


def section_of(protocol, scores, codes, ks, baselines=BASELINES, section="gzsl"):
    return evaluate(protocol, section, ScoreTable.of(scores, codes), ks, baselines)


@pytest.mark.parametrize("protocol", ["nuswide", "openimages"])
def test_a_label_without_positives_counts_as_zero_and_stays_in_the_mean(protocol):
    scores = np.array([[2, 1], [1, 2]], dtype=np.float32)
    codes = np.array([[1, -1], [-1, -1]], dtype=np.int8)
    measured = measure(protocol, "zsl", ScoreTable.of(scores, codes), ())
    assert measured.figures["map"] == 0.5
    assert measured.figures["weighted_map"] == 1.0
    assert measured.figures["map_of_occurring"] == 1.0
    np.testing.assert_array_equal(measured.per_label, [1.0, np.nan])


def test_weighted_map_weighs_labels_by_their_positives():
    scores, codes = table()
    ap, positives = average_precision(scores, codes), (codes == 1).sum(axis=0)
    found = measured("nuswide", scores, codes, ())
    assert found.figures["map"] == pytest.approx(ap.mean(), abs=1e-12)
    assert found.figures["weighted_map"] == pytest.approx(sum(ap * positives) / sum(positives), abs=1e-12)


@pytest.mark.parametrize("known", [1.0, 0.5, 0.03])
@pytest.mark.parametrize("protocol", ["nuswide", "openimages"])
def test_each_label_agrees_with_scikit_learn_whatever_share_of_cells_is_known(protocol, known):
    scores, codes = table(num_images=600, num_labels=20)
    codes[np.random.default_rng(1).random(codes.shape) >= known] = 0
    codes[0], codes[1] = 1, -1
    found = measured(protocol, scores, codes, ()).per_label
    for label in range(20):
        cells = codes[:, label] != 0
        expected = average_precision_score(codes[cells, label] == 1, scores[cells, label])
        assert found[label] == pytest.approx(expected, abs=1e-9)


def test_no_positive_anywhere_is_zero():
    scores = np.zeros((2, 3), dtype=np.float32)
    found = measured("nuswide", scores, np.full((2, 3), -1, dtype=np.int8), (1,))
    assert set(found.figures.values()) == {0.0}


def test_a_section_has_the_names_of_metrics_json():
    scores, codes = table()
    section = json.loads(json.dumps(section_of("nuswide", scores, codes, (3, 5)).as_json()))
    figures = {"map", "weighted_map", "map_of_occurring"} | {
        f"{name}@{k}" for name in ("f1", "precision", "recall") for k in (3, 5)
    }
    assert section.keys() == figures | {
        "labels",
        "labels_without_positive",
        "headline",
        "chance",
        "constant",
        "permuted",
    }
    assert section["chance"].keys() == figures
    assert section["constant"].keys() == section["permuted"].keys() == figures
    assert (section["labels"], section["labels_without_positive"], section["headline"]) == (10, 0, "map")
    assert all(0 <= section[name] <= 1 and 0 <= section["chance"][name] <= 1 for name in figures)


def test_generalised_map_is_the_mean_over_seen_and_unseen_labels():
    scores, codes = table(num_labels=10)
    codes[:, 8] = -1
    everything = section_of("nuswide", scores, codes, ())
    seen = section_of("nuswide", scores[:, :7], codes[:, :7], ())
    unseen = section_of("nuswide", scores[:, 7:], codes[:, 7:], ())
    expected = (7 * seen.measured.figures["map"] + 3 * unseen.measured.figures["map"]) / 10
    assert everything.measured.figures["map"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_chance_is_the_mean_over_random_score_matrices(protocol):
    """Means over 400 draws and over 400 whole matrices lie within four standard errors of their difference."""
    _, codes = verified()
    draws = 400
    chance = section_of(protocol, np.zeros(codes.shape), codes, (2, 5), Baselines(draws, seed=1)).chance
    whole = [
        measured(protocol, np.random.default_rng([7, draw]).random(codes.shape), codes, (2, 5)).figures
        for draw in range(draws)
    ]
    for name, value in chance.items():
        drawn = np.array([one[name] for one in whole])
        assert abs(value - drawn.mean()) < 4 * drawn.std() * np.sqrt(2 / draws), name


def test_chance_lies_near_the_share_of_positives_and_far_below_a_good_score():
    scores, codes = table(num_images=2000)
    section = section_of("nuswide", scores, codes, (3,))
    assert section.chance["map"] == pytest.approx(0.3, abs=0.02)
    assert section.chance["precision@3"] == pytest.approx(0.3, abs=0.02)
    assert section.chance["recall@3"] == pytest.approx(0.3, abs=0.02)  # three of ten labels
    assert section.measured.figures["map"] > 0.8


def test_exchanged_labels_fall_to_chance_where_labels_are_independent():
    scores, codes = table(num_images=2000)
    assert section_of("nuswide", scores, codes, ()).permuted["map"] == pytest.approx(0.3, abs=0.02)


def test_exchanged_labels_keep_what_comes_from_the_image_alone():
    generator = np.random.default_rng(0)
    codes = np.repeat(np.where(generator.random((200, 1)) < 0.3, 1, -1), 5, axis=1).astype(np.int8)
    assert section_of("nuswide", codes.astype(np.float32), codes, ()).permuted["map"] == 1.0


def test_one_label_has_no_exchange():
    scores, codes = table(num_labels=1)
    section = section_of("nuswide", scores, codes, ())
    assert section.as_json()["permuted"] == {"map": None, "weighted_map": None, "map_of_occurring": None}


@pytest.mark.parametrize("size", [2, 3, 40])
def test_a_derangement_moves_everything(size):
    order = derangement(size, np.random.default_rng(0))
    assert sorted(order) == list(range(size))
    assert all(place != label for place, label in enumerate(order))


def test_equal_seeds_give_equal_figures_and_others_differ():
    scores, codes = table()
    first, again, other = (
        section_of("nuswide", scores, codes, (3,), Baselines(2, seed)).as_json() for seed in (0, 0, 1)
    )
    assert first == again
    assert first["chance"] != other["chance"]
    assert first["permuted"] != other["permuted"]
    assert first["map"] == other["map"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(value):
    scores, codes = table()
    scores[3, 2] = value
    with pytest.raises(PipelineError, match="1 of 800 scores of a batch are not finite"):
        ScoreTable.of(scores, codes)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_nothing_to_evaluate_is_an_error(shape):
    with pytest.raises(PipelineError, match=f"nothing to evaluate: {shape[0]} images x {shape[1]} labels"):
        measured("nuswide", np.zeros(shape, np.float32), np.zeros(shape, np.int8), (3,))


def test_an_unknown_protocol_suggests_the_nearest():
    scores, codes = table()
    with pytest.raises(UsageError, match="Did you mean 'nuswide'"):
        measured("nus-wide", scores, codes, ())


def test_reference_mean(reference):
    arrays = reference("metrics.npz")
    found = measured("nuswide", arrays["scores"], arrays["labels"], (3, 5))
    assert found.figures["map"] == pytest.approx(arrays["ap"].astype(np.float64).mean(), abs=1e-6)
    assert [found.figures[f"f1@{k}"] for k in (3, 5)] == pytest.approx(
        [arrays[f"f1_p_r_at_{k}"][0] for k in (3, 5)], abs=1e-6
    )


def slow_ap(scores, codes):
    """Walk down the distinct scores, add precision x growth of recall."""
    known = [(score, code) for score, code in zip(scores, codes, strict=True) if code]
    positives = sum(code == 1 for _, code in known)
    result = recall = 0.0
    for threshold in sorted({score for score, _ in known}, reverse=True):
        taken = [code for score, code in known if score >= threshold]
        right = sum(code == 1 for code in taken)
        result += (right / positives - recall) * right / len(taken)
        recall = right / positives
    return result


@pytest.mark.parametrize("ties", [False, True])
def test_the_published_protocol_pools_the_cells_of_all_images_verified_for_a_label(ties):
    scores, codes = verified()
    scores = np.round(scores) if ties else scores
    images = [image for image in range(len(codes)) if (codes[image] == 1).any()]
    each = {}
    for label in range(codes.shape[1]):
        pool = [image for image in images if codes[image, label] != 0]
        if pool:
            each[label] = slow_ap(scores[pool].ravel(), codes[pool].ravel())
    found = measured("openimages-biam", scores, codes, (2, 5))
    assert 0 < len(images) < len(codes)
    assert 0 < len(each) < codes.shape[1]
    assert np.flatnonzero(~np.isnan(found.per_label)).tolist() == list(each)
    np.testing.assert_allclose(found.per_label[list(each)], list(each.values()), rtol=0, atol=1e-9)
    assert found.figures["map"] == pytest.approx(np.mean(list(each.values())), abs=1e-9)
    positives = (codes == 1).sum(axis=0)
    weighted = sum(ap * positives[label] for label, ap in each.items()) / positives.sum()
    assert found.figures["weighted_map"] == pytest.approx(weighted, abs=1e-9)
    for k in (2, 5):
        expected = topk_scores(scores[images], codes[images], k)
        assert [found.figures[f"{name}@{k}"] for name in ("f1", "precision", "recall")] == [*vars(expected).values()]


def test_the_published_protocol_gives_other_figures_than_the_class_wise_one():
    scores, codes = verified(num_images=400)
    pooled, classwise = (measured(name, scores, codes, ()).figures["map"] for name in ("openimages-biam", "openimages"))
    assert abs(pooled - classwise) > 0.05


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_the_permuted_control_is_the_mean_over_tables_with_exchanged_columns(protocol):
    scores, codes = verified()
    orders = [derangement(codes.shape[1], np.random.default_rng([0, draw])) for draw in range(4)]
    tables = [measured(protocol, scores[:, order], codes, (1, 3)).figures for order in orders]
    found = section_of(protocol, scores, codes, (1, 3)).permuted
    assert found == {name: pytest.approx(np.mean([one[name] for one in tables]), abs=1e-12) for name in tables[0]}


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_the_constant_control_gives_every_image_the_mean_of_the_scores(protocol):
    scores, codes = verified()
    alike = np.repeat(scores.mean(axis=0, dtype=np.float64)[None].astype(np.float32), len(scores), axis=0)
    expected = measured(protocol, alike, codes, (1, 3)).figures
    assert section_of(protocol, scores, codes, (1, 3)).constant == expected


def test_one_ranking_for_all_images_reaches_a_high_f1_where_a_few_labels_are_frequent():
    generator = np.random.default_rng(0)
    codes = np.where(generator.random((300, 10)) < np.linspace(0.9, 0.01, 10), 1, -1).astype(np.int8)
    scores = np.linspace(1, 0, 10) + 0.01 * generator.random((300, 10))
    section = section_of("nuswide", scores.astype(np.float32), codes, (3,))
    assert section.constant["f1@3"] > 1.5 * section.chance["f1@3"]
    assert section.constant["map"] == pytest.approx(section.chance["map"], abs=0.05)


def test_unknown_cells_among_the_best_labels_count_as_wrong():
    scores, codes = np.array([[3, 2, 1]], dtype=np.float32), np.array([[0, 1, -1]], dtype=np.int8)
    assert measured("openimages", scores, codes, (2,)).figures["precision@2"] == 0.5


def test_the_published_protocol_refuses_tables_whose_pools_nobody_can_wait_for(monkeypatch):
    monkeypatch.setattr("pipeline.metrics.openimages_biam._MOST_POOLED", 100)
    with pytest.raises(PipelineError, match=r"pools [\d,]+ cells here, expected at most 100: .*protocol=openimages"):
        measured("openimages-biam", *verified(), ())
