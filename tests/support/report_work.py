"""A work folder as a finished run leaves it, small and written by hand, and a reader of the page made from it."""

import base64
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import stage_tasks
from PIL import Image
from stage_tasks import task as task_of

from pipeline.engine.ledger import file_receipt
from pipeline.engine.task import Output, Task
from pipeline.files.storage import Storage
from pipeline.reporting.card import Choice
from pipeline.stages import report
from schemas import tables
from schemas.features import FeatureSpec
from schemas.receipts import FileReceipt, Receipt

RUN = "runs/biam-released-0123abcd"
FOLDERS = stage_tasks.FOLDERS | dict.fromkeys(("train", "evaluate", "report"), RUN)
NAMES = ["red circle", "blue square", "green ring", "red square"]  # the last two are unseen
ROLES = ["seen", "seen", "unseen", "unseen"]
SETTINGS = report.Settings(
    orientation="exif",
    max_pixels=10**6,
    vectors="glove.txt",
    about=("A model, tried.", "Source: a paper."),
    choices=(Choice("train.lr", "0.001", "preset released"),),
)


def jpeg(image: Image.Image, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=95, subsampling=0, **options)
    return data.getvalue()


def half_red(width: int = 80, height: int = 40) -> Image.Image:
    """Red on the left, blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 230
    pixels[:, width // 2 :, 2] = 230
    return Image.fromarray(pixels)


def lying_on_its_side() -> bytes:
    """A portrait picture, red above and blue below, stored as landscape with an EXIF note to turn it by 90 degrees."""
    upright = half_red().transpose(Image.Transpose.ROTATE_270)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera that should stay private"
    return jpeg(upright.transpose(Image.Transpose.ROTATE_90), exif=exif, comment=b"a private comment")


@dataclass
class Work:
    """A work folder of a finished run; what the page is made from can be changed before `run`."""

    root: Path
    receipts: dict[str, list[Receipt]] = field(default_factory=dict)
    settings: report.Settings = SETTINGS

    def put(self, path: str, rows: list[dict], schema: pa.Schema) -> str:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), target, write_page_checksum=True, row_group_size=1)
        return path

    def receipt(self, stage: str, shard: int | None, files: list[str], rows: int, **more: object) -> None:
        facts_of_file = [FileReceipt(path=file, size_bytes=1000, sha256="0" * 64) for file in files]  # see `task`
        values = {
            "counts": {},
            "facts": {},
            "started_at": 0.0,
            "seconds": 61.0,
            "versions": {"python": "3.11.9"},
        } | more
        self.receipts.setdefault(stage, []).append(
            Receipt(
                stage=stage, shard=shard, fingerprint="", content="", files=tuple(facts_of_file), rows=rows, **values
            )
        )

    def task(self) -> Task:
        """The report's task, over files as they are now."""
        storage = Storage(str(self.root))
        for receipts in self.receipts.values():
            for position, receipt in enumerate(receipts):
                files = (
                    file_receipt(storage, file.path) if storage.exists(file.path) else file for file in receipt.files
                )
                receipts[position] = receipt.model_copy(update={"files": tuple(files)})
        return task_of("report", self.root, self.settings, self.receipts, folders=FOLDERS, recipe="c" * 64)

    def run(self) -> str:
        assert report.run(self.task()) == [Output(files=("report", "card", "croissant"), rows=self.shown())]
        return (self.root / RUN / "report.html").read_text(encoding="utf-8")

    def shown(self) -> int:
        path = self.root / RUN / "examples.parquet"
        return pq.read_metadata(path).num_rows

    def change(self, file: str, **values: object) -> None:
        path = self.root / RUN / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    def examples(self, *rows: dict) -> None:
        usual = {"shard": 0, "row": 0, "positive": [0, 2], "top": [0, 1, 2], "top_scores": [2.0, 1.5, 0.5], "maps": []}
        self.put(f"{RUN}/examples.parquet", [usual | row for row in rows], tables.EXAMPLES)


