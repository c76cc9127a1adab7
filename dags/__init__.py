"""What runs with which settings: `default` lists the stages of the pipeline, and each data set has a module of its own.

Its `SETTINGS` stand over the defaults of `schemas.config`. A data set on which numbers were published has `PRESETS`:
what `paper` and `released` are there. One whose pipeline differs from the default has `stages`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from pipeline.engine.registry import Registry


class Dag(Protocol):
    """The settings of a data set.

    Attributes:
        SETTINGS: over the defaults, by section.
    """

    SETTINGS: Mapping[str, Any]


DAGS: Registry[Dag] = Registry(
    "data set", {name: f"dags.{name}" for name in ("demo", "folder", "nuswide", "openimages")}, Dag
)
