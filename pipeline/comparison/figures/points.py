"""What rows read a label's score from, as points in a plane, and how well the labels keep apart.

t-SNE places the points; silhouette and purity of neighbours are those of the vectors themselves, since in the plane
distances mean little.

Source: figure 6 of BiAM (ICCV 2021).
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from pipeline.comparison.figures.rows import FigureRow, Looking, borne, first_shown
from pipeline.models import MODELS
from pipeline.models.contract import has_label_features

if TYPE_CHECKING:
    from pipeline.inference.opened import OpenedRun

LABELS = 10
_IMAGES = 200  # of a label at most
FEWEST = 12  # points, of two labels at least; neighbours of fewer say nothing
_COMPONENTS = 50  # that are kept of the vectors before they are placed
_PERPLEXITY = 30
_NEIGHBOURS = 10

POINTS = pa.schema(
    [
        pa.field("row", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
    ]
)

_Vectors = Float32[np.ndarray, "point size"]
_Labels = Int64[np.ndarray, " point"]


@dataclass(frozen=True)
class RowPoints:
    """The points of a row.

    Attributes:
        row: its title.
        places: in the plane.
        silhouette: of the labels, by cosine, in [-1, 1]; 1 where each keeps to itself.
        purity: share of the ten nearest vectors, by cosine, that are of the same label.
    """

    row: str
    places: Float32[np.ndarray, "point 2"]
    silhouette: float
    purity: float


@dataclass(frozen=True)
class Points:
    """Test images that bear just one of some labels.

    Attributes:
        labels: names, that of most test images first.
        image_ids: of each point.
        of_label: number of the label of each point.
        rows: with their places.
    """

    labels: tuple[str, ...]
    image_ids: tuple[str, ...]
    of_label: _Labels
    rows: tuple[RowPoints, ...]

    @property
    def chance(self) -> float:
        """Purity of neighbours drawn at random."""
        counts = np.bincount(self.of_label)
        return float((counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1)))

    def by_label(self, row: RowPoints) -> dict[str, Float32[np.ndarray, "point 2"]]:
        """Places of a row, label by label."""
        return {name: row.places[self.of_label == number] for number, name in enumerate(self.labels)}

    def as_json(self) -> dict[str, Any]:
        """All but the places as JSON values."""
        rows = [{"row": row.row, "silhouette": row.silhouette, "purity": row.purity} for row in self.rows]
        return {"labels": list(self.labels), "points": len(self.of_label), "chance_purity": self.chance, "rows": rows}

    def table(self) -> pa.Table:
        """points.parquet."""
        lines = [
            {"row": row.row, "image_id": image_id, "label": self.labels[number], "x": x, "y": y}
            for row in self.rows
            for image_id, number, (x, y) in zip(self.image_ids, self.of_label, row.places.tolist(), strict=True)
        ]
        return pa.Table.from_pylist(lines, schema=POINTS)


@dataclass(frozen=True)
class _Chosen:
    """Images by position and id, each with the number of its label among the columns."""

    columns: Int64[np.ndarray, " label"]
    labels: tuple[str, ...]
    images: Int64[np.ndarray, " point"]
    image_ids: tuple[str, ...]
    of_label: _Labels


def points(rows: Sequence[FigureRow], looking: Looking) -> Points | None:
    """The points of those rows that tell what a label's score is read from; None where there are none, or few images.

    The labels are the unseen ones of most test images, or any where none is unseen.
    """
    found: list[RowPoints] = []
    chosen: _Chosen | None = None
    for row in rows:
        if not has_label_features(MODELS.load(row.model)):
            continue
        run = looking.opened(row)
        chosen = chosen or _chosen(run, looking)
        if len(chosen.images) < FEWEST or len(np.unique(chosen.of_label)) < 2:
            return None
        vectors = _vectors(run, chosen)
        found.append(RowPoints(row.title, _placed(vectors, looking.seed), *_apart(vectors, chosen.of_label)))
    return Points(chosen.labels, chosen.image_ids, chosen.of_label, tuple(found)) if chosen else None


def _chosen(run: "OpenedRun", looking: Looking) -> _Chosen:
    """Images that bear just one of the labels of most test images, at most so many of each, drawn at random."""
    images, columns = borne(run, first_shown(run))
    counts = np.bincount(columns, minlength=len(run.space))
    common = np.argsort(-counts, kind="stable")[:LABELS]
    common = common[counts[common] > 0]
    of_common = np.isin(columns, common)
    images, columns = images[of_common], columns[of_common]
    alone = np.bincount(images, minlength=len(run.images))[images] == 1
    own = np.full(len(run.images), -1, dtype=np.int64)
    own[images[alone]] = columns[alone]
    order = looking.order(len(own))
    drawn = np.sort(np.concatenate([order[:0], *(order[own[order] == column][:_IMAGES] for column in common)]))
    number = np.zeros(len(run.space), dtype=np.int64)
    number[common] = np.arange(len(common))
    labels, shown = tuple(run.space.name[column] for column in common), run.images.take(drawn)
    return _Chosen(common, labels, drawn, tuple(run.features.image_ids(shown.shard, shown.row)), number[own[drawn]])


def _vectors(run: "OpenedRun", chosen: _Chosen) -> _Vectors:
    """What the score of each image's label is read from."""
    parts = []
    with closing(run.scorer.stream(run.images.take(chosen.images))) as stream:
        for batch, _ in stream:
            features = run.scorer.of_labels("label_features", batch, chosen.columns)
            parts.append(features[np.arange(len(batch)), chosen.of_label[batch.images]])
    return np.concatenate(parts)


def _placed(vectors: _Vectors, seed: int) -> Float32[np.ndarray, "point 2"]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    state, most = seed % 2**32, (len(vectors) - 1) / 3
    main = PCA(min(_COMPONENTS, *vectors.shape), random_state=state).fit_transform(vectors)
    places = TSNE(perplexity=min(_PERPLEXITY, most), metric="cosine", random_state=state).fit_transform(main)
    return np.asarray(places, dtype=np.float32)


def _apart(vectors: _Vectors, of_label: _Labels) -> tuple[float, float]:
    """Silhouette, and the share of nearest vectors of the same label."""
    from sklearn.metrics import silhouette_score
    from sklearn.metrics.pairwise import cosine_similarity

    silhouette = float(silhouette_score(vectors, of_label, metric="cosine"))
    near = cosine_similarity(vectors)
    np.fill_diagonal(near, -np.inf)
    nearest = np.argsort(-near, axis=1, kind="stable")[:, : min(_NEIGHBOURS, len(vectors) - 1)]
    return silhouette, float((of_label[nearest] == of_label[:, None]).mean())
