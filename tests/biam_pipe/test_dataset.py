"""Features in torch's loaders: the same rows whatever the workers, each once, with the labels asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_work import Recipe, SmallWork, image_id, make
from torch.utils.data import DataLoader

from biam_pipe import FeatureDataset, Features, IntegrityError, PipelineError, UsageError, open_features
from biam_pipe.order import Position
from schemas.status import ImageStatus

FAILED = {3: ImageStatus.TIMEOUT, 90: ImageStatus.DECODE_ERROR}
RECIPE = Recipe(
    shards=3, shard_images=70, statuses=FAILED, row_group_rows=32, without_vector=(2,),
    annotations={11: (None, None), 12: ([0, 1], [2, 3])}, splits={11: ""},
)  # fmt: skip
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # 3.12 warns of threads of pyarrow's
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # torch of more workers than cores
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> SmallWork:
    return make(tmp_path_factory.mktemp("loaders") / "work/test", RECIPE).written_down("index", "extract", "split")


@pytest.fixture
def features(work: SmallWork) -> Features:
    return open_features(work.root)


def wanted(split: str) -> list[int]:
    return [image for image in range(210) if RECIPE.split(image) == split and image not in FAILED]


def batches(data: FeatureDataset, workers: int, batch_size: int = 32, **options: Any) -> Iterator[dict[str, Any]]:
    shuffle = options.pop("shuffle", False)
    order = data.sampler(shuffle=shuffle, batch_size=batch_size, num_workers=workers)
    yield from DataLoader(data, batch_size=batch_size, sampler=order, num_workers=workers, **options)


def require_images(found: list[dict[str, Any]], work: SmallWork, images: list[int], *, in_order: bool) -> None:
    """See that each image came once with its own id and maps."""
    index = torch.cat([batch["index"] for batch in found]).tolist()
    assert (index if in_order else sorted(index)) == images
    assert [one for batch in found for one in batch["image_id"]] == [image_id(image) for image in index]
    for name, maps in (("region", work.regions), ("global", work.global_features)):
        stored = torch.cat([batch[name] for batch in found])
        assert stored.numpy().tobytes() == maps[index].tobytes()


@pytest.mark.parametrize(("workers", "context"), [(0, None), (1, "fork"), (4, "fork"), (1, "spawn")], ids=str)
def test_loaders_give_every_image_once_whatever_their_workers(
    work: SmallWork, features: Features, workers: int, context: str | None
) -> None:
    data = features.torch_dataset(split="train")
    images = wanted("train")
    options: dict[str, Any] = {"multiprocessing_context": context} if context else {}
    require_images(list(batches(data, workers, **options)), work, images, in_order=workers < 2)
    assert data._compared.tolist() == [1, 1, 1]
    if context == "spawn":
        return
    require_images(list(batches(data, workers, 7, shuffle=True, **options)), work, images, in_order=False)
    plain = DataLoader(data, batch_size=9, num_workers=workers, **options)
    require_images(list(plain), work, images, in_order=True)


@pytest.mark.parametrize("workers", [0, 1, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 32, 50])
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_order_has_every_image_once(features: Features, workers: int, batch_size: int, shuffle: bool) -> None:
    data = features.torch_dataset()
    order = data.sampler(shuffle=shuffle, seed=5, batch_size=batch_size, num_workers=workers)
    first = list(order)
    assert sorted(first) == list(range(len(order))) == list(range(208))
    assert first == list(order)
    order.set_epoch(1)
    assert (list(order) != first) == shuffle
    for start in range(0, workers * batch_size * (len(first) // (4 * max(workers * batch_size, 1))), batch_size):
        windows = {one.window for one in first[start : start + batch_size] if isinstance(one, Position)}
        share = {window * workers // 7 for window in windows}  # 7 row groups of 32 rows
        assert len(share) <= 2


def test_labels_come_as_codes_of_the_columns_asked_for(work: SmallWork, features: Features) -> None:
    unseen = RECIPE.unseen_labels()
    seen = [label for label in range(RECIPE.labels) if label not in unseen]
    columns = {"seen": seen, "unseen": unseen, "all": seen + unseen}
    columns |= {("label 7", "label 0"): [7, 0]}  # type: ignore[dict-item]
    for labels, expected in columns.items():
        data = features.torch_dataset(split="train", labels=labels if isinstance(labels, str) else list(labels))
        assert data.label_names == tuple(f"label {number}" for number in expected)
        sample = next(one for one in data if one["image_id"] == image_id(12))
        known = {label: 1 if label in (0, 1) else -1 if label in (2, 3) else 0 for label in range(RECIPE.labels)}
        assert sample["labels"].tolist() == [known[label] for label in expected]
        assert sample["labels"].dtype == torch.int8
        other = data[0]  # whatever nobody names as absent in it
        present = work.positives[other["index"]] or []
        assert other["labels"].tolist() == [1 if label in present else -1 for label in expected]
    assert "labels" not in features.torch_dataset(split="test")[0]


def test_splits_are_those_of_the_split_and_without_one_all_images_come(features: Features) -> None:
    for split in ("train", "validation", "test"):
        assert features.torch_dataset(split=split).image_ids == [image_id(image) for image in wanted(split)]
    assert len(features.torch_dataset()) == 208
    assert image_id(11) not in features.torch_dataset(labels="all").image_ids  # nobody labelled it
    assert len(features.torch_dataset(labels="all")) == 207
    only = features.torch_dataset(maps=["whole"])
    assert only[-1].keys() == {"image_id", "index", "whole"}


def test_what_a_data_set_cannot_be_is_named(features: Features, work: SmallWork) -> None:
    with pytest.raises(UsageError, match=r"unknown split 'tests'. Did you mean 'test'"):
        features.torch_dataset(split="tests")
    with pytest.raises(UsageError, match=r"labels is 'unsen', expected seen, unseen, all, or a list of names"):
        features.torch_dataset(labels="unsen")
    with pytest.raises(UsageError, match=r"unknown label 'label 77'. Did you mean 'label 7'"):
        features.torch_dataset(labels=["label 77"])
    with pytest.raises(UsageError, match=r"unknown split folder 'mine'. .*Known: default"):
        features.torch_dataset(split="test", split_name="mine")
    with pytest.raises(PipelineError, match=r"no map 'pool5'"):
        features.torch_dataset(maps=["pool5"])
    with pytest.raises(IndexError, match=r"positions 208 to 208 of 208"):
        features.torch_dataset()[208]


def test_a_damaged_shard_is_named_by_a_worker(tmp_path: Path) -> None:
    work = make(tmp_path / "work/test", Recipe(shards=2)).written_down("extract")
    path = work.path("extract", "shard-00001.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    data = open_features(work.root).torch_dataset()
    loader = iter(DataLoader(data, 20, num_workers=1, multiprocessing_context="fork"))
    assert next(loader)["index"].tolist() == list(range(20))
    with pytest.raises(IntegrityError, match=r"shard-00001.parquet is not what its receipt says"):
        next(loader)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"num_workers": -1}])
def test_an_order_for_no_loader_is_refused(features: Features, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"sampler: got batch_size .*expected those of the loader"):
        features.torch_dataset().sampler(**wrong)


def test_a_row_group_is_read_once_in_the_order_of_the_sampler(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.stores.parquet import ParquetReader

    read: list[range] = []
    before = ParquetReader.read

    def counting(self: ParquetReader, rows: range, column: str) -> np.ndarray:
        read.append(rows)
        return before(self, rows, column)

    monkeypatch.setattr(ParquetReader, "read", counting)
    for shuffle in (False, True):
        read.clear()
        list(batches(features.torch_dataset(maps=["region"]), 0, 10, shuffle=shuffle))
        assert len(read) <= 3 * 3 + 3 * 3  # nine row groups, a shard's shared by four threads at most three times more
