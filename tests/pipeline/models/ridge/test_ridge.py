"""The closed forms, against a direct solution in NumPy from all images at once."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from small_work import Recipe, make
from torch import Tensor

from pipeline.models import contract, ridge
from pipeline.models.fitting import Fitting, Maps
from pipeline.models.ridge.settings import RidgeConfig
from pipeline.models.ridge.solution import STRENGTHS
from pipeline.models.sizes import FeatureSizes
from pipeline.stages import evaluate, train
from schemas.config import EvaluateConfig, TrainConfig
from schemas.errors import UsageError

FORMS = ["devise", "conse", "eszsl"]
IMAGES, FEATURES, SEEN, WORD, BATCH = 90, 12, 15, 6, 16

pytestmark = pytest.mark.usefixtures("one_thread")


class Data:
    """Images with a large common mean, one feature that never changes, and at least one positive label each."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.words = normalised(rng.normal(size=(SEEN, WORD))).astype(np.float32)
        self.features = (5 + rng.normal(size=(IMAGES, FEATURES))).astype(np.float16)
        self.features[:, 3] = 2
        self.codes = rng.choice([-1, 0, 1], size=(IMAGES, SEEN), p=[0.6, 0.2, 0.2]).astype(np.int8)
        self.codes[np.arange(IMAGES), rng.integers(0, SEEN, IMAGES)] = 1

    def batches(self) -> Iterator[tuple[Maps, Tensor]]:
        for start in range(0, IMAGES, BATCH):
            rows = slice(start, start + BATCH)
            yield (torch.from_numpy(self.features[rows]),), torch.from_numpy(self.codes[rows])

    def fitted(self, settings: RidgeConfig, worth: Sequence[float] | None = None) -> torch.nn.Module:
        """The network, fitted."""
        fitting = Fitting(
            words=torch.from_numpy(self.words),
            present=torch.from_numpy((self.codes == 1).sum(axis=0)),
            absent=torch.from_numpy((self.codes == -1).sum(axis=0)),
            train=self.batches,
            validated=None if worth is None else lambda _: list(worth),
            seed=0,
        )
        network = ridge.build(settings, FeatureSizes({"global": FEATURES}, WORD))
        contract.put(network, ridge.fit(settings, fitting).buffers)
        return network


def normalised(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Each row with norm 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def direct(data: Data, form: str, strength: float, new: NDArray[np.floating], words: NDArray[np.floating]) -> NDArray:
    """Scores by the formulas, with a column of ones."""
    x, e = data.features.astype(np.float64), data.words.astype(np.float64)
    deviation = np.where(x.std(0) > 0, x.std(0), 1)

    def z(rows: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.hstack([(rows.astype(np.float64) - x.mean(0)) / deviation, np.ones((len(rows), 1))])

    positive = (data.codes == 1).astype(np.float64)
    if form == "devise":
        targets = positive / positive.sum(1, keepdims=True) @ e
    elif form == "conse":
        targets = positive - positive.mean(0)
    else:
        signs = 2 * positive - 1
        targets = (signs - signs.mean(0)) @ e
    weights = np.linalg.solve(z(x).T @ z(x) + strength * np.eye(FEATURES + 1), z(x).T @ targets)
    found = z(new) @ weights
    if form == "eszsl":
        return found @ np.linalg.inv(e.T @ e + np.eye(WORD)) @ words.T
    if form == "conse":
        found /= (z(x) @ weights).std(0)
        best = np.argsort(-found, axis=1)[:, :10]
        mixed = np.zeros_like(found)
        np.put_along_axis(mixed, best, np.maximum(np.take_along_axis(found, best, 1), 0), 1)
        found = mixed @ e
    return normalised(found) @ words.T


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_those_of_the_direct_solution(form: str) -> None:
    data, rng = Data(), np.random.default_rng(1)
    network = data.fitted(RidgeConfig(form=form, strength=30.0))
    new, words = (5 + rng.normal(size=(7, FEATURES))).astype(np.float16), normalised(rng.normal(size=(4, WORD)))
    found = network(torch.from_numpy(new), torch.from_numpy(words.astype(np.float32)))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), direct(data, form, 30.0, new, words), atol=1e-6)


def test_a_region_map_counts_by_its_mean() -> None:
    data = Data()
    network = data.fitted(RidgeConfig(form="devise", strength=30.0))
    regions = torch.randn(3, 2, 4, FEATURES, generator=torch.Generator().manual_seed(0)).half()
    words = torch.from_numpy(data.words)
    torch.testing.assert_close(network(regions, words), network(regions.float().mean(dim=(1, 2)), words))


def test_the_strength_is_the_one_that_validates_best_or_the_one_that_is_set() -> None:
    data = Data()
    chosen = data.fitted(RidgeConfig(form="devise"), worth=[0.1, 0.2, 0.4, 0.3])
    named = data.fitted(RidgeConfig(form="devise", strength=STRENGTHS[2]))
    assert torch.equal(chosen.weights, named.weights)
    with pytest.raises(UsageError, match=r"model.strength: got null, and there are no validation images .*Use: --set"):
        data.fitted(RidgeConfig())


@pytest.mark.parametrize("feature", ["global", "region"])
@pytest.mark.parametrize("form", FORMS)
def test_a_run_has_the_same_bytes_in_either_store_twice_and_whatever_the_unseen_labels_are(
    tmp_path: Path, form: str, feature: str
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
    assert (history["epochs"], history["selected_epoch"]) == ([], None)
    examples = pq.read_table(work.path("evaluate", "examples.parquet"))
    assert examples.num_rows > 0
    assert not any(examples["maps"].to_pylist())
