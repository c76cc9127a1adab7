import pytest

from pipeline.training.schedule import fallen
from schemas.config import TrainConfig

CONFIG = TrainConfig(fall_factor=0.8)


def test_the_rate_falls_when_the_running_mean_of_validations_does() -> None:
    assert fallen(CONFIG, 1e-3, [0.3, 0.4]) == 1e-3
    assert fallen(CONFIG, 1e-3, [0.3, 0.4, 0.0]) == pytest.approx(8e-4)


def test_the_next_fall_counts_five_validations_later() -> None:
    scores = [0.5] + [0.0] * 9
    rates = [fallen(CONFIG, 1.0, scores[:number]) for number in range(1, 11)]
    assert rates == pytest.approx([1.0] + [0.8] * 5 + [0.64] * 4)


def test_a_rate_below_the_least_falls_no_more() -> None:
    assert fallen(CONFIG, 1e-6, [0.5, 0.0]) == pytest.approx(8e-7)
    assert fallen(CONFIG, 8e-7, [0.5, 0.0]) == 8e-7


def test_without_a_factor_nothing_falls() -> None:
    assert fallen(TrainConfig(), 1e-3, [0.5, 0.0]) == 1e-3
