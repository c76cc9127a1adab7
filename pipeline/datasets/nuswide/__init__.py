r"""Data set `nuswide`: 269,648 images of Flickr with 1,000 user tags and 81 concepts labelled by humans.

Reads the official files as their archives hold them. An image is known as `folder/file`, such as
actor/0002_174174086.jpg, since photo ids are not unique. Task `zero-shot`: the tags that are not among the concepts
are the seen labels (925), the concepts the unseen ones. Task `standard`: the concepts alone, all of them seen.
Every label that an image does not bear is absent. The `*Tags81*` files are tags, not human labels: they are not read.

An image is taken from the local folder where it is there, else from Flickr, by the addresses of NUS-WIDE-urls.txt. In
place of images there may be files of features that the authors of BiAM shared (`dataset.features`). Then only those
count, and without `dataset.root` the images and labels are those of the files.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from pipeline.datasets.label import Label
from pipeline.datasets.listing import Listing
from pipeline.datasets.nuswide import layout, released
from pipeline.datasets.nuswide.flags import read_ones, side_by_side
from pipeline.datasets.nuswide.lists import Addresses, read_addresses, read_image_ids, read_names
from pipeline.datasets.nuswide.pictures import Picture, find_pictures, look
from pipeline.datasets.nuswide.settings import NusWideDataset
from pipeline.net.look import OutsideFile
from schemas.status import LabelRole
from schemas.tables import FEATURES_SOURCE, LOCAL_SOURCE, RECORDS

SETTINGS = NusWideDataset

_BATCH_ROWS = 8192


def sources(config: NusWideDataset) -> tuple[str, ...]:
    """Every list, matrix and label file that is read.

    Raises:
        UsageError: a file is not there, or no image can be had; the text says which setting, and what to download.
    """
    found = [str(path) for path in released.paths(config.features)]
    if found and config.root is None:
        return (*found, str(layout.tag_list(config)), str(layout.concept_list(config)))
    if not found:
        layout.require_places(config)
    concepts = layout.concept_list(config)
    paths = [concepts] if config.task == "standard" else [layout.tag_list(config), concepts]
    for split in config.splits:
        paths.append(layout.image_list(config, split))
        if config.task == "zero-shot":
            paths.append(layout.tag_matrix(config, split))
        paths += [layout.concept_labels(config, concept, split) for concept in read_names(concepts)]
    urls = layout.url_file(config)
    return (*found, *(str(path) for path in (*paths, urls) if path is not None))


def listing(config: NusWideDataset) -> Listing:
    """Hash of names, sizes and time stamps in the folder of images; empty where none is configured.

    Images are those of the lists; which of them lie in the folder is for the index to find out.
    """
    folder = layout.image_folder(config)
    digest = "" if folder is None else look(folder)
    if config.features:
        return Listing(digest, facts={"fetched": 0})
    images = sum(len(read_image_ids(layout.image_list(config, split))[: config.limit]) for split in config.splits)
    if folder is not None and layout.url_file(config) is not None:
        return Listing(digest, images)
    return Listing(digest, images, {"fetched": 0 if folder is not None else images})


def labels(config: NusWideDataset) -> list[Label]:
    """Seen labels in the order of the tags, then unseen ones in the order of the concepts; or all concepts as seen."""
    concepts = read_names(layout.concept_list(config))
    if config.task == "standard":
        return [Label(name, name, LabelRole.SEEN) for name in concepts]
    seen = [Label(name, name, LabelRole.SEEN) for name in _tags(config) if name not in concepts]
    return seen + [Label(name, name, LabelRole.UNSEEN) for name in concepts]


def records(config: NusWideDataset, left_out: Counter[str]) -> Iterator[pa.Table]:
    """One row an image, split by split, in the order of the image lists.

    Counts in `left_out` the lines of the URL file that name no image.

    Raises:
        PipelineError: a file does not fit the image list of its split.
    """
    if config.features and config.root is None:
        yield from _records_of_files(config)
        return
    listed = {split: read_image_ids(layout.image_list(config, split)) for split in config.splits}
    used = {split: ids[: config.limit] for split, ids in listed.items()}
    places = _places(config, {image_id for ids in used.values() for image_id in ids}, left_out)
    for split, ids in used.items():
        positives = _positives(config, split, len(listed[split]))
        numbers = iter(range(len(ids)))
        while batch := list(islice(numbers, _BATCH_ROWS)):
            rows = [_row(config, ids[number], split, places) for number in batch]
            table = pa.Table.from_pylist(rows, schema=RECORDS)
            column = positives.slice(batch[0], len(batch))
            yield table.set_column(RECORDS.get_field_index("positive"), RECORDS.field("positive"), column)


@contextmanager
def base_addresses(config: NusWideDataset) -> Iterator[Mapping[str, str]]:
    """None are needed: every location is a full address."""
    yield {}


def official_files(config: NusWideDataset) -> Iterator[OutsideFile]:
    """The lists that are fetched; the other ones are `sources`."""
    return layout.fetched_lists(config)


def first_images(config: NusWideDataset, count: int) -> pa.Table:
    """The first images of each split; none where features are given in place of images."""
    if config.features:
        return RECORDS.empty_table()
    share = -(-count // len(config.splits))
    ids = {split: read_image_ids(layout.image_list(config, split))[:share] for split in config.splits}
    places = _places(config, {image_id for some in ids.values() for image_id in some}, Counter())
    rows = [_row(config, image_id, split, places) for split, some in ids.items() for image_id in some]
    return pa.Table.from_pylist(rows, schema=RECORDS)


@dataclass(frozen=True)
class _Places:
    """Where images can be had, by image id, or the name of the file that has their features."""

    pictures: Mapping[str, Picture]
    addresses: Mapping[str, Addresses]
    features: Mapping[str, str]


def _places(config: NusWideDataset, image_ids: Collection[str], left_out: Counter[str]) -> _Places:
    if config.features:
        return _Places({}, {}, {one: file.path.name for file in _found_files(config) for one in file.image_ids})
    folder, urls = layout.image_folder(config), layout.url_file(config)
    return _Places(
        {} if folder is None else find_pictures(folder, image_ids),
        {} if urls is None else read_addresses(urls, config.url_sizes, image_ids, left_out),
        {},
    )


def _found_files(config: NusWideDataset) -> list[released.FoundFile]:
    concepts = read_names(layout.concept_list(config))
    num_seen = sum(tag not in concepts for tag in _tags(config))
    return [released.found_file(path, num_seen, len(concepts)) for path in released.paths(config.features)]


def _records_of_files(config: NusWideDataset) -> Iterator[pa.Table]:
    """One row an image of the feature files, labels as they stand there."""
    concepts = read_names(layout.concept_list(config))
    names = [tag for tag in _tags(config) if tag not in concepts]
    num_seen, wanted = len(names), {label.label_id for label in labels(config)}
    names += concepts
    for found in _found_files(config):
        if found.split not in config.splits:
            continue
        known = zip(found.image_ids, released.positives(found, num_seen, len(concepts)), strict=True)
        used = islice(known, config.limit)
        while batch := list(islice(used, _BATCH_ROWS)):
            places = _Places({}, {}, dict.fromkeys((image_id for image_id, _ in batch), found.path.name))
            rows = [
                _row(config, image_id, found.split, places)
                | {"positive": None if borne is None else [names[one] for one in borne if names[one] in wanted]}
                for image_id, borne in batch
            ]
            yield pa.Table.from_pylist(rows, schema=RECORDS)


def _row(config: NusWideDataset, image_id: str, split: str, places: _Places) -> dict[str, object]:
    """A record without its positive labels; without a place where the image is nowhere to be had."""
    picture = places.pictures.get(image_id)
    local = [] if picture is None else [{"source": LOCAL_SOURCE, "address": picture.path}]
    remote = [{"source": size, "address": address} for size, address in places.addresses.get(image_id, ())]
    file = places.features.get(image_id)
    given = [] if file is None else [{"source": FEATURES_SOURCE, "address": file}]
    return {
        "image_id": image_id,
        "locations": local + remote + given,
        "split": split,
        "size_bytes": None if picture is None else picture.size_bytes,
        "modified_ns": None if picture is None else picture.modified_ns,
        "label_source": "human" if config.task == "standard" else "tags+human",
    }


def _positives(config: NusWideDataset, split: layout.Split, num_images: int) -> pa.ListArray:
    """Names of the labels that each image of a split bears, in the order of the label space."""
    names = [label.label_id for label in labels(config)]
    column_of = {name: column for column, name in enumerate(names)}
    image_list = layout.image_list(config, split)
    parts, columns = [], []
    if config.task == "zero-shot":
        tags, concepts = _tags(config), set(read_names(layout.concept_list(config)))
        parts.append(read_ones(layout.tag_matrix(config, split), len(tags), num_images, image_list))
        columns.append(_numbers([-1 if tag in concepts else column_of[tag] for tag in tags]))
    for concept in read_names(layout.concept_list(config)):
        parts.append(read_ones(layout.concept_labels(config, concept, split), 1, num_images, image_list))
        columns.append(_numbers([column_of[concept]]))
    ones = side_by_side(parts, columns)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(ones.rows, minlength=num_images))])
    borne = pa.array(names, pa.string()).take(pa.array(ones.columns))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), borne).cast(RECORDS.field("positive").type)


def _numbers(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def _tags(config: NusWideDataset) -> tuple[str, ...]:
    return read_names(layout.tag_list(config))
