"""Data set `demo`: pictures drawn on the spot from a seed, with the word vectors of their labels.

400 pictures by default, each with 2 to 5 objects; a label is a look (a colour or a texture) and a shape, such as "red
circle" or "striped square". Every unseen label is made of two words that occur in seen ones, every label is about
equally frequent (dealt like cards: 11 % of the pictures each), so that only the words can carry knowledge over.

With random VGG-19 weights, 300 pictures and a linear map from mean conv5 features to label vectors the unseen labels
reach mAP 0.33 against 0.14 by chance, and 0.13 with their vectors exchanged (mean of four random thirds as test).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa

from pipeline.datasets.demo import scene
from pipeline.datasets.demo.addresses import SOURCE, VECTORS_ADDRESS, picture_address
from pipeline.datasets.demo.server import serve
from pipeline.datasets.demo.settings import DemoDataset
from pipeline.datasets.label import Label
from pipeline.datasets.listing import Listing
from pipeline.net.look import OutsideFile
from schemas.status import LabelRole
from schemas.tables import RECORDS

__all__ = [
    "SETTINGS",
    "VECTORS_ADDRESS",
    "base_addresses",
    "first_images",
    "labels",
    "listing",
    "official_files",
    "records",
    "sources",
]

SETTINGS = DemoDataset

_BATCH_ROWS = 1024


def sources(config: DemoDataset) -> tuple[str, ...]:
    """No file from outside shapes the demo."""
    return ()


def listing(config: DemoDataset) -> Listing:
    """Nothing outside to look at: everything follows from the settings."""
    return Listing("", config.num_images, {"fetched": config.num_images})


def labels(config: DemoDataset) -> list[Label]:
    """The label space: labels to train on, then the others, looks and shapes in the order of `scene`."""
    held_out = LabelRole.UNSEEN if config.task == "zero-shot" else LabelRole.SEEN
    seen = [Label(name, name, LabelRole.SEEN) for name in scene.LABELS if name not in scene.UNSEEN]
    return seen + [Label(name, name, held_out) for name in scene.UNSEEN]


def records(config: DemoDataset, left_out: Counter[str]) -> Iterator[pa.Table]:
    """One row a picture. A picture depends on the seed and its number only, so that raising `num_images` adds rows."""
    for start in range(0, config.num_images, _BATCH_ROWS):
        numbers = range(start, min(start + _BATCH_ROWS, config.num_images))
        rows = [
            {
                "image_id": f"{number:06d}",
                "locations": [{"source": SOURCE, "address": picture_address(config.seed, number)}],
                "positive": sorted(set(scene.dealt_labels(config.seed, number))),
                "label_source": "machine",
            }
            for number in numbers
        ]
        yield pa.Table.from_pylist(rows, schema=RECORDS)


@contextmanager
def base_addresses(config: DemoDataset) -> Iterator[Mapping[str, str]]:
    """While open, a server on 127.0.0.1 draws what it is asked for."""
    with serve(config) as address:
        yield {SOURCE: address}


def official_files(config: DemoDataset) -> tuple[OutsideFile, ...]:
    """None: all is drawn."""
    return ()


def first_images(config: DemoDataset, count: int) -> pa.Table:
    """The first pictures."""
    return next(records(config, Counter())).slice(0, count)
