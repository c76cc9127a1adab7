"""Features, annotations and splits become batches: nothing lost, nothing twice, nothing unseen."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from small_work import Recipe, SmallWork, image_id, make
from stage_tasks import sealed

import pipeline.batches.selection as selecting
from pipeline.batches.annotations import from_table
from pipeline.batches.feature_cache import FeatureCache, FreeMemory, ImageSet, first_that_fits, free_memory
from pipeline.batches.label_space import LabelSpace, read_label_space
from pipeline.batches.order import Order, batch_sizes, epoch_rng, sequential, shuffled
from pipeline.batches.ragged import Ragged
from pipeline.batches.selection import Selection, Selections, select
from pipeline.batches.shards import FeatureShards, open_features
from pipeline.batches.stream import Batch, batches
from pipeline.engine.task import Output
from pipeline.stores import STORES
from schemas.config import StoreConfig
from schemas.errors import IntegrityError, PipelineError
from schemas.status import ImageSplit, ImageStatus
from schemas.tables import ANNOTATIONS

TRAIN, VALIDATION, TEST = ImageSplit.TRAIN, ImageSplit.VALIDATION, ImageSplit.TEST


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks a shard, as in shards of the usual size."""
    monkeypatch.setattr("pipeline.batches.selection.BLOCK_ROWS", 4)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> SmallWork:
    return make(tmp_path_factory.mktemp("work"))


def opened(work: SmallWork) -> tuple[FeatureShards, LabelSpace]:
    left = work.left()
    return open_features(left).reading(["region", "global"]), read_label_space(left)


def selected(work: SmallWork, *splits: ImageSplit) -> Selections:
    features, space = opened(work)
    return select(features, space, splits)


def images_of(selection: Selection, work: SmallWork) -> list[int]:
    """Numbers of the images of a selection."""
    return (selection.shard * work.recipe.shard_images + selection.row).tolist()


def true_codes(work: SmallWork, image: int, labels: list[int]) -> list[int]:
    positive, negative = work.positives[image], work.negatives[image]
    return [1 if label in positive else -1 if negative is None or label in negative else 0 for label in labels]


def rows(lists: list[list[int]]) -> Ragged:
    flat = np.array([value for one in lists for value in one], dtype=np.int32)
    return Ragged.from_lengths(np.array([len(one) for one in lists], dtype=np.int64), flat)


def as_lists(ragged: Ragged) -> list[list[int]]:
    edges = ragged.offsets.tolist()
    return [ragged.values[start:stop].tolist() for start, stop in pairwise(edges)]


# ragged rows


def test_ragged_rows_come_back_in_the_order_asked_for():
    ragged = rows([[3, 1], [], [4], [1, 5, 9]])
    assert as_lists(ragged.take(np.array([3, 1, 0, 3]))) == [[1, 5, 9], [], [3, 1], [1, 5, 9]]
    assert as_lists(Ragged.concatenate([ragged, rows([[]]), rows([[2]])])) == [[3, 1], [], [4], [1, 5, 9], [], [2]]
    assert as_lists(ragged.where(ragged.values > 2)) == [[3], [], [4], [5, 9]]
    assert as_lists(Ragged.concatenate([])) == []


# label space


def test_columns_are_the_seen_labels_then_the_unseen_ones_each_in_label_order(work: SmallWork):
    _, space = opened(work)
    unseen = work.recipe.unseen_labels()
    seen = [label for label in range(work.recipe.labels) if label not in unseen]
    assert space.label_index.tolist() == seen + unseen
    assert space.num_seen == len(seen)
    assert np.array_equal(space.vectors, work.vectors[seen + unseen])
    assert [space.column_of[label] for label in seen + unseen] == list(range(len(space)))
    assert space.role(len(seen) - 1) == "seen"
    assert space.role(len(seen)) == "unseen"


def test_the_seen_part_of_a_label_space_knows_no_unseen_label(work: SmallWork):
    _, space = opened(work)
    seen = space.seen_only()
    assert seen.num_unseen == 0
    assert len(seen.name) == len(seen.vectors) == len(seen) == space.num_seen
    assert all(seen.column_of[label] == -1 for label in work.recipe.unseen_labels())


