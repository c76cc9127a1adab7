"""What a protocol's module has to have."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from schemas.figures import SectionName

if TYPE_CHECKING:
    from pipeline.metrics.measurement import Counts
    from pipeline.metrics.ranking import Ranking
    from pipeline.metrics.score_table import ScoreTable


class EvaluationProtocol(Protocol):
    """How results are counted, and which figures that gives.

    Attributes:
        KS: K of F1@K where the settings name none.
        HEADLINE: name of the figure that stands first, in the terminal and in the report.
    """

    KS: tuple[int, ...]
    HEADLINE: str

    def ranking(self, table: "ScoreTable", section: SectionName) -> "Ranking":
        """Which cells, images and labels of a table count, and how a label's images are ranked: the form of its AP.

        The section is that of metrics.json which the figures are for: `zsl`, `gzsl` or `standard`.

        `pipeline.metrics.ranking` says what it gives (`Ranking`), and what it may give, too (`Resampled`).
        """

    def figures(self, counts: "Counts") -> Mapping[str, float]:
        """What the table came to, by the names that metrics.json has; the headline is among them, each in [0, 1].

        `pipeline.metrics.measurement.overall_figures` gives those of the papers.
        """
