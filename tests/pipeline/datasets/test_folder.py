"""The user's own images: what counts as one, how labels find it, and what is said when something is wrong."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.datasets import folder
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.images.header import FORMATS
from schemas.errors import PipelineError, UsageError
from schemas.section import content


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


def roles(labels: str, unseen: str) -> list[tuple[str, str]]:
    """Name and role of each label, in order."""
    return [(label.name, str(label.role)) for label in folder.labels(FolderDataset(labels=labels, unseen=unseen))]


def test_images_are_known_by_their_suffixes_and_the_rest_is_counted(images: Path) -> None:
    for name in ("Thumbs.db", "film.mp4", "labels.csv", "data.json", "no-suffix", "jpg"):
        (images / name).write_bytes(b"1")
    for name in ("e.JPEG", "f.Tif", "g.jfif", "h.webp", "i.avif", "j.jp2", "k.pgm", "l.qoi", "m.bmp", "n.gif", "o.tga"):
        (images / name).write_bytes(b"1")
    left_out: Counter[str] = Counter()

    tables = folder.records(FolderDataset(folders=(str(images),)), left_out)

    found = [row["image_id"] for table in tables for row in table.to_pylist()]
    assert found[:3] == ["a.jpg", "b.jpg", "deep/er/c.png"]
    assert [name[0] for name in found[3:]] == list("efghijklmno")
    assert left_out == {"hidden files and folders": 2, "files that are not called as images are": 7}


def test_every_suffix_of_a_format_that_is_read_is_an_images(tmp_path: Path) -> None:
    Image.init()
    suffixes = [suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS]
    for suffix in suffixes:
        (tmp_path / f"x{suffix}").write_bytes(b"1")

    assert ids(folders=(str(tmp_path),)) == sorted(f"x{suffix}" for suffix in suffixes)


def test_a_file_of_another_suffix_or_a_hidden_one_is_an_image_where_the_csv_names_it(
    images: Path, tmp_path: Path
) -> None:
    labels = written(tmp_path / "l.csv", "image,labels\ndeep/notes.txt,cat\n./.hidden.jpg,dog\n")

    found = {row["image_id"]: row["positive"] for row in rows(folders=(str(images),), labels=labels)}

    assert found == {
        "a.jpg": None,
        "b.jpg": None,
        "deep/er/c.png": None,
        "deep/notes.txt": ["cat"],
        ".hidden.jpg": ["dog"],
    }


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

    assert ids(folders=(str(images),)) == ["a.jpg", "b.jpg", "deep/er/c.png", "linked/e.jpg"]


def test_pipes_are_no_images(images: Path) -> None:
    os.mkfifo(images / "pipe.jpg")

    assert "pipe.jpg" not in ids(folders=(str(images),))


def test_the_label_files_are_no_images_and_are_not_counted(images: Path) -> None:
    labels = written(images / "labels.csv", "image,labels\n")
    unseen = written(images / "unseen.txt", "")
    written(images / "readme.csv", "x")
    left_out: Counter[str] = Counter()

    list(folder.records(FolderDataset(folders=(str(images),), labels=labels, unseen=unseen), left_out))

    assert left_out["files that are not called as images are"] == 2  # deep/notes.txt and readme.csv


def test_a_hashtag_that_images_have_can_be_unseen_and_is_no_remark(tmp_path: Path) -> None:
    labels = written(tmp_path / "labels.csv", "image,labels\na.jpg,#sunset;#sea\nb.jpg,cat\n")
    unseen = written(tmp_path / "unseen.txt", "# held out\n#sunset\n#sky\n")
    assert roles(labels, unseen) == [
        ("#sea", "seen"),
        ("cat", "seen"),
        ("#sunset", "unseen"),
    ]


def test_several_folders_come_in_the_order_given_with_their_prefixes(images: Path, tmp_path: Path) -> None:
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "a.jpg").write_bytes(b"1")

    found = ids(folders=(f"second={tmp_path / 'z'}", str(images)))

    assert found == ["second/a.jpg", "a.jpg", "b.jpg", "deep/er/c.png"]


def test_an_equals_sign_after_a_slash_belongs_to_the_path(tmp_path: Path) -> None:
    (tmp_path / "x=1").mkdir()
    (tmp_path / "x=1" / "a.jpg").write_bytes(b"1")

    assert ids(folders=(str(tmp_path / "x=1"),)) == ["a.jpg"]


def test_a_relative_folder_is_seen_from_here(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images.parent)

    assert rows(folders=("images",))[0]["locations"][0]["address"] == str(images / "a.jpg")


def test_equal_names_in_two_folders_suggest_a_prefix(images: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.jpg").touch()
    with pytest.raises(PipelineError, match=r"image id 'a.jpg'.*\n?.*Give one folder a prefix"):
        rows(folders=(str(images), str(tmp_path / "more")))


@pytest.mark.parametrize("second", ["{images}", "again={images}", "{images}/deep", "{images}/.."])
def test_a_folder_within_another_is_refused(images: Path, second: str) -> None:
    with pytest.raises(UsageError, match=r"lies in .*: each of its files would be two images; expected folders apart"):
        rows(folders=(str(images), second.format(images=images)))


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
    labels = written(tmp_path / "l.csv", "image,labels\na.jpg,cat\ngone.jpg,cat\nz/gone.jpg,cat\n")

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

    assert roles(labels, unseen) == [
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
        (b"image:labels\na.jpg:cat\n", 1, "found the columns image:labels"),
        (b"image,labels,image\na,b,c\n", 1, "found the column 'image' twice, expected each column once"),
        (b"image;labels\na.jpg;cat;dog\n", 2, "found 3 columns, expected 2"),
        (b"image,labels,split\na,b,test\nc,d,Train\n", 3, "found the split 'Train', expected train, validation, test"),
        (b"image,labels\na,b\nc\n", 3, "found 1 column, expected 2 columns as in the first line"),
        (b"image,labels\r\na,b,c\r\n", 2, "found 3 columns, expected 2"),
        (b'image,labels\n"a\nb",c\n"d\ne",f,g\n', 4, "found 3 columns"),
        (b"image,labels\n ,cat\n", 2, "found no image"),
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


def named(tmp_path: Path, *lines: str, header: str = "image,labels") -> str:
    """A CSV of these lines."""
    return written(tmp_path / "l.csv", "\n".join([header, *lines, ""]))


@pytest.mark.parametrize(
    "spelled",
    [
        "deep/er/c.png",
        "./deep/er/c.png",
        "././deep/./er/c.png",
        r"deep\er\c.png",
        r".\deep/er\c.png",
        "deep//er///c.png",
        "deep/er/c.png/",
        "deep/x/../er/c.png",
        "deep/../deep/er/c.png",
        " deep/er/c.png",
        "deep/er/c.png\u00a0",
        "{images}/deep/er/c.png",
        "{images}//deep/./er/c.png ",
        "{images}/../images/deep/er/c.png",
        "../images/deep/er/c.png",
        r"..\images\deep\er\c.png",
        "{alias}/deep/er/c.png",
        "{alias}/deep/x/../er/c.png",
        "{deep}/er/c.png",
        "deep/up/deep/er/c.png",
        "file://{images}/deep/er/c.png",
        "file://localhost{images}/deep/%65r/c.png",
    ],
)
def test_a_file_is_one_image_however_the_csv_spells_its_path(images: Path, tmp_path: Path, spelled: str) -> None:
    (tmp_path / "alias").symlink_to(images)
    (tmp_path / "deep").symlink_to(images / "deep")
    (images / "deep/up").symlink_to(images)
    places = {"images": images, "alias": tmp_path / "alias", "deep": tmp_path / "deep"}
    labels = named(tmp_path, f'"{spelled.format(**places)}",cat')

    found = {row["image_id"]: row["positive"] for row in rows(folders=(str(images),), labels=labels)}

    assert found == {"a.jpg": None, "b.jpg": None, "deep/er/c.png": ["cat"]}


@pytest.mark.parametrize("on_disk", ["Zo\u00eb.jpg", "Zoe\u0308.jpg"])
@pytest.mark.parametrize("spelled", ["Zo\u00eb.jpg", "./Zoe\u0308.jpg"])
@pytest.mark.parametrize("listed", [True, False])
def test_letters_may_be_composed_or_not(tmp_path: Path, on_disk: str, spelled: str, listed: bool) -> None:
    (tmp_path / on_disk).write_bytes(b"1")
    labels = named(tmp_path, f"{spelled},cat")

    (row,) = rows(folders=(str(tmp_path),) if listed else (), labels=labels)

    assert (row["image_id"], row["positive"], row["size_bytes"]) == (on_disk, ["cat"], 1)


def test_a_name_as_it_stands_goes_before_all_other_readings(tmp_path: Path) -> None:
    for name in ("a.jpg", " a.jpg", r"sub\b.jpg", "sub/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    labels = named(tmp_path, "a.jpg,1", " a.jpg,2", r"sub\b.jpg,3", "sub/b.jpg,4")

    found = {row["image_id"]: row["positive"] for row in rows(folders=(str(tmp_path),), labels=labels)}

    assert found == {"a.jpg": ["1"], " a.jpg": ["2"], r"sub\b.jpg": ["3"], "sub/b.jpg": ["4"]}


def test_a_path_that_may_be_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("Zo\u00eb .jpg", "Zoe\u0308 .jpg"):
        (tmp_path / f" {name}").write_bytes(b"1")
    labels = named(tmp_path, "Zo\u00eb .jpg,cat")

    with pytest.raises(PipelineError, match=r"l\.csv, line 2: found 'Zo. \.jpg', which may be ' Zo.* or ' Zo"):
        rows(folders=(str(tmp_path),), labels=labels)


@pytest.mark.parametrize("spelled", ["z/a.jpg", "./z//a.jpg", r"z\a.jpg", "a.jpg", "{z}/a.jpg", "z/../z/a.jpg"])
def test_a_folder_with_a_prefix_is_found_with_it_without_it_and_by_its_path(tmp_path: Path, spelled: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.jpg").write_bytes(b"1")
    labels = named(tmp_path, f"{spelled.format(z=tmp_path / 'folder')},cat")

    assert ids(folders=(f"z={tmp_path / 'folder'}",), labels=labels) == ["z/a.jpg"]


def test_without_folders_spellings_of_one_path_are_one_image_below_the_csv(images: Path) -> None:
    spelled = ("deep/er/c.png,1", r"./deep\er/c.png,2", f"{images}/deep/er/c.png,3", "gone.jpg,4", "./gone.jpg ,5")

    found = rows(labels=named(images, *spelled))

    assert [(row["image_id"], row["positive"], row["size_bytes"]) for row in found] == [
        ("deep/er/c.png", ["1", "2", "3"], 5),
        ("gone.jpg", ["4", "5"], None),
    ]


def test_two_links_in_a_folder_are_two_images_as_the_folder_has_them(images: Path, tmp_path: Path) -> None:
    (images / "link.jpg").symlink_to(images / "a.jpg")
    labels = named(tmp_path, "link.jpg,cat", "a.jpg,dog")

    found = {row["image_id"]: row["positive"] for row in rows(folders=(str(images),), labels=labels)}

    assert (found["link.jpg"], found["a.jpg"]) == (["cat"], ["dog"])


@pytest.mark.parametrize(
    "spelled",
    [
        "../x.jpg", "a/../../x.jpg", r"..\x.jpg", "/etc/passwd", "//etc/passwd", "{images}/../x.jpg", "..", "{images}",
        r"C:\photos\a.jpg", "c:/photos/a.jpg", r"\\server\photos\a.jpg", "file:///etc/passwd", "file://[/etc/passwd",
    ],
)  # fmt: skip
@pytest.mark.parametrize("listed", [True, False])
def test_a_path_that_leads_out_of_the_folders_is_refused_with_its_line(
    images: Path, tmp_path: Path, spelled: str, listed: bool
) -> None:
    (tmp_path / "x.jpg").write_bytes(b"1")
    labels = named(images, "a.jpg,cat", f"{spelled.format(images=images)},cat")
    config = FolderDataset(folders=(str(images),) if listed else (), labels=labels)

    with pytest.raises(PipelineError, match=r"l\.csv, line 3: found .*which leads elsewhere, expected a path below /"):
        folder.listing(config)


@pytest.mark.parametrize(
    "spelled", ["A.JPG", "deep/ER/c.png", "deep/er/%63.png", "'a.jpg'", "\uff41.jpg", "a\u200b.jpg"]
)
def test_a_stray_path_that_is_nearly_that_of_an_unlabelled_image_is_refused(
    images: Path, tmp_path: Path, spelled: str
) -> None:
    labels = named(tmp_path, "b.jpg,cat", f"{spelled},cat")

    with pytest.raises(
        PipelineError, match=r"line 3: found .*, which is no file, expected its name as it is: '(a|deep)"
    ):
        rows(folders=(str(images),), labels=labels)
    both = named(tmp_path, "b.jpg,cat", f"{spelled},cat", "a.jpg,dog", "deep/er/c.png,dog")
    assert len(ids(folders=(str(images),), labels=both)) == 4  # what is named by itself is not meant


def test_a_csv_that_names_no_file_is_an_error_with_examples_and_the_nearest_names(images: Path, tmp_path: Path) -> None:
    labels = named(tmp_path, "photos/A.jpg,x", "photos/deep/er/c.png,x", "bb.jpg,y", "x/DEEP/er/D.PNG,y")

    with pytest.raises(PipelineError, match=r"l\.csv: none of 4 lines names a file that is there; found ") as raised:
        folder.listing(FolderDataset(folders=(str(images),), labels=labels))

    assert "'photos/A.jpg' in line 2 (nearest: 'a.jpg'), 'photos/deep/er/c.png' in line 3 (near" in str(raised.value)
    assert "'bb.jpg' in line 4 (nearest: 'b.jpg'), expected" in str(raised.value)


def test_several_lines_of_an_image_are_joined(images: Path, tmp_path: Path) -> None:
    labels = named(tmp_path, "a.jpg,cat", "b.jpg,", "a.jpg,dog", "./a.jpg,cat;ant", "b.jpg,")

    found = rows(folders=(str(images),), labels=labels)

    assert [row["positive"] for row in found] == [["ant", "cat", "dog"], [], None]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_first_line_says_the_separator(images: Path, tmp_path: Path, separator: str) -> None:
    lines = [["ID", " Labels ", "Image"], ["1", '"dog;cat"', "a.jpg"], ["2", "cat", '"b.jpg"']]
    labels = written(tmp_path / "l.csv", "\r\n".join(separator.join(cells) for cells in lines))

    found = rows(folders=(str(images),), labels=labels)

    assert [row["positive"] for row in found] == [["cat", "dog"], ["cat"], None]


def test_columns_may_have_other_names(images: Path, tmp_path: Path) -> None:
    labels = named(tmp_path, "cat,a.jpg", "dog,a.jpg", header="Label,File name")

    found = rows(folders=(str(images),), labels=labels, image_column="file name", labels_column="label")

    assert found[0]["positive"] == ["cat", "dog"]
    with pytest.raises(PipelineError, match=r"expected a first line with image,labels \(dataset.image_column and"):
        rows(folders=(str(images),), labels=labels)


def test_names_of_columns_belong_to_the_content_only_where_they_are_set() -> None:
    assert not {"dataset.image_column", "dataset.labels_column"} & set(content("dataset", FolderDataset()))
    assert content("dataset", FolderDataset(image_column="file"))["dataset.image_column"] == "file"


def test_a_column_split_is_honoured(images: Path, tmp_path: Path) -> None:
    lines = ("a.jpg,x,test", "b.jpg,x,", "deep/er/c.png,x, train ", "./a.jpg,y,", "b.jpg,y,validation")
    config = FolderDataset(folders=(str(images),), labels=named(tmp_path, *lines, header="image,labels,Split"))

    found = [row["split"] for table in folder.records(config, Counter()) for row in table.to_pylist()]

    assert found == ["test", "validation", "train"]
    before = folder.listing(config)
    named(tmp_path, *lines[:2], "deep/er/c.png,x,", *lines[3:], header="image,labels,Split")
    assert folder.listing(config) != before


def test_two_splits_of_an_image_are_an_error_that_names_both_lines(images: Path, tmp_path: Path) -> None:
    labels = named(tmp_path, "a.jpg,x,", "a.jpg,x,test", "./a.jpg,y,train", header="image,labels,split")

    with pytest.raises(PipelineError, match=r"line 4: found './a.jpg' in the split train \(line 3 says test\)"):
        rows(folders=(str(images),), labels=labels)


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        ("Tree", "tree"),
        ("red circle", "red  circle"),
        ("\uff34ree", "tree"),
        ("caf\u00e9", "cafe\u0301"),
        ("Stra\u00dfe", "STRASSE"),
    ],
)
def test_a_seen_label_in_another_spelling_of_an_unseen_one_is_an_error_that_shows_both(
    images: Path, tmp_path: Path, seen: str, unseen: str
) -> None:
    labels = named(tmp_path, "a.jpg,x", f"b.jpg,x;{seen}")
    config = FolderDataset(folders=(str(images),), labels=labels, unseen=written(tmp_path / "u.txt", f"y\n{unseen}\n"))

    for look in (folder.listing, folder.labels):
        with pytest.raises(PipelineError) as raised:
            look(config)
        assert f"the label {seen!r} ({labels}, line 3) is seen, {unseen!r} ({tmp_path / 'u.txt'}, line 2)" in str(
            raised.value
        )
    assert folder.labels(config.model_copy(update={"task": "standard"}))  # all are seen, and stay apart


def told(caplog: pytest.LogCaptureFixture, **settings: Any) -> list[str]:
    """What is said of these lists, each once however often they are looked at."""
    caplog.clear()
    config = FolderDataset(**settings)
    folder.listing(config)
    folder.listing(config)
    return [record.getMessage() for record in caplog.records]


def test_what_is_probably_meant_otherwise_is_told_once(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (images / "deep/notes.txt").rename(images / "deep/notes.md")
    lines = ("a.jpg,Food;food;tree,,me", "b.jpg,food|red,,me", "gone/a.jpg,tree,,me", "nowhere,x,,me", "./a.jpg,x,,me")
    labels = named(tmp_path, *lines, header="image,labels,licence,source")
    unseen = written(tmp_path / "u.txt", "tree\nzebra\nthree words here\n")

    assert told(caplog, folders=(str(images),), labels=labels, unseen=unseen) == [
        f"{images}: 1 file is left out, not called as images are (.md 1) and not named in the CSV",
        f"{labels}: columns that are not read: licence, source",
        f"{labels}: 1 image in several lines each, such as 'a.jpg' (lines 2 and 6); their labels are joined",
        f"{labels}: 2 images of 4 without a file: 'gone/a.jpg' in line 4 (nearest: 'a.jpg'), 'nowhere' in line 5",
        f"{labels}: '|' is no more than a letter of 'food|red'; ';' stands between labels",
        f"{labels}: labels that differ in case, blanks or forms of letters alone stay apart: 'Food', 'food'",
        f"{unseen}: 2 unseen labels on no image: 'zebra', 'three words here'",
    ]


def test_a_csv_without_lines_or_without_labels_is_told(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (images / "deep/notes.txt").unlink()
    labels = named(tmp_path)
    assert told(caplog, folders=(str(images),), labels=labels) == [
        f"{labels} has a first line and no others: no image is labelled"
    ]
    named(tmp_path, "a.jpg,", "b.jpg, ;")
    assert told(caplog, folders=(str(images),), labels=labels) == [f"{labels} names no label in any of its 2 lines"]
    named(tmp_path, "a.jpg,cat", "b.jpg,dog")
    assert told(caplog, folders=(str(images),), labels=labels) == []


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (("test", "test"), ["nothing to train on: no image with a seen label may be in train"]),
        (("validation", "train"), ["nothing to test on: no image may be in test"]),
        (("test", ""), []),
        (("", "test"), ["nothing to train on: no image with a seen label may be in train"]),
    ],
)
def test_a_csv_that_leaves_nothing_to_train_or_to_test_on_is_told(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, splits: tuple[str, str], said: list[str]
) -> None:
    (images / "deep/notes.txt").unlink()
    lines = [f"b.jpg,tree;sky,{splits[0]}", f"a.jpg,tree;food,{splits[1]}"]
    labels = named(tmp_path, *lines, header="image,labels,split")
    unseen = written(tmp_path / "u.txt", "sky\ntree\n" + ("food\n" if splits == ("", "test") else ""))
    assert told(caplog, folders=(str(images),), labels=labels, unseen=unseen) == [f"{labels}: {text}" for text in said]


def test_the_listing_counts_images_against_the_csv(images: Path, tmp_path: Path) -> None:
    labels = named(tmp_path, "a.jpg,tree;food", "b.jpg,tree", "gone/x.jpg,food", "http://h/d.jpg,sky")
    unseen = written(tmp_path / "u.txt", "sky\nzebra\n")
    seen = folder.listing(FolderDataset(folders=(str(images),), labels=labels, unseen=unseen))

    facts = dict(seen.facts)
    said = facts.pop("remarks")
    assert (seen.images, len(said)) == (5, 3)  # left out, without a file, zebra
    assert facts.pop("images_a_label").keys() == {"seen", "unseen"}
    assert facts == {
        "fetched": 1, "size_bytes": 15, "labelled": 4, "without_file": 1,
        "left_out": {"hidden files and folders": 2, "files that are not called as images are": 1},
    }  # fmt: skip
    few = folder.listing(FolderDataset(folders=(str(images),), labels=labels, limit=2))
    assert (few.images, few.facts["size_bytes"], few.facts["fetched"]) == (2, 10, 0)


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
