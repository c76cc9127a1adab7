"""A protocol tried on a made-up table: whether it has everything that an evaluation asks of it."""

from collections.abc import Sequence
from typing import get_args

import numpy as np

from pipeline.engine.registry import unfulfilled
from pipeline.metrics.bootstrap import Resampling
from pipeline.metrics.computing import Computing
from pipeline.metrics.contract import EvaluationProtocol
from pipeline.metrics.measurement import Counts, flaw
from pipeline.metrics.ranking import Ranking, Resampled, candidates, counted_labels
from pipeline.metrics.score_table import ScoreTable
from pipeline.metrics.topk import Hits, table_hits
from schemas.figures import SectionName

_CODES = np.array([[1, -1, 0], [-1, 1, -1], [1, 1, -1], [0, -1, -1]], dtype=np.int8)  # the last label has no positive


def trial(protocol: EvaluationProtocol, ks: Sequence[int] | None = None) -> str | None:
    """What is wrong with a protocol, in words; None where it gives its figures.

    Args:
        ks: K that will be asked for; None for the protocol's own.
    """
    own = protocol.KS
    if not isinstance(own, tuple) or not all(isinstance(k, int) and k > 0 for k in own):
        return f"has KS = {own!r}, expected whole numbers above 0 in a tuple"
    ks = own if ks is None else ks
    problems = (_trial(protocol, section, ks) for section in get_args(SectionName))
    return next((problem for problem in problems if problem is not None), None)


def _trial(protocol: EvaluationProtocol, section: SectionName, ks: Sequence[int]) -> str | None:
    table = ScoreTable.of(np.arange(12, dtype=np.float32).reshape(4, 3) % 5, _CODES)
    ranking = protocol.ranking(table, section)
    problem = unfulfilled(ranking, Ranking) or unfulfilled(ranking, Resampled, only_there=True)
    if problem is not None:
        return f"gives a ranking that {problem}"
    orders, generators = np.array([[0, 1, 2], [2, 0, 1]]), [np.random.default_rng(draw) for draw in range(2)]
    by_order = ranking.average_precisions(orders, Computing())
    drawn = ranking.random_average_precisions(generators, Computing())
    resampled = getattr(ranking, "resampled_average_precisions", lambda *_: by_order)
    again = resampled(Resampling.of(("a", "b", "c", "d"), 2), Computing())
    for name, found in (("", by_order), ("random_", drawn), ("resampled_", again)):
        if np.shape(found) != (2, 3):
            shape = f"{name}average_precisions of shape {np.shape(found)}"
            return f"gives {shape}, expected one row for each of 2 and one column a label: 3"
    counted, own = counted_labels(ranking, 3), candidates(ranking, 3)
    hits = table_hits(table, max(ks), ranking.counted_images, own, orders[:1], Computing())[0] if ks else None
    some = Counts(by_order[0], table.positives_by_label, hits, ks, counted)
    none_right = None if hits is None else Hits(np.zeros_like(hits.by_rank), 0, 0)
    nothing = Counts(np.full(3, np.nan), np.zeros(3, np.int64), none_right, ks, counted)
    for text, counts in (("", some), ("where images drawn anew have no label, it ", nothing)):
        figures = {name: float(value) for name, value in protocol.figures(counts).items()}
        if (problem := flaw(figures, protocol.HEADLINE, ks)) is not None:
            return text + problem
    return None
