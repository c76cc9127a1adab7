import re
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.metrics import PROTOCOLS, bootstrap
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.bootstrap import GROUPS, Resampling
from pipeline.metrics.classwise import ClassWise
from pipeline.metrics.computing import Computing
from pipeline.metrics.measurement import overall_figures
from pipeline.metrics.protocols import measure, replicates
from pipeline.metrics.score_table import ScoreTable
from pipeline.metrics.trial import trial

IDS = [f"image {number}" for number in range(400)]


def drawn(num_images=400, num_labels=6, known=1.0, seed=0):
    """Scores with ties, and codes; the last label has no positive image, the one before it a single one."""
    generator = np.random.default_rng(seed)
    codes = np.where(generator.random((num_images, num_labels)) < 0.2, 1, -1).astype(np.int8)
    codes[:, -2:] = -1
    codes[7, -2] = 1
    scores = np.round(codes + generator.standard_normal(codes.shape), 1).astype(np.float32)
    codes[generator.random(codes.shape) >= known] = 0
    return scores, codes


def by_hand(*multiplicities):
    """Two groups that are drawn so often in each replicate; the others never."""
    draws = np.zeros((GROUPS, len(multiplicities)), np.float32)
    draws[:2] = np.transpose(multiplicities)
    return Resampling(np.array([0, 0, 1, 1], np.uint8), draws)


def expanded(resampling, replicate):
    """The images of a replicate, each as often as it has it."""
    times = resampling.draws[resampling.groups, replicate].astype(np.int64)
    return np.repeat(np.arange(len(times)), times)


def test_average_precision_by_hand():
    scores, codes = np.array([4, 3, 2, 1], np.float32), np.array([1, -1, 1, -1], np.int8)
    found = by_hand((1, 1), (2, 0), (0, 2), (1, 3)).average_precisions(scores, codes, slice(None))
    assert found == pytest.approx([0.833333, 1, 1, 0.85], abs=5e-7)


def test_images_and_replicates_alone_say_what_is_drawn():
    few, many = Resampling.of(IDS[:10], 3), Resampling.of(IDS[5:], 5)
    assert few.groups.tolist() == [sha256(name.encode()).digest()[-1] for name in IDS[:10]]
    assert few.groups[5:].tolist() == many.groups[:5].tolist()
    for number in range(3):
        times = np.random.default_rng(number).multinomial(256, [1 / 256] * 256)
        assert few.draws[:, number].tolist() == many.draws[:, number].tolist() == times.tolist()


@pytest.mark.parametrize("known", [1.0, 0.5, 0.03])
def test_average_precision_is_that_of_the_images_as_often_as_they_are_drawn(known):
    scores, codes = drawn(known=known)
    resampling, table = Resampling.of(IDS, 20), ScoreTable.of(scores, codes)
    found = PROTOCOLS.load("nuswide").ranking(table, "gzsl").resampled_average_precisions(resampling, Computing())
    for replicate in range(20):
        images = expanded(resampling, replicate)
        np.testing.assert_allclose(found[replicate], average_precision(scores[images], codes[images]), rtol=1e-6)
    assert np.isnan(found[:, -1]).all()
    one_image = np.isnan(found[:, -2])  # which is drawn in two replicates of three, where its cell is known
    assert one_image.any()
    assert one_image.all() == (codes[7, -2] == 0)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("section", ["zsl", "gzsl", "standard"])
def test_figures_are_those_of_the_images_as_often_as_they_are_drawn(protocol, section):
    scores, codes = drawn(known=0.5)
    scores += np.float32(1e-4) * np.arange(6, dtype=np.float32)
    resampling = Resampling.of(IDS, 8)
    found = replicates(protocol, section, ScoreTable.of(scores, codes), (2, 3), resampling)
    tables = [ScoreTable.of(scores[images], codes[images]) for images in (expanded(resampling, b) for b in range(8))]
    expected = [measure(protocol, section, table, (2, 3)).figures for table in tables]
    at_k = {f"{name}@{k}" for name in ("f1", "precision", "recall") for k in (2, 3)}
    pooled = protocol == "openimages-biam"
    assert found.keys() == at_k if pooled else at_k | {"map", "weighted_map", "map_of_occurring"}
    for name, values in found.items():
        assert values.dtype == np.float32
        assert values.tolist() == pytest.approx([figures[name] for figures in expected], rel=1e-6)


def test_any_number_of_threads_and_of_steps_at_a_time_gives_the_same(monkeypatch):
    scores, codes = drawn(known=0.7)
    table, resampling = ScoreTable.of(scores, codes), Resampling.of(IDS, 30)
    plain = replicates("nuswide", "gzsl", table, (3,), resampling, Computing(threads=1))
    monkeypatch.setattr(bootstrap, "_STEPS_AT_ONCE", 3)
    again = replicates("nuswide", "gzsl", table, (3,), resampling, Computing(threads=4))
    assert {name: values.tobytes() for name, values in again.items()} == {
        name: values.tobytes() for name, values in plain.items()
    }


def test_more_images_than_float32_can_count_are_counted_in_float64(monkeypatch):
    scores, codes = drawn()
    in_float32 = Resampling.of(IDS, 10)
    monkeypatch.setattr(bootstrap, "_EXACT", 400)
    in_float64 = Resampling.of(IDS, 10)
    assert (in_float32.draws.dtype, in_float64.draws.dtype) == (np.float32, np.float64)
    found = [each.average_precisions(scores[:, 0], codes[:, 0], slice(None)) for each in (in_float32, in_float64)]
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_no_replicates_have_no_figures():
    scores, codes = drawn()
    assert replicates("nuswide", "gzsl", ScoreTable.of(scores, codes), (3,), Resampling.of(IDS, 0)) == {}


def test_the_spread_is_that_of_other_images_of_the_same_kind():
    """The deviation of 200 replicates is within a quarter of that of 200 test sets."""
    sets = [drawn(seed=seed) for seed in range(200)]
    others = [measure("nuswide", "gzsl", ScoreTable.of(*one), (3,)).figures for one in sets]
    found = replicates("nuswide", "gzsl", ScoreTable.of(*sets[0]), (3,), Resampling.of(IDS, 200))
    for name in ("weighted_map", "f1@3"):
        assert found[name].std() == pytest.approx(np.std([figures[name] for figures in others]), rel=0.25)


@pytest.mark.parametrize(
    ("resampled", "problem"),
    [
        (lambda self, resampling, computing: np.zeros((2, 3)), None),
        (lambda self, resampling, computing: np.zeros((3, 2)), r"resampled_average_precisions of shape \(3, 2\)"),
        (lambda self, resampling: np.zeros((2, 3)), r"expected the arguments of resampled_average_precisions\(resam"),
    ],
)
def test_a_ranking_of_ones_own_is_tried_where_it_ranks_images_drawn_anew(resampled, problem):
    own = type("Own", (ClassWise,), {"resampled_average_precisions": resampled})
    found = trial(SimpleNamespace(KS=(1,), HEADLINE="map", ranking=own, figures=overall_figures))
    assert found is None if problem is None else re.search(problem, found)


def test_figures_of_ones_own_are_tried_where_no_image_drawn_anew_has_a_label():
    def own(counts):
        return {"map": np.nanmean(counts.per_label) if counts.positives.any() else np.nan}

    found = trial(SimpleNamespace(KS=(1,), HEADLINE="map", ranking=ClassWise, figures=own))
    assert found == "where images drawn anew have no label, it gives map = nan, expected a number from 0 to 1"
