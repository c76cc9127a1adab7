"""What people read of what a command came to."""

from typing import Any

from pipeline.commands.console import failed_lines, metric_lines, status_lines, training_line
from pipeline.commands.failures import Failure
from pipeline.commands.status import StageStatus, Totals, WorkStatus
from pipeline.files.lock import Writer
from schemas.command import Command
from schemas.figures import remarks

SECTION: dict[str, Any] = {
    "map": 0.5, "f1@3": 0.25, "labels": 3, "labels_without_positive": 0, "headline": "map",
    "chance": {"map": 0.125, "f1@3": 0.1}, "constant": {"map": 0.125, "f1@3": 0.2}, "permuted": {"map": None},
}  # fmt: skip


def test_a_single_unseen_label_has_no_permuted_figure_to_print() -> None:
    assert list(metric_lines("zsl", SECTION)) == [
        "ZSL  mAP 0.500 (chance 0.125)  F1@3 0.250 (chance 0.100, constant 0.200)"
    ]


def test_a_k_that_is_more_than_there_are_labels_is_remarked() -> None:
    _, note = metric_lines("zsl", SECTION | {"labels": 2})
    assert note == "NOTE: ZSL has 2 labels; for F1@3 all are predicted"


def test_labels_that_no_test_image_bears_are_told_with_the_mean_over_the_others() -> None:
    *_, note = metric_lines("zsl", SECTION | {"labels_without_positive": 1, "map_of_occurring": 0.75})
    assert note == "NOTE: ZSL: 1 of 3 labels have no positive test image; mAP of occurring labels 0.750"
    *_, note = metric_lines("zsl", SECTION | {"labels_without_positive": 1})  # by a protocol without that figure
    assert note == "NOTE: ZSL: 1 of 3 labels have no positive test image"


def test_a_zero_that_has_a_reason_names_it() -> None:
    _, note = metric_lines("zsl", SECTION | {"map": 0.0, "labels_without_positive": 3})
    assert note == "NOTE: ZSL: none of its 3 labels has a positive test image, so that its figures are 0"
    _, alone, note = metric_lines("zsl", SECTION | {"labels": 1, "labels_without_positive": 1})
    assert alone.startswith("NOTE: ZSL has 1 label: no other can change places with it")
    assert note == "NOTE: ZSL: its one label has no positive test image, so that its figures are 0"
    said = list(remarks("zsl", SECTION, ["zebra", "yak", "okapi", "gnu"]))
    assert said == ["ZSL: labels without a word vector are in no figure: 4 ('zebra', 'yak', 'okapi', ...)"]
    assert list(metric_lines("zsl", SECTION, ["ZSL: so"]))[1:] == ["NOTE: ZSL: so"]


def test_labels_that_the_protocol_leaves_out_of_means_are_told() -> None:
    *_, note = metric_lines("gzsl", SECTION | {"labels_left_out": 2})
    assert note == "NOTE: GZSL: 2 of 5 labels are in no mean, by the rule of the protocol"


def test_the_figure_that_the_protocol_names_stands_first() -> None:
    weighted = {"headline": "weighted_map", "weighted_map": 0.9}
    controls = {name: SECTION[name] | {"weighted_map": 0.25} for name in ("chance", "constant", "permuted")}
    (line,) = metric_lines("zsl", SECTION | weighted | controls)
    assert line.startswith("ZSL  Weighted mAP 0.900 (chance 0.250, word vectors permuted 0.250)  F1@3")


def test_status_says_who_writes_and_who_died() -> None:
    def last(alive: bool | None) -> str:
        *_, line = status_lines(WorkStatus((), Writer(7, "here", "2026-11-25T00:00:00+00:00", alive)))
        return line

    assert last(True) == "process 7 on here since 2026-11-25T00:00:00+00:00 writes here"
    assert "wrote here, and ended without a word. What is committed stands; run the same command again" in last(False)
    assert "cannot be seen from another host" in last(None)
    assert len(list(status_lines(WorkStatus((), None)))) == 1


def test_a_failed_image_is_one_line_of_fields_whatever_its_name_holds() -> None:
    (line,) = failed_lines([Failure("a\tb\n\x1b[2J", "not_found", "why", "http://a")])
    assert line == "a\\tb\\n\\x1b[2J\tnot_found\thttp://a\twhy"


def test_status_shows_slow_rates_and_adds_all_stages_up() -> None:
    slow = StageStatus("extract", 1, 100, 2_000_000, {"ok": 99}, 3000.0, images_per_s=0.0333, bytes_per_s=40_000)
    totals = Totals(1_200, 99, 1, 2_000_000, 7_500.0, ("extract", "train"))
    _, stage, total, outdated = status_lines(WorkStatus((slow,), None, totals=totals))
    assert stage.split() == ["extract", "1", "100", "2.0", "MB", "50", "min", "0.033", "0.04", "ok", "99"]
    assert total == "total: 1,200 images, 99 done, 1 failed, 2.0 MB, 2.1 h left"
    assert outdated == "not up to date: extract, train (biam-pipe plan says why)"


def test_the_next_command_after_taking_in_features_has_each_setting_once_as_it_counts() -> None:
    given = Command.parse(["convert", "--from", "a.h5", "--set", "store.name=hdf5", "--set", "train.lr=0.5"])
    assert training_line("nuswide", ['dataset.features=["my files/a.h5"]', "store.name=parquet"], given) == (
        "next: biam-pipe train --dataset nuswide --set train.lr=0.5 "
        "--set 'dataset.features=[\"my files/a.h5\"]' --set store.name=parquet"
    )
