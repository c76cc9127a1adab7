"""Open Images V4: 9 million images, 7,186 seen and 400 unseen labels, human verifications.

Preset `released` (the default) reproduces table 2 of BiAM (ICCV 2021) by the authors' settings: ZSL mAP 73.6,
F1@10 8.3, F1@20 5.5; GZSL 84.5 / 19.1 / 15.9 (mAP by protocol `openimages-biam`, see evaluate.protocol). 512 channels,
rate 1e-4 without a schedule, 10 epochs, images with more than 40 positives left out.
    biam-pipe run --dataset openimages

Preset `paper` reproduces the same table as the text has it: 2 epochs, 26 hours on one Tesla V100 (table 5). Its warm-up
is not described; here the first of the two epochs runs at half the rate.
    biam-pipe run --dataset openimages --set model.preset=paper

Hardware: a GPU, and disk for 9 million images and their features (1.9 TB). None of these numbers has been reproduced
yet.
"""

from typing import Any

SETTINGS: dict[str, Any] = {
    "dataset": {"name": "openimages"},
    "extract": {"orientation": "dataset"},
    "embed": {"missing": "drop"},  # about 310 of the seen and 33 of the unseen names have no word in GloVe
    "evaluate": {"protocol": "openimages"},  # its own K are 10 and 20
}

# (model, preset) -> what the preset is on this data set
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("biam", "paper"): {"train": {"epochs": 2, "warmup_epochs": 2}},
    ("biam", "released"): {
        "model": {"channels": 512},
        "train": {"lr": 1e-4, "final_lr": None, "warmup_epochs": 0, "epochs": 10, "max_positives": 40},
    },
    ("sdl", "released"): {"model": {"unknown": "ignore"}},  # of most labels of an image nobody knows
}
