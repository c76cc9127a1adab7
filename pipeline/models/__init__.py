"""Models: features and label vectors in, a score for each image and label out.

What a model's module has to have stands in `contract.Model`. Models know neither images nor backbones: they name the
maps they read, and get the sizes of those from the feature spec. Losses stand beside them.
"""

from pipeline.engine.registry import Registry
from pipeline.models.contract import Model, ModelOptions

MODELS: Registry[Model] = Registry(
    "model",
    {
        "biam": "pipeline.models.biam",
        "ridge": "pipeline.models.ridge",
        "fast0tag": "pipeline.models.fast0tag",
        "labelem": "pipeline.models.labelem",
        "sdl": "pipeline.models.sdl",
        "conse": "pipeline.models.conse",
        "logistic": "pipeline.models.logistic",
        "warp": "pipeline.models.warp",
    },
    Model,
    "models",
    optional=ModelOptions,
    trial="pipeline.models.trial",
)
