"""The report page: from a small work folder to HTML that a parser reads back."""

import base64
import io
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from report_work import RUN, Reader, Work, finished, jpeg

from pipeline.engine.sources import Sources
from pipeline.files.storage import Storage
from pipeline.settings.layers import configuration
from pipeline.stages import report
from schemas import tables
from schemas.errors import IntegrityError
from schemas.receipts import NOTE

RANDOM_NOTICE = "figures show that the pipeline works, not how good the model is"


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return finished(tmp_path)


def test_the_page_names_no_address_outside_itself(work: Work) -> None:
    html = work.run()
    page = Reader(html)
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}
    ]
    assert addresses
    assert all(str(value).startswith(("data:", "#")) for value in addresses)
    assert "://" not in html
    assert all(target.startswith("url(#") for target in re.findall(r"url\([^)]*", html))
    assert not page.all("script")
    assert not page.all("iframe")
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_the_page_begins_with_the_name_of_the_run_and_its_date(work: Work) -> None:
    head = Reader(work.run().partition("<main>")[0]).text
    assert "run biam-released-0123abcd trained 1970-01-01" in head


def test_the_page_says_each_result_beside_chance_and_the_permuted_control(work: Work) -> None:
    text = Reader(work.run()).text
    assert "mAP 33.3 % 11.1 % 13.8 %" in text
    assert "mAP 22.2 % 11.1 % 19.9 %" in text
    assert "F1@3 24.4 % 12.2 % –" in text
    assert "3.00 × chance" in text
    assert "ranked among the unseen labels only, counted by protocol nuswide" in text


def test_a_page_without_unseen_labels_has_one_section_and_no_control(work: Work) -> None:
    path = work.root / RUN / "metrics.json"
    metrics = json.loads(path.read_text())
    standard = metrics.pop("zsl") | {"permuted": {"map": None}}
    del metrics["gzsl"]
    path.write_text(json.dumps(metrics | {"standard": standard}))
    text = Reader(work.run()).text
    assert "Standard multi-label" in text
    assert "Zero-shot" not in text
    assert "Permuted" not in text


def test_why_a_figure_is_zero_stands_beside_it(work: Work) -> None:
    work.change("metrics.json", remarks={"zsl": ["ZSL: none of its 2 labels has a positive test image"], "gzsl": []})
    text = Reader(work.run()).text
    assert "2 labels ZSL: none of its 2 labels has a positive test image. 33.3 % mAP" in text


@pytest.mark.parametrize(("weights", "said"), [("random:0", True), ("IMAGENET1K_V1", False)])
def test_random_weights_are_announced_and_published_ones_are_not(work: Work, weights: str, said: bool) -> None:
    work.change("metrics.json", weights=weights)
    assert (RANDOM_NOTICE in Reader(work.run()).text) is said


def test_the_page_counts_every_image_by_status_split_and_stage(work: Work) -> None:
    text = Reader(work.run()).text
    assert "ok 3 3 not_found 1 1 all rows 4 4" in text
    assert "In the index 4 Fetched or found 3 · 75.0 % With features 3 · 75.0 % Trained or tested on 3 · 75.0 %" in text
    assert "train 1 1 validation 0 0 test 2 2 in none 1 –" in text
    assert re.search(r"download 2 4 \d+(\.\d)? kB 2 min 02 s", text)
    assert "demo 3" in text
    assert "unseen 2 0 0 2 seen 2 0 0 2" in text


def test_right_and_wrong_predictions_differ_in_words_and_not_only_in_colour(work: Work) -> None:
    work.examples({"image_id": "a"})
    text = Reader(work.run()).text
    assert "✓ right: red circle 2.00 ✕ wrong: blue square 1.50 ✓ right: green ring unseen 0.50" in text


def test_a_picture_on_its_side_is_shown_upright(work: Work) -> None:
    work.examples({"image_id": "b", "row": 1})
    (picture,) = Reader(work.run()).pictures()
    assert picture.size == (40, 80)
    above, below = picture.getpixel((20, 10)), picture.getpixel((20, 70))
    assert isinstance(above, tuple)
    assert isinstance(below, tuple)
    assert above[0] > 150 > 60 > above[2]
    assert below[2] > 150 > 60 > below[0]


def test_pictures_carry_nothing_but_pixels(work: Work) -> None:
    work.examples({"image_id": "b", "row": 1})
    (attributes,) = Reader(work.run()).all("img")
    data = base64.b64decode(str(attributes["src"]).partition(",")[2])
    assert b"private" not in data
    assert not Image.open(io.BytesIO(data)).getexif()


def test_a_picture_that_was_referenced_is_read_from_its_own_place(work: Work) -> None:
    work.examples({"image_id": "c", "shard": 1})
    (picture,) = Reader(work.run()).pictures()
    assert picture.size == (80, 40)


