"""The whole pipeline on drawn pictures, in minutes, offline.

Reproduces no published number: the backbone has random weights, since none can be had offline. What it shows is that
labels never trained on are found from their words: ZSL mAP well above chance, and at chance once the word vectors of
the unseen labels are permuted.

Hardware: 2 CPU cores. Command: biam-pipe run --dataset demo
"""

from typing import Any

SETTINGS: dict[str, Any] = {
    "dataset": {"name": "demo"},
    "download": {"allowed_networks": ["127.0.0.0/8"]},  # the server that draws the pictures
    "backbone": {"name": "vgg19", "weights": "random:0"},
    "extract": {"batch_images": 20},  # two full batches a shard
    "embed": {"vectors": "demo:vectors.txt"},
}

PRESET = "demo"  # sizes for a small set

# (model, preset) -> what the preset is on this data set
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("biam", preset): {"model": {"channels": 64}, "train": {"epochs": 10, "validate_every_epochs": 2}}
    for preset in ("paper", "released")
}
