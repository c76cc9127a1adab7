"""Extraction of a shard: every row comes out, each with its own maps or its own status."""

import hashlib
import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from stage_tasks import FOLDERS, inputs, sealed
from stage_tasks import task as made_task

from pipeline.backbones import tiny
from pipeline.batches.feature_files import pages
from pipeline.datasets.demo.settings import DemoDataset
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.storage import Storage, sha256_file
from pipeline.files.tables import write_table
from pipeline.images.decode import decode
from pipeline.images.local import VanishedFileError
from pipeline.images.resize import resize
from pipeline.stages import extract
from pipeline.stages.index import LABELLED, PLACES
from pipeline.stores import STORES
from schemas.config import BackboneConfig, Config, DownloadConfig, EngineConfig, ExtractConfig, StoreConfig
from schemas.errors import IntegrityError, PipelineError, TimeBudgetError
from schemas.features import FeatureSpec
from schemas.fit import Fit
from schemas.receipts import Receipt
from schemas.status import FAILURES, ImageStatus
from schemas.tables import ANNOTATIONS, DOWNLOADS, IMAGES, INDEX

INPUT_PX = 32
SHARD = 7
Receipts = tuple[Receipt, ...]
RECIPE = "c" * 64
TORCHVISION = pytest.mark.filterwarnings("ignore:.*decoding and encoding:DeprecationWarning")  # since 0.29


def settings(store: str = "parquet", batch_images: int = 4, **changes: object) -> extract.Settings:
    return extract.Settings(
        BackboneConfig(name="tiny", weights="random:0", input_px=INPUT_PX),
        ExtractConfig(batch_images=batch_images, device="cpu", **changes),
        StoreConfig(name=store, row_group_rows=3),
        DownloadConfig(max_pixels=100_000),
        threads=1,
    )


def jpeg(seed: int) -> bytes:
    rng = random.Random(seed)
    image = Image.new("RGB", (rng.randrange(40, 90), rng.randrange(40, 90)), rng.choice(["red", "navy", "white"]))
    image.paste(rng.choice(["green", "yellow", "black"]), (5, 5, rng.randrange(10, 39), rng.randrange(10, 39)))
    buffer = BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


@dataclass(frozen=True)
class Item:
    """One image as index and download leave it.

    Attributes:
        local: the file that holds the bytes, None where the images shard holds them.
        labelled: whether anybody labelled it.
        sha256: that the downloads shard says, where not that of the bytes.
    """

    data: bytes | None
    status: str = ImageStatus.OK
    error: str | None = None
    rotation: int | None = None
    local: Path | None = None
    sha256: str | None = None
    labelled: bool = True

    @property
    def checked(self) -> str | None:
        """The hash that the downloads shard says."""
        return self.sha256 or (None if self.data is None else hashlib.sha256(self.data).hexdigest())


def left(root: Path, stage: str, columns: Mapping[str, tuple[Mapping[str, Sequence[object]], pa.Schema]]) -> Receipts:
    """The tables of one shard of a stage, by name, and their receipt."""
    task = made_task(stage, root, None, shard=SHARD)
    for table, (given, schema) in columns.items():
        length = len(given["image_id"])
        complete = {column: given.get(column, [None] * length) for column in schema.names}
        write_table(task.storage, task.path(table), pa.table(complete, schema=schema))
    return sealed(task, [Output(tuple(columns), rows=0)])


def name(number: int) -> str:
    return f"bilder/{number:03d}.jpg"


