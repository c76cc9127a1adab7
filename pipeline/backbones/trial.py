"""A backbone tried without numbers: whether its network gives the maps that it describes."""

from pipeline.backbones import build, describe
from schemas.config import BackboneConfig


def trial(config: BackboneConfig) -> str | None:
    """What is wrong with a backbone of these settings, in words; None where its maps have the shapes it describes."""
    import torch

    described = describe(config)
    with torch.device("meta"), torch.inference_mode():  # shapes without numbers
        network = build(config.model_copy(update={"weights": "random:0"}))
        found = network(torch.empty(2, 3, *described.resize))
    for one in described.maps:
        if one.column not in found:
            return f"gives the maps {', '.join(found)}, expected {one.column}, which it describes"
        shape = tuple(found[one.column].shape)
        if shape != (2, *one.shape):
            return f"gives {one.column} of shape {shape[1:]}, expected {one.shape}, as it describes"
    return None
