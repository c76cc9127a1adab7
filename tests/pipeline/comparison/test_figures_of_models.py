"""What the models of a comparison show of test images, against slow readings of the same files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_work import Recipe, SmallWork, image_id, make

from pipeline.comparison.figures.charts import scatters
from pipeline.comparison.figures.made import nothing_to_show
from pipeline.comparison.figures.points import Points, points
from pipeline.comparison.figures.responses import Responses, responses
from pipeline.comparison.figures.rows import FigureRow, Looking
from pipeline.comparison.figures.side_by_side import GuessedImage, SideBySide, side_by_side
from pipeline.inference.model_file import load_model
from pipeline.models import MODELS
from pipeline.stages import train
from schemas.config import TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

# Half of all images are tested on; of ten nobody says whether they have most of the labels.
RECIPE = Recipe(
    shards=3, splits=dict.fromkeys(range(30), "test"), annotations=dict.fromkeys(range(10), ([3], [0, 2, 4]))
)
TEST = sorted({*range(30), *range(30, 60, 5)})
MODELS_OF = {
    "region": ("biam", {"channels": 16, "heads": 2, "joint_size": 12, "top_k": 2}),
    "pooled": ("biam", {"channels": 16, "heads": 2, "joint_size": 12, "classification": "pooled"}),
    "lesa": ("lesa", {"attentions": 3}),
}
LOOKING = Looking(torch.device("cpu"), 7, 0, lambda _: None)


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SmallWork]:
    """Folders with the same images, each with a run of another row."""
    made = {}
    for title, (name, section) in MODELS_OF.items():
        work = make(tmp_path_factory.mktemp(title), RECIPE)
        config = TrainConfig(epochs=2, batch_images=8, lr=3e-3, device="cpu")
        task = work.task("train", train.Settings(MODELS.load(name).SETTINGS(**section), config, threads=1))
        made[title] = work.with_receipts(task, train.run(task))
    return made


@pytest.fixture(scope="module")
def rows(works: dict[str, SmallWork]) -> dict[str, FigureRow]:
    return {title: FigureRow(title, MODELS_OF[title][0], "p", work.left()) for title, work in works.items()}


def columns(work: SmallWork) -> list[int]:
    unseen = work.recipe.unseen_labels()
    return [label for label in range(work.recipe.labels) if label not in unseen] + unseen


def network(work: SmallWork) -> tuple[Any, torch.Tensor]:
    """The trained one, and the words of the columns."""
    model = load_model(work.path("train", "model.safetensors")).model
    return model, torch.from_numpy(work.vectors[columns(work)])


def maps(work: SmallWork, title: str, number: int) -> list[torch.Tensor]:
    both = [torch.from_numpy(work.regions[[number]]), torch.from_numpy(work.global_features[[number]])]
    return both if MODELS_OF[title][0] == "biam" else both[:1]


@torch.no_grad()
def best(work: SmallWork, title: str, number: int, first: int, count: int) -> list[int]:
    """Labels of the largest scores from a column on, one image at a time."""
    model, words = network(work)
    scores = model(*maps(work, title, number), words)[0, first:].numpy()
    return [columns(work)[first + place] for place in np.argsort(-scores, kind="stable")[:count]]


def number(shown: GuessedImage) -> int:
    return next(n for n in TEST if image_id(n) == shown.image.image_id)


@pytest.fixture(scope="module")
def beside(rows: dict[str, FigureRow]) -> list[SideBySide]:
    return side_by_side([rows["region"], rows["lesa"]], ["zsl", "gzsl"], LOOKING)


@pytest.mark.parametrize(("task", "first", "top"), [(0, 6, 3), (1, 0, 5)])
def test_the_best_labels_of_both_rows_stand_beside_each_other(
    beside: list[SideBySide], works: dict[str, SmallWork], task: int, first: int, top: int
) -> None:
    found = beside[task]
    assert (found.rows, found.top, found.num_images) == (("region", "lesa"), top, len(TEST))
    assert len(found.drawn) == 6
    for shown in found.drawn:
        for title in found.rows:
            expected = best(works[title], title, number(shown), first, top)
            assert [guess.label.name for guess in shown.guesses[title]] == [f"label {label}" for label in expected]
            assert shown.image.labels


def test_gains_are_where_the_first_row_has_most_right_labels_more(
    beside: list[SideBySide], works: dict[str, SmallWork]
) -> None:
    found = beside[1]

    def right(title: str, image: int) -> int:
        work = works[title]
        return len(set(best(work, title, image, 0, 5)) & set(work.positives[image] or []))

    gains = {image: right("region", image) - right("lesa", image) for image in TEST}
    for shown, sign in ((found.gains, 1), (found.losses, -1)):
        told = [sign * gains[number(one)] for one in shown]
        assert told == sorted((sign * gain for gain in gains.values() if sign * gain > 0), reverse=True)[:6]


def test_a_label_of_which_nobody_says_anything_is_unknown(beside: list[SideBySide]) -> None:
    known = {"label 3": "right"} | dict.fromkeys(("label 0", "label 2", "label 4"), "wrong")
    partly = [shown for shown in beside[1].drawn if number(shown) in RECIPE.annotations]
    assert partly
    for shown in partly:
        for guess in (*shown.guesses["region"], *shown.guesses["lesa"]):
            assert guess.outcome == known.get(guess.label.name, "unknown")


def test_a_row_gains_nothing_over_itself(rows: dict[str, FigureRow]) -> None:
    (found,) = side_by_side([rows["region"], rows["region"]], ["zsl"], LOOKING)
    assert found.gains == found.losses == ()
    assert {guess.outcome for shown in found.drawn for guess in shown.guesses["region"]} >= {"right", "wrong"}


@pytest.fixture(scope="module")
def seen(rows: dict[str, FigureRow]) -> Responses:
    return responses([rows["lesa"], rows["region"]], LOOKING)


@torch.no_grad()
def test_rows_show_where_they_see_the_same_unseen_label(seen: Responses, works: dict[str, SmallWork]) -> None:
    images = {image.image_id for image in seen.images}
    assert len(images) == 6
    for shown in seen.labels:
        assert (shown.label.role, [found.row for found in shown.responses]) == ("unseen", ["lesa", "region"])
        assert shown.label in shown.image.labels
        for found in shown.responses:
            model, words = network(works[found.row])
            number = next(n for n in TEST if image_id(n) == shown.image.image_id)
            word = words[[columns(works[found.row]).index(int(shown.label.name.removeprefix("label ")))]]
            given = maps(works[found.row], found.row, number)
            np.testing.assert_allclose(found.values, model.response_maps(*given, word)[0, 0].numpy(), rtol=1e-4)
            assert found.score == pytest.approx(float(model(*given, word)), rel=1e-4)
    assert seen.table().num_rows == 2 * len(seen.labels)


def test_where_no_test_image_bears_an_unseen_label_there_is_nothing_to_see(tmp_path: Path) -> None:
    bare = Recipe(shards=3, splits=RECIPE.splits, annotations={number: ([0], [1]) for number in range(60)})
    work = make(tmp_path, bare)
    task = work.task(
        "train",
        train.Settings(
            MODELS.load("biam").SETTINGS(**MODELS_OF["region"][1]),
            TrainConfig(epochs=1, batch_images=8, device="cpu"),
            threads=1,
        ),
    )
    found = [FigureRow("bare", "biam", "p", work.with_receipts(task, train.run(task)).left())]
    assert responses(found, LOOKING) == Responses((), ())
    assert points(found, LOOKING) is None
    told = " ".join(nothing_to_show(found, Responses((), ()), None))
    assert "No response maps" in told
    assert "No vectors" in told
    assert not list(nothing_to_show([FigureRow("flat", "conse", "p", found[0].inputs)], Responses((), ()), None))
    assert [len(shown.drawn) for shown in side_by_side([*found, *found], ["zsl", "gzsl"], LOOKING)] == [0, 6]


@torch.no_grad()
def test_the_attention_that_gives_a_score_is_told_and_counted(seen: Responses, works: dict[str, SmallWork]) -> None:
    model, words = network(works["lesa"])
    (counts,) = seen.counts
    expected = np.zeros(3, dtype=int)
    for number in TEST:
        by_attention = model.by_attention(*maps(works["lesa"], "lesa", number), words)[0]
        for label in works["lesa"].positives[number] or []:
            expected[int(by_attention[columns(works["lesa"]).index(label)].argmax())] += 1
    assert (counts.row, counts.num_images, counts.counts) == ("lesa", len(TEST), tuple(expected))
    for shown in seen.labels:
        lesa, region = shown.responses
        assert (lesa.attention in range(3), region.attention) == (True, None)


@pytest.fixture(scope="module")
def placed(rows: dict[str, FigureRow]) -> Points:
    found = points([rows["lesa"], rows["pooled"], rows["region"]], LOOKING)
    assert found is not None
    return found


@torch.no_grad()
def test_points_are_images_with_one_of_the_labels_and_numbers_those_of_their_vectors(
    placed: Points, works: dict[str, SmallWork]
) -> None:
    assert [row.row for row in placed.rows] == ["pooled", "region"]
    assert set(placed.labels) == {"label 1", "label 3", "label 5"}
    unseen, bearing = set(RECIPE.unseen_labels()), {}
    for number in TEST:
        own = unseen & set(works["region"].positives[number] or [])
        if len(own) == 1:
            bearing[image_id(number)] = (number, f"label {own.pop()}")
    told = dict(zip(placed.image_ids, (placed.labels[number] for number in placed.of_label), strict=True))
    assert told == {name: label for name, (_, label) in bearing.items()}
    row, work = placed.rows[1], works["region"]
    model, words = network(work)
    features = []
    for number, label in bearing.values():
        word = words[[columns(work).index(int(label.removeprefix("label ")))]]
        own = model.label_features(*maps(work, "region", number), word)[0, 0]
        score = model(*maps(work, "region", number), word)[0, 0]
        torch.testing.assert_close(own @ model.label_projection(word)[0], score, rtol=1e-4, atol=1e-4)
        features.append((own / own.norm()).numpy())
    cosines = np.array(features) @ np.array(features).T
    names = np.array([label for _, label in bearing.values()])
    nearest = [
        sorted(set(range(len(names))) - {at}, key=lambda other, at=at: -cosines[at, other])[:10]
        for at in range(len(names))
    ]
    assert row.purity == pytest.approx(np.mean([names[near] == names[at] for at, near in enumerate(nearest)]), abs=0.01)


def test_points_are_the_same_twice_and_have_a_place_each(placed: Points, rows: dict[str, FigureRow]) -> None:
    again = points([rows["pooled"]], LOOKING)
    assert again is not None
    assert np.array_equal(again.rows[0].places, placed.rows[0].places)
    assert placed.table().num_rows == 2 * len(placed.image_ids)
    (_, chart), _ = scatters(placed)
    assert chart.count("<use") >= len(placed.image_ids)


def test_few_images_make_no_points(rows: dict[str, FigureRow]) -> None:
    assert points([rows["lesa"]], LOOKING) is None