def test_every_picture_and_table_can_be_read_without_seeing_it(work: Work) -> None:
    page = Reader(work.run())
    assert page.all("html") == [{"lang": "en"}]
    assert all(one["alt"] for one in page.all("img"))
    assert page.all("img")[1]["alt"] == "Response map of green ring laid over the picture"
    assert all(one["aria-label"] for one in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(one.get("scope") in {"row", "col"} for one in page.all("th"))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_ids_are_unique_on_the_page(work: Work) -> None:
    ids = [attributes["id"] for _, attributes in Reader(work.run()).elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_equal_runs_give_equal_pages_and_other_seconds_change_only_the_times(work: Work) -> None:
    first = work.run()
    assert work.run() == first
    work.receipts = {
        stage: [receipt.model_copy(update={"seconds": 7000.0}) for receipt in receipts]
        for stage, receipts in work.receipts.items()
    }
    later = work.run()
    times = r'<td class="n seconds">[^<]*</td>'
    assert later != first
    assert re.sub(times, "", later) == re.sub(times, "", first)


def test_a_page_that_would_be_too_large_gets_smaller_pictures(work: Work) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    path = "images/shard-00000.parquet"
    work.put(path, [{"image_id": "a", "data": jpeg(Image.fromarray(noise))}], tables.IMAGES)
    maps = [{"label_index": 2, "height": 1, "width": 1, "values": [1.0]}] * 3
    work.examples(*[{"image_id": "a", "maps": maps}] * 20)
    html = work.run()
    assert len(html.encode()) <= report.MAX_BYTES
    page = Reader(html)
    assert len(page.all("img")) == 80
    assert page.pictures()[0].size == (240, 240)


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("history.json", "train"),
        ("config.toml", "train"),
        ("metrics.json", "evaluate"),
        ("examples.parquet", "evaluate"),
        ("per_label.parquet", "evaluate"),
    ],
)
def test_what_is_missing_or_damaged_is_named_with_the_command_that_makes_it(work: Work, file: str, stage: str) -> None:
    task, path = work.task(), work.root / RUN / file
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"0", b"9", 1) + b" ")
    with pytest.raises(IntegrityError, match=rf"{file} is not what its receipt says: .* run: biam-pipe {stage} "):
        report.run(task)
    path.unlink()
    with pytest.raises(IntegrityError, match=rf"{file} .* there is no such file.* run: biam-pipe {stage} "):
        report.run(task)


def test_a_run_without_examples_says_so(work: Work) -> None:
    work.examples()
    assert "No example images" in Reader(work.run()).text


def test_a_run_without_validation_images_does_not_claim_a_choice(work: Work) -> None:
    work.change(
        "history.json", epochs=[{"epoch": 1, "lr": 0.1, "train_loss": 2.0, "validation": None}], selected_epoch=1
    )
    text = Reader(work.run()).text
    assert "The weights of epoch 1 were kept, the last ones, as nothing was validated." in text
    assert "The history holds no such figure." in text


def test_pictures_that_cannot_be_had_leave_their_reason(work: Work) -> None:
    bad = [{"image_id": "a", "data": b"no picture"}, {"image_id": "b", "data": None}]
    work.put("images/shard-00000.parquet", bad, tables.IMAGES)
    (work.root / "mine.jpg").unlink()
    page = Reader(work.run())
    assert not page.all("img")
    assert "No picture: not_an_image" in page.text
    assert page.text.count("No picture: its bytes are no longer there.") == 2


def test_images_of_which_only_features_came_are_not_called_lost(work: Work) -> None:
    place = [{"source": "features", "address": "nus_wide_test.h5"}]
    work.put("images/shard-00000.parquet", [{"image_id": one, "data": None} for one in "ab"], tables.IMAGES)
    work.put(
        "index/shard-00000.parquet",
        [{"image_id": one, "locations": place, "removed": False} for one in "ab"],
        tables.INDEX,
    )
    page = Reader(work.run())
    assert page.text.count("No picture: the data set came as features, without images.") == 2
    assert "no longer there" not in page.text


def test_dropped_image_shards_leave_the_rest_of_the_page(work: Work) -> None:
    for shard, receipt in enumerate(work.receipts["download"]):
        (work.root / receipt.files[1].path).unlink()
        dropped = receipt.files[1].model_copy(update={"pruned": True})
        work.receipts["download"][shard] = receipt.model_copy(update={"files": (receipt.files[0], dropped)})
    page = Reader(work.run())
    assert len(page.all("article")) == 3
    assert len(page.all("img")) == 1  # the one that lies on the user's own disk
    assert page.text.count("No picture: it was dropped once its features were there (images.keep = false).") == 2
    assert ", 2 pruned" in page.text


def test_an_example_of_another_image_is_an_integrity_error(work: Work) -> None:
    work.examples({"image_id": "a", "row": 1})
    with pytest.raises(IntegrityError, match=r"row 1 of index/shard-00000\.parquet is 'b', expected 'a'"):
        work.run()


