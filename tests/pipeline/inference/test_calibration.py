"""Probabilities from scores: the curve that is fitted, and how far it is off."""

import numpy as np
import pytest

from pipeline.inference.calibration import BINS, Calibration, Reliability, fit


def drawn(slope: float, intercept: float, cells: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and whether labels are present that follow such a curve."""
    generator = np.random.default_rng(0)
    scores = generator.normal(5.0, 3.0, cells)
    return scores, generator.random(cells) < 1 / (1 + np.exp(-(slope * scores + intercept)))


@pytest.mark.parametrize(("slope", "intercept"), [(0.7, -6.0), (1e-3, -2.0), (40.0, -300.0)])
def test_the_curve_behind_the_cells_is_found(slope: float, intercept: float) -> None:
    scores, present = drawn(slope, intercept)
    found = fit(scores, present)
    assert found is not None
    expected = Calibration(slope, intercept).probabilities(scores)
    assert np.abs(found.probabilities(scores) - expected).mean() < 0.003
    told = Reliability.empty()
    told.add(found.probabilities(scores), present)
    assert told.error is not None
    assert told.error < 0.005


def test_scores_that_tell_all_apart_give_no_step() -> None:
    found = fit(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True]))
    assert found is not None
    assert 0.2 < found.probabilities(np.array([0.0]))[0] < 0.3  # Platt's targets: 1/(2 + 2) and 3/(2 + 2)
    assert found.probabilities(np.array([-1e300, 1e300])).tolist() == [0.0, 1.0]


def test_scores_that_say_nothing_or_the_opposite_give_how_frequent_labels_are() -> None:
    present = np.array([True, False, False, False])
    for scores in (np.ones(4), np.array([0.0, 1.0, 2.0, 3.0])):
        found = fit(scores, present)
        assert found is not None
        assert found.probabilities(scores) == pytest.approx([0.25] * 4)


def test_cells_of_one_kind_give_no_curve() -> None:
    assert fit(np.ones(3), np.ones(3, bool)) is None
    assert fit(np.empty(0), np.empty(0, bool)) is None
    assert Calibration.of({"slope": None, "intercept": None}) is None


def test_the_error_is_that_of_a_slow_loop_over_bins_of_equal_width() -> None:
    generator = np.random.default_rng(1)
    likely = np.concatenate([generator.random(500), [0.0, 1.0]])
    present = generator.random(502) < likely**2
    told = Reliability.empty()
    for some in (slice(0, 100), slice(100, None)):
        told.add(likely[some], present[some])
    expected = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = (likely >= low) & ((likely < high) | (number == BINS - 1))
        expected += abs(likely[inside].sum() - present[inside].sum()) / len(likely)
    assert told.error == pytest.approx(expected)
    assert told.as_json()["cells"] == 502
    assert Reliability.empty().error is None
