"""How features lie on disk: one module a format, all with the same entry points.

`SUFFIX`, `write(path, spec, options, batches)`, `open_shard(path, verified=...)`, which gives a
`stores.reader.Reader`, and `example(map)`, with which another program reads one. All hold equal bits.
"""

from pipeline.engine.registry import Registry

STORES = Registry("store", {"hdf5": "pipeline.stores.hdf5", "parquet": "pipeline.stores.parquet"})
