"""The user's own images: what counts as one, how labels find it, and what is said when something is wrong."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets import folder
from pipeline.datasets.folder.settings import FolderDataset
from schemas.errors import PipelineError, UsageError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    for name in ("b.jpg", "a.jpg", "deep/er/c.png", "deep/notes.txt", ".hidden.jpg", ".git/d.jpg"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(b"12345")
    return made


def place(source: str, address: object) -> dict[str, Any]:
    return {"source": source, "address": str(address), "size_bytes": None, "md5": None}


def rows(**settings: Any) -> list[dict[str, Any]]:
    return [row for table in folder.records(FolderDataset(**settings), Counter()) for row in table.to_pylist()]


def ids(**settings: Any) -> list[str]:
    return [row["image_id"] for row in rows(**settings)]


def written(path: Path, data: str | bytes) -> str:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def test_every_regular_file_is_an_image_and_hidden_ones_are_not(images: Path) -> None:
    assert ids(folders=(str(images),)) == ["a.jpg", "b.jpg", "deep/er/c.png", "deep/notes.txt"]


def test_a_row_says_where_the_file_is_how_large_and_how_old(images: Path) -> None:
    os.utime(images / "a.jpg", ns=(5, 7_000_000_001))

    row = rows(folders=(str(images),))[0]

    assert row["locations"] == [place("local", images / "a.jpg")]
    assert (row["size_bytes"], row["modified_ns"]) == (5, 7_000_000_001)
    assert (row["split"], row["rotation"], row["positive"], row["label_source"]) == (None, None, None, None)


def test_links_to_files_are_followed_and_broken_ones_are_rows(images: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"123")
    (images / "link.jpg").symlink_to(outside)
    (images / "broken.jpg").symlink_to(tmp_path / "nowhere")
    (images / "self.jpg").symlink_to(images / "self.jpg")

    found = {row["image_id"]: row["size_bytes"] for row in rows(folders=(str(images),))}

    assert (found["link.jpg"], found["broken.jpg"], found["self.jpg"]) == (3, None, None)


def test_linked_folders_are_followed_but_never_in_circles(images: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "e.jpg").write_bytes(b"1")
    (images / "linked").symlink_to(tmp_path / "other")
    (images / "deep" / "up").symlink_to(images)

    assert ids(folders=(str(images),)) == ["a.jpg", "b.jpg", "deep/er/c.png", "deep/notes.txt", "linked/e.jpg"]


def test_pipes_are_no_images(images: Path) -> None:
    os.mkfifo(images / "pipe.jpg")

    assert "pipe.jpg" not in ids(folders=(str(images),))


def test_the_label_files_are_no_images_but_other_text_is(images: Path) -> None:
    labels = written(images / "labels.csv", "image,labels\n")
    unseen = written(images / "unseen.txt", "")
    written(images / "readme.csv", "x")

    found = ids(folders=(str(images),), labels=labels, unseen=unseen)

    assert "readme.csv" in found
    assert not {"labels.csv", "unseen.txt"} & set(found)


def test_several_folders_come_in_the_order_given_with_their_prefixes(images: Path, tmp_path: Path) -> None:
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "a.jpg").write_bytes(b"1")

    found = ids(folders=(f"second={tmp_path / 'z'}", str(images)))

    assert found == ["second/a.jpg", "a.jpg", "b.jpg", "deep/er/c.png", "deep/notes.txt"]


def test_an_equals_sign_after_a_slash_belongs_to_the_path(tmp_path: Path) -> None:
    (tmp_path / "x=1").mkdir()
    (tmp_path / "x=1" / "a.jpg").write_bytes(b"1")

    assert ids(folders=(str(tmp_path / "x=1"),)) == ["a.jpg"]


def test_a_relative_folder_is_seen_from_here(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images.parent)

    assert rows(folders=("images",))[0]["locations"][0]["address"] == str(images / "a.jpg")


def test_equal_names_in_two_folders_suggest_a_prefix(images: Path) -> None:
    with pytest.raises(PipelineError, match=r"image id 'a.jpg'.*\n?.*Give one folder a prefix"):
        rows(folders=(str(images), str(images)))


def test_a_name_that_is_not_utf8_is_named(images: Path) -> None:
    Path(os.fsdecode(os.fsencode(images) + b"/\xff.jpg")).write_bytes(b"1")

    with pytest.raises(PipelineError, match=r"not UTF-8.*\\xff.jpg.*Rename"):
        rows(folders=(str(images),))


def test_limit_takes_the_first_images(images: Path) -> None:
    assert ids(folders=(str(images),), limit=2) == ["a.jpg", "b.jpg"]


def test_labels_find_images_by_id_and_images_without_a_line_are_unlabelled(images: Path, tmp_path: Path) -> None:
    labels = written(tmp_path / "l.csv", "image,labels\ndeep/er/c.png, dog ;cat;;dog\na.jpg,\n")

    found = {row["image_id"]: row for row in rows(folders=(str(images),), labels=labels)}

    assert found["deep/er/c.png"]["positive"] == ["cat", "dog"]
    assert found["a.jpg"]["positive"] == []
    assert found["b.jpg"]["positive"] is None
    assert [found[name]["label_source"] for name in ("deep/er/c.png", "a.jpg", "b.jpg")] == ["human", "human", None]
    assert found["deep/er/c.png"]["negative"] is None


def test_windows_line_ends_a_byte_order_mark_quotes_and_more_columns_are_fine(tmp_path: Path) -> None:
    text = '\ufeffimage,labels,licence\r\n"a, b.jpg","cat;dog","say ""x"""\r\n\r\nhttps://h/x.jpg?a=1,cat,\r\n'
    labels = written(tmp_path / "l.csv", text)

    found = rows(labels=labels)

    assert [row["image_id"] for row in found] == ["a, b.jpg", "https://h/x.jpg?a=1"]
    assert [row["positive"] for row in found] == [["cat", "dog"], ["cat"]]


