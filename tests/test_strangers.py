"""Things that are not ours: the package of docs/example, installed beside the project, from images to the report."""

import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.flips.warm import Plain, Runner
from dags import DAGS
from pipeline import flow
from pipeline.backbones import BACKBONES
from pipeline.commands.request import Request
from pipeline.datasets import DATASETS
from pipeline.engine.graph import inputs_of, resolve
from pipeline.engine.registry import Registry, attributes, functions
from pipeline.engine.sources import Sources
from pipeline.engine.task import Task
from pipeline.files.storage import Storage
from pipeline.metrics import PROTOCOLS
from pipeline.models import MODELS
from pipeline.settings.layers import config_class, configuration
from pipeline.stages import index
from pipeline.stores import STORES
from pipeline.stores.batch import FeatureBatch
from pipeline.stores.shard import write_shard
from schemas.config import StoreConfig
from schemas.errors import UsageError
from schemas.features import FeatureSpec, MapSpec

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


@dataclass(frozen=True)
class Run:
    """A run with one of each that is not ours."""

    site: Path
    folder: Path
    sets: list[str]
    told: dict[str, Any]
    runner: Runner

    def text(self, *arguments: str) -> str:
        paths = {"PYTHONPATH": os.pathsep.join([str(self.site), str(ROOT)]), "PYTHONSAFEPATH": "1"}
        ended = self.runner(arguments, paths, folder=self.folder)
        assert ended.code == 0, ended.stderr + ended.stdout
        return ended.stdout

    def __call__(self, *arguments: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.text(*arguments, "--dataset", "albums", "--json", *self.sets))
        return value


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, warm: Runner) -> Run:
    folder = tmp_path_factory.mktemp("strangers")
    site, sets = installed(folder / "site"), [f"--set={text}" for text in albums(folder)]
    as_a_user = Run(site, folder, sets, {}, Plain(200.0))
    return replace(as_a_user, told=as_a_user("run"), runner=warm)


def test_one_of_each_is_found_planned_and_run_to_the_report(ran: Run) -> None:
    metrics = ran.told["metrics"]
    assert (metrics["protocol"], metrics["model"], metrics["dataset"]) == ("best-one", "linear", "albums")
    assert metrics["gzsl"]["headline"] == "precision@1"
    assert metrics["gzsl"]["occurring_share"] == metrics["gzsl"]["chance"]["occurring_share"] == 1.0
    page = Path(ran.told["report"]).read_text()
    assert "% Precision@1" in page
    assert "it scores a picture as a whole" in page
    assert len(list(ran.folder.glob("work/albums/features/colours-*/npz/shard-*.npz"))) == 3
    assert recipe_settings(ran.folder, "index")["datasets.distribution"] == "biam-example 1.0"
    for stage, room in (("extract", "backbones"), ("train", "models"), ("evaluate", "protocols")):
        settings = recipe_settings(ran.folder, stage)
        assert settings[f"{room}.distribution"] == "biam-example 1.0"
        assert re.fullmatch("[0-9a-f]{64}", settings[f"{room}.sha256"])
    spec = json.loads(next(ran.folder.glob("work/albums/features/*/npz/spec.json")).read_text())
    assert spec["preprocess"]["pixel_scale"] == 127.5
    receipt = json.loads(next(ran.folder.glob("work/albums/features/*/npz/shard-00000.json")).read_text())
    assert receipt["facts"]["stores.distribution"] == "biam-example 1.0"


def test_what_they_left_is_verified_up_to_date_converted_and_predicted_from(ran: Run) -> None:
    ran("verify")
    assert all(line["to_run"] == 0 for line in ran("plan")["stages"])
    ran("convert", "parquet")
    ran("predict", str(ran.folder / "albums/yellow/0.png"))
    assert ran.text("show", "models").split() == sorted([*MODELS.ours, "linear"])

    module = ran.site / "biam_example/linear.py"
    module.write_text(module.read_text() + "\n# another text\n")
    reasons = {line["name"]: line["reasons"] for line in ran("plan")["stages"] if line["to_run"] != 0}
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


def planned(folder: Path, *sets: str) -> list[flow.StagePlan]:
    work = folder / "work"
    config = configuration("albums", None, {}, [*albums(folder), *sets], work)
    return flow.plan(config, work, Request("report"))


