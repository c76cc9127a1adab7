"""Learning rate of each epoch: a warm-up by equal steps, then constant or a cosine."""

from collections.abc import Mapping, Sequence
from math import cos, pi

from schemas.config import TrainConfig


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """Learning rate of an epoch.

    With `warmup_epochs` = 3 the first epochs run at 1/3, 2/3 and 1 times `lr`. After that `lr` is kept, or falls from
    `lr`, which the epoch after the warm-up has once more, along half a cosine period to `final_lr`, which the epoch
    after the last one would have.

    Args:
        config: `lr`, `final_lr`, `warmup_epochs`, `epochs`.
        epoch: counted from 0.

    Source: gradual warm-up: BiAM (ICCV 2021), section 4; the cosine: the rates that the released training printed.
    """
    if epoch < config.warmup_epochs:
        return config.lr * (epoch + 1) / config.warmup_epochs
    if config.final_lr is None:
        return config.lr
    progress = (epoch - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
    return config.final_lr + (config.lr - config.final_lr) * (1 + cos(pi * progress)) / 2


def recipe(config: TrainConfig) -> Mapping[str, int]:
    """What a schedule adds to the recipe of training: that its cosine is not the one that began an epoch earlier."""
    return {} if config.final_lr is None else {"train.cosine": 2}


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
