"""What runs with which settings: `default` lists the stages of the pipeline, and each data set has a module of its own.

Its `SETTINGS` stand over the defaults of `schemas.config`. A data set on which numbers were published has `PRESETS`:
what `paper` and `released` are there. One whose pipeline differs from the default has `stages`.
"""

from pipeline.engine.registry import Registry

DAGS = Registry("data set", {name: f"dags.{name}" for name in ("demo", "folder", "nuswide", "openimages")})
