"""A protocol's figures beside the two baselines that give them a meaning: chance, and the permuted control."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int8, Int64

from pipeline.metrics import PROTOCOLS
from pipeline.metrics.measurement import Measurement, mean_figures
from schemas.errors import PipelineError


@dataclass(frozen=True)
class Baselines:
    """How the baselines are drawn.

    Attributes:
        draws: random score matrices, and permutations of the labels.
        seed: the same seed gives the same figures on every machine.
    """

    draws: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Section:
    """One section of metrics.json: `zsl`, `gzsl` or `standard`.

    Attributes:
        measured: the model's figures.
        labels: columns that were ranked.
        chance: the same figures for random scores.
        permuted_map: mAP with the labels' scores exchanged; None where there is only one label.
    """

    measured: Measurement
    labels: int
    chance: Mapping[str, float]
    permuted_map: float | None

    def as_json(self) -> dict[str, Any]:
        """The section as metrics.json holds it."""
        figures = {**self.measured.as_json(), "labels": self.labels}
        return {**figures, "chance": dict(self.chance), "permuted": {"map": self.permuted_map}}


def evaluate(
    protocol: str,
    scores: Float[np.ndarray, "image label"],
    codes: Int8[np.ndarray, "image label"],
    ks: Sequence[int],
    baselines: Baselines,
) -> Section:
    """The figures of a score matrix, with both baselines.

    Raises:
        UsageError: no such protocol.
        PipelineError: no image or no label, or a score is NaN or infinite.
    """
    return Section(
        measured=measure(protocol, scores, codes, ks),
        labels=scores.shape[1],
        chance=chance(protocol, codes, ks, baselines),
        permuted_map=permuted(protocol, scores, codes, baselines),
    )


def measure(
    protocol: str,
    scores: Float[np.ndarray, "image label"],
    codes: Int8[np.ndarray, "image label"],
    ks: Sequence[int],
) -> Measurement:
    """The figures of a score matrix alone; an empty `ks` asks for the mAP only.

    Raises:
        UsageError: no such protocol.
        PipelineError: no image or no label, or a score is NaN or infinite.
    """
    assert scores.shape == codes.shape, (scores.shape, codes.shape)
    if not scores.size:
        raise PipelineError(
            f"nothing to evaluate: {scores.shape[0]} images x {scores.shape[1]} labels; expected at least one of each. "
            "Run: biam-pipe split, with a larger split.test_fraction or more labels"
        )
    # The sum is finite just when all cells are, and takes no second matrix; float64 cannot overflow on float32 cells.
    if not np.isfinite(scores.sum(dtype=np.float64)):
        raise PipelineError(
            f"{np.count_nonzero(~np.isfinite(scores))} of {scores.size} scores are not finite; expected numbers. "
            "Run: biam-pipe train, with a smaller train.lr"
        )
    result: Measurement = PROTOCOLS.load(protocol).measure(scores, codes, ks)
    return result


def chance(
    protocol: str, codes: Int8[np.ndarray, "image label"], ks: Sequence[int], baselines: Baselines
) -> dict[str, float]:
    """Mean of each figure over score matrices of uniform random numbers."""
    draws = (_generator(baselines, draw).random(codes.shape, dtype=np.float32) for draw in range(baselines.draws))
    return mean_figures([measure(protocol, scores, codes, ks) for scores in draws])


def permuted(
    protocol: str,
    scores: Float[np.ndarray, "image label"],
    codes: Int8[np.ndarray, "image label"],
    baselines: Baselines,
) -> float | None:
    """Mean mAP over random exchanges in which every label gets another one's scores.

    The same as exchanging the labels' word vectors, since a score depends on its own label's vector only. Scores that
    carry no more than how frequent labels are keep their mAP; a transfer by meaning loses it.

    Returns:
        None for a single label, which has no other to exchange with.
    """
    if scores.shape[1] < 2:
        return None
    orders = [derangement(scores.shape[1], _generator(baselines, draw)) for draw in range(baselines.draws)]
    return float(np.mean([measure(protocol, scores[:, order], codes, ()).map for order in orders]))


def derangement(size: int, generator: np.random.Generator) -> Int64[np.ndarray, " size"]:
    """A permutation that leaves nothing in its place, all of them equally likely; `size` is at least 2.

    One in e permutations is one, so about three are drawn.
    """
    places = np.arange(size)
    while np.any((order := generator.permutation(size)) == places):
        pass
    return order


def combined_map(seen: Section, unseen: Section) -> float:
    """The mAP over the labels of both sections.

    Under `nuswide` it is that of the generalised section exactly: a label's AP does not depend on the other labels.
    """
    labels = seen.labels + unseen.labels
    return (seen.labels * seen.measured.map + unseen.labels * unseen.measured.map) / labels


def _generator(baselines: Baselines, draw: int) -> np.random.Generator:
    return np.random.default_rng([baselines.seed, draw])
