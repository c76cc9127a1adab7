"""Weights that a file gives become the model of a run; what is no such file says what it is."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_work import SmallWork, make
from torch import Tensor

from pipeline.engine.sources import Sources
from pipeline.engine.task import Output
from pipeline.files.storage import Storage, sha256_file
from pipeline.inference.model_file import save_model
from pipeline.models import MODELS
from pipeline.models.biam.network import BiAM, build
from pipeline.models.biam.released_keys import released_state
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.sizes import FeatureSizes
from pipeline.reporting.figures import history
from pipeline.settings.layers import configuration
from pipeline.stages import evaluate, train
from pipeline.training.given import given_weights
from schemas.config import EvaluateConfig, ModelSection, TrainConfig
from schemas.errors import PipelineError, UsageError
from schemas.features import MapSpec

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = BiamConfig(channels=16, heads=2, joint_size=12, top_k=2)
SIZES = FeatureSizes({"region": 8, "global": 6}, word_size=5)
MAPS = [
    MapSpec(column="conv5", role="region", layer="x", shape=(3, 3, 8), layout="HWC"),
    MapSpec(column="fc7", role="global", layer="y", shape=(6,), layout="C"),
]


def drawn(config: BiamConfig = CONFIG, seed: int = 3) -> BiAM:
    """A model of random numbers, in running statistics, too."""
    torch.manual_seed(seed)
    network = build(config, SIZES)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.rand_like(tensor) + 0.5 if name.endswith("running_var") else torch.randn_like(tensor)
                )
    return network


def authors(network: BiAM) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in released_state(network).items()}


def taken(work: SmallWork, path: Path, model: ModelSection = CONFIG) -> SmallWork:
    """The folder after training took the weights of a file."""
    config = TrainConfig(weights=str(path), device="cpu")
    settings = train.Settings(model, config, threads=1, sources={str(path): sha256_file(path)})
    task = work.task("train", settings)
    return work.with_receipts(task, train.run(task))


def metrics(work: SmallWork) -> dict[str, Any]:
    scoring = evaluate.settled(EvaluateConfig(device="cpu", draws=2, examples=2), "nuswide")
    evaluate.run(work.task("evaluate", evaluate.Settings(scoring, "small", threads=1)))
    return json.loads(work.path("evaluate", "metrics.json").read_bytes())


def built_directly(root: Path, network: BiAM) -> SmallWork:
    """A folder whose model was written as it is, without a file in between."""
    work = make(root)
    task = work.task("train", train.Settings(CONFIG, TrainConfig()))
    save_model(task.storage, task.path("model"), network.state_dict(), CONFIG, SIZES)
    for name in ("history", "config"):
        task.storage.write(task.path(name), b"{}" if name == "history" else b"")
    return work.with_receipts(task, [Output(("model", "history", "config"), rows=0)])


@pytest.mark.parametrize("zipped", [True, False])
def test_the_authors_weights_have_the_metrics_of_the_model_built_directly(tmp_path: Path, zipped: bool) -> None:
    network, path = drawn(), tmp_path / "model_best.pth"
    torch.save(authors(network), path, _use_new_zipfile_serialization=zipped)
    work = taken(make(tmp_path / "work"), path)
    found, expected = metrics(work), metrics(built_directly(tmp_path / "direct", network))
    assert found == expected
    assert found["zsl"]["map"] > 0
    written = json.loads(work.path("train", "history.json").read_bytes())
    assert written["weights"] == {"file": "model_best.pth", "sha256": sha256_file(path)}
    assert history(written).given == "model_best.pth"
    assert "the weights are those of" in work.path("train", "train.log").read_text()


def test_the_model_of_a_run_goes_in_as_it_came_out(tmp_path: Path) -> None:
    before = built_directly(tmp_path / "before", drawn()).path("train", "model.safetensors")
    after = taken(make(tmp_path / "after"), before).path("train", "model.safetensors")
    assert after.read_bytes() == before.read_bytes()


def test_half_precision_is_widened_and_a_wrapper_is_opened(tmp_path: Path) -> None:
    path, network = tmp_path / "w.pth", drawn()
    halves = {f"module.{name}": tensor.half() for name, tensor in authors(network).items() if tensor.ndim}
    halves |= {f"module.{name}": tensor for name, tensor in authors(network).items() if not tensor.ndim}
    torch.save({"state_dict": halves, "epoch": 3}, path)
    found = given_weights(path, CONFIG, MAPS, 5)
    assert found.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(found[name], tensor.half().float() if tensor.ndim else tensor)


def torch_file(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        state: dict[str, Any] = authors(drawn())
        changed = change(state)
        torch.save(state if changed is None else changed, folder / "w.pth")
        return folder / "w.pth"

    return write


def cut_off(folder: Path) -> Path:
    path = torch_file(lambda state: None)(folder)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def of_code(folder: Path) -> Path:
    (folder / "w.pth").write_bytes(pickle.dumps(print, protocol=2))
    return folder / "w.pth"


def empty(folder: Path) -> Path:
    (folder / "w.pth").touch()
    return folder / "w.pth"


def checkpoint(folder: Path) -> Path:
    save_file({"model/x": torch.zeros(1)}, folder / "last.safetensors", metadata={"biam_pipe": '{"progress": {}}'})
    return folder / "last.safetensors"


def saved(config: BiamConfig, sizes: FeatureSizes = SIZES) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save_model(Storage(str(folder)), "model.safetensors", build(config, sizes).state_dict(), config, sizes)
        return folder / "model.safetensors"

    return write


WRONG = {
    "another width": (
        torch_file(lambda state: state.update({"conv_3X3.body.bias": torch.zeros(8)})),
        r"got 'conv_3X3.body.bias' of shape \(8,\), expected \(16,\) as in model 'biam' with these settings",
    ),
    "one is missing": (
        torch_file(lambda state: state.__delitem__("W.bias")),
        r"got \d+ tensors \(.*\) without 'W.bias', expected the \d+ tensors of model 'biam'",
    ),
    "one too many": (
        torch_file(lambda state: state.update({"V.bias": torch.zeros(1)})),
        r"got \d+ tensors, 'V.bias' among them, expected the \d+",
    ),
    "another network": (
        torch_file(lambda state: {"features.0.weight": torch.zeros(2)}),
        r"got 1 tensors \(features.0.weight ...\) without 'conv_3X3.body.weight'",
    ),
    "no numbers": (
        torch_file(lambda state: state.update({"W.bias": torch.full((12,), float("nan"))})),
        r"got 'W.bias' with numbers that are not finite",
    ),
    "no tensors": (torch_file(lambda state: {"epoch": 3}), r"got epoch, expected tensors by name"),
    "code": (of_code, r"got a pickle that asks for .*print.*, which may run code.*no code is run from such a file"),
    "cut off": (cut_off, r"got a zip archive without its end: cut off or damaged"),
    "empty": (empty, r"got an empty file"),
    "a checkpoint": (
        checkpoint,
        r"got a damaged model, or a checkpoint, expected model.safetensors as biam-pipe train",
    ),
    "other maps": (
        saved(CONFIG, replace(SIZES, maps={"region": 7, "global": 6})),
        r"got a model for {.*'region_channels': 7, .* expected one for {'global_size': 6, 'region_channels': 8",
    ),
}


@pytest.mark.parametrize("word_size", [5, None])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_says_what_it_is_also_before_the_size_of_words_is_known(
    tmp_path: Path, wrong: str, word_size: int | None
) -> None:
    write, message = WRONG[wrong]
    path = write(tmp_path)
    with pytest.raises(PipelineError, match=rf"^train.weights = {path}: {message}") as raised:
        given_weights(path, CONFIG, MAPS, word_size)
    assert str(raised.value).endswith("Run: biam-pipe train --set train.weights=PATH")


def test_words_of_another_size_are_told_once_it_is_known(tmp_path: Path) -> None:
    path = torch_file(lambda state: None)(tmp_path)
    assert given_weights(path, CONFIG, MAPS, None).keys() == given_weights(path, CONFIG, MAPS, 5).keys()
    with pytest.raises(PipelineError, match=r"got 'W.weight' of shape \(12, 5\), expected \(12, 7\)"):
        given_weights(path, CONFIG, MAPS, 7)


def test_a_model_of_a_run_with_other_settings_is_refused_with_those_to_set(tmp_path: Path) -> None:
    path = saved(CONFIG.model_copy(update={"top_k": 3, "heads": 4}))(tmp_path)
    told = r"found model.heads 4, model.top_k 3, expected 2, 2\. Run: .* --set model.heads=4 --set model.top_k=3$"
    with pytest.raises(UsageError, match=told):
        given_weights(path, CONFIG, MAPS, 5)


def test_a_part_that_the_release_has_not_cannot_come_from_its_file(tmp_path: Path) -> None:
    path = torch_file(lambda state: None)(tmp_path)
    with pytest.raises(UsageError, match=r"has no part 'region_context\.context_norm'"):
        given_weights(path, CONFIG.model_copy(update={"region_norm": "layer"}), MAPS, 5)


def test_models_of_which_tensors_do_not_say_enough_are_refused(tmp_path: Path) -> None:
    path = torch_file(lambda state: None)(tmp_path)
    with pytest.raises(UsageError, match="model logistic has weights for each label, and a file does not say which"):
        given_weights(path, MODELS.load("logistic").SETTINGS(), MAPS[1:], 5)
    with pytest.raises(PipelineError, match=r"got tensors alone, expected model\.safetensors of a run: model ridge"):
        given_weights(path, MODELS.load("ridge").SETTINGS(), MAPS[1:], 5)


def asked(tmp_path: Path, *sets: str) -> dict[str, Any]:
    config = configuration("nuswide", None, {}, sets, tmp_path / "work")
    return dict(train.stage(config, Sources(Storage(str(tmp_path / "work")))).recipe)


def test_the_hash_of_the_file_is_in_the_recipe_and_its_path_is_not(tmp_path: Path) -> None:
    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    for path in (first, second):
        path.write_bytes(b"weights")
    recipe = asked(tmp_path, f"train.weights={first}")
    assert recipe == asked(tmp_path) | {"train.weights": sha256_file(first)}
    assert asked(tmp_path, f"train.weights={second}") == recipe
    with pytest.raises(PipelineError, match=r"cannot read the file .*/c.pth: No such file.*Check train.weights"):
        asked(tmp_path, f"train.weights={tmp_path / 'c.pth'}")


def test_settings_of_training_beside_given_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"setting train.lr: got 0.5, which is of training, and train.weights gives"):
        configuration("nuswide", None, {}, ["train.weights=a.pth", "train.lr=0.5"], tmp_path)
