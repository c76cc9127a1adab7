"""The smallest model of open_clip, with random weights."""

from functools import cache
from typing import Any

MODEL = "ViT-S-32-alt"
SEED = 3
SIZE = 256


@cache
def reference() -> Any:
    """Both towers, as open_clip makes them."""
    import open_clip
    import torch

    torch.manual_seed(SEED)
    return open_clip.CLIP(**open_clip.get_model_config(MODEL)).eval()
