"""What prediction takes, leaves and refuses; that it agrees with the evaluation is tested at the command line."""

import csv
import os
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_work import make

from pipeline.commands import predict
from pipeline.commands.prediction.asked import asked_images
from pipeline.commands.prediction.page import SHOWN, page
from pipeline.commands.prediction.result import ImagePrediction, LabelScore, Prediction, Worth
from pipeline.commands.prediction.table import table_bytes
from pipeline.commands.prediction.told import prediction_lines
from pipeline.settings.layers import configuration
from schemas.errors import PipelineError

IMAGES = [
    ImagePrediction(
        "a.jpg", "ok", None, [LabelScore("sea", "seen", 2.5, 0.75), LabelScore("yak", "other", 0.5, 0.125)]
    ),
    ImagePrediction('b "c"<.jpg', "not_an_image", "no picture"),
]


def prediction(images: list[ImagePrediction], worth: Worth | None = None) -> Prediction:
    return Prediction("runs/r/model.safetensors", "w", False, {}, images, worth=worth or Worth(None, 0.01, 0.2))


def test_weights_other_than_those_behind_the_features_are_refused(tmp_path: Path):
    work = make(tmp_path)
    config = configuration("demo", None, {}, ["backbone.name=tiny", "backbone.weights=random:5"], tmp_path)
    with pytest.raises(PipelineError, match=r"weights have sha256 .*features were made with 0{16}.*biam-pipe train"):
        predict.feature_spec(config, work.left())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a b/c", "a-b-c"),
        ("../..", "x"),
        ("Straße", "Straße"),
        ("x" * 99, "x" * 60),
        ("a" + "漢" * 99, "a" + "漢" * 19),
    ],
)
def test_names_become_parts_of_file_names(text: str, part: str):
    assert predict._slug(text) == part


def test_images_are_named_by_files_folders_patterns_addresses_and_a_list(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.jpg", "in/deep/a.PNG", "in/.hidden.jpg", "in/.dot/c.jpg", "in/notes.txt", "x[1].jpg", "y1.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("empty").mkdir()
    typed = ["in", "x[1].jpg", "y*.jpg", "http://h/a.jpg ", "-", "empty", "z*.jpg", "gone.jpg"]
    found = asked_images(typed, ["in/b.jpg\n", "\n", " https://h/b.jpg\r\n", "in/**/*.PNG\n", "odd name .jpg\n"])
    assert [(image.name, image.error) for image in found] == [
        ("in/b.jpg", None),
        ("in/deep/a.PNG", None),
        ("x[1].jpg", None),
        ("y1.jpg", None),
        ("http://h/a.jpg", None),
        ("https://h/b.jpg", None),
        ("odd name .jpg", None),
        ("empty", "a folder without image files"),
        ("z*.jpg", "no image file matches this pattern"),
        ("gone.jpg", None),
    ]


def test_links_are_followed_unless_they_lead_back(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.jpg", "elsewhere/b.jpg"):
        Path(name).parent.mkdir(parents=True)
        Path(name).touch()
    Path("in/link").symlink_to("../elsewhere")
    Path("in/loop").symlink_to("../in")
    Path("elsewhere/above").symlink_to("..")
    every = ["in/a.jpg", "in/link/b.jpg"]
    for asked in ("in", "in/**/*.jpg", "in/**", "i*/**/**/?.jpg", f"{tmp_path}/in/**/*.jpg"):
        assert [image.name.removeprefix(f"{tmp_path}/") for image in asked_images([asked])] == every
    assert [image.name for image in asked_images(["**/link/*.jpg"])] == every[1:]
    assert [image.error for image in asked_images(["in/**/*.png"])] == ["no image file matches this pattern"]


def test_a_name_that_is_not_utf8_is_an_image_that_cannot_be_used(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in (b"in/bad\xff.jpg", b"in/good.jpg"):
        Path(os.fsdecode(name)).touch()
    bad = ("in/bad\\udcff.jpg", "unreadable_file", "its name is not UTF-8: rename it")
    for asked in ("in", "in/*.jpg"):
        found = asked_images([asked])
        assert [(image.name, image.status, image.error) for image in found] == [bad, ("in/good.jpg", None, None)]
    page(prediction([ImagePrediction(*bad)]), {}, "predictions.csv").encode()
    lines = BytesIO(b"\xef\xbb\xbfin/good.jpg\r\nin/bad\xff.jpg\n")
    monkeypatch.setattr("sys.stdin", TextIOWrapper(lines))
    assert [image.name for image in asked_images(["-"])] == ["in/good.jpg", bad[0]]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path):
    (tmp_path / "in/shut").mkdir(parents=True)
    (tmp_path / "in/shut").chmod(0)
    (found,) = asked_images([str(tmp_path / "in")])
    assert (found.name, found.status) == (str(tmp_path / "in/shut"), "unreadable_file")


def test_the_table_has_a_row_for_each_label_told_and_for_each_image_that_failed():
    rows = list(csv.DictReader(StringIO(table_bytes(IMAGES, "csv").decode())))
    assert [(row["image"], row["rank"], row["label"], row["probability"]) for row in rows] == [
        ("a.jpg", "1", "sea", "0.75"),
        ("a.jpg", "2", "yak", "0.125"),
        ('b "c"<.jpg', "", "", ""),
    ]
    assert (rows[2]["status"], rows[2]["error"]) == ("not_an_image", "no picture")
    stored = pq.read_table(BytesIO(table_bytes(IMAGES, "parquet"))).to_pylist()
    assert [list(row) for row in stored] == [list(row) for row in rows]
    assert [row["score"] for row in stored] == [2.5, 0.5, None]


def test_the_page_tells_all_images_that_it_has_room_for_and_says_what_the_figures_are_worth():
    html = page(prediction(IMAGES), {}, "predictions.csv")
    assert "75.0\u202f%" in html
    assert "b &#34;c&#34;&lt;.jpg" in html
    assert "off by 0.010 in the mean for seen labels, by 0.200 for unseen ones" in html
    assert "more images are in the" not in html
    assert "<strong>3 more" not in html
    many = page(prediction([IMAGES[0]] * (SHOWN + 3)), {}, "predictions.csv")
    assert "3 more images are in the" in many


def test_lines_tell_the_first_images_and_how_many_there_are():
    lines = list(prediction_lines(prediction([*IMAGES, *[IMAGES[1]] * 20])))
    assert lines[:3] == ["a.jpg", "     2.500   75.0 %  sea", "     0.500   12.5 %  yak  (other)"]
    assert "and 2 more, 2 of which could not be used" in lines


@pytest.mark.parametrize(
    ("worth", "told"),
    [
        (Worth("why"), "no probabilities: why"),
        (Worth(None, 0.01, trained_on=True), "which were trained on, too, so that they are too bold"),
    ],
)
def test_what_probabilities_are_worth_is_said(worth: Worth, told: str):
    assert told in prediction([IMAGES[0]], worth).notes[-1]
