"""The pieces of the report page, one by one."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline import reporting
from pipeline.reporting.charts import line_chart
from pipeline.reporting.figures import history, sections
from pipeline.reporting.heat import heat_picture, laid_over, shrunk
from pipeline.reporting.labels import label_matrix, label_names, ranked_labels
from pipeline.reporting.page import count, duration, percent, size
from pipeline.reporting.pictures import overlay, shrink
from pipeline.reporting.ran import facts, libraries, status_rows
from schemas import tables
from schemas.receipts import Receipt


def test_a_response_map_is_brightest_where_it_is_strongest() -> None:
    response = np.zeros((2, 4), np.float32)
    response[1, 3] = 5.0
    laid = np.asarray(overlay(Image.new("RGB", (80, 40), (90, 60, 30)), response), np.float32).mean(axis=2)
    row, column = np.unravel_index(laid.argmax(), laid.shape)
    assert row >= 30
    assert column >= 70
    grey = np.asarray(Image.new("RGB", (1, 1), (90, 60, 30)).convert("L"))[0, 0]
    assert np.abs(laid[:20, :40] - grey).max() <= 1


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan, np.inf])
def test_a_response_map_without_a_range_is_plain_grey(value: float) -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    grey = np.asarray(picture.convert("L").convert("RGB"))
    assert np.array_equal(np.asarray(overlay(picture, np.full((3, 3), value))), grey)


def test_small_pictures_are_not_blown_up() -> None:
    assert shrink(Image.new("RGB", (80, 40)), 320).size == (80, 40)
    assert shrink(Image.new("RGB", (800, 401)), 320).size == (320, 160)
    assert shrink(Image.new("RGB", (2000, 1)), 320).size == (320, 1)


def test_charts_are_the_same_twice_and_share_no_id() -> None:
    series = {"loss & more": [(1, 2.0), (2, 1.0)]}
    one, two = (line_chart(name, "a <title>", series, selected=2) for name in ("first", "second"))
    assert one == line_chart("first", "a <title>", series, selected=2)
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    references = set(re.findall(r'href="#([^"]+)"', one)) | set(re.findall(r"url\(#([^)]+)", one))
    assert references <= ids[0]
    assert "<style" not in one
    assert "://" not in one
    assert "#0102" not in one
    assert 'aria-label="a &lt;title&gt;"' in one
    assert "loss &amp; more" in one


def test_charts_are_drawn_alike_whatever_matplotlib_is_set_to() -> None:
    series = {"loss": [(1, 2.0), (2, 1.0)]}
    usual = line_chart("loss", "loss", series)
    with matplotlib.rc_context(
        {"lines.linewidth": 9, "font.family": "monospace", "figure.dpi": 300, "axes.grid": True}
    ):
        assert line_chart("loss", "loss", series) == usual


def test_each_series_and_its_sample_in_the_legend_have_ids_that_the_style_sheet_colours() -> None:
    series = {f"measure {number}": [(1, number), (2, number)] for number in range(5)}
    chart = line_chart("validation", "validation", series, selected=2)
    ends = re.findall(r'id="validation-\d+-(series-\d|selected)"', chart)
    assert sorted(ends) == sorted(2 * [*(f"series-{number}" for number in (1, 2, 3, 4, 1)), "selected"])
    style = (Path(reporting.__file__).parent / "style.css").read_text()
    assert all(f'.chart [id$="-{end}"]' in style for end in ends)


def test_only_both_ends_of_a_long_list_of_labels_are_shown_and_ties_go_by_index() -> None:
    rows = [
        {"label_index": i, "label_id": str(i), "name": str(i), "role": "seen", "positives": 1, "negatives": 1}
        | {"average_precision": None if i == 3 else round(i / 2) / 10, "chance": None if i == 3 else 0.1}
        for i in range(9)
    ]
    table = pa.Table.from_pylist(rows, schema=tables.PER_LABEL)
    (few,) = ranked_labels(table, each_end=4)
    assert [label.name for label in few.best] == ["7", "8", "6", "4", "5", "2", "0", "1"]
    assert few.worst == ()
    assert few.without == 1
    (many,) = ranked_labels(table, each_end=3)
    assert [label.name for label in many.best] == ["7", "8", "6"]
    assert [label.name for label in many.worst] == ["2", "0", "1"]
    assert many.left_out == 2


def test_labels_without_a_vector_and_labels_without_a_row_both_count_as_such() -> None:
    labels = [{"label_index": i, "label_id": str(i), "name": str(i)} for i in range(4)]
    roles = [{"label_index": i, "role": "unseen"} for i in range(4)]
    space = label_names(
        pa.Table.from_pylist(labels, schema=tables.LABELS), pa.Table.from_pylist(roles, schema=tables.LABEL_ROLES)
    )
    rows = [
        {"label_index": 0, "label_id": "0", "vector": [1.0], "words_found": ["a"], "words_missing": []},
        {"label_index": 1, "label_id": "1", "vector": [1.0], "words_found": ["a"], "words_missing": ["b"]},
        {"label_index": 2, "label_id": "2", "vector": None, "words_found": [], "words_missing": ["c"]},
    ]
    matrix = label_matrix(pa.Table.from_pylist(rows, schema=tables.embeddings(1)), space)
    unseen = matrix.coverage[0]
    assert (unseen.labels, unseen.all_words, unseen.some_words, unseen.no_word) == (4, 1, 1, 2)
    assert [(gap.name, gap.missing) for gap in matrix.gaps] == [("2", ("c",)), ("3", ()), ("1", ("b",))]


def test_measures_come_whole_rankings_first_and_then_by_k() -> None:
    (section,) = sections(
        {
            "protocol": "nuswide",
            "zsl": {"recall@10": 0.1, "f1@10": 0.1, "recall@3": 0.1, "f1@3": float("nan"), "map": 0.2}
            | {"labels": 1200, "labels_without_positive": 1100, "headline": "f1@10"},
        }
    ).values()
    assert [measure.name for measure in section.measures] == ["mAP", "F1@3", "Recall@3", "F1@10", "Recall@10"]
    assert section.headline.name == "F1@10"
    assert section.note.endswith("by protocol nuswide; 1,100 of the labels have no positive test image")
    assert section.measures[1].value is None
    assert section.measures[0].times_chance is None


def test_epochs_without_a_validation_leave_a_hole_and_not_a_zero() -> None:
    epochs = [{"epoch": 1, "train_loss": 2.0, "validation": None}, {"epoch": 2, "validation": {"map": 0.5}}]
    written = history({"epochs": epochs})
    assert written.losses() == {"training loss": [(1, 2.0)]}
    assert written.validations() == {"mAP": [(2, 0.5)]}


def test_statuses_stand_in_the_order_of_the_closed_list() -> None:
    rows = status_rows([{"timeout": 2, "ok": 1}, {"ok": 1, "decode_error": 3}])
    assert [(row.status, row.counts) for row in rows] == [("ok", (1, 1)), ("timeout", (2, 0)), ("decode_error", (0, 3))]


def receipt(stage: str, **more: object) -> Receipt:
    values = {"counts": {}, "facts": {}, "started_at": 0.0, "seconds": 1.0, "versions": {}} | more
    return Receipt(stage=stage, shard=None, fingerprint="", content="", files=(), rows=1, **values)


def test_library_versions_that_differ_name_their_stages() -> None:
    inputs = {
        "extract": [receipt("extract", versions={"python": "3.11.9", "torch": "2.15.0"})],
        "train": [receipt("train", versions={"python": "3.11.9", "torch": "2.11.0"})],
    }
    assert [(one.name, one.version) for one in libraries(inputs)] == [
        ("python", "3.11.9"),
        ("torch", "2.11.0 (train), 2.15.0 (extract)"),
    ]


def test_long_facts_are_cut() -> None:
    shown = facts({"train": [receipt("train", facts={"epochs": 4, "long": list(range(200))})]})
    assert [(fact.name, fact.value[-3:]) for fact in shown] == [("epochs", "4"), ("long", "7 …")]


def test_numbers_are_written_for_people() -> None:
    assert count(1234567) == "1,234,567"
    assert percent(0.1234) == "12.3\u202f%"
    assert percent(None) == "–"
    assert [size(n) for n in (0, 999, 4_200_000, 1.88e12, 2e15)] == [
        f"{number}\u202f{unit}"
        for number, unit in [("0", "B"), ("999", "B"), ("4.2", "MB"), ("1.88", "TB"), ("2e+03", "TB")]
    ]
    assert [duration(s) for s in (0.04, 59.94, 125, 3 * 3600 + 299)] == [
        "0.0\u202fs",
        "59.9\u202fs",
        "2\u202fmin 05\u202fs",
        "3\u202fh 04\u202fmin",
    ]


def test_a_heat_map_leaves_the_photo_as_it_is_where_the_response_is_weakest() -> None:
    photo = Image.new("RGB", (90, 60), (20, 120, 200))
    response = np.zeros((2, 3), np.float32)
    response[0, 2] = 5.0
    laid = np.asarray(laid_over(photo, response), np.int16)
    assert laid[-1, 0].tolist() == [20, 120, 200]
    assert abs(laid[0, -1] - np.array([20, 120, 200])).max() > 100
    for nothing in (np.full((2, 3), 7.0), np.full((2, 3), np.nan)):
        assert np.array_equal(np.asarray(laid_over(photo, nothing)), np.asarray(photo))


def test_a_heat_picture_has_the_photo_the_map_its_scale_and_a_caption() -> None:
    photo = Image.new("RGB", (96, 64), (20, 120, 200))
    plain, captioned = (heat_picture(photo, np.eye(2), ["x " * number]) for number in (0, 400))
    assert plain.size == captioned.size
    assert plain.width > 2 * photo.width
    assert plain.getpixel((50, 40)) == (20, 120, 200)
    changed = np.asarray(plain) != np.asarray(captioned)
    assert changed[-30:].any()
    assert not changed[: photo.height].any()
    assert max(shrunk(Image.new("RGB", (3000, 1000)), 200).size) == 200
    assert heat_picture(photo, np.eye(2), ["a\nb\r\0.jpg"]).size == plain.size
