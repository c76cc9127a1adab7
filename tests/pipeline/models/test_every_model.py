"""What holds for every model, whatever it is: a new one is tried by being registered."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_work import Recipe, SmallWork, make
from stage_tasks import outputs

from pipeline.engine.task import Task
from pipeline.inference.model_file import load_model
from pipeline.models import MODELS, contract
from pipeline.models.sizes import FeatureSizes
from pipeline.models.targets import Targets
from pipeline.settings.layers import configuration
from pipeline.stages import train
from pipeline.training.ranks import other_ranks
from schemas.config import TrainConfig
from schemas.errors import TimeBudgetError, UsageError

pytestmark = pytest.mark.usefixtures("one_thread")


def model_of(name: str) -> contract.Model:
    """That of a name, or of a name and a preset that differs from the others in what it computes."""
    return MODELS.load(name.partition(":")[0])


NAMES = sorted(MODELS.ours)
TRIED = [*NAMES, "biam:tuned"]
BY_WORDS = [name for name in TRIED if contract.reads_words(model_of(name))]
BY_STEPS = [name for name in TRIED if contract.learns_by_steps(model_of(name))]
RECIPE = Recipe(shards=1, shard_images=40)
IN_WORD_SPACE = replace(
    RECIPE, word=8, channels=8, global_size=8
)  # for models that compare maps with words as they are

SMALL: dict[str, dict[str, Any]] = {
    "biam": {"channels": 8, "heads": 2, "joint_size": 12, "top_k": 2},
    "biam:tuned": {"scene_units": 8},
    "conse": {"mixed_labels": 4},
    "ridge": {"strength": 100.0},
}
# What draws numbers while it trains, and so differs between one process and two.
WITHOUT_DRAWS: dict[str, dict[str, Any]] = {
    "biam": {"attention_dropout": 0.0, "global_dropout": 0.0},
    "biam:tuned": {"scene_dropout": 0.0, "hidden_dropout": 0.0},
    "fast0tag": {"dropout": 0.0},
    "wsabie": {"ranks": "counted"},
}


def settings(name: str, *, draws: bool = True, **of_training: Any) -> train.Settings:
    model, preset = model_of(name), name.partition(":")[2]
    demo = contract.presets(model).get(preset or "demo", {})
    section = (
        demo.get("model", {})
        | ({"preset": preset} if preset else {})
        | SMALL.get(name, {})
        | ({} if draws else WITHOUT_DRAWS.get(name, {}))
    )
    fields = {"epochs": 2, "batch_images": 9, "validate_every_epochs": 1, "device": "cpu"} | of_training
    return train.Settings(model.SETTINGS(**section), TrainConfig(**demo.get("train", {}) | fields), threads=1)


def task(work: SmallWork, name: str, of_run: train.Settings, **changes: Any) -> Task:
    folder = f"runs/{name}"
    return replace(work.task("train", of_run, **changes), folder=folder, outputs=outputs("train", folder))


def model_file(work: SmallWork, name: str) -> Path:
    return Path(work.root, "runs", name, "model.safetensors")


def recipe_for(name: str) -> Recipe:
    return IN_WORD_SPACE if contract.is_in_word_space(model_of(name)) else RECIPE


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], SmallWork]:
    """Gives the work folder for a model."""
    made = cache(lambda recipe: make(tmp_path_factory.mktemp("work"), recipe))
    return lambda name: made(recipe_for(name))


@pytest.fixture
def work(name: str, works: Callable[[str], SmallWork]) -> SmallWork:
    return works(name)


@pytest.fixture(scope="module")
def trained(works: Callable[[str], SmallWork]) -> Any:
    """Trains a model once; gives its file."""

    @cache
    def file(name: str) -> Path:
        with torch.enable_grad():  # whichever test asks first
            train.run(task(works(name), name, settings(name)))
        return model_file(works(name), name)

    return file


@pytest.mark.parametrize("name", BY_STEPS)
def test_a_training_that_was_stopped_ends_with_the_same_bytes(name: str, trained: Any, tmp_path: Path) -> None:
    stopped = make(tmp_path, RECIPE)
    with pytest.raises(TimeBudgetError):  # after one step
        train.run(task(stopped, name, settings(name), deadline=1.0))
    train.run(task(stopped, name, settings(name)))
    assert model_file(stopped, name).read_bytes() == trained(name).read_bytes()


@pytest.mark.parametrize("name", TRIED)
def test_no_annotation_of_an_unseen_label_reaches_a_model(name: str, trained: Any, tmp_path: Path) -> None:
    tampered = make(tmp_path, replace(recipe_for(name), unseen_seed=1))
    train.run(task(tampered, name, settings(name)))
    assert model_file(tampered, name).read_bytes() == trained(name).read_bytes()


@pytest.mark.parametrize("name", BY_WORDS)
@torch.no_grad()
def test_a_score_depends_on_the_label_s_own_word_alone(name: str, trained: Any, work: SmallWork) -> None:
    """So unseen labels have the same AP among themselves and among all, and permuted words have permuted scores."""
    network, maps = loaded(name, trained(name), work)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    words = torch.from_numpy(work.vectors)
    seen, unseen = words[:6], words[6:]
    scores = network(*maps, words)
    assert scores.dtype == torch.float32
    assert scores.std() > 0
    torch.testing.assert_close(network(*maps, unseen), scores[:, 6:], rtol=1e-4, atol=1e-5)
    order = torch.tensor([2, 0, 1])
    others = network(*maps, torch.cat([seen, unseen[order]]))
    torch.testing.assert_close(others, torch.cat([scores[:, :6], scores[:, 6:][:, order]], dim=1), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", [name for name in TRIED if contract.has_response_maps(model_of(name))])
@torch.no_grad()
def test_response_maps_have_a_place_for_each_region(name: str, trained: Any, work: SmallWork) -> None:
    network, maps = loaded(name, trained(name), work)
    responses = network.response_maps(*maps, torch.from_numpy(work.vectors))
    assert responses.shape == (40, 9, 3, 3)
    assert responses.dtype == torch.float32
    assert responses.isfinite().all()


def loaded(name: str, file: Path, work: SmallWork) -> tuple[Any, list[torch.Tensor]]:
    """A trained network, and the maps that it reads."""
    by_role = {"region": work.regions, "global": work.global_features}
    saved = load_model(file)
    assert saved.config.name == name.partition(":")[0]
    return saved.model, [torch.from_numpy(by_role[needed]) for needed in saved.needs]


# One has no scores in training, in the other the closed form teaches the score of every word.
@pytest.mark.parametrize("name", [name for name in BY_STEPS if name not in ("cnn_rnn", "biam:tuned")])
def test_a_label_that_nobody_looked_at_has_no_gradient(name: str, work: SmallWork) -> None:
    of_run, model = settings(name), MODELS.load(name)
    torch.manual_seed(0)
    words = torch.from_numpy(work.vectors[:6])
    codes = torch.randint(-1, 2, (5, 6), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    codes[:, 4] = 0
    needs = model.needs(of_run.model)
    given = {"region": torch.from_numpy(work.regions[:5]), "global": torch.from_numpy(work.global_features[:5])}
    sizes = FeatureSizes({need: given[need].shape[-1] for need in needs}, 5, 6)
    network = model.build(of_run.model, sizes).train()
    output = network(*(given[need] for need in needs), words, *([codes] if contract.reads_codes(model) else []))
    scores = (output if isinstance(output, torch.Tensor) else output[0]).detach().requires_grad_()
    if hasattr(output, "_replace"):
        output = output._replace(scores=scores)
    else:
        output = scores if isinstance(output, torch.Tensor) else (scores, *output[1:])
    loss = contract.loss(model, output, Targets(codes, words, 5, of_run.model, of_run.train))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert not gradient[:, 4].any()
    assert gradient.any()


def every_model(first: Task) -> None:
    """Train one model after the other, in as many processes as there are."""
    for name in BY_STEPS:
        folder = f"runs/{name}"
        of_run = settings(name, draws=False, processes=2)
        train._train(replace(first, settings=of_run, folder=folder, outputs=outputs("train", folder)))


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", RECIPE), make(tmp_path / "two", RECIPE)
    for name in BY_STEPS:
        train.run(task(one, name, settings(name, draws=False)))
    first = task(two, "all", settings("biam"))
    with other_ranks(every_model, first, 2):
        every_model(first)
    for name in BY_STEPS:
        single, shared = (model_file(work, name) for work in (one, two))
        before, after = (json.loads(file.with_name("history.json").read_text())["epochs"] for file in (single, shared))
        for alone, together in zip(before, after, strict=True):
            assert together["train_loss"] == pytest.approx(alone["train_loss"], abs=1e-5, rel=1e-5), name
            assert together["validation"] == pytest.approx(alone["validation"], abs=1e-5), name
        for key, value in load_file(single).items():
            torch.testing.assert_close(load_file(shared)[key], value, rtol=1e-4, atol=1e-5, msg=f"{name}: {key}")


@pytest.mark.parametrize("dataset", ["demo", "nuswide", "openimages"])
@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_a_configuration(name: str, dataset: str, tmp_path: Path) -> None:
    model = MODELS.load(name)
    task_name = "zero-shot" if contract.reads_words(model) else "standard"
    for preset in contract.presets(model):
        sets = [f"model.name={name}", f"model.preset={preset}", f"dataset.task={task_name}"]
        config = configuration(dataset, None, {}, sets, tmp_path)
        contract.require_task(model, config)
        assert config.model.preset == preset


@pytest.mark.parametrize("name", [name for name in NAMES if set(MODELS.load(name).TASKS) != set(contract.EVERY_TASK)])
def test_a_task_that_a_model_cannot_do_is_refused_with_those_that_it_can(name: str, tmp_path: Path) -> None:
    model = MODELS.load(name)
    can, cannot = ("zero-shot", "standard") if contract.reads_words(model) else ("standard", "zero-shot")
    config = configuration("demo", None, {}, [f"model.name={name}", f"dataset.task={cannot}"], tmp_path)
    with pytest.raises(UsageError, match=rf"'{cannot}', which the model {name} cannot do.*expected {can}"):
        contract.require_task(model, config)


@pytest.mark.parametrize("name", [name for name in NAMES if contract.is_in_word_space(MODELS.load(name))])
def test_maps_of_another_space_than_that_of_the_words_are_refused(name: str, tmp_path: Path) -> None:
    """So does the demo data set: no map of VGG-19 has the 300 numbers of its words."""
    with pytest.raises(UsageError, match=rf"model {name} compares maps with label vectors: got the map .* with [68] "):
        train.run(task(make(tmp_path, RECIPE), name, settings(name)))
