"""A data set tried before anything is read: whether its settings are some."""

from pipeline.datasets.contract import DataSet
from schemas.datasets import DatasetSection
from schemas.section import flaw


def trial(dataset: DataSet) -> str | None:
    """What is wrong with a data set, in words; None where its settings can be made and say what they decide."""
    return flaw(dataset.SETTINGS, DatasetSection)