def test_an_address_is_its_own_id_and_place(tmp_path: Path) -> None:
    labels = written(tmp_path / "l.csv", "image,labels\nhttp://127.0.0.1/x.jpg,cat\nftp://h/y.jpg,cat\n")

    assert [row["locations"] for row in rows(labels=labels)] == [
        [place("http", "http://127.0.0.1/x.jpg")],
        [place("http", "ftp://h/y.jpg")],
    ]


def test_a_path_in_no_folder_is_a_row_below_the_folder_whose_prefix_it_bears(images: Path, tmp_path: Path) -> None:
    (tmp_path / "z").mkdir()
    labels = written(tmp_path / "l.csv", "image,labels\ngone.jpg,cat\nz/gone.jpg,cat\n")

    found = rows(folders=(str(images), f"z={tmp_path / 'z'}"), labels=labels)[-2:]

    assert [row["locations"][0]["address"] for row in found] == [
        str(images / "gone.jpg"),
        str(tmp_path / "z" / "gone.jpg"),
    ]
    assert [row["size_bytes"] for row in found] == [None, None]


def test_without_folders_paths_are_seen_from_the_csv(images: Path) -> None:
    labels = written(images / "l.csv", "image,labels\ndeep/er/c.png,cat\n")

    (row,) = rows(labels=labels)

    assert row["locations"] == [place("local", images / "deep/er/c.png")]
    assert row["size_bytes"] == 5


def test_seen_labels_are_sorted_and_unseen_ones_keep_the_order_of_their_file(tmp_path: Path) -> None:
    labels = written(tmp_path / "l.csv", "image,labels\nx,dog;ant\ny,cat;bee\n")
    unseen = written(tmp_path / "u.txt", "# held out\r\n\r\n zebra \ncat\nzebra\n")

    found = folder.labels(FolderDataset(labels=labels, unseen=unseen))

    assert [(label.name, str(label.role)) for label in found] == [
        ("ant", "seen"),
        ("bee", "seen"),
        ("dog", "seen"),
        ("zebra", "unseen"),
        ("cat", "unseen"),
    ]


