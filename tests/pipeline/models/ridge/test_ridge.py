"""The closed forms and the choice between them, against direct solutions in NumPy from all images at once."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from small_work import Recipe, make
from torch import Tensor

from pipeline.files.storage import Storage
from pipeline.inference.model_file import load_model, save_model
from pipeline.metrics.average_precision import average_precision
from pipeline.models import contract, ridge
from pipeline.models.fitting import Fitted, Fitting, Maps, Validation, fold_of_labels
from pipeline.models.ridge.settings import FORMS, STRENGTHS, RidgeConfig, Way
from pipeline.models.sizes import FeatureSizes
from pipeline.stages import evaluate, train
from pipeline.training.fitting import mean_ap
from schemas.config import EvaluateConfig, TrainConfig
from schemas.errors import IntegrityError, UsageError

IMAGES, VALIDATION, FEATURES, SEEN, WORD, BATCH = 90, 40, 12, 15, 6, 16
SIZES = FeatureSizes({"global": FEATURES}, WORD)
NOTHING_OPEN: dict[str, Any] = {"words": "plain", "strength": 30.0, "mixed_labels": 10}

pytestmark = pytest.mark.usefixtures("one_thread")


class Data:
    """Images with a large common mean, one feature that never changes, and at least one positive label each."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.words = normalised(0.3 + rng.normal(size=(SEEN, WORD))).astype(np.float32)
        self.features = (5 + rng.normal(size=(IMAGES + VALIDATION, FEATURES))).astype(np.float16)
        self.features[:, 3] = 2
        self.codes = rng.choice([-1, 0, 1], size=(IMAGES + VALIDATION, SEEN), p=[0.7, 0.2, 0.1]).astype(np.int8)
        self.codes[np.arange(IMAGES), rng.integers(0, SEEN, IMAGES)] = 1

    def batches(self, first: int = 0, last: int = IMAGES) -> Iterator[tuple[Maps, Tensor]]:
        for start in range(first, last, BATCH):
            rows = slice(start, min(start + BATCH, last))
            yield (torch.from_numpy(self.features[rows]),), torch.from_numpy(self.codes[rows])

    def fit(self, settings: RidgeConfig, worth: Sequence[float] | None = None, **changes: Any) -> Fitted:
        """What is fitted; ways to do so have the worth that is given, or their own."""
        given = None if worth is None else iter(worth)
        validation = Validation(
            VALIDATION,
            lambda: self.batches(IMAGES, IMAGES + VALIDATION),
            mean_ap if given is None else lambda scores, codes: next(given),
        )
        fitting = Fitting(
            words=torch.from_numpy(self.words),
            present=torch.from_numpy((self.codes == 1).sum(axis=0)),
            absent=torch.from_numpy((self.codes == -1).sum(axis=0)),
            train=self.batches,
            validated=None,
            seed=0,
            validation=validation,
        )
        return ridge.fit(settings, replace(fitting, **changes))

    def fitted(self, settings: RidgeConfig, worth: Sequence[float] | None = None) -> torch.nn.Module:
        """The network, fitted."""
        network = ridge.build(settings, SIZES)
        contract.put(network, self.fit(settings, worth).buffers)
        return network


