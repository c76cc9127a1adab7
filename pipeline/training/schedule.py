"""Learning rate of each epoch: a warm-up by equal steps, then constant or a cosine."""

from collections.abc import Sequence
from math import cos, pi

from schemas.config import TrainConfig


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """Learning rate of an epoch.

    With `warmup_epochs` = 3 the first epochs run at 1/3, 2/3 and 1 times `lr`. After that `lr` is kept, or falls along
    half a cosine period to `final_lr`, which the last epoch has exactly.

    Args:
        config: `lr`, `final_lr`, `warmup_epochs`, `epochs`.
        epoch: counted from 0.

    Source: gradual warm-up: BiAM (ICCV 2021), section 4; the cosine: the authors' released training.
    """
    if epoch + 1 < config.warmup_epochs:
        return config.lr * (epoch + 1) / config.warmup_epochs
    if config.final_lr is None:
        return config.lr
    top = max(config.warmup_epochs, 1)
    progress = (epoch + 1 - top) / max(config.epochs - top, 1)
    return config.final_lr + (config.lr - config.final_lr) * (1 + cos(pi * progress)) / 2


_KEPT = 0.7  # of the running mean, at a validation
_BETWEEN = 5  # validations, at least, from one fall that counts to the next
_LEAST_RATE = 1e-6  # no rate below it falls


def fallen(config: TrainConfig, rate: float, scores: Sequence[float]) -> float:
    """A learning rate after the validations so far: it falls where their running mean does.

    Args:
        config: `fall_factor`.
        rate: without falls.
        scores: F1@K of each validation, the first one first.

    Source: LESA's released training, with the factor 0.8.
    """
    if config.fall_factor is None:
        return rate
    mean, last = 0.0, -_BETWEEN
    for number, score in enumerate(scores):
        before, mean = mean, _KEPT * mean + (1 - _KEPT) * score
        if mean < before and rate >= _LEAST_RATE and number - last >= _BETWEEN:
            rate, last = rate * config.fall_factor, number
    return rate
