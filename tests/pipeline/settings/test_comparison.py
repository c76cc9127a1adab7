"""From settings to the rows of a comparison: who reads what, and what is refused before anything runs."""

import sys
from pathlib import Path

import pytest

from pipeline.comparison.tables import published_as
from pipeline.settings.comparison import comparison
from pipeline.settings.layers import user_layers
from schemas.comparison import ComparisonSettings, RowSettings
from schemas.errors import UsageError


def rows(*sets: str, file: Path | None = None, dataset: str = "demo") -> ComparisonSettings:
    return comparison(user_layers(dataset, file, {}, sets, Path("work")))


def row(found: ComparisonSettings, title: str) -> RowSettings:
    return next(row for row in found.rows if row.variant.title == title)


def test_each_row_has_its_models_preset_for_the_data_set_and_closed_forms_come_along() -> None:
    found = rows('compare.models=["lesa","biam:paper"]')
    titles = [row.variant.title for row in found.rows]
    assert titles == ["lesa", "biam:paper", "ridge: chosen", "ridge: DeViSE", "ridge: ConSE", "ridge: ESZSL"]
    assert [row.cells[0].model.preset for row in found.rows[:2]] == ["demo", "paper"]


def test_a_closed_form_that_is_asked_for_is_one_row() -> None:
    titles = [row.variant.title for row in rows('compare.models=["ridge","ridge:eszsl"]').rows]
    assert titles == ["ridge", "ridge:eszsl", "ridge: DeViSE", "ridge: ConSE"]


def test_seeds_train_each_row_anew_but_what_is_never_drawn() -> None:
    found = rows('compare.models=["lesa"]', "compare.seeds=[3,4]")
    assert {seed: cell.train.seed for seed, cell in row(found, "lesa").cells.items()} == {3: 3, 4: 4}
    assert list(row(found, "ridge: ConSE").cells) == [3]


def test_seeds_of_the_split_and_of_labels_are_those_of_all_rows() -> None:
    split = rows('compare.models=["lesa"]', "compare.seeds=[3,4]", "compare.vary=split")
    folders = {(cell.split.seed, cell.split.name) for row in split.rows for cell in row.cells.values()}
    assert folders == {(3, "default-3"), (4, "default-4")}
    labels = rows('compare.models=["lesa"]', "compare.seeds=[3,4]", "compare.vary=labels", dataset="folder")
    assert {cell.split.unseen_seed for row in labels.rows for cell in row.cells.values()} == {3, 4}
    assert {(cell.split.name, cell.train.seed) for row in labels.rows for cell in row.cells.values()} == {
        ("default", 0)
    }


def test_a_file_is_of_the_model_that_train_trains_but_steers_all_rows(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        '[dataset]\nnum_images = 80\n[model]\nchannels = 8\n[train]\nepochs = 3\nrun = "mine"\nloader_workers = 0\n'
    )
    cell = row(rows('compare.models=["biam"]', file=file), "biam").cells[0]
    assert cell.dataset.num_images == 80  # type: ignore[attr-defined]
    assert (cell.model.channels, cell.train.epochs, cell.train.run) == (64, 10, None)  # type: ignore[attr-defined]
    assert cell.train.loader_workers == 0


def test_what_is_typed_holds_for_all_rows_that_read_it() -> None:
    found = rows('compare.models=["biam","lesa"]', "train.epochs=3", "model.channels=16")
    assert [row(found, title).cells[0].train.epochs for title in ("biam", "lesa")] == [3, 3]
    assert row(found, "biam").cells[0].model.channels == 16  # type: ignore[attr-defined]
    assert row(found, "ridge: ConSE").suits
    assert row(found, "biam").changed == ("model.channels", "train.epochs")
    assert row(found, "lesa").changed == ("train.epochs",)
    assert row(found, "ridge: ConSE").changed == ()

    as_it_is = row(rows('compare.models=["biam"]'), "biam").cells[0].train
    same = rows('compare.models=["biam"]', f"train.epochs={as_it_is.epochs}", "train.loader_workers=0")
    assert row(same, "biam").changed == ()


def test_a_seed_that_typed_settings_give_holds_where_the_seeds_are_of_something_else() -> None:
    found = rows('compare.models=["lesa"]', "compare.vary=labels", "train.seed=5", "split.min_label_images=1")
    assert row(found, "lesa").cells[0].train.seed == 5


def test_a_table_has_the_rows_of_the_paper_and_dashes_where_the_task_does_not_suit() -> None:
    found = rows('compare.tables=["3"]')
    assert [row.variant.title for row in found.rows[:4]] == ["standard features", "RCB alone", "SCB alone", "BiAM"]
    assert row(found, "RCB alone").cells[0].model.blocks == ("rcb",)  # type: ignore[attr-defined]
    assert rows('compare.tables=["6"]').config.dataset.task == "standard"
    assert rows('compare.tables=["8"]').config.backbone.name == "dino_resnet50"
    logistic = row(rows('compare.models=["logistic"]'), "logistic")
    assert not logistic.suits
    assert not logistic.cells