def test_a_label_without_a_vector_has_no_column_and_is_named(tmp_path: Path):
    _, space = opened(make(tmp_path, Recipe(without_vector=(0, 3))))
    assert 0 not in space.label_index
    assert 3 not in space.label_index
    assert space.without_vector == ("label 0", "label 3")
    assert (space.num_seen, space.num_unseen) == (5, 2)


def test_a_label_that_is_listed_no_more_has_no_column_whatever_it_is_annotated_with(tmp_path: Path):
    recipe = Recipe(unlisted=(0, 3, 8), without_vector=(0,), not_embedded=(8,), annotations={2: ([0, 3, 4, 8], [2])})
    work = make(tmp_path, recipe)
    features, space = opened(work)
    assert space.label_index.tolist() == [2, 4, 6, 7, 1, 5]
    assert (space.num_seen, space.without_vector) == (4, ())
    assert [space.column_of[label] for label in recipe.unlisted] == [-1, -1, -1]
    selection = select(features, space, [TRAIN])[TRAIN]
    at = images_of(selection, work).index(2)
    assert selection.annotations.codes(np.array([at])).tolist() == [[-1, 1, 0, 0, 0, 0]]


def test_a_label_with_a_role_and_no_row_in_the_label_matrix_is_an_error(tmp_path: Path):
    with pytest.raises(PipelineError, match=r"'label 4' \(index 4\) has no row in the label matrix.*biam-pipe embed"):
        opened(make(tmp_path, Recipe(not_embedded=(4,))))


# codes


def test_codes_agree_with_a_slow_loop_over_closed_and_open_annotations(tmp_path: Path):
    open_ones = {2: ([0, 1], [2, 4]), 3: ([5], []), 7: ([], [8]), 8: ([3, 3], [3])}
    work = make(tmp_path, Recipe(annotations=open_ones))
    features, space = opened(work)
    selection = select(features, space, [TRAIN])[TRAIN]
    images = images_of(selection, work)
    picked = np.array([images.index(image) for image in (8, 2, 3, 4, 7)])
    expected = [true_codes(work, image, space.label_index.tolist()) for image in (8, 2, 3, 4, 7)]
    codes = selection.annotations.codes(picked)
    assert codes.dtype == np.int8
    assert codes.tolist() == expected
    every = selection.annotations.codes(np.arange(len(selection)))
    present, absent = selection.annotations.counts()
    assert present.tolist() == (every == 1).sum(axis=0).tolist()
    assert absent.tolist() == (every == -1).sum(axis=0).tolist()


def test_annotations_of_labels_not_asked_for_leave_no_trace():
    def table(positive: list[int], negative: list[int] | None) -> pa.Table:
        row = {"image_id": "a", "positive": positive, "negative": negative, "source": None}
        return pa.Table.from_pylist([row], schema=ANNOTATIONS)

    column_of = np.array([0, -1, 1, -1], dtype=np.int32)
    for negative, other in (([2], [1, 2, 3]), (None, None)):
        one = from_table(table([0], negative), column_of, 2)
        two = from_table(table([1, 0, 3], other), column_of, 2)
        assert as_lists(one.positive) == as_lists(two.positive) == [[0]]
        assert as_lists(one.negative) == as_lists(two.negative)
        assert one.codes(np.array([0])).tolist() == two.codes(np.array([0])).tolist() == [[1, -1]]


def test_an_annotation_outside_the_label_space_is_an_error(tmp_path: Path):
    work = make(tmp_path, Recipe(annotations={0: ([99], None)}))
    with pytest.raises(PipelineError, match=r"label index 99, expected 0 to 8 .* biam-pipe index"):
        selected(work, TRAIN)


# selection


