"""From runs to a table: means, deviations, paired differences, published figures, and what each form prints."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest

from pipeline.comparison.cell import Cell, Cost, Row
from pipeline.comparison.forms import comma_separated, latex, markdown
from pipeline.comparison.grid import grid
from pipeline.comparison.page import page
from pipeline.comparison.per_label import per_label
from pipeline.comparison.published import published
from pipeline.comparison.table import Setting, document, over_sets
from pipeline.metrics.paired import Replicates

_FIGURES = ("map", "f1@3", "f1@5")
_LUCK = np.linspace(-0.1, 0.1, 1000, dtype=np.float32)  # of the images of a replicate, the same for all runs


def section(value: float, **more: Any) -> dict[str, Any]:
    controls = {name: dict.fromkeys(_FIGURES, 0.05) for name in ("chance", "constant", "permuted")}
    return {**dict.fromkeys(_FIGURES, value), **controls, "headline": "map", "labels": 3, **more}


def cell(value: float, *, pairing: str = "same", spread: float = 0.0, **more: Any) -> Cell:
    own = np.random.default_rng(round(1e6 * value)).normal(0, spread, 1000).astype(np.float32)
    coverage = {"fraction": 1.0, "warning": None}
    metrics = {"zsl": section(value, **more), "gzsl": section(value / 2), "protocol": "nuswide", "images": 100}
    return Cell(
        run="runs/one",
        metrics=metrics | {"coverage": coverage},
        replicates=Replicates(pairing, {f"{task}/map": value + _LUCK + own for task in ("zsl", "gzsl")}),
        labels={"cat": value, "dog": None, "elk": value / 3},
        unseen=frozenset(("cat", "dog")),
        cost=Cost(1000, 2.0, 0.5),
    )


def row(title: str, cells: Sequence[Cell], **more: Any) -> Row:
    return Row(title, title, "biam", "released", dict(enumerate(cells)), **more)


def made(rows: Sequence[Row], **more: Any) -> dict[str, Any]:
    setting: dict[str, Any] = {"dataset": "nuswide", "backbone": "vgg19", "tasks": ("zsl", "gzsl"), "seeds": (0, 1)}
    return document(Setting(**{**setting, "vary": "training", "random_weights": False, **more}), rows)


def line(told: Mapping[str, Any], title: str, task: str = "ZSL") -> dict[str, str]:
    table = grid(told)
    shown = ""
    for texts in table.lines:
        shown = texts[0] or shown
        if (shown, texts[1]) == (title, task):
            return dict(zip(table.header, texts, strict=True))
    raise AssertionError(f"no line of {title} and {task}")


def test_figures_are_means_over_seeds_with_the_deviation_of_a_sample() -> None:
    told = made([row("A", [cell(0.2), cell(0.3)]), row("B", [cell(0.1)])])
    assert line(told, "A")["mAP"] == "25.0 ±7.1"
    assert line(told, "B")["mAP"] == "10.0"
    assert told["tasks"]["zsl"]["rows"]["A"]["std"]["map"] == pytest.approx(np.std([0.2, 0.3], ddof=1))
    assert told["tasks"]["zsl"]["rows"]["B"]["std"]["map"] is None


def test_rows_are_paired_image_by_image_so_that_luck_which_they_share_does_not_count() -> None:
    told = made([row("A", [cell(0.30, spread=0.01)]), row("B", [cell(0.25, spread=0.01)])])
    found = told["tasks"]["zsl"]["rows"]["B"]["behind_best"]
    assert found["over"] == "images"
    assert found["mean"] == pytest.approx(0.05)
    low, high = found["interval"]
    assert 0.01 < low < 0.05 < high < 0.09  # shared luck alone would give 0.05 +- 0.095
    assert line(told, "B")["below the best"].endswith("*")
    assert line(told, "A")["below the best"] == "best"


def test_a_difference_within_the_luck_of_the_images_is_not_marked() -> None:
    told = made([row("A", [cell(0.30, spread=0.05)]), row("B", [cell(0.29, spread=0.05)])])
    assert told["tasks"]["zsl"]["rows"]["B"]["behind_best"]["beyond_luck"] is False
    assert "*" not in line(told, "B")["below the best"]


def test_runs_over_other_images_or_labels_are_never_paired() -> None:
    told = made([row("A", [cell(0.30)]), row("B", [cell(0.25, pairing="other")])])
    assert line(told, "B")["below the best"] == "5.0 (not paired)"


def test_seeds_of_other_labels_are_compared_set_by_set() -> None:
    first = [cell(0.2 + 0.1 * number, pairing=str(number)) for number in range(6)]
    second = [cell(0.18 + 0.1 * number, pairing=str(number)) for number in range(6)]
    told = made([row("A", first), row("B", second)], vary="labels", seeds=tuple(range(6)))
    found = told["tasks"]["zsl"]["rows"]["B"]["behind_best"]
    assert found["over"] == "sets"
    assert found["interval"] == pytest.approx([0.02, 0.02])
    assert "sets of labels drawn anew" in " ".join(grid(told).notes)


def test_an_interval_over_sets_is_that_of_their_mean() -> None:
    gaps = np.random.default_rng(0).normal(0.1, 0.2, 40)
    found = over_sets(gaps)
    error = 2.023 * gaps.std(ddof=1) / np.sqrt(40)
    assert [found.low, found.high] == pytest.approx([gaps.mean() - error, gaps.mean() + error], abs=0.01)


def test_an_interval_over_few_sets_is_wide_enough() -> None:
    drawn = np.random.default_rng(0).normal(0.02, 0.03, (200, 5))
    found = [over_sets(gaps) for gaps in drawn]
    assert 0.91 <= np.mean([one.low <= 0.02 <= one.high for one in found]) <= 0.99


def test_without_an_unseen_label_the_standard_figures_are_shown() -> None:
    alone = cell(0.3)
    metrics = {name: value for name, value in alone.metrics.items() if name not in ("zsl", "gzsl")}
    told = made([row("A", [replace(alone, metrics=metrics | {"standard": section(0.4)})])])
    assert line(told, "A", "STANDARD")["mAP"] == "40.0"


def test_a_row_that_failed_says_so_and_one_that_does_not_suit_has_dashes() -> None:
    rows = [row("A", [cell(0.3)]), row("B", [], failure="the disk is full"), row("C", [])]
    told = made(rows)
    table = grid(told)
    assert next(texts for texts in table.lines if texts[0] == "B")[:2] == ("B", "failed: the disk is full")
    assert set(next(texts for texts in table.lines if texts[0] == "C")[1:]) == {"–"}


def test_chance_stands_last_and_once_for_each_task() -> None:
    table = grid(made([row("A", [cell(0.3)]), row("B", [cell(0.2)])]))
    assert [texts[:3] for texts in table.lines[-2:]] == [("chance", "ZSL", "5.0"), ("chance", "GZSL", "5.0")]


def test_scores_on_one_scale_are_a_second_line() -> None:
    told = made([row("A", [cell(0.3, standardised=dict.fromkeys(_FIGURES, 0.4))])])
    assert line(told, "A", "ZSL, one scale")["mAP"] == "40.0"
    assert "One scale" in " ".join(grid(told).notes)
    whole = made([row("A", [cell(0.3)])], standardise=True)
    assert "All figures are of scores on one scale" in " ".join(grid(whole).notes)


def test_published_figures_stand_only_where_data_set_task_and_protocol_agree() -> None:
    rows = [row("BiAM", [cell(0.3)]), row("LESA", [cell(0.2)])]
    assert line(made(rows), "BiAM")["published"] == "26.3"
    assert line(made(rows), "LESA", "GZSL")["published"] == "5.6"
    assert line(made(rows, dataset="demo"), "BiAM")["published"] == "–"
    assert published("nuswide", "openimages", "vgg19", "zsl", "BiAM") is None
    assert published("openimages", "openimages", "vgg19", "zsl", "BiAM") is None  # pooled figures are on another scale
    pooled = published("openimages", "openimages-biam", "vgg19", "zsl", "BiAM")
    assert pooled is not None
    assert pooled.figures["weighted_map"] == pytest.approx(0.736)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"random_weights": True}, "random weights"),
        ({"standardise": True}, "scores on one scale"),
        ({"backbone": "tiny"}, "published for features of vgg19"),
    ],
)
def test_a_published_figure_that_compares_loosely_is_marked_and_told_why(more: dict[str, Any], said: str) -> None:
    told = made([row("BiAM", [cell(0.3)])], **more)
    assert line(told, "BiAM")["published"] == "~26.3"
    assert any(note.startswith("~ BiAM: ") and said in note for note in grid(told).notes)


def test_a_published_figure_beside_a_row_with_settings_of_ones_own_is_marked() -> None:
    told = made([row("BiAM", [cell(0.3)], changed=("train.epochs",)), row("LESA", [cell(0.2)])])
    assert [line(told, title)["published"] for title in ("BiAM", "LESA")] == ["~26.3", "19.4"]
    assert "~ BiAM: train.epochs set here." in grid(told).notes


def test_what_was_published_of_unknown_settings_is_marked() -> None:
    assert line(made([row("Fast0Tag", [cell(0.3)])]), "Fast0Tag")["published"] == "~15.1"


def test_labels_hidden_from_training_choose_a_row_and_hindsight_stands_beside() -> None:
    rows = [
        row("A", [cell(0.30), cell(0.31)], hidden={0: [0.1, 0.2], 1: [0.1, 0.1]}),
        row("B", [cell(0.25), cell(0.32)], hidden={0: [0.3, 0.2], 1: [0.2, 0.2]}),
    ]
    found = made(rows)["choice"]
    assert found["chosen"] == "B"
    assert found["by_seed"]["0"] == {"chosen": "B", "zsl": 0.25, "best": "A", "best_zsl": 0.30}
    assert found["by_seed"]["1"]["best"] == "B"
    assert any("one would take B" in note for note in grid(made(rows)).notes)


def test_labels_stand_by_what_the_best_row_gains_and_only_unseen_ones_in_zsl() -> None:
    rows = [row("A", [cell(0.3)]), row("B", [cell(0.1)])]
    table = per_label(made(rows)).to_pylist()
    assert {line["label"] for line in table if line["task"] == "zsl"} == {"cat"}
    assert {line["label"] for line in table if line["task"] == "gzsl"} == {"cat", "elk"}
    assert [line["label"] for line in made(rows)["tasks"]["gzsl"]["labels"]] == ["cat", "elk"]


def test_all_forms_hold_the_same_texts() -> None:
    told = made([row("a_b & c|d", [cell(0.3)]), row("B", [cell(0.2)])])
    table = grid(told)
    rows = list(csv.reader(StringIO(comma_separated(table))))
    assert tuple(rows[0]) == table.header
    assert tuple(rows[1]) == table.lines[0]
    assert r"a\_b \& c\textbar{}d" in latex(table)
    assert "| a_b &amp; c&#124;d |" in markdown(table)
    assert all(
        len(text.split(" & ")) >= len(table.header) for text in latex(table).splitlines() if text.endswith(r"\\")
    )
    html = page(told, table)
    assert "a_b &amp; c|d" in html
    assert "http" not in html.replace("http-equiv", "")
    assert html == page(told, table)


def test_a_name_is_no_markup_of_any_form() -> None:
    table = grid(made([row("[1] <b>*x*</b> `y`", [cell(0.3)]), row("*best", [cell(0.2)])]))
    assert r"| \[1\] &lt;b>\*x\*&lt;/b> \`y\` |" in markdown(table)
    lines = [text for text in latex(table).splitlines() if text.endswith(r"\\")]
    assert lines[1].startswith(r"{}[1] \textless{}b\textgreater{}*x*")
    assert not any(text.startswith(("[", "*")) for text in lines)