def test_folds_of_seen_labels_are_hidden_from_further_runs_where_a_row_is_to_be_chosen() -> None:
    found = row(rows('compare.models=["lesa"]', "compare.choose=held_out_labels"), "lesa")
    assert [cell.split.held_out_fold for cell in found.hidden[0]] == [0, 1]
    assert {cell.evaluate.images for cell in found.hidden[0]} == {"validation"}
    assert found.cells[0].split.held_out_fold is None


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ([], "nothing to compare"),
        (['compare.models=["lesaa"]'], "unknown model 'lesaa'. Did you mean 'lesa'"),
        (['compare.models=["lesa:papr"]'], "row 'lesa:papr': .*model.preset"),
        (['compare.tables=["5"]'], "unknown table '5'"),
        (['compare.variants=[{model="biam",set={"model.chanels"=8}}]'], "row 'biam': unknown setting 'model.chanels'"),
        (['compare.variants=[{modl="biam"}]'], "compare.variants"),
        (['compare.models=["lesa"]', "train.epocs=3"], "unknown setting 'train.epocs'. Did you mean 'train.epochs'"),
        (['compare.models=["ridge"]', "train.epochs=3"], "no row reads the setting train.epochs"),
        (['compare.models=["lesa"]', "train.run=mine"], "compare: train.run holds for one run alone"),
        (['compare.models=["lesa"]', "model.preset=demo"], "model.preset .* use --models NAME:PRESET"),
        (['compare.models=["lesa"]', "train.seed=5"], "train.seed .* use --seeds"),
        (
            ['compare.models=["lesa"]', "compare.vary=labels", "split.unseen_seed=5"],
            "split.unseen_seed .* use --seeds",
        ),
        (['compare.models=["lesa"]', 'compare.tasks=["zsl","standard"]'], "compare.tasks"),
        (
            ['compare.tables=["6"]', "dataset.task=zero-shot"],
            "table 6 is of dataset.task = 'standard'; got 'zero-shot'",
        ),
        (['compare.tables=["1","6"]'], "zero-shot tables"),
        (['compare.variants=[{name="a\\nb",model="biam"}]'], "compare.variants.name: .* a name on one line.*null$"),
        (['compare.variants=[{name=" ",model="biam"}]'], "a name on one line"),
        (['compare.models=["lesa"]', "compare.choose=held_out"], "expected 'held_out_labels', or null"),
        (['compare.models=["lesa"]', "compare.choose=held_out_labels", "compare.choose_folds=5"], "choose_folds"),
        (
            ['compare.variants=[{name="x",model="biam"},{name="x",model="lesa"}]'],
            "two rows are called 'x'",
        ),
        (['compare.models=["lesa"]', "compare.seeds=[]"], "compare.seeds"),
    ],
)
def test_a_typing_error_is_told_before_anything_runs(sets: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        rows(*sets)


def test_rows_that_stand_side_by_side_are_two_of_the_comparison() -> None:
    assert rows('compare.models=["lesa"]', 'compare.side_by_side=["lesa","ridge: ConSE"]').config.compare.side_by_side
    with pytest.raises(UsageError, match=r"unknown row 'les'\. Did you mean 'lesa'"):
        rows('compare.models=["lesa"]', 'compare.side_by_side=["les","ridge: ConSE"]')
    with pytest.raises(UsageError, match="expected two rows, or none"):
        rows('compare.models=["lesa"]', 'compare.side_by_side=["lesa"]')


def test_figures_that_need_a_library_which_is_not_here_are_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)  # as if it were not installed
    assert rows('compare.models=["lesa"]', "compare.figures=true")
    with pytest.raises(UsageError, match=r"pip install 'biam-pipe\[figures\]'"):
        rows('compare.models=["biam"]', "compare.figures=true")


def test_what_is_published_stands_beside_rows_that_repeat_it_whatever_others_are_called() -> None:
    titles = {
        row.variant.title: published_as(row.variant, row.cells[0].model.preset)
        for row in rows(
            'compare.tables=["3"]',
            'compare.models=["lesa","biam:tuned"]',
            'compare.variants=[{name="LESA",model="ridge",preset="devise"},{name="RCB only",model="biam"}]',
            dataset="nuswide",
        ).rows
        if row.cells
    }
    assert {title: known for title, known in titles.items() if known is not None} == {
        "lesa": "LESA",
        "standard features": "standard features",
        "RCB alone": "RCB alone",
        "SCB alone": "SCB alone",
        "BiAM": "BiAM",
    }
