"""The paper's ablations run from settings alone, and what they report differs in the model's figures only."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_work import Recipe, SmallWork, make

from pipeline.engine.sources import Sources
from pipeline.files.storage import Storage
from pipeline.flow import stages
from pipeline.settings.layers import configuration
from pipeline.stages import evaluate, train
from schemas.config import Config, EvaluateConfig

ABLATIONS = [
    "model.classification=pooled",
    "model.blocks=rcb",
    "model.blocks=scb",
    "model.blocks=[]",
    "model.region_norm=layer",
    "model.region_weighting=sigmoid",
    "model.scene_weighting=softmax",
    "model.region_attention=non-local",
    "model.region_attention=criss-cross",
    "model.heads=4",
    "model.top_k=2",
    "model.grid_side=2",
]
# Of a section of metrics.json: what is of the labels and the protocol, and not of the model.
SAME = {"labels", "chance"}


pytestmark = pytest.mark.usefixtures("one_thread")


def configured(*sets: str) -> Config:
    small = ("model.channels=16", "model.joint_size=12", "train.epochs=2", "train.device=cpu", "train.lr=3e-3")
    of_test = ("evaluate.draws=2", "evaluate.device=cpu")
    unread = ("model.top_k", "model.classification=pooled")  # which has no use for it
    top_k = () if any(one.startswith(unread) for one in sets) else ("model.top_k=3",)
    return configuration("demo", None, {}, [*small, *of_test, *top_k, *sets], Path("work"))


def metrics(work: SmallWork, config: Config) -> dict[str, Any]:
    task = work.task("train", train.Settings(config.model, config.train, threads=1))
    done = work.with_receipts(task, train.run(task))
    scoring: EvaluateConfig = config.evaluate.model_copy(update={"protocol": "nuswide", "ks": (2, 3), "examples": 0})
    evaluate.run(done.task("evaluate", evaluate.Settings(scoring, dataset="small", threads=1)))
    return json.loads(work.path("evaluate", "metrics.json").read_bytes())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ablations")
    recipe = Recipe(shards=1, shard_images=60)
    runs = enumerate([(), *((one,) for one in ABLATIONS)])
    return {"".join(sets): metrics(make(folder / str(number), recipe), configured(*sets)) for number, sets in runs}


def test_metrics_of_ablations_differ_in_the_models_figures_only(found: dict[str, dict[str, Any]]) -> None:
    whole = found[""]
    for sets, document in found.items():
        assert {key for key in whole if document[key] != whole[key]} <= {"zsl", "gzsl", "remarks"}, sets
        for section in ("zsl", "gzsl"):
            assert document[section].keys() == whole[section].keys()
            assert {key: document[section][key] for key in SAME} == {key: whole[section][key] for key in SAME}


def test_every_ablation_gives_figures_of_its_own(found: dict[str, dict[str, Any]]) -> None:
    figures = {json.dumps([document["zsl"], document["gzsl"]]) for document in found.values()}
    assert len(figures) == 1 + len(ABLATIONS)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_an_ablation_is_a_run_of_its_own_on_the_same_features(ablation: str, tmp_path: Path) -> None:
    recipes = []
    unread = ("model.top_k=6",) if ablation == "model.classification=pooled" else ()  # by either of both
    for config in (configured(*unread), configured(ablation)):
        recipes.append({stage.name: stage.recipe for stage in stages(config, Sources(Storage(str(tmp_path))))})
    assert [name for name in recipes[0] if recipes[0][name] != recipes[1][name]] == ["train"]
    differing = {key for key, value in recipes[1]["train"].items() if recipes[0]["train"][key] != value}
    assert differing == {ablation.partition("=")[0]}
