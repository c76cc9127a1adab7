"""Open Images: the official lists and rows, and the join of images with labels against a slow loop."""

import base64
import csv
import gzip
import pickle
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.openimages_files import HEADER, Size, write_files
from pipeline.datasets import openimages
from pipeline.datasets.openimages.label_lists import read_mids
from pipeline.datasets.openimages.pickled_texts import pickled_texts
from pipeline.datasets.openimages.settings import OpenImagesDataset
from pipeline.datasets.openimages.verifications import read_verifications
from pipeline.machine.telling import heard_by
from schemas.errors import PipelineError, UsageError
from schemas.status import LabelRole

SMALL = {"train": Size(60, 400, 20, 5), "validation": Size(25, 400, 20, 5)}
IMAGE = "4fa8054781a4c382,{subset},http://f/o.jpg,,,,,{title},7,KFukvivpCM5QXl5SqKe41g==,{thumbnail},{rotation}\n"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return write_files(tmp_path, SMALL)


def rows(settings: dict[str, Any], **more: Any) -> tuple[list[dict[str, Any]], Counter[str]]:
    left_out: Counter[str] = Counter()
    tables = openimages.records(OpenImagesDataset.model_validate({**settings, **more}), left_out)
    return [row for table in tables for row in table.to_pylist()], left_out


def one_row(settings: dict[str, Any], **fields: str) -> dict[str, Any]:
    values = {"subset": "train", "title": "", "thumbnail": "http://f/z.jpg", "rotation": "0.0"} | fields
    Path(settings["images"]["train"]).write_text(HEADER + "\n" + IMAGE.format(**values), encoding="utf-8-sig")
    ((row,), _) = rows(settings, splits=("train",))
    return row


