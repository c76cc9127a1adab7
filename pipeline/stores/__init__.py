"""How features lie on disk: one module a format. What a store's module has to have stands in `contract.Store`."""

from pipeline.engine.registry import Registry
from pipeline.stores.contract import Store

STORES: Registry[Store] = Registry(
    "store",
    {"hdf5": "pipeline.stores.hdf5", "parquet": "pipeline.stores.parquet"},
    Store,
    "stores",
    trial="pipeline.stores.trial",
)