def task_of(root: Path, items: Sequence[Item], chosen: extract.Settings) -> Task:
    ids = [name(number) for number in range(len(items))]
    locations = [
        [{"source": "local", "address": str(item.local)} if item.local else {"source": "demo", "address": "x"}]
        for item in items
    ]
    place = {
        "image_id": ids,
        "locations": locations,
        "rotation": [item.rotation for item in items],
        "removed": [False] * len(ids),
    }
    found = {
        "image_id": ids,
        "status": [str(item.status) for item in items],
        "error": [item.error for item in items],
        "size_bytes": [None if item.data is None else len(item.data) for item in items],
        "sha256": [item.checked for item in items],
    }
    labels = {"image_id": ids, "positive": [[] if item.labelled else None for item in items]}
    bodies = {"image_id": ids, "data": [None if item.local else item.data for item in items]}
    receipts = {
        "index": left(root, "index", {"index": (place, INDEX), "annotations": (labels, ANNOTATIONS)}),
        "download": left(root, "download", {"downloads": (found, DOWNLOADS), "images": (bodies, IMAGES)}),
    }
    folders = {**FOLDERS, "extract": f"features/tiny-00000000/{chosen.store.name}"}
    return made_task("extract", root, chosen, receipts, SHARD, folders, recipe=RECIPE)


@dataclass(frozen=True)
class Shard:
    """A feature shard, read whole."""

    ids: list[str]
    statuses: list[str]
    errors: list[str | None]
    maps: dict[str, np.ndarray]


def shard(task: Task, output: Output, store: ModuleType | None = None) -> Shard:
    store = store or STORES.load("parquet")
    with store.open_shard(Path(task.storage.shown(task.path("features")))) as reader:
        rows = range(reader.num_rows)
        maps = {one.column: reader.read(rows, one.column) for one in reader.spec.maps}
        return Shard(reader.image_ids(), reader.statuses(), reader.errors(), maps)


def run(task: Task) -> Output:
    (output,) = extract.run(task)
    return output


def by_hand(data: bytes, column: str) -> np.ndarray:
    """Maps of one image, alone, straight through torch."""
    pixels = torch.tensor(resize(decode(data, "exif", None, 100_000), Fit((INPUT_PX, INPUT_PX)))).float()
    images = ((pixels / 255 - 0.5) / 0.25).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return tiny.build(settings().backbone)(images)[column][0].numpy()


def test_every_row_comes_out_in_order_with_its_maps_or_its_status(tmp_path: Path) -> None:
    cut = jpeg(3)[:-150]
    items = [
        Item(jpeg(0)),
        Item(None, ImageStatus.NOT_FOUND, "HTTP 404"),
        Item(jpeg(2)),
        Item(cut),
        *(Item(jpeg(number)) for number in range(4, 11)),
        Item(b"no image", ImageStatus.NOT_AN_IMAGE, "starts with b'no imag'"),
    ]
    task = task_of(tmp_path, items, settings())

    output = run(task)
    found = shard(task, output)

    assert output.files == ("features",)
    assert output.rows == len(items) == 12
    assert output.counts == {"decode_error": 1, "not_an_image": 1, "not_found": 1, "ok": 9}
    assert found.ids == [name(number) for number in range(12)]
    assert Counter(found.statuses) == output.counts
    assert [found.statuses[row] for row in (1, 3, 11)] == ["not_found", "decode_error", "not_an_image"]
    assert found.errors[1] == "HTTP 404"
    assert "truncated" in str(found.errors[3])
    for row, item in enumerate(items):
        for column, values in found.maps.items():
            if row in (1, 3, 11):
                assert not values[row].any()
            else:
                assert item.data is not None
                assert found.errors[row] is None
                assert np.allclose(values[row], by_hand(item.data, column), rtol=2e-3, atol=1e-4)


def test_both_stores_get_equal_bits(tmp_path: Path) -> None:
    items = [Item(jpeg(0)), Item(b"x"), Item(jpeg(2))]
    found = []
    for store in STORES:
        task = task_of(tmp_path / store, items, settings(store))
        read = shard(task, run(task), STORES.load(store))
        found.append((read.ids, read.statuses, read.errors, {key: one.tobytes() for key, one in read.maps.items()}))

    assert found[0] == found[1]


