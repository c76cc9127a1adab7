"""Each setting of BiAM changes the model, or is said to be read in vain. Preset `tuned`: in `test_tuned`."""

from itertools import product
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tuned_settings import TUNED_OTHERS

from pipeline.models.biam.network import build
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.sizes import FeatureSizes

OTHERS: dict[str, Any] = {
    "channels": 16,
    "heads": 4,
    "joint_size": 6,
    "top_k": 3,
    "attention_dropout": 0.5,
    "global_dropout": 0.6,
    "classification": "pooled",
    "blocks": ("scb",),
    "region_attention": "non-local",
    "region_weighting": "sigmoid",
    "region_norm": "layer",
    "scene_weighting": "softmax",
    "grid_side": 2,
    **TUNED_OTHERS,
}
BASE: dict[str, Any] = {"channels": 8, "heads": 2, "joint_size": 4, "top_k": 2}

pytestmark = pytest.mark.usefixtures("one_thread")


def behaviour(config: BiamConfig) -> dict[str, Any]:
    """What the network of a configuration is and does in training, from one seed."""
    torch.manual_seed(0)
    network = build(config, FeatureSizes({"region": 5, "global": 6}, 3)).train()
    region, scene, words = torch.randn(2, 4, 4, 5), torch.randn(2, 6), torch.randn(3, 3)
    torch.manual_seed(1)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    return {"shapes": shapes, "scores": network(region, scene, words).tolist()}


def test_every_setting_has_another_value_here() -> None:
    assert OTHERS.keys() == BiamConfig.model_fields.keys() - {"name", "preset"}


@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("attention", ["self", "non-local", "criss-cross"])
@pytest.mark.parametrize("blocks", [(), ("rcb",), ("scb",), ("rcb", "scb")])
def test_a_setting_changes_the_network_or_is_in_vain(preset: str, attention: str, blocks: tuple[str, ...]) -> None:
    for classification in ("region", "pooled"):
        chosen = {"preset": preset, "region_attention": attention, "blocks": blocks, "classification": classification}
        config = BiamConfig(**BASE | chosen)
        before, in_vain = behaviour(config), config.in_vain()
        for key, other in OTHERS.items():
            usual = BiamConfig.model_fields[key].default
            changed = config.model_copy(update={key: usual if other == getattr(config, key) else other})
            assert (behaviour(changed) == before) == (key in in_vain), (key, classification)


def test_heads_that_nobody_reads_need_not_divide_the_channels() -> None:
    for without, preset in product(({"blocks": ("scb",)}, {"region_attention": "non-local"}), ("paper", "released")):
        assert BiamConfig(preset=preset, channels=6, **without).heads == 8
    with pytest.raises(ValidationError, match="6 channels cannot be shared out among 8 heads"):
        BiamConfig(channels=6)
