"""Training that starts from the weights of a run: it does, repeats to the byte, and refuses what does not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_work import SmallWork, make
from stage_tasks import outputs

from pipeline.batches.label_space import read_label_space
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Task
from pipeline.files.storage import Storage
from pipeline.models.biam.settings import BiamConfig
from pipeline.settings.layers import configuration
from pipeline.stages import train
from schemas.config import TrainConfig
from schemas.errors import IntegrityError, TimeBudgetError, UsageError

pytestmark = pytest.mark.usefixtures("one_thread")

WARM = "runs/warm"


def settings(**changes: Any) -> train.Settings:
    fields = {"epochs": 2, "batch_images": 8, "validate_every_epochs": 1, "device": "cpu", "warmup_epochs": 0}
    return train.Settings(
        BiamConfig(channels=16, heads=2, joint_size=12, top_k=2), TrainConfig(**(fields | changes)), threads=1
    )


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> SmallWork:
    """A folder with a run."""
    work = make(tmp_path_factory.mktemp("work"))
    torch.set_num_threads(1)
    task = work.task("train", settings(lr=3e-3))
    return work.with_receipts(task, train.run(task))


def warm(work: SmallWork, folder: str = WARM, **changes: Any) -> Task:
    task = work.task("train", settings(init_from="latest", **changes))
    return replace(task, folder=folder, outputs=outputs("train", folder))


def weights(work: SmallWork, folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(work.root, folder, "model.safetensors"))


def test_it_starts_from_the_weights_and_says_so(earlier: SmallWork) -> None:
    (output,) = train.run(warm(earlier, lr=1e-9, weight_decay=0.0))
    before, after = weights(earlier, "runs/small"), weights(earlier, WARM)
    for name, tensor in before.items():
        if tensor.is_floating_point() and "running" not in name:
            torch.testing.assert_close(after[name], tensor, atol=1e-5, rtol=0)
    began = {"run": "small", "sha256": earlier.receipts["train"][0].content}
    assert output.facts["start"] == began
    assert json.loads(Path(earlier.root, WARM, "history.json").read_text())["start"] == began
    assert "starting from the weights of runs/small" in Path(earlier.root, WARM, "train.log").read_text()


def test_it_is_equal_to_the_byte_when_stopped_after_every_step(earlier: SmallWork) -> None:
    train.run(warm(earlier, "runs/whole"))
    stops = 0
    while True:
        try:
            train.run(replace(warm(earlier, "runs/pieces"), deadline=1.0))
        except TimeBudgetError:
            stops += 1
        else:
            break
    assert stops > 5
    whole, pieces = (Path(earlier.root, "runs", name, "model.safetensors") for name in ("whole", "pieces"))
    assert pieces.read_bytes() == whole.read_bytes()


def test_a_damaged_model_is_told(tmp_path: Path) -> None:
    work = make(tmp_path)
    task = work.task("train", settings(epochs=1))
    work = work.with_receipts(task, train.run(task))
    path = work.path("train", "model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"runs/small/model.safetensors is not what its receipt says"):
        train.run(warm(work))


def history(work: SmallWork, folder: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(work.root, folder, "history.json").read_text())
    return told


def with_history(work: SmallWork, **changes: Any) -> SmallWork:
    """The same after a run that tells something else of itself."""
    written = {key: value for key, value in (history(work, "runs/small") | changes).items() if value is not None}
    task = work.task("train", settings())
    work.path("train", "history.json").write_text(json.dumps(written))
    return work.with_receipts(task, [Output(("model", "history", "config"), rows=1)])


def test_what_it_has_learnt_from_is_told_with_what_the_run_before_had(tmp_path: Path) -> None:
    work = make(tmp_path)
    task = work.task("train", settings(epochs=1))
    work = work.with_receipts(task, train.run(task))
    space = read_label_space(work.left())
    assert history(work, "runs/small")["seen_labels"] == sorted(space.label_id[: space.num_seen])
    train.run(warm(with_history(work, seen_labels=["a label that is gone"]), epochs=1))
    assert history(work, WARM)["seen_labels"] == sorted([*space.label_id[: space.num_seen], "a label that is gone"])


@pytest.mark.parametrize("known", [True, False])
def test_a_run_that_may_have_learnt_an_unseen_label_is_refused(tmp_path: Path, known: bool) -> None:
    work = make(tmp_path)
    task = work.task("train", settings(epochs=1))
    work = work.with_receipts(task, train.run(task))
    space = read_label_space(work.left())
    work = with_history(work, seen_labels=[space.label_id[-1]] if known else None)
    told = f"has learnt labels that are unseen now; found '{space.name[-1]}', expected" if known else "does not tell"
    with pytest.raises(UsageError, match=rf"setting train.init_from: runs/small {told}"):
        train.run(warm(work))


def described(*sets: str) -> Any:
    given = ["embed.vectors=http://h/e.txt", "backbone.name=tiny", *sets]
    return train.stage(configuration("demo", None, {}, given, Path("nowhere")), Sources(Storage("nowhere")))


def test_the_name_of_the_run_is_no_recipe_and_other_models_and_features_are_unfit() -> None:
    latest, named = described("train.init_from=latest"), described("train.init_from=mine")
    assert latest.recipe == named.recipe != described().recipe
    unfit = latest.history.start.unfit
    own = {"settings": dict(latest.recipe), "upstream": {"extract": "a" * 64}}
    assert unfit({"settings": dict(described().recipe), "upstream": {"extract": "a" * 64}}, own) is None
    assert unfit({**own, "upstream": {"extract": "b" * 64}}, own) == "other features"
    for stage in ("split", "unseen"):
        assert "another split" in unfit({**own, "upstream": {**own["upstream"], stage: "c" * 64}}, own)
    other = dict(described("model.channels=8").recipe)
    assert (
        unfit({"settings": other, "upstream": {"extract": "a" * 64}}, own) == "another model (model.channels 8 -> 64)"
    )


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["train.weights=x.pth"], "train.init_from and train.weights"),
        (["train.run=mine", "train.init_from=mine"], "run mine cannot start from itself"),
        (["model.name=ridge"], "model ridge has no epochs"),
    ],
)
def test_what_makes_no_sense_is_refused(sets: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        described("train.init_from=latest", *sets)


def test_weights_of_labels_are_not_taken() -> None:
    stage = described("dataset.task=standard", "model.name=logistic", "train.init_from=latest")
    with pytest.raises(UsageError, match="model logistic has weights for each label, and no run says which"):
        stage.require(None)
