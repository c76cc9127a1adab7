"""Which stages with which settings: one module a data set, its `SETTINGS` over the defaults of `schemas.config`."""

from pipeline.core.registry import Registry

DAGS = Registry("data set", {"demo": "dags.demo", "folder": "dags.folder"})
