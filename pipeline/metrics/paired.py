"""What bootstrap.npz of a run holds, and what two rows of runs differ by when images are drawn anew for both alike.

A row is one run, or several that differ in their seed. Runs are compared image by image just where they were counted
alike over the same images and labels: their pairing is equal then.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int8

_LIMITS = (2.5, 97.5)  # percentiles: the middle 95 %
_PAIRING = "pairing"


@dataclass(frozen=True)
class Replicates:
    """The figures of one run over images drawn anew.

    Attributes:
        pairing: hash of what was evaluated and how; 64 hex digits.
        figures: one number a replicate, by `<section>/<figure>`; with scores on one scale by
            `<section>/standardised/<figure>`.
    """

    pairing: str
    figures: Mapping[str, Float32[np.ndarray, " replicate"]]

    @classmethod
    def of(cls, data: bytes) -> "Replicates":
        """As a file holds them."""
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            return cls(str(arrays[_PAIRING]), {name: arrays[name] for name in arrays.files if name != _PAIRING})

    def as_bytes(self) -> bytes:
        """A file that holds them; equal ones give equal bytes, at any time."""
        file = BytesIO()
        arrays: dict[str, Any] = {_PAIRING: np.array(self.pairing), **self.figures}
        np.savez(file, **arrays)  # its members have the date 1980-01-01
        return file.getvalue()


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of what a number may be."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign of the number is beyond the luck of the images."""
        return self.low > 0 or self.high < 0


def pairing(
    image_ids: Sequence[str],
    labels: Mapping[str, Sequence[str]],
    codes: Int8[np.ndarray, "label image"],
    protocol: str,
    ks: Sequence[int],
) -> str:
    """What two runs have to have in common to be compared image by image, as a hash.

    Args:
        image_ids: of the test images, in order.
        labels: ids of the columns in order, by role.
    """
    named = json.dumps([list(image_ids), {role: list(ids) for role, ids in labels.items()}, protocol, list(ks)])
    digest = sha256(named.encode())
    for row in codes:
        digest.update(np.ascontiguousarray(row).tobytes())
    return digest.hexdigest()


def interval(replicates: Float[np.ndarray, " replicate"]) -> Interval:
    """The 95 % percentile interval of a figure, or of a difference."""
    low, high = np.percentile(np.asarray(replicates, dtype=np.float64), _LIMITS)
    return Interval(float(low), float(high))


def paired(runs: Sequence[Replicates], figure: str) -> bool:
    """Whether all these runs have replicates of a figure, over the same images and counted alike.

    Args:
        figure: `<section>/<figure>`.
    """
    kinds = {(run.pairing, len(run.figures.get(figure, ()))) for run in runs}
    return len(kinds) == 1 and all(replicates for _, replicates in kinds)


def row_replicates(row: Sequence[Replicates], figure: str) -> Float64[np.ndarray, " replicate"]:
    """A figure of a row of paired runs: in each replicate the mean over the runs."""
    return np.array([run.figures[figure] for run in row], dtype=np.float64).mean(axis=0)


def difference(first: Sequence[Replicates], second: Sequence[Replicates], figure: str) -> Interval | None:
    """The 95 % interval of a figure of one row minus that of another, over the same images.

    Returns:
        None where a row has no run, or the runs are not all paired.
    """
    if not (first and second and paired([*first, *second], figure)):
        return None
    return interval(row_replicates(first, figure) - row_replicates(second, figure))