def test_check_says_what_a_data_set_that_is_not_ours_does_not_tell(site: Path, tmp_path: Path) -> None:
    config = configuration("albums", None, {}, albums(tmp_path), tmp_path / "work")
    found = {finding.name: finding.found for finding in flow.check(config, tmp_path / "work").findings}
    assert found["lists"] == "not known: the data set albums does not say which files it fetches"
    assert found["images"] == "not known: there is no index yet, and the data set names no image without one"


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
        ("best_one", '"precision@1"', '"accuracy"', r"gives the figures map, .*, and not its headline 'accuracy'"),
        ("best_one", "> 0).mean()", "> 0).sum()", r"gives occurring_share = 2\.0, expected a number"),
        ("best_one", "ranking = ClassWise", "ranking = dict", "on a sample it raises TypeError"),
        ("colours", 'Layer("mixed", MIXED)', 'Layer("mixed", 25)', r"mixed of shape \(24,\), expected \(25,\)"),
        ("colours", "AvgPool2d(CELL_PX)", "AvgPool2d(8)", r"cells of shape \(4, 4, 3\), expected"),
        ("linear", "dim=1) @ words.T", "dim=1)", r"model 'linear' .*on a sample it "),
        ("linear", "TASKS = EVERY_TASK", "TASKS = ('standard',)", "which the model linear cannot do, expected sta"),
        ("linear", "SETTINGS = ", "1 / 0\nSETTINGS = ", r"cannot be imported \(ZeroDivisionError: division"),
        ("linear", '("global",)', '("local",)', "and none of them is a local map"),
        ("linear", '("global",)', '"global"', r"on a sample it needs 'global', expected names of maps in a list"),
        ("linear", "SETTINGS = LinearConfig", "SETTINGS = {}", r"SETTINGS = \{\}, expected a class below Model"),
        ("linear", "Recipe[Fraction]", "Fraction", "has a setting dropout that does not say what it decides"),
        ("linear", "dropout: Recipe[Fraction] = 0.0", "dropout: Recipe[Fraction]", "setting dropout without a default"),
        ("linear", "TASKS = EVERY_TASK", "TASKS = ()", r"has TASKS = \(\), expected some of: zsl, gzsl, standard"),
        ("linear", "TASKS = EVERY_TASK", "TASKS = 'zsl'", r"has TASKS = 'zsl', expected some of"),
        ("linear", "PRESETS = {", "PRESETS = [{", r"has PRESETS = \[|cannot be imported"),
        ("linear", "TASKS =", "in_vain = lambda: {}\nTASKS =", r"has in_vain\(\), expected the arguments"),
        ("linear", "TASKS =", "def require(a, b): raise KeyError('small')\nTASKS =", "require raises KeyError: 'sm"),
        ("linear", "TASKS =", "def optimizer(a): pass\nTASKS =", r"has optimizer\(a\), expected the arguments of"),
        ("linear", "TASKS =", "EPOCHS = False\nTASKS =", "has EPOCHS = False and no function fit"),
        ("linear", "SETTINGS =", "raise SystemExit(3)\nSETTINGS =", r"cannot be imported \(SystemExit: 3\)"),
        ("linear", "return Linear()", "return Linear().double()", "on a sample it "),
        ("colours", "    return Description(", "    return dict if config else Description(", "expected a Description"),
        ("colours", "(config.input_px, config.input_px)", "config.input_px", "resize = 32, expected height and width"),
        ("colours", "seen = Normalisation(", "seen = dict(", r"gives normalisation = \{"),
        ("best_one", "KS = (1,)", "KS = (0,)", r"has KS = \(0,\), expected whole numbers above 0 in a tuple"),
        ("best_one", "float((counts.positives > 0).mean())", "float('nan')", "share = nan, expected a number"),
        ("best_one", '"occurring_share"', '"labels"', "gives a figure 'labels', which is the name of something else"),
        ("npz", 'SUFFIX = ".npz"', "SUFFIX = 5", "has SUFFIX = 5, expected that of its files, with the dot"),
        ("npz", "with damage_named(path, BadZipFile), path", "with path", "cut in half, expected an IntegrityError"),
        ("colours", '"mixed"', '"status"', "gives a map the column 'status', which is the name of another"),
        ("albums", "SETTINGS = AlbumsDataset", "SETTINGS = AlbumsDataset()", "expected a class below DatasetSection"),
        ("albums", "def listing(", "def listing(config): raise OSError('gone')\ndef _(", "listing raises OSError"),
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
    assert list(MODELS) == sorted(MODELS.ours)
    assert caplog.messages == ["model 'ridge' of biam-example 1.0 is not used: the name is ours"]


