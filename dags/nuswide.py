"""NUS-WIDE: 269,648 images, 925 seen labels from tags, 81 unseen labels from humans.

Reproduces: BiAM (ICCV 2021), table 1 (ZSL mAP 26.3, F1@3 33.1, F1@5 30.7; GZSL 9.3 / 16.1 / 19.0).
The protocol and K = 3 and 5 are the defaults; `released` is the authors' preset for this data set. The standard setting
(train and test on the 81 concepts): --set dataset.setting=standard, in a work folder of its own.
Hardware: a GPU. Command: biam-pipe run --dataset nuswide --set dataset.root=NUS-WIDE --set dataset.images=Flickr
"""

from typing import Any

SETTINGS: dict[str, Any] = {
    "dataset": {"name": "nuswide"},
    # About one photograph in six is gone from Flickr, and from the copies that circulate: 221 to 224 thousand are left.
    "extract": {"max_failed_fraction": 0.2},
}