def test_every_image_of_a_split_is_usable_or_counted_with_its_reason(tmp_path: Path):
    recipe = Recipe(
        statuses={2: ImageStatus.NOT_FOUND, 23: ImageStatus.DECODE_ERROR, 24: ImageStatus.NOT_FOUND},
        splits={3: "", 29: ImageSplit.TRAIN},
        annotations={3: (None, None), 29: (None, None), 4: ([1], None), 7: ([0, 2, 4, 5], None)},
    )
    work = make(tmp_path, recipe)
    found = selected(work, TRAIN, TEST)
    train = found[TRAIN]
    left = {2, 3, 23, 24, 29}
    assert images_of(train, work) == [n for n in range(60) if recipe.split(n) == TRAIN and n not in left]
    assert train.expected == 41
    assert train.failed == {"decode_error": 1, "not_found": 2}
    assert train.left_out == {"unlabelled": 1}
    assert found.unlabelled == 2
    assert images_of(found[TEST], work) == list(range(0, 60, 5))


def test_what_is_trainable_is_decided_by_seen_labels_alone(tmp_path: Path):
    few, many = ([1, 3], None), ([0, 2, 4, 1, 3, 5], None)
    work = make(tmp_path, Recipe(annotations={2: few, 3: many, 4: ([0, 2, 1, 3, 5], None)}))
    features, space = opened(work)
    seen = select(features, space.seen_only(), [TRAIN])[TRAIN].trainable(max_positives=2)
    kept = images_of(seen, work)
    assert 2 not in kept
    assert 3 not in kept
    assert 4 in kept
    lengths = seen.annotations.positive.lengths
    assert lengths.min() >= 1
    assert lengths.max() <= 2
    assert seen.left_out["without a positive"] + seen.left_out["too many positives"] + len(seen) == seen.expected


def test_tables_of_one_shard_have_to_list_the_same_images(tmp_path: Path):
    work = make(tmp_path)
    first, second, *others = work.receipts["split"]
    task = work.task("split", None, shard=0)
    task.storage.write(task.path("images"), work.left().read("split", "images", 1))
    work.receipts["split"] = (*sealed(task, [Output(("images",), rows=20)]), second, *others)
    assert first != work.receipts["split"][0]
    with pytest.raises(IntegrityError, match="do not list the same images"):
        selected(work, TRAIN)


def test_a_shard_without_annotations_names_the_stage_to_run(tmp_path: Path):
    work = make(tmp_path)
    work.receipts["split"] = work.receipts["split"][1:]
    with pytest.raises(PipelineError, match=r"split has left nothing of shard-00000 .* Run: biam-pipe split"):
        selected(work, TRAIN)
    work.receipts["extract"] = ()
    with pytest.raises(PipelineError, match=r"no shards of extract .* Run: biam-pipe extract"):
        selected(work, TRAIN)


# order