@pytest.mark.parametrize(
    ("data", "line", "text"),
    [
        (b"", 1, "found the columns none, expected a first line with image,labels"),
        (b"a.jpg,cat\n", 1, "found the columns a.jpg,cat"),
        (b"image;labels\na.jpg;cat\n", 1, "found the columns image;labels"),
        (b"image,labels\na,b\nc\n", 3, "found 1 column, expected 2 columns as in the first line"),
        (b"image,labels\r\na,b,c\r\n", 2, "found 3 columns, expected 2"),
        (b'image,labels\n"a\nb",c\n"d\ne",f,g\n', 4, "found 3 columns"),
        (b"image,labels\n ,cat\n", 2, "found no image"),
        (b"image,labels\na,x\nb,y\na,z\n", 4, r"found 'a' again \(first in line 2\)"),
        (b"image,labels\na,x\nb,\xe9\n", 3, "found the byte 0xe9, expected UTF-8"),
        (b"image,labels\na,x\nb,\0\n", 3, "found a NUL byte"),
        (b'image,labels\na,x\nb,"y\n', 3, "unexpected end of data"),
        (b'image,labels\na,"x"y\n', 2, "expected"),
        ("image,labels\na,b\n".encode("utf-16"), 1, "found a NUL byte"),
    ],
)
def test_a_malformed_line_is_named_with_its_number(tmp_path: Path, data: bytes, line: int, text: str) -> None:
    labels = written(tmp_path / "l.csv", data)

    with pytest.raises(PipelineError, match=rf"l\.csv, line {line}: .*{text}") as raised:
        rows(labels=labels)
    assert "run the same command again" in str(raised.value)


def test_an_unseen_list_that_is_not_text_is_named(tmp_path: Path) -> None:
    labels = written(tmp_path / "l.csv", "image,labels\na,x\n")
    unseen = written(tmp_path / "u.txt", b"cat\n\xff\n")

    with pytest.raises(PipelineError, match=r"u\.txt, line 2: found the byte 0xff"):
        folder.labels(FolderDataset(labels=labels, unseen=unseen))


def test_nothing_configured_says_what_to_set() -> None:
    with pytest.raises(UsageError, match=r"neither folders nor labels are configured.*dataset.folders"):
        folder.sources(FolderDataset())


def test_missing_folder_and_files_are_usage_errors(images: Path, tmp_path: Path) -> None:
    here = (str(images),)
    with pytest.raises(UsageError, match=r"no folder .*nowhere"):
        rows(folders=(str(tmp_path / "nowhere"),))
    with pytest.raises(UsageError, match=r"no folder .*a.jpg"):
        rows(folders=(str(images / "a.jpg"),))
    with pytest.raises(UsageError, match=r"dataset.folders: no folder"):
        rows(folders=("",))
    with pytest.raises(UsageError, match=r"dataset.labels: no file"):
        folder.sources(FolderDataset(folders=here, labels=str(tmp_path / "nowhere.csv")))
    with pytest.raises(UsageError, match=r"dataset.unseen: no file"):
        folder.sources(FolderDataset(folders=here, unseen=str(tmp_path)))


def test_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(PipelineError, match=r"no image in folders .*found 0, expected at least 1"):
        rows(folders=(str(tmp_path / "empty"),))


def test_the_listing_changes_with_names_sizes_and_time_stamps(images: Path) -> None:
    config = FolderDataset(folders=(str(images),))
    seen = [folder.listing(config)]
    (images / "new.jpg").write_bytes(b"1")
    seen.append(folder.listing(config))
    os.utime(images / "new.jpg", ns=(1, 1))
    seen.append(folder.listing(config))
    (images / "new.jpg").rename(images / "other.jpg")
    seen.append(folder.listing(config))

    assert len(set(seen)) == len(seen)
    assert folder.listing(config) == seen[-1]


def test_the_real_photographs_are_124_labelled_images(shared: Path) -> None:
    photos = shared / "data" / "photos"
    if not photos.is_dir():
        pytest.skip("no photographs in ../shared")
    labels, unseen = str(photos / "labels.csv"), str(photos / "unseen.txt")

    found = rows(folders=(str(photos),), labels=labels, unseen=unseen)
    names = [label.name for label in folder.labels(FolderDataset(labels=labels, unseen=unseen))]

    assert len(found) == 124
    assert all(row["positive"] and row["size_bytes"] for row in found)
    assert len(names) == 73
    assert names[-10:] == (photos / "unseen.txt").read_text().split()
