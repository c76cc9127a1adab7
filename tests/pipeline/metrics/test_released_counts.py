"""Protocol `openimages-biam` against a slow loop that counts as the release does, on small cases and on real labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import compute, csv

from pipeline.metrics.protocols import Baselines, Evaluation, evaluate, measure
from pipeline.metrics.score_table import ScoreTable
from schemas.figures import SectionName

SECTIONS: tuple[SectionName, ...] = get_args(SectionName)
KS = (10, 20)


def counted(
    section: str, scores: NDArray[np.float32], codes: NDArray[np.int8], ks: tuple[int, ...]
) -> dict[str, float]:
    """What the release comes to: image by image, label by label."""
    bearing = [image for image in range(len(codes)) if 1 in codes[image]]
    scores, codes = scores[bearing], codes[bearing]
    aps, weights, kept = [], [], []
    for label in range(codes.shape[1]):
        verified = [image for image in range(len(codes)) if codes[image, label]]
        if not verified and section != "zsl":
            continue
        kept.append(label)
        cells = codes[verified] != 0  # of whatever label
        aps.append(released_ap(scores[verified][cells], codes[verified][cells]))
        weights.append((codes[:, label] == 1).sum())
    figures = {"map": np.mean(aps), "weighted_map": np.dot(aps, weights) / sum(weights)}
    among = np.array(kept if section == "standard" else range(codes.shape[1]))
    for k in ks:
        right = 0
        for of_image, truth in zip(scores, codes, strict=True):
            best = among[np.argsort(-of_image[among], kind="stable")[:k]]
            right += (truth[best] == 1).sum()
        precision, recall = right / (len(scores) * min(k, len(among))), right / (codes == 1).sum()
        figures[f"f1@{k}"] = 2 * precision * recall / (precision + recall) if right else 0.0
    return figures


def released_ap(scores: NDArray[np.float32], codes: NDArray[np.int8]) -> float:
    """AP of the cells in descending order; scores here have no ties."""
    right = codes[np.argsort(-scores)] == 1
    if not right.any():
        return 0.0
    return float((np.cumsum(right)[right] / (np.flatnonzero(right) + 1)).mean())


@dataclass(frozen=True)
class Verified:
    """Verified cells of the validation images of Open Images, image by image."""

    images: NDArray[np.int32]
    labels: NDArray[np.int64]
    codes: NDArray[np.int8]
    seen: int
    every: int

    def of(self, section: str, num_images: int) -> NDArray[np.int8]:
        """Codes of the first images, [image, label]."""
        table = np.zeros((num_images, self.every), dtype=np.int8)
        first = self.images < num_images
        table[self.images[first], self.labels[first]] = self.codes[first]
        return {"zsl": table[:, self.seen :], "gzsl": table, "standard": table[:, : self.seen]}[section]


@pytest.fixture(scope="module")
def real(shared: Path) -> Verified:
    """Those of 7,186 seen and 400 unseen labels."""
    lists = shared / "data/metadata/openimages"
    if not lists.exists():
        pytest.skip("no label files of Open Images in ../shared")
    seen, unseen = ((lists / name).read_text().split() for name in ("classes-trainable.txt", "unseen_labels.txt"))
    chosen = (lists / "top_400_unseen.csv").read_text("utf-8-sig").split()
    columns = [*seen, *(unseen[int(number)] for number in chosen)]
    said = csv.read_csv(lists / "validation-annotations-human-imagelabels.csv.gz")
    said = said.append_column("label", compute.index_in(said["LabelName"], pa.array(columns)))
    image = compute.index_in(said["ImageID"], said["ImageID"].unique())
    said = said.append_column("image", image).filter(compute.is_valid(said["label"]))
    codes = np.where(said["Confidence"].to_numpy() == 1, 1, -1).astype(np.int8)
    return Verified(said["image"].to_numpy(), said["label"].to_numpy(), codes, len(seen), len(columns))


def drawn(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Scores of which no two are equal."""
    cells = int(np.prod(shape))
    assert cells < 2**24, "float32 tells so many whole numbers apart"
    return np.random.default_rng(seed).permutation(cells).reshape(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("section", "num_images"),
    [("zsl", 500), ("zsl", 2000), ("zsl", 41_620), ("gzsl", 500), ("gzsl", 2000), ("standard", 500)],
)
def test_figures_are_those_of_the_release_on_real_labels_whatever_the_limit(
    real: Verified, section: SectionName, num_images: int
) -> None:
    codes = real.of(section, num_images)
    scores = drawn(codes.shape)
    expected = counted(section, scores, codes, KS)
    found = measure("openimages-biam", section, ScoreTable.of(scores, codes), KS).figures
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def small(section: SectionName, scores: list[list[float]], codes: list[list[int]], ks: tuple[int, ...]) -> Evaluation:
    table = ScoreTable.of(np.array(scores, dtype=np.float32), np.array(codes, dtype=np.int8))
    return evaluate("openimages-biam", section, table, ks, Baselines(4))


