"""The per-image HDF5 files that the authors of BiAM shared: how their datasets are called.

Three an image: `<folder>_<file>-features` float32 [channel, region], `-labels` int8 (the seen labels in the file for
training, seen and unseen ones in that for testing) and `-labels_<unseen>` int8 with the unseen labels alone.
"""

import re

FEATURES, LABELS = "-features", "-labels"

_NAME = re.compile(r"(.+)_(\d+_\d+\.\w+)")  # actor_0002_174174086.jpg: folders may hold underscores, files hold one


def key(image_id: str) -> str:
    """The name of an image in such a file."""
    return image_id.replace("/", "_")


def image_id(name: str) -> str:
    """The image of a name: `folder/file` where it reads as one of NUS-WIDE, else the name itself."""
    match = _NAME.fullmatch(name)
    return f"{match[1]}/{match[2]}" if match else name
