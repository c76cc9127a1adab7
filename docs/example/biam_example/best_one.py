"""Protocol `best-one`: how often the best label of an image is right; mAP beside it, as `nuswide` counts it."""

from pipeline.metrics.classwise import ClassWise
from pipeline.metrics.measurement import Counts, overall_figures

KS = (1,)
HEADLINE = "precision@1"

ranking = ClassWise


def figures(counts: Counts) -> dict[str, float]:
    """The figures of the papers, and the share of labels that occur."""
    share = float((counts.positives > 0).mean())
    return {**overall_figures(counts), "occurring_share": share}
