"""A few test images with what the model says of them: best labels, and where in the image it sees the true ones."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.label_space import LabelSpace
from pipeline.batches.order import sequential
from pipeline.batches.selection import Selection
from pipeline.batches.stream import Batch, batches
from pipeline.inference.scoring import Scorer
from pipeline.metrics.score_table import ScoreTable
from pipeline.metrics.topk import top_labels
from schemas.status import LabelCode

_TOP = 5
# Response maps of an image without an unseen label: of its first labels, so that there is something to look at.
_SEEN_MAPS = 3


@dataclass(frozen=True)
class Examples:
    """Where examples come from.

    Attributes:
        space: labels of the columns.
        scorer: the model, ready.
        selection: the test images.
        table: their scores and codes.
        has_response_maps: whether the model tells where it sees a label.
    """

    space: LabelSpace
    scorer: Scorer
    selection: Selection
    table: ScoreTable
    has_response_maps: bool

    def choose(self, count: int, seed: int) -> NDArray[np.int64]:
        """Images drawn at random, those with a true unseen label first of all; in the order of the selection."""
        unseen = (self.table.codes[self.space.num_seen :] == LabelCode.PRESENT).any(axis=0)
        drawn = np.random.default_rng(seed % 2**64).permutation(len(self.selection))
        return np.sort(np.concatenate([drawn[unseen[drawn]], drawn[~unseen[drawn]]])[:count])

    def rows(self, images: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
        """Rows of examples.parquet (`schemas.tables.EXAMPLES`) for some images of the selection."""
        chosen = self.selection.take(images)
        features = self.scorer.features
        ids = features.image_ids(chosen.shard, chosen.row)
        with closing(batches(features, chosen, sequential(chosen.block, 1, 1))) as stream:
            for batch in stream:
                at = int(batch.images[0])
                codes, scores = self.table.codes[:, images[at]], self.table.rows(range(images[at], images[at] + 1))
                (best,) = top_labels(scores, _TOP)
                yield {
                    "image_id": ids[at],
                    "shard": features.numbers[int(chosen.shard[at])],
                    "row": int(chosen.row[at]),
                    "positive": self._indices(np.flatnonzero(codes == LabelCode.PRESENT)),
                    "top": self._indices(best),
                    "top_scores": scores[0, best].tolist(),
                    "maps": self._maps(batch, self._mapped(codes)),
                }

    def _indices(self, columns: NDArray[np.int64]) -> list[int]:
        return self.space.label_index[columns].tolist()

    def _mapped(self, codes: NDArray[np.int8]) -> NDArray[np.int64]:
        """Columns whose response maps are kept: the true unseen labels, else the first true ones."""
        present = np.flatnonzero(codes == LabelCode.PRESENT)
        unseen = present[present >= self.space.num_seen]
        return unseen if len(unseen) else present[:_SEEN_MAPS]

    def _maps(self, batch: Batch, columns: NDArray[np.int64]) -> list[dict[str, Any]]:
        if not self.has_response_maps:
            return []
        maps = self.scorer.of_labels("response_maps", batch, columns)[0]
        return [_as_row(index, responses) for index, responses in zip(self._indices(columns), maps, strict=True)]


def _as_row(label_index: int, responses: NDArray[np.float32]) -> dict[str, Any]:
    height, width = responses.shape
    return {"label_index": label_index, "height": height, "width": width, "values": responses.ravel().tolist()}
