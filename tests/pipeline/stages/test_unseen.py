"""Unseen labels drawn by a seed: which ones, of which labels, and what is shared between draws."""

import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_work import make
from stage_tasks import inputs, outputs, sealed, task

from pipeline import flow
from pipeline.batches.label_space import read_label_space
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Stage
from pipeline.files.inputs import Inputs, OutputFile, StageFiles
from pipeline.files.storage import Storage
from pipeline.files.tables import write_table
from pipeline.settings.layers import configuration
from pipeline.stages import embed, evaluate, index, report, split, train, unseen
from schemas import tables
from schemas.config import Config
from schemas.errors import PipelineError, UsageError
from schemas.status import LabelRole

# Images by label; in the CSV the frequent ones come in no order of names.
IMAGES = {"zebra": 4, "apple": 3, "lake": 5, "rare": 2, "moon": 3, "bear": 3, "once": 1}
FREQUENT = sorted(name for name, count in IMAGES.items() if count >= 3)


def configured(root: Path, *sets: str, dataset: str = "folder") -> Config:
    own = [f"dataset.labels={root / 'labels.csv'}"] if dataset == "folder" else []
    return configuration(dataset, None, {}, [*own, *sets], root)


def labelled(root: Path) -> Path:
    """A CSV of addresses, with each label on as many images as it says above."""
    rows = [f"http://h/{name}{number},{name}" for name, count in IMAGES.items() for number in range(count)]
    (root / "labels.csv").write_text("\n".join(["image,labels", *rows]))
    return root


def drawn(root: Path, *sets: str) -> tuple[dict[str, str], Output]:
    """Roles by name, and what the stage says."""
    config = configured(labelled(root), "split.min_label_images=3", *sets)
    dataset = config.dataset
    assert isinstance(dataset, FolderDataset)
    listing = task("index", root, index.Settings(dataset.model_copy(update={"shard_images": 8})))
    left = {"index": sealed(listing, index.run(listing))}
    dealt = task("split", root, split.Settings(config.split, dataset), left)
    left["split"] = sealed(dealt, split.run(dealt))
    stage = unseen.stage(config, Sources(Storage("nowhere")))
    files = {
        name: replace(file, path=file.path.replace("{folder}", stage.folder)) for name, file in stage.outputs.items()
    }
    made = replace(task("split", root, stage.settings, left), stage="unseen", outputs=files)
    (output,) = unseen.run(made)
    table = pq.read_table(root / files["labels"].at(None))
    assert table.schema.equals(tables.LABEL_ROLES)
    names = inputs(root, "test", left).table("index", "labels")["name"].to_pylist()
    return {names[row["label_index"]]: row["role"] for row in table.to_pylist()}, output


@pytest.mark.parametrize("seed", [0, 7])
def test_the_draw_is_a_sample_of_the_sorted_names_of_labels_with_images_enough(tmp_path: Path, seed: int) -> None:
    roles, output = drawn(tmp_path, f"split.unseen_seed={seed}", "split.num_unseen=2")
    expected = set(random.Random(seed).sample(FREQUENT, 2))
    assert roles == {name: "unseen" if name in expected else "seen" for name in FREQUENT}
    assert output.counts == {"seen": 3, "unseen": 2}
    assert output.facts == {"rarer_labels": 2, "unseen": sorted(expected)}


def test_a_fifth_is_drawn_where_no_number_is_set(tmp_path: Path) -> None:
    roles, _ = drawn(tmp_path, "split.unseen_seed=3")
    assert [name for name, role in roles.items() if role == "unseen"] == random.Random(3).sample(FREQUENT, 1)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "split.num_unseen=5",
            r"draw 5 of the labels and leave a seen one \(found 5 of 7 labels with at least 3 im.*split.num_unseen=1",
        ),
        (
            "split.min_label_images=5",
            r"found 1 of 7 labels with at least 5 images, expected more\).*take part: --set split.min_label_images=2",
        ),
        ("split.held_out_fold=0", "cannot hide one of 4 folds of 4 seen labels.*: --set split.held_out_folds=2"),
    ],
)
def test_too_few_labels_say_how_many_there_are_and_what_to_run(tmp_path: Path, setting: str, told: str) -> None:
    with pytest.raises(PipelineError, match=told):
        drawn(tmp_path, "split.unseen_seed=0", setting)


