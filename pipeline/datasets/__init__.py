"""Data sets: which images and labels exist. Fetching, decoding and splitting are other rooms' work.

What a data set's module has to have stands in `contract.DataSet`.
"""

from pipeline.datasets.contract import DataSet, DataSetOptions
from pipeline.engine.registry import Registry

DATASETS: Registry[DataSet] = Registry(
    "data set",
    {
        "demo": "pipeline.datasets.demo",
        "folder": "pipeline.datasets.folder",
        "nuswide": "pipeline.datasets.nuswide",
        "openimages": "pipeline.datasets.openimages",
    },
    DataSet,
    "datasets",
    optional=DataSetOptions,
    trial="pipeline.datasets.trial",
)