def normalised(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Each row with norm 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def placed(words: NDArray[np.floating], seen: NDArray[np.float64], form: str) -> NDArray[np.floating]:
    """Vectors where their cosines are taken."""
    if form == "plain":
        return words
    left, found = seen - seen.mean(0), words - seen.mean(0)
    if form == "whitened":
        _, values, right = np.linalg.svd(left)
        found = found @ right.T * (values / values[0] + 0.05) ** -0.3
    return normalised(found)


def direct(data: Data, way: Way, new: NDArray[np.floating], words: NDArray[np.floating], labels: Sequence[int]) -> Any:
    """Scores by the formulas, with a column of ones, of a fit to some labels and the images that bear one.

    Beside them those of each part, which are added up by their deviations over the images that validate.
    """
    known = data.codes[:IMAGES][:, labels]
    bears = (known == 1).any(axis=1)
    x, positive = data.features[:IMAGES][bears].astype(np.float64), (known[bears] == 1).astype(np.float64)
    seen = data.words[labels].astype(np.float64)
    e, words = placed(seen, seen, way.words), placed(words, seen, way.words)
    deviation = np.where(x.std(0) > 0, x.std(0), 1)

    def z(rows: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.hstack([(rows.astype(np.float64) - x.mean(0)) / deviation, np.ones((len(rows), 1))])

    def regressed(targets: NDArray[np.float64], rows: NDArray[np.floating]) -> NDArray[np.float64]:
        return z(rows) @ np.linalg.solve(z(x).T @ z(x) + way.strength * np.eye(FEATURES + 1), z(x).T @ targets)

    def of_labels(rows: NDArray[np.floating]) -> NDArray[np.float64]:
        targets = positive - positive.mean(0)
        return regressed(targets, rows) / regressed(targets, x).std(0)

    def devise(rows: NDArray[np.floating], words: NDArray[np.floating]) -> NDArray[np.float64]:
        return normalised(regressed(positive / positive.sum(1, keepdims=True) @ e, rows)) @ words.T

    def conse(rows: NDArray[np.floating], words: NDArray[np.floating]) -> NDArray[np.float64]:
        found = of_labels(rows)
        best = np.argsort(-found, axis=1)[:, : way.mixed_labels]
        mixed = np.zeros_like(found)
        np.put_along_axis(mixed, best, np.maximum(np.take_along_axis(found, best, 1), 0), 1)
        return normalised(mixed @ e) @ words.T

    if way.form == "eszsl":
        signs = 2 * positive - 1
        return regressed((signs - signs.mean(0)) @ e, new) @ np.linalg.inv(e.T @ e + np.eye(WORD)) @ words.T
    if way.form == "kernel":
        return of_labels(new) @ np.exp((normalised(e) @ normalised(words).T - 1) / 0.1)
    if way.form == "conse_devise":
        validating = data.features[IMAGES:]
        return sum(part(new, words) / part(validating, e).std() for part in (conse, devise))
    return {"conse": conse, "devise": devise}[way.form](new, words)


@pytest.mark.parametrize("words_form", ["plain", "centred", "whitened"])
@pytest.mark.parametrize("form", FORMS)
def test_scores_are_those_of_the_direct_solution(form: str, words_form: str) -> None:
    data, rng = Data(), np.random.default_rng(1)
    settings = RidgeConfig(form=form, **NOTHING_OPEN | {"words": words_form})
    network, (way,) = data.fitted(settings), settings.ways()
    new, words = (5 + rng.normal(size=(7, FEATURES))).astype(np.float16), normalised(rng.normal(size=(4, WORD)))
    found = network(torch.from_numpy(new), torch.from_numpy(words.astype(np.float32)))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), direct(data, way, new, words, range(SEEN)), atol=2e-6, rtol=1e-5)


def test_a_region_map_counts_by_its_mean() -> None:
    data = Data()
    network = data.fitted(RidgeConfig(form="devise", **NOTHING_OPEN))
    regions = torch.randn(3, 2, 4, FEATURES, generator=torch.Generator().manual_seed(0)).half()
    words = torch.from_numpy(data.words)
    torch.testing.assert_close(network(regions, words), network(regions.float().mean(dim=(1, 2)), words))


def test_the_strength_is_the_one_that_validates_best_or_the_one_that_is_set() -> None:
    data = Data()
    usual = {"form": "devise", "words": "plain", "choose_by": "seen_labels"}
    chosen = data.fitted(RidgeConfig(**usual), worth=[0.1, 0.2, 0.4, 0.3])
    named = data.fitted(RidgeConfig(**usual, strength=STRENGTHS[2]))
    assert torch.equal(chosen.weights, named.weights)
    with pytest.raises(UsageError, match=r"model.strength: got null, and there are no validation images .*Use: --set"):
        data.fit(RidgeConfig(), validation=None)


@pytest.mark.parametrize("folds", [2, 3])
def test_ways_are_worth_how_they_rank_labels_that_no_fit_has_seen(folds: int) -> None:
    """Each fold against a fit to the other labels alone, without the images that bear none of those."""
    data, settings = Data(), RidgeConfig(strength=30.0, held_out_folds=folds)
    facts = data.fit(settings).facts
    fold_of = np.array(fold_of_labels(SEEN, folds))
    assert facts["hidden_labels"] == [int((fold_of == fold).sum()) for fold in range(folds)]
    assert (facts["images"], facts["validation_images"]) == (IMAGES, VALIDATION)
    new, codes = data.features[IMAGES:], data.codes[IMAGES:]
    worth = []
    for way in settings.ways():
        by_fold = []
        for fold in range(folds):
            hidden = np.flatnonzero(fold_of == fold)
            scores = direct(data, way, new, data.words[hidden].astype(np.float64), np.flatnonzero(fold_of != fold))
            by_fold.append(np.nanmean(average_precision(scores, codes[:, hidden])))
        worth.append(np.mean(by_fold))
    ways = [{key: value for key, value in asdict(way).items() if value is not None} for way in settings.ways()]
    tried = facts["tried"]
    assert [{key: value for key, value in way.items() if key != "map"} for way in tried] == ways
    np.testing.assert_allclose([way["map"] for way in tried], worth, atol=1e-6)
    assert {key: facts[key] for key in ways[int(np.argmax(worth))]} == ways[int(np.argmax(worth))]


def test_all_that_is_open_is_chosen_alike_each_time_and_scores_as_if_it_had_been_set() -> None:
    data = Data()
    chosen, again = data.fit(RidgeConfig()), data.fit(RidgeConfig())
    assert chosen.facts == again.facts
    assert len(chosen.facts["tried"]) == len(RidgeConfig().ways()) == 120
    assert all(torch.equal(value, again.buffers[name]) for name, value in chosen.buffers.items())
    named = {key: chosen.facts[key] for key in ("form", "words", "strength", "mixed_labels") if key in chosen.facts}
    for name, value in data.fit(RidgeConfig(**named)).buffers.items():
        assert torch.equal(value, chosen.buffers[name]), name