@pytest.mark.parametrize(
    ("dataset", "sets", "told"),
    [
        ("nuswide", ["dataset.root=x"], "the data set is 'nuswide', whose 81 concepts are the unseen labels"),
        ("openimages", [], "the data set is 'openimages', which lists its unseen labels"),
        ("folder", ["dataset.unseen=u.txt"], "dataset.unseen lists them"),
        ("demo", ["dataset.task=standard"], "dataset.task is 'standard', in which all labels are seen"),
    ],
)
def test_a_draw_is_refused_where_unseen_labels_are_fixed(
    tmp_path: Path, dataset: str, sets: list[str], told: str
) -> None:
    config = configured(tmp_path, *sets, "split.unseen_seed=0", dataset=dataset)
    with pytest.raises(
        UsageError, match=f"split.unseen_seed: got 0, expected null, since none are drawn where {told}. Use: "
    ):
        flow.plan(config, tmp_path, flow.Request("report"))


def test_without_a_seed_all_stages_and_recipes_are_as_they_were_and_images_are_split_alike_with_one() -> None:
    def described(*sets: str) -> dict[str, Stage]:
        config = configured(Path("nowhere"), "embed.vectors=http://h/e.txt", *sets, dataset="demo")
        every = (split, embed, train, evaluate, report)
        return {stage.__name__: stage.stage(config, Sources(Storage("nowhere"))) for stage in every}

    plain, unread, seeded = described(), described("split.min_label_images=5"), described("split.unseen_seed=1")
    for name in plain:
        assert plain[name].recipe == unread[name].recipe == seeded[name].recipe
        assert plain[name].upstream == unread[name].upstream
        if not name.endswith("split"):
            assert seeded[name].upstream.keys() - plain[name].upstream.keys() == {"unseen"}
    assert plain["pipeline.stages.split"].upstream == seeded["pipeline.stages.split"].upstream


def test_draws_share_split_and_vectors_and_none_replaces_another(tmp_path: Path, scheduler: str) -> None:
    work, request = tmp_path / "work", flow.Request("embed", scheduler=scheduler, quiet=True)

    def config(*sets: str) -> Config:
        few = ["dataset.num_images=60", "dataset.shard_images=30", "split.min_label_images=5"]
        return configured(tmp_path, *few, *sets, dataset="demo")

    assert flow.run(config(), work, request).ran == {"index": 1, "split": 3, "embed": 1}
    first, second = (config(f"split.unseen_seed={seed}") for seed in (0, 1))
    assert flow.run(first, work, request).ran == {"unseen": 1, "embed": 1}
    assert flow.run(second, work, request).ran == {"unseen": 1}  # the vectors of the same labels
    for standing in (config(), first, second):
        assert flow.run(standing, work, request).ran == {}
    third = config("split.unseen_seed=2")
    left = [(line.name, line.reasons) for line in flow.plan(third, work, request) if not line.up_to_date]
    assert left == [("unseen", ("missing",)), ("embed", ("after unseen",))]
    with pytest.raises(PipelineError, match=r"embed --only: unseen is not up to date .*Run: biam-pipe embed"):
        flow.run(third, work, flow.Request("embed", scheduler=scheduler, quiet=True, only=True))


def test_labels_have_the_roles_of_the_draw_and_rarer_ones_no_column(tmp_path: Path) -> None:
    work = make(tmp_path)
    before = read_label_space(work.left())
    kept = [index for index in range(work.recipe.labels) if index != 4]
    rows = [{"label_index": index, "role": "unseen" if index in (2, 8) else "seen"} for index in kept]
    made = replace(work.task("split", None), stage="unseen", outputs={"labels": OutputFile("drawn.parquet")})
    write_table(made.storage, "drawn.parquet", pa.Table.from_pylist(rows, schema=tables.LABEL_ROLES))
    receipts = sealed(made, [Output(("labels",), len(rows))])
    files = {"labels": OutputFile("drawn.parquet", tables.LABEL_ROLES, {"role": LabelRole})}
    stages = {name: StageFiles(work.recipe.folders[name], outputs(name, work.recipe.folders[name]), given)
              for name, given in work.receipts.items() if name in ("index", "split", "embed")}  # fmt: skip
    after = read_label_space(Inputs(made.storage, "test", {**stages, "unseen": StageFiles("", files, receipts)}))
    assert sorted(before.label_index.tolist()) == list(range(work.recipe.labels))
    assert after.label_index.tolist() == [0, 1, 3, 5, 6, 7, 2, 8]
    assert (after.num_seen, after.column_of[4]) == (6, -1)
