"""Things that are not ours: the package of docs/example, installed beside the project, from images to the report."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dags import DAGS
from pipeline import flow
from pipeline.backbones import BACKBONES
from pipeline.commands.request import Request
from pipeline.datasets import DATASETS
from pipeline.engine.registry import Registry, attributes, functions
from pipeline.metrics import PROTOCOLS
from pipeline.models import MODELS
from pipeline.settings.layers import config_class, configuration
from pipeline.stores import STORES
from schemas.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs/example"
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (220, 210, 30)}
ROOMS: list[Registry[Any]] = [DATASETS, DAGS, BACKBONES, STORES, MODELS, PROTOCOLS]


def installed(folder: Path) -> Path:
    """What pip leaves of the package in a folder of its own: modules, and the metadata of the distribution."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    shutil.copytree(EXAMPLE / "biam_example", folder / "biam_example", ignore=shutil.ignore_patterns("__pycache__"))
    metadata = folder / f"biam_example-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


def albums(folder: Path) -> list[str]:
    """Forty pictures in four albums, words of their names, and the settings for them."""
    generator = np.random.default_rng(0)
    words = []
    for name, colour in COLOURS.items():
        (folder / "albums" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.clip(np.array(colour) + generator.integers(-25, 25, (40, 40, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "albums" / name / f"{number}.png")
        words.append(" ".join([name, *(f"{channel / 255:.3f}" for channel in colour)]))
    (folder / "words.txt").write_text("\n".join(words) + "\n")
    return [
        f"dataset.root={folder / 'albums'}", 'dataset.unseen=["yellow"]', "dataset.shard_images=16",
        "backbone.name=colours", "backbone.weights=random:0", "backbone.input_px=32", "store.name=npz",
        f"embed.vectors={folder / 'words.txt'}", "split.test_fraction=0.4",
    ]  # fmt: skip


def biam_pipe(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_one_of_each_is_found_planned_run_to_the_report_and_verified(tmp_path: Path) -> None:
    site, sets = installed(tmp_path / "site"), [f"--set={text}" for text in albums(tmp_path)]

    ran = biam_pipe(site, tmp_path, "run", "--dataset", "albums", "--json", *sets)

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    metrics = told["metrics"]
    assert (metrics["protocol"], metrics["model"], metrics["dataset"]) == ("best-one", "linear", "albums")
    assert metrics["gzsl"]["headline"] == "precision@1"
    assert metrics["gzsl"]["occurring_share"] == metrics["gzsl"]["chance"]["occurring_share"] == 1.0
    page = Path(told["report"]).read_text()
    assert "% Precision@1" in page
    assert "it scores a picture as a whole" in page
    assert len(list(tmp_path.glob("work/albums/features/colours-*/npz/shard-*.npz"))) == 3
    assert recipe_settings(tmp_path, "index")["datasets.distribution"] == "biam-example 1.0"
    for stage, room in (("extract", "backbones"), ("train", "models"), ("evaluate", "protocols")):
        settings = recipe_settings(tmp_path, stage)
        assert settings[f"{room}.distribution"] == "biam-example 1.0"
        assert re.fullmatch("[0-9a-f]{64}", settings[f"{room}.sha256"])
    spec = json.loads(next(tmp_path.glob("work/albums/features/*/npz/spec.json")).read_text())
    assert spec["preprocess"]["pixel_scale"] == 127.5
    receipt = json.loads(next(tmp_path.glob("work/albums/features/*/npz/shard-00000.json")).read_text())
    assert receipt["facts"]["stores.distribution"] == "biam-example 1.0"

    verified = biam_pipe(site, tmp_path, "verify", "--dataset", "albums", "--json", *sets)
    assert verified.returncode == 0, verified.stdout
    again = biam_pipe(site, tmp_path, "plan", "--dataset", "albums", "--json", *sets)
    assert all(line["to_run"] == 0 for line in json.loads(again.stdout)["stages"]), again.stdout
    converted = biam_pipe(site, tmp_path, "convert", "parquet", "--dataset", "albums", "--json", *sets)
    assert converted.returncode == 0, converted.stderr
    picture = str(tmp_path / "albums/yellow/0.png")
    said = biam_pipe(site, tmp_path, "predict", picture, "--dataset", "albums", "--json", *sets)
    assert said.returncode == 0, said.stderr
    shown = biam_pipe(site, tmp_path, "show", "models")
    assert shown.stdout.split() == ["biam", "linear", "ridge"]

    module = site / "biam_example/linear.py"
    module.write_text(module.read_text() + "\n# another text\n")
    changed = json.loads(biam_pipe(site, tmp_path, "plan", "--dataset", "albums", "--json", *sets).stdout)["stages"]
    reasons = {line["name"]: line["reasons"] for line in changed if line["to_run"] != 0}
    assert reasons["train"] == ["models.sha256 changed"]
    assert "extract" not in reasons


def recipe_settings(folder: Path, stage: str) -> dict[str, Any]:
    """The settings in the recipe of a stage, by its record."""
    for path in folder.glob("work/albums/**/*.parquet"):
        document = (pq.read_schema(path).metadata or {}).get(b"biam_pipe.recipe")
        if document is not None and json.loads(document)["stage"] == stage:
            return json.loads(document)["settings"]
    raise AssertionError(stage)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package, installed where this process looks for modules, which forgets what it knew of such packages."""
    folder = installed(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    _forget()
    yield folder
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    for room in ROOMS:
        room.__dict__.pop("_theirs", None)
        room._checked.cache_clear()
    config_class.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "biam_example"]:
        del sys.modules[name]


def planned(folder: Path) -> list[flow.StagePlan]:
    work = folder / "work"
    config = configuration("albums", None, {}, albums(folder), work)
    return flow.plan(config, work, Request("report"))


MODULES = {DATASETS: "albums", BACKBONES: "colours", STORES: "npz", MODELS: "linear", PROTOCOLS: "best_one"}
MEMBERS = [
    (room, module, member)
    for room, module in MODULES.items()
    for member in (*attributes(room.contract), *functions(room.contract))
]


@pytest.mark.parametrize(("room", "module", "member"), MEMBERS, ids=lambda value: getattr(value, "kind", value))
def test_plan_refuses_a_thing_without_a_member_by_its_name(
    site: Path, tmp_path: Path, room: Registry[Any], module: str, member: str
) -> None:
    with (site / f"biam_example/{module}.py").open("a") as file:
        file.write(f"\ndel {member}\n")
    with pytest.raises(UsageError, match=rf"^{room.kind} .* of biam-example 1.0: it has no (function )?{member}\. "):
        planned(tmp_path)


@pytest.mark.parametrize(
    ("module", "text", "instead", "told"),
    [
        ("npz", "def each(", "def every(", "gives a reader that has no function each"),
        ("npz", "batch.maps[one.column], 0)", "batch.maps[one.column] * 2, 0)", "it gives back other numbers by read"),
        ("npz", "text or None", "text", r"gives back errors .*'', 'no answer', ''"),
        ("best_one", '"precision@1"', '"accuracy"', r"gives the figures map, .*, and not its HEADLINE 'accuracy'"),
        ("best_one", "> 0).mean()", "> 0).sum()", r"gives occurring_share = 2\.0, expected a number"),
        ("best_one", "ranking = ClassWise", "ranking = dict", "on a sample it raises TypeError"),
        ("colours", 'Layer("mixed", MIXED)', 'Layer("mixed", 25)', r"mixed of shape \(24,\), expected \(25,\)"),
        ("colours", "AvgPool2d(CELL_PX)", "AvgPool2d(8)", r"cells of shape \(4, 4, 3\), expected"),
        ("linear", "dim=1) @ words.T", "dim=1)", r"model 'linear' .*on a sample it "),
        ("linear", "TASKS = EVERY_TASK", "TASKS = ('standard',)", "which the model linear cannot do, expected sta"),
        ("linear", "SETTINGS = ", "1 / 0\nSETTINGS = ", r"cannot be imported \(ZeroDivisionError: division"),
        ("linear", '("global",)', '("local",)', "and none of them is a local map"),
    ],
)  # fmt: skip
def test_plan_refuses_a_thing_that_does_not_do_what_it_says(
    site: Path, tmp_path: Path, module: str, text: str, instead: str, told: str
) -> None:
    path = site / f"biam_example/{module}.py"
    assert text in path.read_text()
    path.write_text(path.read_text().replace(text, instead))
    with pytest.raises(UsageError, match=told):
        planned(tmp_path)


def test_a_name_of_ours_cannot_be_taken(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = next(site.glob("*.dist-info")) / "entry_points.txt"
    points.write_text(points.read_text().replace("linear = ", "ridge = "))
    assert MODELS.load("ridge").__name__ == "pipeline.models.ridge"
    assert MODELS.recipe("ridge") == {}
    assert list(MODELS) == ["biam", "ridge"]
    assert caplog.messages == ["model 'ridge' of biam-example 1.0 is not used: the name is ours"]


def test_a_name_that_two_distributions_offer_is_refused_with_both(site: Path) -> None:
    first = next(site.glob("*.dist-info"))
    shutil.copytree(first, site / "another-2.0.dist-info")
    (site / "another-2.0.dist-info/METADATA").write_text("Name: another\nVersion: 2.0\n")
    with pytest.raises(UsageError, match=r"store 'npz' comes with (another 2\.0 and biam-example|biam.* and ano)"):
        STORES.load("npz")
    with pytest.raises(UsageError, match=r"unknown store 'npq'\. Did you mean 'npz'"):
        STORES.load("npq")
