"""Features and models of biam-pipe for Python programs: `open_features`, `load_model` and `metrics`.

    features = open_features("work/demo")
    features[0]["region"], features.torch_dataset(split="train", labels="seen"), features.to_arrow()
    load_model("work/demo").predict(["photo.jpg"], ["red circle"])
    metrics("work/demo")["zsl"]["map"]

What is named here stays as it is from version to version; all else, such as what lies in `pipeline`, may change.
Nothing is written in a work folder, and what is read is compared with its receipt the first time. Errors are
`PipelineError`, or its `IntegrityError` where a file is not as it was written. docs/python.md tells the whole of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biam_pipe.dataset import FeatureDataset, ShardOrder
    from biam_pipe.features import Features, Row
    from biam_pipe.model import Model, Scores, load_model
    from biam_pipe.opening import open_features
    from biam_pipe.results import metrics
    from schemas.errors import IntegrityError, PipelineError, UsageError

__all__ = [
    "FeatureDataset",
    "Features",
    "IntegrityError",
    "Model",
    "PipelineError",
    "Row",
    "Scores",
    "ShardOrder",
    "UsageError",
    "load_model",
    "metrics",
    "open_features",
]

_HOME = {
    "biam_pipe.dataset": ("FeatureDataset", "ShardOrder"),
    "biam_pipe.features": ("Features", "Row"),
    "biam_pipe.model": ("Model", "Scores", "load_model"),
    "biam_pipe.opening": ("open_features",),
    "biam_pipe.results": ("metrics",),
    "schemas.errors": ("IntegrityError", "PipelineError", "UsageError"),
}


def __getattr__(name: str) -> Any:
    """What is named above, once it is used: torch is loaded for those that need it alone.

    Raises:
        ImportError: another program's package has the name of one of ours.
    """
    for module, names in _HOME.items():
        if name in names:
            from biam_pipe.own import require_own

            require_own()
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