@pytest.mark.parametrize("task", ["zero-shot", "standard"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_rows_and_labels_are_those_of_a_slow_loop(split: str, task: str, settings: dict[str, Any]) -> None:
    settings["task"] = task
    found, left_out = rows(settings, splits=(split,))
    space = openimages.labels(OpenImagesDataset.model_validate(settings))
    unseen = {LabelRole.UNSEEN} if task == "zero-shot" else set()
    assert {label.role for label in space} == {LabelRole.SEEN} | unseen
    known = {label.label_id for label in space}
    said: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    with Path(settings["annotations"][split]).open(newline="") as file:
        for line in csv.DictReader(file):
            said[line["ImageID"]][line["LabelName"]].add(line["Confidence"])
    with Path(settings["images"][split]).open(newline="", encoding="utf-8-sig") as file:
        listed = list(csv.DictReader(file))

    assert [row["image_id"] for row in found] == [line["ImageID"] for line in listed]
    for row, line in zip(found, listed, strict=True):
        verdicts = said.get(line["ImageID"])
        for kind, verdict in (("positive", "1"), ("negative", "0")):
            expected = (
                None if verdicts is None else {label for label in verdicts if verdicts[label] == {verdict}} & known
            )
            assert (None if row[kind] is None else set(row[kind])) == expected
        assert row["rotation"] == (int(float(line["Rotation"])) if line["Rotation"] else None)
        names = {"author": "Author", "licence": "License", "landing_page": "OriginalLandingURL"}
        assert row["credit"] == {key: line[column] or None for key, column in names.items()}
        places = {place["source"]: place for place in row["locations"]}
        assert list(places) == ["bucket", "flickr", "thumbnail"][: 3 if line["Thumbnail300KURL"] else 2]
        assert places["bucket"]["address"] == f"{split}/{line['ImageID']}.jpg"
        assert places["flickr"] == {
            "source": "flickr",
            "address": line["OriginalURL"],
            "size_bytes": int(line["OriginalSize"]),
            "md5": base64.b64decode(line["OriginalMD5"]).hex(),
        }
    both = sum(len(verdicts[label]) == 2 and label in known for verdicts in said.values() for label in verdicts)
    assert left_out["image and label verified both ways"] == both > 0
    assert left_out["verifications of labels outside of the label space"] > 0


def test_the_sources_of_an_image_are_a_choice(settings: dict[str, Any]) -> None:
    found, _ = rows(settings, sources=("thumbnail", "bucket"))
    assert [place["source"] for place in found[0]["locations"]] == ["thumbnail", "bucket"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_image_lies_in_the_archive_of_its_split_and_first_digit(split: str, settings: dict[str, Any]) -> None:
    found, _ = rows(settings, sources=("tar", "bucket"), splits=(split,))
    for row in found:
        archive = f"train_{row['image_id'][0]}" if split == "train" else split
        address = f"tar/{archive}.tar.gz#{row['image_id']}.jpg"
        assert row["locations"][0] == {"source": "tar", "address": address, "size_bytes": None, "md5": None}
        assert row["locations"][1]["source"] == "bucket"
    config = OpenImagesDataset(bucket="http://bucket")
    with openimages.base_addresses(config) as bases:
        assert bases == {"bucket": "http://bucket", "tar": "http://bucket"}


def test_a_file_of_images_may_say_nothing_of_authors(settings: dict[str, Any]) -> None:
    path = Path(settings["images"]["validation"])
    with path.open(newline="", encoding="utf-8-sig") as file:
        listed = list(csv.DictReader(file))
    kept = [name for name in HEADER.split(",") if name not in ("Author", "License", "OriginalLandingURL")]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(listed)
    found, _ = rows(settings, splits=("validation",))
    assert len(found) == 25
    assert {tuple(row["credit"].values()) for row in found} == {(None, None, None)}


def test_a_limit_counts_for_each_split_and_keeps_the_first_rows(settings: dict[str, Any]) -> None:
    every, _ = rows(settings)
    some, _ = rows(settings, limit=7)
    assert some == every[:7] + every[60:67]


def test_of_a_file_with_all_subsets_only_the_split_is_taken(settings: dict[str, Any]) -> None:
    whole = "".join(Path(settings["images"][split]).read_text("utf-8-sig") for split in SMALL).replace(
        HEADER + "\n", ""
    )
    Path(settings["images"]["train"]).write_text(HEADER + "\n" + whole, encoding="utf-8")
    found, _ = rows(settings, splits=("train",))
    assert len(found) == 60


def test_boxable_images_come_from_their_own_file(settings: dict[str, Any], tmp_path: Path) -> None:
    boxable = tmp_path / "boxable.csv"
    boxable.write_text(HEADER + "\n" + IMAGE.format(subset="train", title="", thumbnail="", rotation="90.0"))
    found, _ = rows(settings, splits=("train",), boxable_only=True, boxable_images=str(boxable))
    assert [(row["image_id"], row["rotation"]) for row in found] == [("4fa8054781a4c382", 90)]


@pytest.mark.parametrize("title", ['"a ""quoted"", title"', '"two\r\nlines"', "☃", "", '"=1+1"'])
def test_titles_may_hold_anything(title: str, settings: dict[str, Any]) -> None:
    assert one_row(settings, title=title)["image_id"] == "4fa8054781a4c382"


def test_gzipped_files_are_read_whatever_they_are_called(settings: dict[str, Any]) -> None:
    plain, _ = rows(settings)
    for files in (settings["images"], settings["annotations"]):
        for path in map(Path, files.values()):
            path.write_bytes(gzip.compress(path.read_bytes()))
    assert rows(settings)[0] == plain


def test_labels_stand_in_the_order_of_the_lists_and_are_keyed_by_mid(settings: dict[str, Any]) -> None:
    labels = openimages.labels(OpenImagesDataset.model_validate(settings))
    assert [label.label_id for label in labels[:20]] == Path(settings["seen_labels"]).read_text().split()
    assert [label.role for label in labels] == ["seen"] * 20 + ["unseen"] * 5
    assert labels[0].name == "Label, number 0"


def test_an_array_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("run",)

    path = tmp_path / "unseen_labels.pkl"
    path.write_bytes(pickle.dumps(np.array([Hostile()], dtype=object)))
    with pytest.raises(PipelineError, match=r"not a pickled array of MIDs \(it asks for builtins\.print\)"):
        read_mids(path)


@pytest.mark.parametrize("dtype", [object, "U", ">U9"])
@pytest.mark.parametrize("protocol", range(5))
def test_arrays_of_texts_are_read_whatever_wrote_them(dtype: Any, protocol: int) -> None:
    assert pickled_texts(pickle.dumps(np.array(["/m/01", "/m/\u00e9"], dtype), protocol)) == ["/m/01", "/m/\u00e9"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x8a\x05\x00\xf2\x05*\x01\x85U\x01b\x87R.", "array"),
        (b"Nr\xff\xff\xff\x7f0.", "it takes the step POP"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "expected 9223372036854775807 bytes"),
        (b"I" + b"9" * 5000 + b"\n.", "Exceeds the limit"),
        (b"]" + b"\x85" * 5000 + b".", "no array of one dimension"),
        (b")\x85\x85\x93.", "it takes more than it has put"),
        (b"N\x85N\x85\x93.", "it asks for what has no name"),
        (b"e.", "a mark that it has not set"),
        (b"NNb.", "it changes what is no array"),
        (pickle.dumps(np.array(["/m/01", 2], object)), "expected 2 texts"),
        (pickle.dumps(np.array([1.5])), "asks for numpy|no array of texts"),
        (pickle.dumps(["/m/01"]), "no array"),
        (b"N" * 2**20 + b".", "more than 1048576 bytes"),
    ],
)  # fmt: skip
def test_a_pickle_of_anything_else_is_refused_in_bounded_memory(data: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "unseen_labels.pkl").write_bytes(data)
    with pytest.raises(PipelineError, match=rf"not a pickled array of MIDs \(.*({told})"):
        read_mids(tmp_path / "unseen_labels.pkl")


@pytest.mark.parametrize(
    ("key", "data", "told"),
    [
        ("class_descriptions", gzip.compress(b"/m/01,Cat\n" * 500, mtime=0)[:-9], "gzipped, and cut off or damaged"),
        ("seen_labels", gzip.compress(b"/m/01\n" * 500, mtime=0)[:30] + b"\0" * 30, "gzipped, and cut off or damaged"),
        ("unseen_labels", gzip.compress(b"N", mtime=0)[:-1], "gzipped, and cut off or damaged"),
        ("class_descriptions", b'"' + b"a" * 200_000 + b'",Cat\n', "line 1: found field larger than field limit"),
        ("class_descriptions", gzip.compress(bytes(65 << 20), mtime=0), "more than 67108864 bytes"),
        ("unseen_chosen", b"9" * 5000 + b"\n", "line 1: found '9{100}'"),
    ],
)
def test_a_damaged_or_endless_list_is_an_error_that_names_it(
    key: str, data: bytes, told: str, settings: dict[str, Any]
) -> None:
    Path(settings[key]).write_bytes(data)
    with pytest.raises(PipelineError, match=f"{settings[key]}.*{told}"):
        openimages.labels(OpenImagesDataset.model_validate(settings))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"rotation": "45.0"}, "found the row .*45.0.*, expected an ImageID of 16 hex digits and a Rotation of 0, 90"),
        ({"subset": "test"}, "no image of the subset 'train', expected some. Check dataset.images.train"),
        ({"title": "one,comma"}, "CSV parse error: .*Expected 12 columns, got 13"),
    ],
)
def test_a_malformed_row_of_images_is_an_error_that_names_the_file(
    fields: dict[str, str], error: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(PipelineError, match=f"train-images.csv: {error}"):
        one_row(settings, **fields)


def test_verifications_are_told_while_they_are_read(settings: dict[str, Any]) -> None:
    told = []
    with heard_by(lambda *words: told.append(words)):
        rows(settings, splits=("train",))
    written = len(Path(settings["annotations"]["train"]).read_text().splitlines()) - 1
    assert told == [(written, None, f"{written} human verifications read")]


@pytest.mark.parametrize("row", ["xyz,verification,/m/1,1", "4fa8054781a4c382,verification,/m/1,0.5"])
def test_a_malformed_verification_is_an_error_that_names_the_file(row: str, settings: dict[str, Any]) -> None:
    path = Path(settings["annotations"]["train"])
    path.write_text(f"ImageID,Source,LabelName,Confidence\n{row}\n")
    with pytest.raises(PipelineError, match=r"train-annotations.csv: found the row .*Confidence 0 or 1"):
        rows(settings)


def test_a_missing_column_is_an_error_that_names_it(settings: dict[str, Any]) -> None:
    Path(settings["annotations"]["train"]).write_text("ImageID,LabelName\n")
    with pytest.raises(PipelineError, match=r"Confidence.*Fetch the file again"):
        rows(settings)


def test_a_file_that_is_not_there_is_a_wrong_setting(settings: dict[str, Any]) -> None:
    config = OpenImagesDataset.model_validate({**settings, "seen_labels": "nowhere.txt"})
    with pytest.raises(UsageError, match=r"dataset\.seen_labels: no file 'nowhere\.txt'"):
        openimages.sources(config)


def test_official_addresses_are_no_files_to_look_at_before_a_run() -> None:
    assert openimages.sources(OpenImagesDataset()) == ()


def test_the_real_lists_and_the_real_label_file(shared: Path) -> None:
    real = shared / "data/metadata/openimages"
    lists = {
        "class_descriptions": real / "class-descriptions.csv",
        "seen_labels": real / "classes-trainable.txt",
        "unseen_labels": real / "unseen_labels.pkl",
        "unseen_chosen": real / "top_400_unseen.csv",
    }
    labels = openimages.labels(OpenImagesDataset.model_validate({key: str(path) for key, path in lists.items()}))
    mids = (real / "unseen_labels.txt").read_text().split()
    chosen = (real / "top_400_unseen.csv").read_text("utf-8-sig").split()
    assert [label.label_id for label in labels[:7186]] == (real / "classes-trainable.txt").read_text().split()
    assert [label.label_id for label in labels[7186:]] == [mids[int(number)] for number in chosen]

    left_out: Counter[str] = Counter()
    path = real / "validation-annotations-human-imagelabels.csv.gz"
    found = read_verifications(path, pa.array([label.label_id for label in labels]), left_out)
    assert (len(found.images), len(found.positive), len(found.negative)) == (41_620, 358_390, 217_200)
    assert left_out["verifications of labels outside of the label space"] == 367_263 + 228_076 - 358_390 - 217_200


def test_the_real_image_rows_are_read(shared: Path, settings: dict[str, Any]) -> None:
    real = shared / "data/metadata/openimages/images_with_rotation_real_rows.csv"
    found, _ = rows(settings, splits=("train",), images={"train": str(real)})
    assert found[0]["locations"][1]["md5"] == base64.b64decode("KFukvivpCM5QXl5SqKe41g==").hex()
