"""Which stages with which settings: one module a data set, its `SETTINGS` over the defaults of `schemas.config`.

A data set on which numbers were published has `PRESETS`, too: what `paper` and `released` are there.
"""

from pipeline.engine.registry import Registry

DAGS = Registry("data set", {name: f"dags.{name}" for name in ("demo", "folder", "nuswide", "openimages")})
