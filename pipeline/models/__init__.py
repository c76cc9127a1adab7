"""Zero-shot models: features and label vectors in, a score for each image and label out.

The room's contract: a module has `build(config, sizes)`, which gives a `torch.nn.Module` with

    forward(region, global_feature, label_vectors)        -> scores [image, label], float32
    response_maps(region, global_feature, label_vectors)  -> [image, label, height, width]

Models know neither images nor backbones: the sizes they need come from the feature spec. Losses stand beside them.
"""

from pipeline.engine.registry import Registry

MODELS = Registry("model", {"biam": "pipeline.models.biam"})