def test_without_unseen_labels_seen_ones_choose_unless_the_settings_say_otherwise() -> None:
    data, few = Data(), {"strength": 30.0, "form": "conse", "mixed_labels": 5}
    seen = data.fit(RidgeConfig(**few), zero_shot=False).facts
    assert seen == data.fit(RidgeConfig(**few, choose_by="seen_labels")).facts
    assert (seen["chosen_by"], "hidden_labels" in seen) == ("seen_labels", False)
    new, codes = data.features[IMAGES:], data.codes[IMAGES:]
    worth = [
        np.nanmean(average_precision(direct(data, way, new, data.words.astype(np.float64), range(SEEN)), codes))
        for way in RidgeConfig(**few).ways()
    ]
    np.testing.assert_allclose([way["map"] for way in seen["tried"]], worth, atol=1e-6)
    said = RidgeConfig(**few, choose_by="held_out_labels")
    assert data.fit(said, zero_shot=False).facts["chosen_by"] == "held_out_labels"


def test_what_cannot_be_chosen_by_held_out_labels_is_refused_with_what_can() -> None:
    data = Data()
    with pytest.raises(
        UsageError, match=r"held_out_folds: got 16, and there are 15 seen labels.*choose_by=seen_labels"
    ):
        data.fit(RidgeConfig(held_out_folds=16))
    data.codes[IMAGES:] = -1
    with pytest.raises(UsageError, match=r"model.form.*: got null, and no validation image bears a seen label"):
        data.fit(RidgeConfig(strength=1.0))
    data.codes[:] = -1
    data.codes[np.arange(IMAGES), 0] = 1
    with pytest.raises(UsageError, match=r"got null, and no training image bears labels of two folds"):
        data.fit(RidgeConfig(strength=1.0))


@pytest.mark.parametrize("form", ["conse", "devise", "eszsl"])
def test_a_model_file_of_before_words_could_be_moved_scores_as_it_did(tmp_path: Path, form: str) -> None:
    data, settings = Data(), RidgeConfig(form=form, **NOTHING_OPEN)
    network, before = data.fitted(settings), ("mean", "deviation", "weights", "offset", "seen_words")
    weights = {name: value for name, value in network.state_dict().items() if name in before}
    asked = {"name": "ridge", "preset": "default", "form": form, "mixed_labels": 10, "strength": 30.0}
    save_model(Storage(str(tmp_path)), "model.safetensors", weights, RidgeConfig(**asked), SIZES)
    loaded = load_model(tmp_path / "model.safetensors").model
    new = torch.from_numpy(data.features[IMAGES:]), torch.from_numpy(data.words)
    assert torch.equal(loaded(*new), network(*new))
    wrong = weights | {"form_number": torch.tensor(len(FORMS))}
    save_model(Storage(str(tmp_path)), "model.safetensors", wrong, RidgeConfig(**asked), SIZES)
    with pytest.raises(IntegrityError, match=r"is no model of ours .*its form is number \[5\], and there are 5"):
        load_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize("feature", ["global", "region"])
@pytest.mark.parametrize("form", [None, "conse_devise"])
def test_a_run_has_the_same_bytes_in_either_store_twice_and_whatever_the_unseen_labels_are(
    tmp_path: Path, form: str | None, feature: str
) -> None:
    settings = train.Settings(RidgeConfig(form=form, feature=feature), TrainConfig(device="cpu"), threads=1)
    models = []
    for number, recipe in enumerate([Recipe(), Recipe(store="hdf5"), Recipe(unseen_seed=1)]):
        work = make(tmp_path / str(number), recipe)
        train.run(work.task("train", settings))
        models.append(work.path("train", "model.safetensors").read_bytes())
    assert models[0] == models[1] == models[2]


def test_a_run_is_evaluated_and_has_no_response_maps(tmp_path: Path) -> None:
    work = make(tmp_path)
    settings = train.Settings(RidgeConfig(), TrainConfig(device="cpu"), threads=1)
    task = work.task("train", settings)
    done = work.with_receipts(task, train.run(task))
    scoring = EvaluateConfig(protocol="nuswide", ks=(3,), draws=2, device="cpu")
    outputs = evaluate.run(done.task("evaluate", evaluate.Settings(scoring, dataset="small", threads=1)))
    assert outputs[0].facts["zsl_map"] > 0
    history = json.loads(work.path("train", "history.json").read_bytes())
    assert history["fit"]["strength"] in STRENGTHS
    assert (history["fit"]["chosen_by"], len(history["fit"]["tried"])) == ("held_out_labels", 120)
    assert (history["epochs"], history["selected_epoch"]) == ([], None)
    examples = pq.read_table(work.path("evaluate", "examples.parquet"))
    assert examples.num_rows > 0
    assert not any(examples["maps"].to_pylist())