def test_the_content_does_not_depend_on_how_features_are_stored_or_batched(tmp_path: Path) -> None:
    items = [Item(jpeg(0)), Item(b"x"), Item(jpeg(2)), Item(jpeg(3)), Item(jpeg(4))]
    plain = replace(settings(), store=StoreConfig(name="parquet", compression="none", row_group_rows=2))
    ways = [settings(), plain, settings("hdf5"), settings(batch_images=1), settings("hdf5", batch_images=3)]
    tasks = [task_of(tmp_path / str(number), items, way) for number, way in enumerate(ways)]
    outputs = [run(task) for task in tasks]

    assert len({task.storage.sha256(task.path("features")) for task in tasks}) > 2
    assert len({output.content for output in outputs}) == 1


def test_another_image_status_or_order_is_another_content(tmp_path: Path) -> None:
    cases = [
        [Item(jpeg(0)), Item(b"x"), Item(jpeg(2))],
        [Item(jpeg(0)), Item(b"x"), Item(jpeg(3))],
        [Item(jpeg(2)), Item(b"x"), Item(jpeg(0))],
        [Item(jpeg(0)), Item(None, ImageStatus.NOT_FOUND, "HTTP 404"), Item(jpeg(2))],
        [Item(b"x"), Item(jpeg(0)), Item(jpeg(2))],
        [Item(jpeg(0)), Item(b"x")],
    ]

    contents = {run(task_of(tmp_path / str(n), items, settings())).content for n, items in enumerate(cases)}

    assert len(contents) == len(cases)


def test_the_content_of_spec_and_card_is_the_recipes_whatever_the_store(tmp_path: Path) -> None:
    def described(number: int, chosen: extract.Settings) -> str | None:
        return run(replace(task_of(tmp_path / str(number), [], chosen), shard=None)).content

    first, hdf5, turned = map(described, range(3), [settings(), settings("hdf5"), settings(orientation="none")])

    assert first == hdf5
    assert first != turned


def test_equal_work_gives_equal_bytes_whatever_the_threads(tmp_path: Path) -> None:
    items = [Item(jpeg(number)) for number in range(9)]
    digests = set()
    for threads in (1, 3):
        task = task_of(tmp_path / str(threads), items, settings(decode_threads=threads))
        run(task)
        digests.add(task.storage.sha256(task.path("features")))

    assert len(digests) == 1


def contents(root: Path, numbers: Sequence[int], precision: str) -> dict[int, tuple[str | None, str]]:
    """Content and hash of the file of each of these shards, extracted in that order; each has other images."""
    found = {}
    for number in numbers:
        items = [Item(jpeg(10 * number + image)) for image in range(3 + number)] + [Item(b"x")]
        task = task_of(root / f"{precision}-{number}", items, settings(precision=precision))
        output = run(task)
        found[number] = output.content, task.storage.sha256(task.path("features"))
    return found


def test_shards_come_out_equal_to_the_bit_whatever_the_number_of_workers_and_the_order_of_shards(
    tmp_path: Path,
) -> None:
    precisions = ("fp32", "bf16")
    one_worker = [contents(tmp_path / "one", range(4), precision) for precision in precisions]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context) as workers:  # each has its own network, as the workers of a cluster have
        parts = [
            [workers.submit(contents, tmp_path / "two", part, precision) for part in ([3, 0], [2, 1])]
            for precision in reversed(precisions)
        ]
        two_workers = [dict(sorted({**a.result(), **b.result()}.items())) for a, b in reversed(parts)]

    assert two_workers == one_worker
    assert len({content for found in one_worker for content, _ in found.values()}) == 8


def test_maps_of_an_image_do_not_depend_on_the_others(tmp_path: Path) -> None:
    many = [Item(jpeg(number)) for number in range(6)]
    all_good = task_of(tmp_path / "good", many, settings())
    first_broken = task_of(tmp_path / "broken", [Item(b"x"), *many[1:]], settings())
    alone = task_of(tmp_path / "alone", many[5:], settings())

    whole, broken, single = (shard(task, run(task)) for task in (all_good, first_broken, alone))

    for column in whole.maps:
        assert np.array_equal(whole.maps[column][1:], broken.maps[column][1:])
        assert np.array_equal(whole.maps[column][5:], single.maps[column])