def test_a_name_that_two_distributions_offer_is_refused_with_both(site: Path) -> None:
    first = next(site.glob("*.dist-info"))
    shutil.copytree(first, site / "another-2.0.dist-info")
    (site / "another-2.0.dist-info/METADATA").write_text("Name: another\nVersion: 2.0\n")
    with pytest.raises(UsageError, match=r"store 'npz' comes with (another 2\.0 and biam-example|biam.* and ano)"):
        STORES.load("npz")
    with pytest.raises(UsageError, match=r"unknown store 'npq'\. Did you mean 'npz'"):
        STORES.load("npq")


def test_k_that_the_headline_of_a_protocol_does_not_have_is_refused(site: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"for K = 3, and not its headline 'precision@1'"):
        planned(tmp_path, "evaluate.ks=[3]")


def test_a_file_beside_the_module_need_not_be_utf_8(site: Path) -> None:
    (site / "biam_example/latin.py").write_bytes(b"# caf\xe9\n")
    assert len(MODELS.recipe("linear")["models.sha256"]) == 64


def test_a_store_that_loses_a_row_of_a_larger_shard_is_refused_with_the_first(site: Path, tmp_path: Path) -> None:
    path = site / "biam_example/npz.py"
    path.write_text(
        path.read_text()
        + """

_write = write

def write(path, spec, options, batches):
    rows = list(batches)
    _write(path, spec, options, rows if len(rows) == 1 else rows[:-1])
"""
    )
    spec = FeatureSpec(
        backbone="none", weights="none", weights_sha256="none", preprocess=None, precision="fp32", recipe="none",
        maps=(MapSpec(column="fc1", role="global", layer="none", shape=(2,), layout="C"),), versions={},
    )  # fmt: skip
    batches = [FeatureBatch([name], ["ok"], [None], {"fc1": np.ones((1, 2), np.float16)}) for name in "ab"]
    with pytest.raises(UsageError, match=r"store 'npz' .*shard-0.npz, it gives back other 1 rows"):
        write_shard(tmp_path / "shard-0.npz", spec, StoreConfig(name="npz"), batches)


@pytest.mark.parametrize("name", ["a b", "../up", "", "ü", "x/y"])
def test_a_name_that_is_no_part_of_a_path_is_not_used(site: Path, name: str) -> None:
    points = next(site.glob("*.dist-info")) / "entry_points.txt"
    points.write_text(points.read_text().replace("linear = ", f"{name} = "))
    assert list(MODELS) == sorted(MODELS.ours)


@pytest.mark.parametrize(
    ("text", "instead", "told"),
    [
        ("Label(name, name, ", "(name, name, ", r"labels gives \[\('blue'.*expected each a Label"),
        ("schema=RECORDS)", "schema=None)", "records gives a table of .*expected columns as in RECORDS"),
    ],
)
def test_a_data_set_that_gives_something_else_is_named(
    site: Path, tmp_path: Path, text: str, instead: str, told: str
) -> None:
    path = site / "biam_example/albums.py"
    path.write_text(path.read_text().replace(text, instead))
    config = configuration("albums", None, {}, albums(tmp_path), tmp_path / "work")
    described = {stage.name: stage for stage in flow.stages(config, Sources(Storage(str(tmp_path / "work"))))}
    graph = resolve([described["index"]], Storage(str(tmp_path / "work")))
    task = Task(
        stage="index", shard=None, storage=Storage(str(tmp_path / "work")), folder="index", recipe="", fingerprint="",
        settings=described["index"].settings, inputs=inputs_of(graph, "index", {"index": ()}),
        outputs=graph["index"].outputs, bases={}, deadline=None,
    )  # fmt: skip
    with pytest.raises(UsageError, match=told):
        index.run(task)
