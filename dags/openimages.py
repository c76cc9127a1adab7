"""Open Images V4: 9 million images, human verifications of 7,186 seen and 400 unseen labels.

BiAM (ICCV 2021), table 2: ZSL mAP 73.6, F1@10 8.3, F1@20 5.5; GZSL 84.5 / 19.1 / 15.9. Table 7, trained and tested
on the seen labels (--set dataset.task=standard, in a work folder of its own): 85.0 / 20.4 / 17.3. They are counted by
--set evaluate.protocol=openimages-biam, whose weighted mAP is the published one: in the authors' log one evaluation
has all three ZSL figures of table 2 with it, and no plain mAP there reaches 73.6, 84.5 or 85.0.

Preset `released` (the default) is put together from several sources, since none has the authors' settings as a whole:
- their log: 512 channels, 8 heads (their script says 256 and 16);
- their model.py: 6 regions; one convolution for query and value of the scene block, which the log's has not;
- their training: rate 1e-4 without a schedule, 10 epochs, images with more than 40 positives left out.
Differs: the authors shrank images to a short side of 256, saved them again as JPEG and did not rotate them. Of the
labels 233 seen and 22 unseen ones have no word in GloVe; they are dropped, which leaves 6,953 and 378.
    biam-pipe run --dataset openimages

Preset `paper` is the text: 2 epochs, batches of 32. It does not describe its warm-up; here the first epoch runs at half
the rate. Table 5 gives 26 hours on one Tesla V100.
    biam-pipe run --dataset openimages --set model.preset=paper

Hardware: a GPU, and disk for 9 million images and their features (1.9 TB). None of these numbers has been reproduced
yet.
"""

from typing import Any

SETTINGS: dict[str, Any] = {
    "dataset": {"name": "openimages"},
    "extract": {"orientation": "dataset"},
    "embed": {
        "missing": "drop"
    },  # 233 seen and 22 unseen names have no word in GloVe, also not by the shipped overrides
    "evaluate": {"protocol": "openimages"},  # its own K are 10 and 20
}

# (model, preset) -> what the preset is on this data set
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("biam", "paper"): {"train": {"epochs": 2, "warmup_epochs": 2}},
    ("biam", "released"): {
        "model": {"channels": 512},
        "train": {"lr": 1e-4, "final_lr": None, "warmup_epochs": 0, "epochs": 10, "max_positives": 40},
    },
    # The release's 343,850 steps of 32 images are two epochs of its 5,501,586. It validates by mAP.
    ("lesa", "released"): {"train": {"epochs": 2}},
    # Of most labels of an image nobody knows.
    ("sdl", "released"): {"model": {"unknown": "ignore"}},
    ("ml2p", "released"): {"model": {"unknown": "ignore"}},
    # 2 more than 20, the larger K.
    **{("cnn_rnn", preset): {"model": {"steps": 22}} for preset in ("ours", "demo")},
}
