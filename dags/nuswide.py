"""NUS-WIDE: 269,648 images, 925 seen labels from tags, 81 unseen labels from humans.

Preset `released` (the default) reproduces the authors' log, beside table 1 of BiAM (ICCV 2021): ZSL mAP 26.4,
F1@3 33.2, F1@5 30.1; GZSL 9.6 / 16.0 / 18.9. 40 epochs on 80 % of the training images, validation F1@5 of seen labels
picks one, then 5 epochs on all of them. About 9 minutes an epoch in that log, on hardware that it does not name.
    biam-pipe run --dataset nuswide --set dataset.root=NUS-WIDE --set dataset.images=Flickr
Differs: an epoch visits every image once (the release draws batches at random); nothing is picked on test images.

Preset `paper` reproduces table 1 as the text has it: ZSL mAP 26.3, F1@3 33.1, F1@5 30.7; GZSL 9.3 / 16.1 / 19.0.
40 epochs. The paper says nothing of validation images: here they pick the epoch. Nor does it say how long its warm-up
is: here 3 epochs, as in the release.
    the same command with --set model.preset=paper

Table 5 (7.5 hours for 40 epochs on one Tesla V100, 2.3 ms an image, 0.59 GMAC) is about a model of the size of the
release: 256 channels have 0.56 GMAC with 81 labels, the 512 of the text 1.40.

The protocol and K = 3 and 5 are the data set's own. Its standard setting (table 6, train and test on the 81 concepts):
--set dataset.task=standard, in a work folder of its own. None of these numbers has been reproduced yet.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.engine.sources import Sources
    from pipeline.engine.task import Stage
    from schemas.config import Config

SETTINGS: dict[str, Any] = {
    "dataset": {"name": "nuswide"},
    # About one photograph in six is gone from Flickr, and from the copies that circulate: 221 to 224 thousand are left.
    "extract": {"max_failed_fraction": 0.2},
}

# (model, preset) -> what the preset is on this data set
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("biam", "paper"): {"train": {"epochs": 40}},
    ("biam", "released"): {"train": {"epochs": 40, "full_epochs": 5, "full_lr": 3.33e-4}},
}


def stages(config: "Config", sources: "Sources") -> "list[Stage]":
    """The default ones; where features are given in place of images, two of them are those that take them in."""
    from dags import default
    from pipeline.datasets.nuswide.settings import NusWideDataset
    from pipeline.stages import given_features

    assert isinstance(config.dataset, NusWideDataset), "the dag of another data set"
    usual = default.stages(config, sources)
    if not config.dataset.features:
        return usual
    given = {"download": given_features.download, "extract": given_features.extract}
    return [given[stage.name](config, sources) if stage.name in given else stage for stage in usual]