@pytest.mark.parametrize("items", [[], [Item(b"x")] * 3, [Item(None, ImageStatus.REMOVED)] * 9])
def test_shards_without_any_good_image_are_shards_like_others(tmp_path: Path, items: list[Item]) -> None:
    task = task_of(tmp_path, items, settings())

    output = run(task)

    assert output.rows == len(items) == sum(output.counts.values())
    assert len(shard(task, output).statuses) == len(items)


def test_local_files_are_read_where_they_lie_and_must_not_have_changed(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    items = [Item(jpeg(number), local=folder / f"{number}.jpg") for number in range(4)]
    for item in items:
        assert item.local is not None
        assert item.data is not None
        item.local.write_bytes(item.data)
    task = task_of(tmp_path / "work", items, settings())
    (folder / "1.jpg").write_bytes(jpeg(1)[:-1] + b"!")

    found = shard(task, run(task))

    assert found.statuses == ["ok", "unreadable_file", "ok", "ok"]
    assert "the file has changed since it was checked: sha256" in str(found.errors[1])
    assert "Run: biam-pipe run" in str(found.errors[1])

    (folder / "2.jpg").unlink()
    with pytest.raises(VanishedFileError, match=r"photos/2\.jpg is gone"):
        run(task)


def test_images_without_labels_are_left_out_where_the_settings_say_so(tmp_path: Path) -> None:
    items = [
        Item(jpeg(0)),
        Item(jpeg(1), labelled=False),
        Item(None, ImageStatus.TIMEOUT, "60 s", labelled=False),
        Item(None, ImageStatus.REMOVED, labelled=False),
        Item(None, ImageStatus.GONE),
    ]
    every, some = (task_of(tmp_path / str(only), items, settings(only_labelled=only)) for only in (False, True))
    all_images, output = run(every), run(some)
    assert all_images.counts == {"gone": 1, "ok": 2, "removed": 1, "timeout": 1}
    assert output.counts == {"gone": 1, "ok": 1, "removed": 1, "unlabelled": 2}
    found = shard(some, output)
    assert found.statuses == ["ok", "unlabelled", "unlabelled", "removed", "gone"]
    assert found.errors[1:3] == [None, None]
    assert np.array_equal(found.maps["conv2"][0], shard(every, all_images).maps["conv2"][0])
    assert ImageStatus.UNLABELLED not in FAILURES


def test_features_of_labelled_images_alone_have_a_recipe_and_a_part_of_the_index_of_their_own() -> None:
    def described(only_labelled: bool) -> Stage:
        config = Config(dataset=DemoDataset(), extract=ExtractConfig(only_labelled=only_labelled))
        return extract.stage(config, Sources(Storage("nowhere")))

    every, some = described(False), described(True)
    assert some.recipe == {**every.recipe, "extract.only_labelled": True}
    assert (every.reads, some.reads) == ({"index": PLACES}, {"index": LABELLED})


def test_the_data_sets_rotation_is_applied_where_the_settings_say_so(tmp_path: Path) -> None:
    upright, turned = Item(jpeg(0)), Item(jpeg(0), rotation=180)
    maps = {}
    for orientation in ("dataset", "exif"):
        task = task_of(tmp_path / orientation, [upright, turned], settings(orientation=orientation))
        maps[orientation] = shard(task, run(task)).maps["conv2"]

    assert np.array_equal(maps["exif"][0], maps["exif"][1])
    assert not np.array_equal(maps["dataset"][0], maps["dataset"][1])
    assert np.array_equal(maps["dataset"][0], maps["exif"][0])


@TORCHVISION
def test_jpegs_decoded_by_the_batch_have_pillows_statuses_and_equal_bits_whatever_the_batch_or_the_process(
    tmp_path: Path,
) -> None:
    items = [Item(jpeg(0)), Item(b"x"), Item(jpeg(1)[:-150] + b"\xff\xd9"), Item(jpeg(2)), Item(jpeg(3), rotation=90)]
    by_pillow = task_of(tmp_path / "pillow", items, settings(orientation="dataset"))
    expected = shard(by_pillow, run(by_pillow))
    found = []
    for number, changes in enumerate(({}, {"batch_images": 1}, {"decode_threads": 1})):
        chosen = settings(orientation="dataset", decoder="torchvision", **changes)
        task = task_of(tmp_path / str(number), items, chosen)
        task = replace(task, isolated="decode_threads" in changes)  # decoded in a process of its own
        found.append(shard(task, run(task)))

    for one in found:
        assert (one.statuses, one.errors) == (expected.statuses, expected.errors)
        for column, values in one.maps.items():
            assert np.array_equal(values, found[0].maps[column])
            assert np.allclose(values, expected.maps[column], atol=0.03 * np.abs(expected.maps[column]).max())


@TORCHVISION
def test_features_of_one_decoder_say_so_and_do_not_fit_those_of_another() -> None:
    pillow, torchvision = settings(), settings(decoder="torchvision")
    difference = extract.spec(torchvision, RECIPE).difference(extract.spec(pillow, RECIPE))

    assert difference == ("preprocess.decoder: torchvision on cpu (upright JPEGs), else pillow, expected pillow")
    decoded = [recipe(extract=ExtractConfig(device="cpu", decoder=name)) for name in ("torchvision", "pillow")]
    assert [settled["images.decoder"] for settled in decoded] == [difference.split(": ")[1].split(", exp")[0], "pillow"]


def test_features_of_images_that_torch_resized_say_so_and_do_not_fit_those_of_others() -> None:
    pillow, by_torch = settings(), settings(resize="torch")
    difference = extract.spec(by_torch, RECIPE).difference(extract.spec(pillow, RECIPE))

    assert difference == "preprocess.interpolation: bilinear, torch uint8, expected bilinear"
    resized = [recipe(extract=ExtractConfig(resize=name))["images.resize"] for name in ("torch", "pillow")]
    assert resized == [["bilinear, torch uint8", "antialias"], ["bilinear", "antialias"]]


def test_numbers_beyond_the_stored_precision_are_a_status_of_that_image_alone(tmp_path: Path) -> None:
    state = tiny.build(settings().backbone).state_dict()
    weight = torch.zeros_like(state["steps.conv2.0.weight"])
    weight[0, 2] = 1e4  # blue only: a blue picture gives 16 * 2 * 1e4, more than float16 holds
    state |= {"steps.conv2.0.weight": weight, "steps.conv2.2.weight": torch.ones_like(state["steps.conv2.2.weight"])}
    torch.save(state, tmp_path / "large.pth")
    chosen = replace(settings(), backbone=BackboneConfig(weights=str(tmp_path / "large.pth"), name="tiny", input_px=32))
    bodies = []
    for colour in ("black", "blue", "black"):
        buffer = BytesIO()
        Image.new("RGB", (40, 40), colour).save(buffer, "PNG")
        bodies.append(buffer.getvalue())
    task = task_of(tmp_path / "work", [Item(data) for data in bodies], chosen)

    output = run(task)
    found = shard(task, output)

    assert found.statuses == ["ok", "non_finite", "ok"]
    assert found.errors[1] == "conv2 holds NaN or infinity in float16"
    assert not found.maps["conv2"][1].any()
    assert np.isfinite(found.maps["conv2"]).all()
    assert output.counts == {"non_finite": 1, "ok": 2}


def test_every_shard_carries_the_spec_that_the_whole_stage_writes(tmp_path: Path) -> None:
    task = task_of(tmp_path, [Item(jpeg(0))], settings())
    run(task)
    path = Path(task.storage.shown(task.path("features")))

    whole = run(replace(task, shard=None))

    written = FeatureSpec(**json.loads(task.storage.read(f"{task.folder}/spec.json")))
    with STORES.load("parquet").open_shard(path) as reader:
        assert reader.spec == written
    assert written == extract.spec(settings(), RECIPE)
    assert (written.backbone, written.weights, written.recipe) == ("tiny", "random:0", RECIPE)
    assert (written.precision, written.compiled) == ("fp32", False)
    assert written.preprocess.decoder == "pillow"
    assert written.preprocess.orientation == "exif"
    assert written.preprocess.resize == (INPUT_PX, INPUT_PX)
    assert set(written.versions) == {"torch", "torchvision", "pillow", "numpy"}
    assert whole.files == ("spec",)


def test_the_card_is_written_when_all_counts_are_known_and_its_lines_load_a_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(tmp_path, [Item(jpeg(0)), Item(b"", ImageStatus.TIMEOUT), Item(jpeg(1))], settings())
    whole = replace(task, shard=None)
    receipts = {"extract": [*sealed(task, [run(task)]), *sealed(whole, [run(whole)])]}
    page, _ = pages(settings().backbone, "parquet")

    card = page.text(inputs(tmp_path, "extract", receipts))
    assert page.file == "README.md"
    assert card.startswith(f"# Features of {tmp_path.name}: tiny\n\n**Random weights** (random:0)")
    assert "2 of 3 images have features (66.7%)." in card
    assert "| timeout | 1 |" in card
    monkeypatch.chdir(task.storage.shown(task.folder))
    shard = next(Path().glob("shard-*.parquet"))
    scope: dict[str, Any] = {}
    exec(card.split("```python\n")[1].split("```")[0].replace("shard-00000.parquet", shard.name), scope)
    first = extract.spec(settings(), RECIPE).maps[0]
    assert scope[first.column].shape == (2, *first.shape)


def recipe(**sections: Any) -> dict[str, Any]:
    backbone = BackboneConfig(name="tiny", weights="random:0", input_px=INPUT_PX)
    config = Config(**{"dataset": DemoDataset(), "backbone": backbone, **sections})
    return dict(extract.stage(config, Sources(Storage("nowhere"))).recipe)


def test_the_recipe_names_what_shapes_the_numbers_and_nothing_else(tmp_path: Path) -> None:
    same = [
        recipe(store=StoreConfig(name="hdf5")),
        recipe(extract=ExtractConfig(batch_images=1)),
        recipe(extract=ExtractConfig(decode_threads=7)),
        recipe(engine=EngineConfig(threads=3), download=DownloadConfig(max_pixels=5)),
    ]
    (tmp_path / "w.pth").touch()
    others = [
        recipe(extract=ExtractConfig(orientation="none")),
        recipe(backbone=BackboneConfig(name="tiny", weights="random:1", input_px=INPUT_PX)),
        recipe(backbone=BackboneConfig(name="tiny", weights="random:0", input_px=48)),
        recipe(backbone=BackboneConfig(name="vgg19", weights="random:0", input_px=INPUT_PX)),
        recipe(backbone=BackboneConfig(name="tiny", weights=str(tmp_path / "w.pth"), input_px=INPUT_PX)),
    ]

    assert all(settled == recipe() for settled in same)
    assert len({json.dumps(settled) for settled in [recipe(), *others]}) == 6
    assert [settled["backbone.weights_file"] for settled in others] == [*[None] * 4, sha256_file(tmp_path / "w.pth")]
    assert str(tmp_path) not in json.dumps(others[-1])


def test_what_a_backbone_takes_by_itself_is_the_same_recipe_as_naming_it() -> None:
    by_itself, named = (BackboneConfig(name="tiny", weights="random:0", input_px=side) for side in (None, 224))

    assert recipe(backbone=by_itself) == recipe(backbone=named)


def test_a_crop_is_another_recipe_and_the_spec_tells_what_is_cut_out() -> None:
    cropped = BackboneConfig(name="tiny", weights="random:0", input_px=INPUT_PX, fit="crop")
    cover = (INPUT_PX * 8 // 7,) * 2

    assert recipe(backbone=cropped) == recipe() | {"backbone.fit": "crop", "backbone.cover": [*cover]}
    assert extract.spec(replace(settings(), backbone=cropped), RECIPE).preprocess.cover == cover
    assert "cover" not in extract.spec(settings(), RECIPE).preprocess.model_dump()


def test_a_time_budget_that_is_used_up_leaves_nothing(tmp_path: Path) -> None:
    task = replace(task_of(tmp_path, [Item(jpeg(0))] * 30, settings()), deadline=time.time() - 1)

    with pytest.raises(TimeBudgetError):
        extract.run(task)

    assert not list(tmp_path.glob("features/**/*shard*"))


def test_images_that_were_dropped_are_asked_for_again(tmp_path: Path) -> None:
    task = task_of(tmp_path, [Item(jpeg(0))], settings())
    (index,), (download,) = (task.inputs.receipts(stage) for stage in ("index", "download"))
    files = [file.model_copy(update={"pruned": file.path.startswith("images/")}) for file in download.files]
    pruned = {"index": [index], "download": [download.model_copy(update={"files": tuple(files)})]}

    with pytest.raises(PipelineError, match=r"dropped on purpose .*Run: biam-pipe download --dataset"):
        extract.run(replace(task, inputs=inputs(tmp_path, "extract", pruned)))


def test_shards_that_do_not_hold_the_same_images_are_an_integrity_error(tmp_path: Path) -> None:
    task = task_of(tmp_path, [Item(jpeg(number)) for number in range(3)], settings())
    made = made_task("download", tmp_path, None, shard=SHARD)
    cases = {
        "images": pa.table({"image_id": [name(0), name(2), name(1)], "data": [b"a"] * 3}, schema=IMAGES),
        "downloads": pq.read_table(task.storage.shown(made.path("downloads"))).slice(0, 2),
    }
    for table, other in cases.items():
        before = task.storage.read(made.path(table))
        write_table(task.storage, made.path(table), other)
        receipts = {
            "index": task.inputs.receipts("index"),
            "download": sealed(made, [Output(("downloads", "images"), rows=0)]),
        }
        with pytest.raises(IntegrityError, match=r"shard-00007 of .* does not hold together"):
            extract.run(replace(task, inputs=inputs(tmp_path, "extract", receipts)))
        task.storage.write(made.path(table), before)
    assert run(task).rows == 3


def test_an_image_that_is_ok_but_without_bytes_is_an_integrity_error(tmp_path: Path) -> None:
    task = task_of(tmp_path, [Item(jpeg(0)), Item(None)], settings())

    with pytest.raises(IntegrityError, match=r"'bilder/001.jpg' is ok, but its bytes are not there"):
        extract.run(task)


def test_a_damaged_images_shard_is_an_integrity_error(tmp_path: Path) -> None:
    items = [Item(jpeg(number)) for number in range(6)]
    task = task_of(tmp_path, items, settings())
    path = tmp_path / "images" / "shard-00007.parquet"
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(IntegrityError, match=r"images/shard-00007.parquet is not what its receipt says: .* bytes"):
        extract.run(task)


def test_an_image_that_is_not_the_one_that_was_checked_is_an_integrity_error_that_names_it_and_its_shard(
    tmp_path: Path,
) -> None:
    own = hashlib.sha256(jpeg(1)).hexdigest()
    task = task_of(tmp_path, [Item(jpeg(0)), Item(jpeg(1), sha256=f"{own[:20]}{'0' * 44}")], settings())

    told = rf"image 'bilder/001.jpg' in {tmp_path}/images/shard-00007.parquet has sha256 {own}.*, expected {own[:20]}0"
    with pytest.raises(IntegrityError, match=told):
        extract.run(task)


def test_figures_for_overlap_are_kept_beside_the_counts(tmp_path: Path) -> None:
    task = task_of(tmp_path, [Item(jpeg(number)) for number in range(5)], settings())

    facts = run(task).facts

    assert facts["device"] == "cpu"
    assert facts["images_per_s"] > 0
    assert facts["seconds_network"] >= 0
    assert facts["seconds_wait"] >= 0


def test_the_stage_is_imported_without_torch_or_h5py(tmp_path: Path) -> None:
    import subprocess
    import sys

    heavy = {"torch", "torchvision", "h5py", "hdf5plugin"}
    code = f"import sys, pipeline.stages.extract; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