def test_batches_differ_by_one_image_at_most_and_hold_all():
    for num_images in range(70):
        sizes = batch_sizes(num_images, 8)
        assert sum(sizes) == num_images
        assert len(sizes) == -(-num_images // 8)
        assert not sizes or max(sizes) - min(sizes) <= 1


def test_an_epoch_visits_every_image_once_and_every_block_in_one_window():
    block = np.repeat([0, 1, 2, 5, 6, 9, 11], [4, 4, 1, 3, 4, 4, 2])
    order = shuffled(block, epoch_rng(0, 0), window_blocks=3, batch_images=5)
    assert sorted(np.concatenate(order.windows).tolist()) == list(range(len(block)))
    seen_blocks = [set(block[window].tolist()) for window in order.windows]
    assert [len(blocks) for blocks in seen_blocks] == [3, 3, 1]
    assert Counter(one for blocks in seen_blocks for one in blocks) == Counter(set(block.tolist()))


def test_the_order_is_a_function_of_seed_and_epoch():
    block = np.arange(40) // 4

    def drawn(seed: int, epoch: int) -> list[int]:
        return np.concatenate(shuffled(block, epoch_rng(seed, epoch), 3, 8).windows).tolist()

    assert drawn(1, 2) == drawn(1, 2)
    assert len({tuple(drawn(seed, epoch)) for seed in (-1, 0, 1) for epoch in range(3)}) == 9


def test_going_on_after_any_batch_gives_the_batches_that_are_left():
    order = shuffled(np.arange(41) // 4, epoch_rng(0, 0), window_blocks=3, batch_images=8)
    flat = np.concatenate(order.windows).tolist()
    for done in range(len(order.sizes) + 1):
        rest = order.after(done)
        assert rest.sizes == order.sizes[done:]
        left = [image for window in rest.windows for image in window.tolist()]
        assert left == flat[sum(order.sizes[:done]) :]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_processes_share_every_batch_of_an_epoch(work: SmallWork, processes: int) -> None:
    selection = selected(work, TRAIN)[TRAIN]
    order = shuffled(selection.block, epoch_rng(0, 0), 3, 7).after(1)
    shares = [order.share(process, processes) for process in range(processes)]
    visited = np.concatenate(order.windows)
    parts = [np.split(np.concatenate(share.windows), np.cumsum(share.sizes)[:-1]) for share in shares]
    for number, (size, batch) in enumerate(
        zip(order.sizes, np.split(visited, np.cumsum(order.sizes)[:-1]), strict=True)
    ):
        assert np.concatenate([part[number] for part in parts]).tolist() == batch.tolist()
        sizes = {len(part[number]) for part in parts}
        assert sizes <= {size // processes, -(-size // processes)}
    assert order.after(len(order.sizes)).share(0, processes) == Order((), ())


def assert_equal_batches(found: list[Batch], expected: list[Batch]) -> None:
    assert [batch.images.tolist() for batch in found] == [batch.images.tolist() for batch in expected]
    for one, other in zip(found, expected, strict=True):
        assert all(map(np.array_equal, one.maps, other.maps))
        assert np.array_equal(one.codes, other.codes)


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("cached", [False, True])
def test_neither_workers_nor_cached_maps_change_order_or_batches(work: SmallWork, workers: int, cached: bool):
    features, _ = opened(work)
    selection = selected(work, TRAIN)[TRAIN]
    cache = FeatureCache(features, selection, torch.device("cpu"))
    images = cache.image_set(selection) if cached else ImageSet(selection)
    for epoch in range(2):
        order = shuffled(selection.block, epoch_rng(0, epoch), 2, 5)
        expected = list(batches(features, selection, order))
        assert_equal_batches(list(batches(features, images, order, workers)), expected)


def test_what_is_cached_is_read_once_and_shared_by_selections(work: SmallWork, monkeypatch: pytest.MonkeyPatch):
    features, _ = opened(work)
    splits = selected(work, TRAIN, VALIDATION)
    everything = splits[TRAIN].with_others(splits[VALIDATION])
    visited = (splits[VALIDATION], everything, splits[TRAIN], splits[VALIDATION])
    expected = [list(batches(features, one, ordered(one, "shuffled"))) for one in visited]
    asked: list[int] = []
    read = FeatureShards.read

    def counted(shards: FeatureShards, shard: np.ndarray, row: np.ndarray, maps: Any) -> dict[str, np.ndarray]:
        asked.extend((shard * work.recipe.shard_images + row).tolist())
        return read(shards, shard, row, maps)

    monkeypatch.setattr(FeatureShards, "read", counted)
    cache = FeatureCache(features, everything, torch.device("cpu"))
    for selection, wanted in zip(visited, expected, strict=True):
        assert_equal_batches(
            list(batches(features, cache.image_set(selection), ordered(selection, "shuffled"))), wanted
        )
    assert sorted(asked) == sorted(images_of(everything, work))


def test_a_cache_without_all_images_of_a_selection_holds_none_of_it(work: SmallWork):
    features, _ = opened(work)
    splits = selected(work, TRAIN, VALIDATION)
    cache = FeatureCache(features, splits[TRAIN], torch.device("cpu"))
    assert cache.image_set(splits[TRAIN]).cached is not None
    assert cache.image_set(splits[VALIDATION]).cached is None
    assert cache.image_set(splits[TRAIN].with_others(splits[VALIDATION])).cached is None


@pytest.mark.parametrize(
    ("mode", "free", "expected"),
    [
        ("auto", FreeMemory(50, 100), (0, "device")),
        ("auto", FreeMemory(100, 99), (0, "host")),
        ("auto", FreeMemory(99, 80), (1, "device")),
        ("auto", FreeMemory(80, 0), (1, "host")),
        ("auto", FreeMemory(79, 20), (2, "device")),
        ("auto", FreeMemory(19, 19), None),
        ("host", FreeMemory(100, 100), (0, "host")),
        ("host", FreeMemory(19, 100), None),
        ("never", FreeMemory(100, 100), None),
    ],
)
def test_what_is_cached_and_where_follows_from_sizes(mode: str, free: FreeMemory, expected: tuple[int, str] | None):
    assert first_that_fits([100, 80, 20], free, mode) == expected


def test_on_a_cpu_there_is_no_device_memory_and_processes_share_that_of_the_host():
    one, four = (free_memory(torch.device("cpu"), 32, processes) for processes in (1, 4))
    assert one.device_bytes == 0
    assert 0 < four.host_bytes < one.host_bytes / 2


@pytest.mark.parametrize("store", ["parquet", "hdf5"])
def test_an_epoch_decompresses_little_more_than_it_uses(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over whole shards; of a split that has four rows in five it is a quarter more in Parquet's pages."""
    work = make(tmp_path, Recipe(shards=4, store=store, splits=dict.fromkeys(range(80), "train")))
    features, _ = opened(work)
    selection = selected(work, TRAIN)[TRAIN]
    module = STORES.load(store)
    decompressed = used = 0

    def counting(reader: Any) -> Any:
        read, each = reader.read, reader.each

        def counted(rows: range, column: str) -> np.ndarray:  # Parquet reads each row by reading the range
            nonlocal decompressed
            values = read(rows, column)
            decompressed += values.nbytes
            return values

        def counted_each(rows: list[int], column: str) -> Iterator[np.ndarray]:  # HDF5 the other way round
            nonlocal decompressed
            for values in each(rows, column):
                decompressed += values.nbytes
                yield values

        reader.read, reader.each = (counted, each) if store == "parquet" else (read, counted_each)
        return reader

    opening = module.open_shard

    @contextmanager
    def open_shard(*arguments: Any, **named: Any) -> Iterator[Any]:
        with opening(*arguments, **named) as reader:
            yield counting(reader)

    monkeypatch.setattr(module, "open_shard", open_shard)
    for batch in batches(features, selection, shuffled(selection.block, epoch_rng(0, 0), 3, 8)):
        used += sum(values.nbytes for values in batch.maps)
    assert used <= decompressed < 1.2 * used


def test_two_selections_as_one_keep_shard_and_row_order(work: SmallWork) -> None:
    splits = selected(work, TRAIN, VALIDATION)
    both = splits[TRAIN].with_others(splits[VALIDATION])
    assert images_of(both, work) == sorted(images_of(splits[TRAIN], work) + images_of(splits[VALIDATION], work))
    assert np.all(np.diff(both.block) >= 0)
    position = images_of(both, work).index(images_of(splits[VALIDATION], work)[0])
    expected = splits[VALIDATION].annotations.codes(np.array([0]))
    assert np.array_equal(both.annotations.codes(np.array([position])), expected)
    assert both.expected == splits[TRAIN].expected + splits[VALIDATION].expected


def test_nothing_selected_gives_no_batches():
    nothing = np.zeros(0, dtype=np.int64)
    assert shuffled(nothing, epoch_rng(0, 0), 4, 8).sizes == ()
    assert sequential(nothing, 4, 8).sizes == ()


# batches


def read_all(work: SmallWork, split: ImageSplit, order_of: str = "sequential") -> tuple[Selection, list[Batch]]:
    features, space = opened(work)
    selection = select(features, space, [split])[split]
    order = ordered(selection, order_of)
    return selection, list(batches(features, selection, order))


def ordered(selection: Selection, order_of: str) -> Order:
    if order_of == "sequential":
        return sequential(selection.block, window_blocks=2, batch_images=7)
    return shuffled(selection.block, epoch_rng(3, 1), window_blocks=4, batch_images=7)


@pytest.mark.parametrize("store", ["parquet", "hdf5"])
@pytest.mark.parametrize("order_of", ["sequential", "shuffled"])
def test_batches_hold_the_maps_and_codes_of_their_images(tmp_path: Path, store: str, order_of: str):
    work = make(tmp_path, Recipe(store=store, statuses={7: ImageStatus.EMPTY}))
    selection, got = read_all(work, TRAIN, order_of)
    _, space = opened(work)
    images = np.array(images_of(selection, work))
    visited = np.concatenate([batch.images for batch in got])
    assert sorted(visited.tolist()) == list(range(len(selection)))
    assert 7 not in images
    for batch in got:
        numbers = images[batch.images]
        region, global_feature = batch.maps
        assert region.dtype == global_feature.dtype == np.float16
        assert np.array_equal(region, work.regions[numbers])
        assert np.array_equal(global_feature, work.global_features[numbers])
        assert batch.codes.tolist() == [true_codes(work, n, space.label_index.tolist()) for n in numbers]


def test_batches_after_a_pause_are_those_of_an_undisturbed_epoch(work: SmallWork):
    features, space = opened(work)
    selection = select(features, space, [TRAIN])[TRAIN]
    order = ordered(selection, "shuffled")
    whole = list(batches(features, selection, order))
    for done in range(len(whole) + 1):
        rest = list(batches(features, selection, order.after(done)))
        assert [batch.images.tolist() for batch in rest] == [batch.images.tolist() for batch in whole[done:]]
        assert all(np.array_equal(a.maps[0], b.maps[0]) for a, b in zip(rest, whole[done:], strict=True))


@pytest.mark.parametrize("changes", [{"row_group_rows": 3}, {"row_group_rows": 1000}, {"store": "hdf5"}])
def test_how_features_lie_on_disk_changes_neither_order_nor_batches(
    tmp_path: Path, work: SmallWork, changes: dict[str, Any]
):
    _, expected = read_all(work, TRAIN, "shuffled")
    _, got = read_all(make(tmp_path, Recipe(**changes)), TRAIN, "shuffled")
    assert [batch.images.tolist() for batch in got] == [batch.images.tolist() for batch in expected]
    assert all(np.array_equal(a.maps[0], b.maps[0]) for a, b in zip(got, expected, strict=True))


def test_by_default_a_block_is_a_row_group(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert StoreConfig().row_group_rows == selecting.BLOCK_ROWS


def test_leaving_early_ends_the_thread_that_reads_ahead(work: SmallWork):
    features, space = opened(work)
    selection = select(features, space, [TRAIN])[TRAIN]
    stream = batches(features, selection, ordered(selection, "shuffled"))
    before = set(threading.enumerate())
    next(stream)
    assert set(threading.enumerate()) > before
    stream.close()
    assert set(threading.enumerate()) == before


# damage


def test_a_flipped_bit_in_a_shard_is_found_at_its_first_reading(tmp_path: Path):
    work = make(tmp_path)
    file = work.receipts["extract"][1].files[0]
    path = Path(work.root, file.path)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        IntegrityError,
        match=rf"{path} is not what its receipt says: .* run: biam-pipe extract",
    ):
        read_all(work, TRAIN)


@pytest.mark.parametrize(("stage", "which"), [("extract", 0), ("index", 1), ("split", 0)])
def test_a_file_cut_short_or_gone_is_named(tmp_path: Path, stage: str, which: int):
    work = make(tmp_path)
    file = work.receipts[stage][2].files[which]
    path = Path(work.root, file.path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        IntegrityError, match=rf"{file.path} .* {file.size_bytes - 1} bytes, expected {file.size_bytes}"
    ):
        selected(work, TRAIN)
    path.unlink()
    with pytest.raises(IntegrityError, match=rf"{file.path} .* there is no such file"):
        selected(work, TRAIN)


def test_a_pruned_shard_names_the_stage_that_makes_it_again(tmp_path: Path):
    work = make(tmp_path)
    first, *others = work.receipts["extract"]
    files = tuple(file.model_copy(update={"pruned": True}) for file in first.files)
    work.receipts["extract"] = (first.model_copy(update={"files": files}), *others)
    with pytest.raises(PipelineError, match=r"shard-00000.parquet was dropped on purpose .* Run: biam-pipe extract"):
        selected(work, TRAIN)


def test_image_ids_are_those_of_the_selected_rows(work: SmallWork):
    features, space = opened(work)
    selection = select(features, space, [TEST])[TEST]
    numbers = images_of(selection, work)
    assert features.image_ids(selection.shard, selection.row) == [image_id(number) for number in numbers]
