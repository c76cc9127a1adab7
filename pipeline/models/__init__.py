"""Models: features and label vectors in, a score for each image and label out.

What a model's module has to have stands in `contract.Model`. Models know neither images nor backbones: they name the
maps they read, and get the sizes of those from the feature spec. Losses stand beside them.
"""

from pipeline.engine.registry import Registry
from pipeline.models.contract import Model, ModelOptions

MODELS: Registry[Model] = Registry(
    "model",
    {
        "attention_per_cluster": "pipeline.models.attention_per_cluster",
        "attention_per_label": "pipeline.models.attention_per_label",
        "biam": "pipeline.models.biam",
        "cnn_rnn": "pipeline.models.cnn_rnn",
        "conse": "pipeline.models.conse",
        "cosine": "pipeline.models.cosine",
        "fast0tag": "pipeline.models.fast0tag",
        "labelem": "pipeline.models.labelem",
        "lesa": "pipeline.models.lesa",
        "logistic": "pipeline.models.logistic",
        "ml2p": "pipeline.models.ml2p",
        "ridge": "pipeline.models.ridge",
        "sdl": "pipeline.models.sdl",
        "topk_patches": "pipeline.models.topk_patches",
        "warp": "pipeline.models.warp",
        "wsabie": "pipeline.models.wsabie",
    },
    Model,
    "models",
    optional=ModelOptions,
    trial="pipeline.models.trial",
)
