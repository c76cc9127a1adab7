"""Clusters of labels by their words: k-means on the unit sphere."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch.nn import functional

from pipeline.models.fitting import Fitted, Fitting
from schemas.command import Command
from schemas.errors import UsageError

_STARTS, _ROUNDS = 10, 100

Rows = Float[np.ndarray, "row word"]


def fit(clusters: int, fitting: Fitting) -> Fitted:
    """The centroids of the seen words, and how many labels each has.

    Raises:
        UsageError: there are fewer different words than clusters.
    """
    words = functional.normalize(fitting.words.double(), dim=1).cpu().numpy()
    different = len(np.unique(words, axis=0))
    if different < clusters:
        raise UsageError(
            "setting model.clusters:",
            got=f"{clusters}, but the seen labels have {different} different words",
            expected=f"at most {different}",
            hint="Use:",
            run=Command("train", sets={"model.clusters": different}),
        )
    centroids = k_means(words, clusters, np.random.default_rng(fitting.seed))
    labels = np.bincount(nearest(words, centroids), minlength=clusters)
    return Fitted({"centroids": torch.from_numpy(centroids).float()}, {"labels_by_cluster": labels.tolist()})


def k_means(rows: Rows, clusters: int, generator: np.random.Generator) -> Float[np.ndarray, "cluster word"]:
    """Centroids, of norm 1, of rows of norm 1: the best of several starts, none of them without a row.

    Source: Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007.
    """
    found = [_settled(rows, _start(rows, clusters, generator)) for _ in range(_STARTS)]
    return max(found, key=lambda centroids: float((rows @ centroids.T).max(axis=1).sum()))


def nearest(rows: Rows, centroids: Float[np.ndarray, "cluster word"]) -> Int64[np.ndarray, " row"]:
    """The centroid with the largest cosine."""
    return (rows @ centroids.T).argmax(axis=1)


def _start(rows: Rows, clusters: int, generator: np.random.Generator) -> Float[np.ndarray, "cluster word"]:
    """Rows far from each other: each next one is drawn with a probability that grows with its squared distance."""
    chosen = [int(generator.integers(len(rows)))]
    while len(chosen) < clusters:
        distance = np.clip(1 - (rows @ rows[chosen].T).max(axis=1), 0, None)
        distance[chosen] = 0
        chosen.append(int(generator.choice(len(rows), p=distance / distance.sum())))
    return rows[chosen]


def _settled(rows: Rows, centroids: Float[np.ndarray, "cluster word"]) -> Float[np.ndarray, "cluster word"]:
    """After as many rounds as change something. A cluster that loses all rows takes the one farthest from its own."""
    before = None
    for _ in range(_ROUNDS):
        cosines = rows @ centroids.T
        of_row = cosines.argmax(axis=1)
        for empty in np.setdiff1d(np.arange(len(centroids)), of_row):
            alone = np.bincount(of_row, minlength=len(centroids))[of_row] == 1
            farthest = int(np.where(alone, np.inf, cosines[np.arange(len(rows)), of_row]).argmin())
            of_row[farthest] = empty
        if before is not None and np.array_equal(before, of_row):
            break
        before = of_row
        sums = np.zeros_like(centroids)
        np.add.at(sums, of_row, rows)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = np.where(norms > 0, sums / np.maximum(norms, 1e-12), centroids)
    return centroids