def test_a_damaged_image_shard_is_an_integrity_error(work: Work) -> None:
    path = work.root / "images/shard-00000.parquet"
    task = work.task()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IntegrityError, match=r"images/shard-00000\.parquet is not what its receipt says.*download"):
        report.run(task)


def test_names_cannot_smuggle_markup_into_the_page(work: Work) -> None:
    evil = '" onload="x"><script>alert("1")</script>'
    labels = [{"label_index": i, "label_id": evil, "name": evil} for i in range(4)]
    work.put("labels.parquet", labels, tables.LABELS)
    work.change("history.json", epochs=[{"epoch": 1, "train_loss": 1.0, "validation": {evil: 0.5, "<video>": 0.1}}])
    work.change("metrics.json", dataset=evil)
    page = Reader(work.run())
    assert not page.all("script")
    assert not page.all("video")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert evil in page.text


def test_importing_the_stage_imports_nothing_heavy() -> None:
    code = "import sys, pipeline.stages.report; print(*sorted({'torch', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("warning", [None, "coverage is 81.0%"])
def test_a_warning_about_coverage_stands_at_the_top(work: Work, warning: str | None) -> None:
    work.change("metrics.json", coverage={"warning": warning})
    assert ("Warning: coverage is 81.0%." in Reader(work.run()).text) is (warning is not None)


def test_images_in_two_splits_are_told_at_the_top(work: Work) -> None:
    assert "Warning" not in Reader(work.run()).text
    (receipt,) = work.receipts["evaluate"]
    work.receipts["evaluate"] = [receipt.model_copy(update={"facts": {NOTE: "2 images, such as 'a' and '<b>'"}})]
    assert "Warning: 2 images, such as 'a' and '<b>'." in Reader(work.run()).text


def test_the_card_says_what_a_run_is_made_of_and_what_it_is_worth(work: Work) -> None:
    work.run()
    text = (work.root / RUN / "README.md").read_text(encoding="utf-8")
    _, head, page = text.split("---\n", 2)
    stated = yaml.safe_load(head)
    assert (stated["library_name"], stated["license"], stated["datasets"]) == ("biam-pipe", "other", ["demo"])
    zsl, gzsl = stated["model-index"][0]["results"]
    assert zsl["metrics"][0] == {"type": "mAP", "name": "mAP (zsl, nuswide)", "value": 0.333}
    assert gzsl["task"]["name"] == "Generalised zero-shot (GZSL)"
    assert "# biam (released) on demo\n\nA model, tried.\n\nSource: a paper." in page
    assert "**Random weights** (random:0)" in page
    assert "| **mAP** | 33.3 | 11.1 |  | 13.8 |" in page
    assert "In percent. Chance: random scores." in page
    assert "| train.lr | 0.001 | preset released |" in page
    assert f"- Word vectors: glove.txt, sha256 {'e' * 64}" in page
    assert "- Images: 1 train, 0 validation, 2 test" in page
    assert "- What was chosen while training was chosen on validation images and seen labels." in page


def test_the_card_of_given_weights_names_their_file_and_claims_nothing_of_their_choice(work: Work) -> None:
    work.change("history.json", epochs=[], selected_epoch=None, weights={"file": "a.pth", "sha256": "a" * 64})
    work.run()
    page = (work.root / RUN / "README.md").read_text(encoding="utf-8")
    assert f"- Weights of the model: a.pth, sha256 {'a' * 64}" in page
    assert "Nothing was trained here." in page
    assert "chosen on validation images" not in page


def test_the_card_s_choices_say_where_each_value_stands(tmp_path: Path) -> None:
    sets = ["model.name=lesa", "model.preset=released", "train.epochs=3"]
    config = configuration("demo", None, {}, sets, tmp_path)
    sources = Sources(Storage(str(tmp_path)))
    settings = report.stage(config, sources).settings
    found = {choice.key: (choice.value, choice.source) for choice in settings.choices}
    assert found["train.epochs"] == ("3", "set for this data set or run")
    assert found["train.lr"] == ("0.001", "preset released")
    assert found["model.attentions"] == ("10", "default")
    assert any(paragraph.startswith("Source: Huynh and Elhamifar") for paragraph in settings.about)


@pytest.mark.parametrize(
    ("sets", "read", "unread"),
    [
        (["model.name=ridge"], {"model.form"}, {"train.epochs", "train.lr", "train.loss"}),
        (["model.name=wsabie", "dataset.task=standard"], {"train.lr", "train.momentum"}, {"train.betas", "train.loss"}),
        (["model.preset=paper"], {"train.loss", "train.betas"}, {"model.attention_dropout", "train.full_lr"}),
        (["train.weights=a.pth"], {"model.channels"}, {"train.seed", "train.lr", "train.weights"}),
    ],
)
def test_the_card_leaves_out_what_nothing_reads(
    tmp_path: Path, sets: list[str], read: set[str], unread: set[str]
) -> None:
    choices = {choice.key for choice in report._choices(configuration("demo", None, {}, sets, tmp_path))}
    assert read <= choices
    assert not unread & choices
