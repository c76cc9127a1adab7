"""A protocol tried on a made-up table: whether it has everything that an evaluation asks of it."""

import numpy as np

from pipeline.engine.registry import unfulfilled
from pipeline.metrics.computing import Computing
from pipeline.metrics.contract import EvaluationProtocol
from pipeline.metrics.measurement import Counts
from pipeline.metrics.ranking import Ranking
from pipeline.metrics.score_table import ScoreTable
from pipeline.metrics.topk import table_hits

_CODES = np.array([[1, -1, 0], [-1, 1, -1], [1, 1, -1], [0, -1, -1]], dtype=np.int8)  # the last label has no positive


def trial(protocol: EvaluationProtocol) -> str | None:
    """What is wrong with a protocol, in words; None where it gives its figures."""
    table = ScoreTable.of(np.arange(12, dtype=np.float32).reshape(4, 3) % 5, _CODES)
    ranking = protocol.ranking(table)
    if (problem := unfulfilled(ranking, Ranking)) is not None:
        return f"gives a ranking that {problem}"
    orders, generators = np.array([[0, 1, 2], [2, 0, 1]]), [np.random.default_rng(draw) for draw in range(2)]
    by_order = ranking.average_precisions(orders, Computing())
    drawn = ranking.random_average_precisions(generators, Computing())
    for name, found in (("average_precisions", by_order), ("random_average_precisions", drawn)):
        if np.shape(found) != (2, 3):
            return f"gives {name} of shape {np.shape(found)}, expected one row for each of 2 and one column a label: 3"
    (hits,) = table_hits(table, max(protocol.KS), ranking.counted_images, orders[:1], Computing())
    figures = protocol.figures(Counts(by_order[0], table.positives_by_label, hits, protocol.KS))
    if protocol.HEADLINE not in figures:
        return f"gives the figures {', '.join(figures)}, and not its HEADLINE {protocol.HEADLINE!r}"
    if outside := [name for name, value in figures.items() if not 0 <= value <= 1]:
        return f"gives {outside[0]} = {figures[outside[0]]}, expected a number from 0 to 1"
    return None
