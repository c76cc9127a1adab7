"""What a protocol's module has to have."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pipeline.metrics.ranking import Ranking
    from pipeline.metrics.score_table import ScoreTable


class EvaluationProtocol(Protocol):
    """How results are counted.

    Attributes:
        KS: K of F1@K where the settings name none.
    """

    KS: tuple[int, ...]

    def ranking(self, table: "ScoreTable") -> "Ranking":
        """Which cells, images and labels of a table count, and how a label's images are ranked."""
