"""Data sets: which images and labels exist. Fetching, decoding and splitting are other rooms' work.

Each module offers the same entry points; `config` is the data set's own section of the settings.

- `sources(config) -> tuple[str, ...]`: files from outside whose hashes belong to the recipe of the index.
- `listing(config) -> str`: hash of a look at the outside world (names, sizes, time stamps); "" where there is none.
- `labels(config) -> list[Label]`: the label space in its official order.
- `records(config, left_out) -> Iterator[pa.Table]`: all images in a stable order, in bounded batches of schema
  `schemas.tables.RECORDS`; what the files say and the rows do not is counted in `left_out`, by its kind.
- `base_addresses(config) -> ContextManager[Mapping[str, str]]`: address of each kind of location that is known only
  while the data set is open, such as a server on this machine.
"""

from pipeline.engine.registry import Registry

DATASETS = Registry(
    "data set",
    {
        "demo": "pipeline.datasets.demo",
        "folder": "pipeline.datasets.folder",
        "nuswide": "pipeline.datasets.nuswide",
        "openimages": "pipeline.datasets.openimages",
    },
)