def test_a_label_without_a_verified_cell_counts_as_zero_in_zsl_and_not_at_all_in_gzsl() -> None:
    scores, codes = [[0.9, 0.1, 0.2], [0.2, 0.8, 0.1], [0.3, 0.4, 0.9]], [[1, -1, 0], [-1, 1, 0], [1, -1, 0]]
    zsl, gzsl = small("zsl", scores, codes, ()), small("gzsl", scores, codes, ())
    assert zsl.measured.figures["map"] == pytest.approx(0.6111, abs=5e-5)
    assert gzsl.measured.figures["map"] == pytest.approx(0.9167, abs=5e-5)
    assert zsl.as_json()["labels"] == 3
    assert "labels_left_out" not in zsl.as_json()
    assert (gzsl.as_json()["labels"], gzsl.as_json()["labels_left_out"]) == (2, 1)
    assert zsl.measured.figures["weighted_map"] == gzsl.measured.figures["weighted_map"]


def test_the_standard_section_seeks_the_best_labels_among_those_that_count() -> None:
    scores, codes = [[0.5, 0.1, 0.9], [0.2, 0.6, 0.9]], [[1, -1, 0], [-1, 1, 0]]
    standard, gzsl = small("standard", scores, codes, (1,)), small("gzsl", scores, codes, (1,))
    assert standard.measured.figures["f1@1"] == 1.0
    assert gzsl.measured.figures["f1@1"] == 0.0
    assert standard.permuted["f1@1"] == 0.0  # the two that count change places
    assert standard.chance["f1@1"] == pytest.approx(0.5, abs=0.5)


def test_controls_of_the_standard_section_are_those_of_a_table_without_the_other_labels() -> None:
    generator = np.random.default_rng(0)
    codes = np.where(generator.random((40, 9)) < 0.5, 0, np.where(generator.random((40, 9)) < 0.5, 1, -1))
    codes[:, ::4] = 0
    scores, codes = generator.random(codes.shape), codes.astype(np.int8)
    kept = np.flatnonzero(codes.any(axis=0))
    whole = evaluate("openimages-biam", "standard", ScoreTable.of(scores, codes), (1, 3), Baselines(5))
    alone = evaluate("openimages-biam", "gzsl", ScoreTable.of(scores[:, kept], codes[:, kept]), (1, 3), Baselines(5))
    assert (whole.labels, whole.labels_left_out) == (6, 3)
    for name in ("chance", "constant", "permuted"):
        assert getattr(whole, name) == pytest.approx(getattr(alone, name), abs=1e-12)


def test_a_table_without_any_verified_cell_comes_to_nothing() -> None:
    for section in SECTIONS:
        found = small(section, [[0.1, 0.2], [0.2, 0.1]], [[0, 0], [0, 0]], (1, 3))
        assert set(found.measured.figures.values()) == set(found.chance.values()) == {0.0}
