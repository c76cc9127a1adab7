"""What is refused before anything runs, and what is not, as no stage that is to run is touched by it."""

from pathlib import Path

import pytest

from pipeline import flow
from pipeline.settings.layers import configuration
from schemas.config import Config
from schemas.errors import PipelineError


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def configured(*sets: str) -> Config:
    return configuration("demo", None, {}, ["dataset.num_images=40", "backbone.name=tiny", *sets], Path("work"))


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["model.top_k=197"], r"model.top_k: got 197, but there are 196 regions.* Use: --set model.top_k=196$"),
        (["model.grid_side=2"], r"model.top_k: got 6, but there are 4 regions.* Use: --set model.top_k=4$"),
        (["model.grid_side=15"], r"model.grid_side: got 15, but the region map has 14 x 14 regions.*grid_side=14$"),
        (["backbone.input_px=32"], r"model.top_k: got 6, but there are 4 regions"),
        (
            ["backbone.layers=fc1"],
            r"backbone.layers: got fc1, and none of them is a region map.* Use: --set 'backbone.lay",
        ),
        (["backbone.layers=conv2"], r"backbone.layers: got conv2, and none of them is a global map"),
        (
            ["train.device=cuda"],
            r"train.device: device 'cuda' asked for, but torch sees 0 CUDA devices.* Use: --set train",
        ),
        (["evaluate.device=cuda:1"], r"evaluate.device: device 'cuda:1' asked for.* Use: --set evaluate.device=auto"),
        (["train.device=mps"], r"train.device: device 'mps' asked for, but torch finds none here"),
        (
            ["extract.device=cuda"],
            r"wants a GPU \(extract.device=cuda\), and no worker has one. Set extract.device=cpu",
        ),
        (["extract.device=mps"], r"extract.device: device 'mps' asked for"),
    ],
)
def test_what_would_fail_hours_later_is_refused_by_the_plan_and_before_the_first_stage(
    tmp_path: Path, sets: list[str], told: str
) -> None:
    with pytest.raises(PipelineError, match=told):
        flow.plan(configured(*sets), tmp_path, flow.Request("report"))
    with pytest.raises(PipelineError, match=told):
        flow.run(configured(*sets), tmp_path, flow.Request("report", quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_each_worker_of_the_embedded_cluster_calls_its_gpu_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(PipelineError, match=r"extract.device: got 'cuda:1', but each worker .* calls cuda:0; expected"):
        flow.plan(configured("extract.device=cuda:1"), tmp_path, flow.Request("extract"))
    flow.plan(configured("extract.device=cuda"), tmp_path, flow.Request("extract"))


@pytest.mark.parametrize(
    ("setting", "stage"),
    [
        ("train.device=cuda", "extract"),
        ("extract.device=cuda", "download"),
        ("train.processes=3", "report"),
        ("model.top_k=196", "report"),
    ],
)
def test_what_does_not_concern_the_stages_to_run_is_not_refused(tmp_path: Path, setting: str, stage: str) -> None:
    assert flow.plan(configured(setting), tmp_path, flow.Request(stage))[-1].name == stage


def test_the_plan_of_a_run_on_a_cluster_asks_its_workers_and_refuses_what_none_of_them_has(
    tmp_path: Path, scheduler: str
) -> None:
    request = flow.Request("report", scheduler=scheduler)
    assert flow.plan(configured(), tmp_path, request)[-1].name == "report"
    with pytest.raises(PipelineError, match="no worker has one"):
        flow.plan(configured("extract.device=cuda"), tmp_path, request)
    assert list(tmp_path.iterdir()) == []


def test_pooled_classification_asks_for_no_best_regions(tmp_path: Path) -> None:
    flow.plan(configured("model.grid_side=1", "model.classification=pooled"), tmp_path, flow.Request("report"))