def finished(tmp_path: Path) -> Work:
    """Two shards of two images: 'a' and 'b' are stored, 'c' lies on the disk, 'd' failed."""
    made = Work(tmp_path)
    on_disk = tmp_path / "mine.jpg"
    on_disk.write_bytes(jpeg(half_red()))
    pictures = {"a": jpeg(half_red()), "b": lying_on_its_side(), "c": None, "d": None}
    places = {"c": [{"source": "local", "address": str(on_disk)}], "d": [{"source": "demo", "address": "d.jpg"}]}
    for shard, ids in enumerate(["ab", "cd"]):
        statuses = ["not_found" if name == "d" else "ok" for name in ids]
        counts = dict(Counter(statuses))
        name = f"shard-{shard:05d}.parquet"
        index = [{"image_id": one, "locations": places.get(one, []), "removed": False} for one in ids]
        downloads = [
            {"image_id": one, "status": status, "source": "demo" if status == "ok" else None}
            for one, status in zip(ids, statuses, strict=True)
        ]
        images = [{"image_id": one, "data": pictures[one]} for one in ids]
        splits = [{"image_id": one, "split": {"a": "train", "d": None}.get(one, "test")} for one in ids]
        made.receipt("index", shard, [made.put(f"index/{name}", index, tables.INDEX)], 2)
        files = [
            made.put(f"downloads/{name}", downloads, tables.DOWNLOADS),
            made.put(f"images/{name}", images, tables.IMAGES),
        ]
        made.receipt("download", shard, files, 2, counts=counts)
        made.receipt("extract", shard, [], 2, counts=counts, versions={"python": "3.11.9", "torch": "2.15.0"})
        made.receipt("split", shard, [made.put(f"splits/default/images-{name}", splits, tables.IMAGE_SPLITS)], 2)
    labels = [{"label_index": i, "label_id": f"/m/{i}", "name": name} for i, name in enumerate(NAMES)]
    roles = [{"label_index": i, "role": role} for i, role in enumerate(ROLES)]
    vectors = [
        {"label_index": i, "label_id": f"/m/{i}", "vector": [1.0, 0.0], "words_found": ["x"], "words_missing": []}
        for i in range(len(NAMES))
    ]
    made.receipt("index", None, [made.put("labels.parquet", labels, tables.LABELS)], 4)
    made.receipt("split", None, [made.put("splits/default/labels.parquet", roles, tables.LABEL_ROLES)], 4)
    embeddings = made.put("embeddings/e.parquet", vectors, tables.embeddings(2))
    made.receipt("embed", None, [embeddings], 4, facts={"vectors_sha256": "e" * 64})
    _write_spec(made)
    _write_run(made)
    made.receipt("train", None, [f"{RUN}/{name}" for name in ("model.safetensors", "history.json", "config.toml")], 1)
    written = [f"{RUN}/{name}" for name in ("metrics.json", "per_label.parquet", "examples.parquet")]
    made.receipt("evaluate", None, written, 2)
    return made


def _write_spec(made: Work) -> None:
    spec = FeatureSpec(
        backbone="vgg19", weights="random:0", weights_sha256="0" * 64, maps=(), preprocess=None,
        precision="fp32", recipe="a" * 64, versions={},
    )  # fmt: skip
    path = f"{FOLDERS['extract']}/spec.json"
    Storage(str(made.root)).write(path, spec.model_dump_json().encode())
    made.receipt("extract", None, [path], 0)


def _write_run(made: Work) -> None:
    folder = made.root / RUN
    folder.mkdir(parents=True)
    chance = {"map": 0.111, "f1@3": 0.122}
    metrics = {"dataset": "demo", "model": "biam", "preset": "released", "protocol": "nuswide", "images": 2}
    metrics |= {"features": "vgg19-1", "weights": "random:0", "recipe": "d" * 64}
    said = {"labels_without_positive": 0, "headline": "map"}
    metrics["zsl"] = {"map": 0.333, "f1@3": 0.244, "labels": 2, **said, "chance": chance, "permuted": {"map": 0.138}}
    metrics["gzsl"] = {"map": 0.222, "f1@3": 0.266, "labels": 4, **said, "chance": chance, "permuted": {"map": 0.199}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    epochs = [
        {"epoch": n, "lr": 0.001, "train_loss": 1 / n, "validation": {"f1@5": n / 9} if n % 2 == 0 else None}
        for n in range(1, 5)
    ]
    images = {"train": 1, "validation": 0}
    (folder / "history.json").write_text(json.dumps({"epochs": epochs, "selected_epoch": 4, "images": images}))
    (folder / "config.toml").write_text('[train]\nlr = 0.001\n\n[dataset]\nname = "demo"\n')
    scored = [
        {"label_index": i, "label_id": f"/m/{i}", "name": name, "role": role, "positives": 1, "negatives": 3}
        | {"average_precision": None if i == 1 else 0.5 - i / 10, "chance": None if i == 1 else 0.25}
        for i, (name, role) in enumerate(zip(NAMES, ROLES, strict=True))
    ]
    made.put(f"{RUN}/per_label.parquet", scored, tables.PER_LABEL)
    values = np.zeros((3, 4), np.float32)
    values[2, 3] = 1.0
    maps = [{"label_index": 2, "height": 3, "width": 4, "values": values.ravel().tolist()}]
    made.examples(
        {"image_id": "a", "maps": maps},
        {"image_id": "b", "row": 1},
        {"image_id": "c", "shard": 1},
    )


class Reader(HTMLParser):
    """What a page holds: elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.elements or self.elements[-1][0] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\u202f", " ").split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def pictures(self) -> list[Image.Image]:
        return [
            Image.open(io.BytesIO(base64.b64decode(str(one["src"]).removeprefix("data:image/jpeg;base64,"))))
            for one in self.all("img")
        ]
