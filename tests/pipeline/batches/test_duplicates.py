"""Byte-equal images in different splits, counted by hash."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_work import Recipe, image_id, make

from pipeline.batches.coverage import cover
from pipeline.batches.duplicates import Duplicates, SplitHashes
from pipeline.batches.label_space import read_label_space
from pipeline.batches.shards import open_features
from schemas.status import ImageStatus

SPLITS = ("train", "validation", "test")


def digest(content: int) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()


def counted(shards: list[list[tuple[int | None, str]]]) -> Duplicates | None:
    """Of images told by content and split; their ids are shard and row."""
    hashes = SplitHashes()
    for position, rows in enumerate(shards):
        sha256 = pa.chunked_array([[None if content is None else digest(content) for content, _ in rows]], pa.string())
        splits = np.array([split for _, split in rows], np.str_)
        hashes.add(position, np.flatnonzero(splits != ""), splits, sha256)
    return hashes.duplicates(lambda shard, row: [f"{a}/{b}" for a, b in zip(shard, row, strict=True)])


def test_it_agrees_with_a_slow_loop() -> None:
    generator = np.random.default_rng(0)
    shards = [
        [(int(content), str(generator.choice([*SPLITS, ""]))) for content in generator.integers(40, size=25)]
        for _ in range(4)
    ]

    images = [(f"{s}/{r}", *image) for s, rows in enumerate(shards) for r, image in enumerate(rows) if image[1]]
    twins = {
        name: [other for other in images if other[1] == content and other[2] != split]
        for name, content, split in images
    }
    affected = [(name, split) for name, _, split in images if twins[name]]
    found = counted(shards)

    assert found is not None
    assert found.images == Counter(split for _, split in affected)
    first_of_each = {content: (name, split) for name, content, split in reversed(images) if twins[name]}
    firsts = [place for place in affected if place in first_of_each.values()][:3]
    assert found.examples == tuple((place, (twins[place[0]][0][0], twins[place[0]][0][2])) for place in firsts)


def test_equal_images_of_one_split_and_those_in_none_count_for_nothing() -> None:
    found = counted([[(1, "train"), (1, "train"), (2, "test"), (2, ""), (None, "test"), (None, "train")]])

    assert found == Duplicates({}, ())
    assert found.note() is None
    assert found.as_json() == {"images": 0, "splits": {}, "examples": []}


def test_nothing_is_said_where_no_hash_is_known() -> None:
    assert counted([[(None, "train"), (None, "test")]]) is None
    assert counted([]) is None


def test_they_are_told_by_split_with_examples() -> None:
    found = counted([[(1, "test"), (2, "train")], [(1, "train"), (1, "train"), (2, "validation")]])

    assert found is not None
    assert found.note() == (
        "5 images (train 3, validation 1, test 1) have the bytes of an image in another split, such as "
        "'0/0' (test) and '1/0' (train); '0/1' (train) and '1/2' (validation)"
    )
    assert found.as_json()["examples"][0] == [
        {"image_id": "0/0", "split": "test"}, {"image_id": "1/0", "split": "train"},
    ]  # fmt: skip


@pytest.mark.parametrize("status", [ImageStatus.OK, ImageStatus.DECODE_ERROR])
def test_only_images_with_features_count(tmp_path: Path, status: ImageStatus) -> None:
    equal = {0: digest(0), 3: digest(0), 30: digest(1), 42: digest(0)}  # image 0 is for the test, 3 and 42 are not
    work = make(tmp_path, Recipe(sha256=equal, statuses={0: status}))

    found = cover(open_features(work.left()), read_label_space(work.left()), tmp_path / "missing.csv").duplicates

    assert found is not None
    pair = ((image_id(0), "test"), (image_id(3), "train"))
    assert found == (Duplicates({"train": 2, "test": 1}, (pair,)) if status == ImageStatus.OK else Duplicates({}, ()))


def test_nothing_is_said_of_features_that_came_without_images(tmp_path: Path) -> None:
    left = make(tmp_path, Recipe(shards=1)).left()
    space = read_label_space(left)

    assert cover(open_features(left), space, tmp_path / "missing.csv").as_json(space)["duplicates"] is None
