"""What biam-pipe runs with which settings: `default` lists the stages, and each data set has a module of its own.

Its `SETTINGS` stand over the defaults of `schemas.config`. A data set on which numbers were published has `PRESETS`:
what `paper` and `released` are there. One whose pipeline differs from the default has `stages`.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Protocol

from pipeline.datasets import DATASETS
from pipeline.engine.registry import Registry


class Dag(Protocol):
    """What runs of a data set.

    Attributes:
        SETTINGS: over the defaults, by section.
    """

    SETTINGS: Mapping[str, Any]


class DagOptions(Protocol):
    """What may stand beside them, and what holds where it does not.

    Attributes:
        PRESETS: over a model's own presets, by model and preset. Without, nothing.
        PRESET: preset that a model has here where nobody names one and it has one of this name. Without, its own
            default.
    """

    PRESETS: Mapping[tuple[str, str], Mapping[str, Any]]
    PRESET: str

    def stages(self, config: Any, sources: Any) -> Any:
        """The stages, first stage first. Without, those of `dags.default`."""


DAGS: Registry[Dag] = Registry(
    "dag", {name: f"dags.{name}" for name in DATASETS.ours}, Dag, "dags", optional=DagOptions
)

_PLAIN = SimpleNamespace(SETTINGS={})


def dag(dataset: str) -> Dag:
    """What runs of a data set; nothing but the defaults where the distribution that it comes with has no such module.

    Raises:
        UsageError: no such data set, or a module that is not what `Dag` says.
    """
    DATASETS.require(dataset)
    return DAGS.load(dataset) if dataset in DAGS else _PLAIN
