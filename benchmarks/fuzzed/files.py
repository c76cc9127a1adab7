"""Images, lists, settings and word vectors, small and sound, and what the pipeline makes of changed ones."""

import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, features

from benchmarks.fuzzed.changes import Kind, Outcome
from pipeline.datasets import folder as own_images
from pipeline.datasets.folder.label_file import read_labels, read_unseen
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.datasets.nuswide import lists
from pipeline.datasets.nuswide.flags import read_ones
from pipeline.datasets.openimages.label_lists import label_space, read_mids
from pipeline.images.decode import decode
from pipeline.images.header import inspect
from pipeline.images.problem import ImageProblem
from pipeline.settings.layers import configuration
from pipeline.vectors.array import read_array
from pipeline.vectors.parser import read_vectors
from schemas.errors import PipelineError

MAX_PIXELS = 4_000_000
_READ = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI", "DIB", "ICO", "TGA", "MPO")
_NOT_READ = ("EPS", "PCX", "SGI", "MSP", "SPIDER", "XBM", "PDF", "DDS", "BLP", "ICNS")  # Pillow writes these, too
_MODES = {
    "JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "P", "I;16", "RGBA"), "TIFF": ("RGB", "I;16", "F", "1"),
    "MSP": ("1",), "XBM": ("1",), "SPIDER": ("F",), "BLP": ("P",),
}  # fmt: skip
_TOML = b"""[dataset]
name = "demo"
num_images = 80
[train]
lr = 1e-3
betas = [0.9, 0.999]
[embed.overrides]
"red circle" = "red round"
"""
_CSV = 'image,labels,split\na.jpg,cat;dog,train\n\u00e9.jpg,\u00fcber,\n"c, d.jpg","x;y",test\n'.encode()
_WORDS = ("cat", "dog", "\u00fcber")
_CSV_WORDS = (
    b",", b";", b"\t", b"|", b'"', b"\n", b"\r\n", b"\r", b"\n\n", b" ", b"./", b"../", b"x/../", b"\\", b"%20", b"file://",
    b"a.jpg", b"\xc3\xa9.jpg", b"e\xcc\x81.jpg", b"http://a/b", b"train", b"test", b"a.jpg,cat\n", b"A.JPG", b"x.png",
)  # fmt: skip
_TOML_WORDS = (
    b"=",
    b"[",
    b"]",
    b'"',
    b"'",
    b"\n",
    b"{",
    b"}",
    b"1e999",
    b"-1",
    b"true",
    b"9" * 5000,
    b"[" * 2000,
    b"[a.b]",
)
_LIST_WORDS = (
    b"\n",
    b"\r\n",
    b",",
    b'"',
    b"#",
    b"null",
    b"http://",
    b"\t",
    b"0",
    b"1",
    b"9" * 5000,
    b"/m/03",
    b"\\",
    b".jpg ",
)
NUMBER_WORDS = (
    b"0",
    b"-1",
    b"1e999",
    b"nan",
    b"9" * 30,
    b"9" * 5000,
    b" ",
    b"\n",
    b"null",
    b"[" * 2000,
    b'"',
    b"}",
    b",",
)
_PICKLE_WORDS = (
    b"(", b".", b"]", b"\x85", b"\x94", b"R", b"b", b"e", b"N", b"cos\nsystem\n", b"cnumpy\ndtype\n",
    b"r\xff\xff\xff\x7f", b"\x8c\x04text", b"q\x00", b"h\x00", b"I" + b"9" * 5000 + b"\n",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x82\x01", b"P1\n",
)  # fmt: skip


def file_kinds(folder: Path) -> dict[str, Callable[[], Kind]]:
    """Changed files that need no torch, each made when it is asked for.

    Args:
        folder: for files, empty.
    """
    vectors = partial(read_vectors, words=_WORDS)
    csvs = [_CSV, _CSV.replace(b",", b";"), b"\xef\xbb\xbf" + _CSV, *_odd_paths()]

    def settings(path: Path) -> object:
        return configuration("demo", path, {}, (), folder)

    def read(name: str, reader: Callable[[Path], object]) -> Outcome:
        return file_outcome(folder / name, reader)

    return {
        "images": lambda: Kind(image_seeds(), image_outcome, 5000),
        "CSV": lambda: Kind(csvs, _csv_outcome(folder), words=_CSV_WORDS),
        "TOML": lambda: Kind([_TOML], read("a.toml", settings), words=_TOML_WORDS),
        "lists": lambda: Kind(_list_seeds(), _list_outcome(folder / "list"), words=_LIST_WORDS),
        "vectors, text": lambda: Kind(vector_seeds(binary=False), read("w.txt", vectors), words=NUMBER_WORDS),
        "vectors, binary": lambda: Kind(vector_seeds(binary=True), read("w.bin", vectors)),
        "vectors, array": lambda: Kind(
            array_seeds(), read("w.npy", partial(_array_read, folder, "npy")), words=NUMBER_WORDS
        ),
        "vectors, listed": lambda: Kind(listed_seeds(), read("w.parquet", partial(_array_read, folder, "parquet"))),
        "pickled lists": lambda: Kind(pickle_seeds(), read("l.pkl", read_mids), words=_PICKLE_WORDS),
        "safetensors, models": lambda: Kind(
            _model_seeds(folder), read("m.safetensors", load_model), words=NUMBER_WORDS
        ),
        "safetensors, weights": lambda: Kind(weights, read("w.safetensors", weights_file.read)),
        "torch, weights": lambda: Kind(_torch_seeds(), read("w.pth", weights_file.read)),
        "hdf5": lambda: Kind(_hdf5_seeds(folder), _hdf5_outcome(folder / "features.h5")),
    }


def image_seeds() -> list[bytes]:
    """A small sound file of each format and mode that Pillow reads and writes."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    found = []
    for kind in (*_READ, *_NOT_READ):
        if kind == "AVIF" and not features.check("avif"):
            continue
        for mode in _MODES.get(kind, ("RGB",)):
            deep = {"I;16": noise[:, :, 0].astype(np.uint16) * 257, "F": noise[:, :, 0] / np.float32(255)}
            picture = Image.fromarray(deep[mode]) if mode in deep else Image.fromarray(noise).convert(mode)
            exif = Image.Exif()
            exif[0x0112] = 6
            buffer = BytesIO()
            picture.save(buffer, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
            found.append(buffer.getvalue())
    return found


def image_outcome(data: bytes) -> str:
    """The status that download and extraction give."""
    try:
        inspect(data, MAX_PIXELS)
        picture = decode(data, "exif", None, MAX_PIXELS)
    except ImageProblem as problem:
        return str(problem.status)
    assert picture.mode == "RGB", picture.mode
    return "ok"


def vector_seeds(binary: bool) -> list[bytes]:
    """A small file of word vectors."""
    values = np.random.default_rng(0).normal(size=(len(_WORDS), 4)).astype("<f4")
    head = f"{len(_WORDS)} 4\n".encode()
    if binary:
        return [head + b"".join(w.encode() + b" " + v.tobytes() + b"\n" for w, v in zip(_WORDS, values, strict=True))]
    lines = [f"{word} {' '.join(f'{x:.4f}' for x in row)}\n" for word, row in zip(_WORDS, values, strict=True)]
    text = "".join(lines).encode()
    return [text, head + text]


def array_seeds() -> list[bytes]:
    """A small array of word vectors in both orders, and arrays of other kinds."""
    rows = np.random.default_rng(0).normal(size=(len(_WORDS), 4)).astype("<f4")
    found = []
    for array in (rows, np.asfortranarray(rows), rows.astype(">f8"), np.array([{"a": 1}], dtype=object)):
        buffer = BytesIO()
        np.save(buffer, array)
        found.append(buffer.getvalue())
    return found


def listed_seeds() -> list[bytes]:
    """The words of its rows as Parquet, with and without a dictionary."""
    found = []
    for packed in (True, False):
        buffer = BytesIO()
        pq.write_table(pa.table({"word": _WORDS}), buffer, use_dictionary=packed)
        found.append(buffer.getvalue())
    return found


def _array_read(folder: Path, changed: str, path: Path) -> object:
    """The vectors, of an array and a list of which one is changed."""
    array, listed = folder / "sound.npy", folder / "sound.parquet"
    if not array.exists():
        array.write_bytes(array_seeds()[0])
        listed.write_bytes(listed_seeds()[0])
    return read_array(path, listed, _WORDS) if changed == "npy" else read_array(array, path, _WORDS)


def pickle_seeds() -> list[bytes]:
    """Arrays of texts by every protocol; pickles that ask for memory, time and other people's code."""
    mids = [np.array(["/m/01", "/m/02\u00e9"], dtype) for dtype in (object, "U", ">U9")]
    sound = [pickle.dumps(array, protocol) for array in mids for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    return [
        *sound,
        b"Nr\xff\xff\xff\x7f.",  # remembers something in a place far off
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x8a\x05\x00\xf2\x05*\x01\x85U\x01b\x87R.",
        b"\x80\x02]" + b"\x85" * 100_000 + b".",
        b"(" * 100_000 + b".",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"I" + b"9" * 5000 + b"\n.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ]


def file_outcome(path: Path, read: Callable[[Path], object]) -> Outcome:
    """Whether what is read from a file means something, or is refused in words."""

    def outcome(data: bytes) -> str:
        path.write_bytes(data)
        try:
            read(path)
        except PipelineError:
            return "refused"
        return "read"

    return outcome


def _odd_paths() -> list[bytes]:
    """CSVs whose paths lead out of the folder, or to one file several times."""
    places = [
        "../outside/x.png",
        "./a.jpg",
        "x/../a.jpg",
        "/etc/passwd",
        "a.jpg ",
        "file:///etc/passwd",
        "..\\outside\\x",
    ]
    return ["image;labels\n{}\n".format("\n".join(f"{place};cat" for place in places[n:])).encode() for n in range(7)]


def _csv_outcome(folder: Path) -> Outcome:
    """What a data set of three images makes of a CSV: each file is one image, each line belongs to one."""
    photos, outside, csv = folder / "photos", folder / "outside", folder / "labels.csv"
    names = ("a.jpg", "\u00e9.jpg", "c, d.jpg")
    for place in (photos, outside):
        place.mkdir()
        for name in (*names, "x.png"):
            (place / name).write_bytes(b"x")
    (photos / "x.png").unlink()
    config = FolderDataset(folders=(str(photos),), labels=str(csv))

    def outcome(data: bytes) -> str:
        csv.write_bytes(data)
        with _nothing_read_in(outside):
            try:
                rows = [row for table in own_images.records(config, Counter()) for row in table.to_pylist()]
            except PipelineError:
                return "refused"
        ids = [row["image_id"] for row in rows]
        assert len(set(ids)) == len(ids), "a doubled row"
        assert set(names) <= set(ids), "a lost row"
        said = {label for row in rows for label in row["positive"] or ()}
        assert said == {label for row in read_labels(csv).rows for label in row.labels}, "a lost line"
        for row in rows:
            for place in row["locations"]:
                assert place["source"] == "http" or Path(place["address"]).is_relative_to(photos), place
        return "read"

    return outcome


_watched: list[str] = []
_met: list[str] = []


def _look(event: str, arguments: tuple[object, ...]) -> None:
    if _watched and event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(_watched[0]):
        _met.append(str(arguments[0]))


sys.addaudithook(_look)  # there is no way to take one out again; it does nothing where nothing is watched


@contextmanager
def _nothing_read_in(folder: Path) -> Iterator[None]:
    """Fails where this process opens a file in a folder, or lists it, in the block."""
    _watched.append(str(folder))
    try:
        yield
    finally:
        _watched.clear()
    assert not _met, _met


def _list_seeds() -> list[bytes]:
    """A few lines of each official list."""
    return [
        b"cat\r\ndog\r\n# no\r\n\r\nzebra\r\n",
        b"actor\\0001_2124494179.jpg\nzebra\\0002_174174086.jpg\n",
        b"%% header\nC:\\ImageData\\Flickr\\actor\\0001_2124494179.jpg 2124494179 http://a/1_a_b.jpg null http://a/1_m.jpg\n",
        b"0\t1\t0\n1\t0\t0\n",
        b'/m/01,Cat\r\n/m/02,"Dog, number ""2"""\r\n/m/03,Zebra\r\n',
        b"/m/01\n/m/02\n",
        b"0\n1\n",
    ]


def _list_outcome(path: Path) -> Outcome:
    """What every reader of lists makes of a file."""
    beside = {name: path.with_name(name) for name in ("names.csv", "seen.txt", "unseen.pkl", "chosen.txt")}
    beside["names.csv"].write_bytes(_list_seeds()[4])
    beside["seen.txt"].write_bytes(_list_seeds()[5])
    beside["unseen.pkl"].write_bytes(pickle.dumps(np.array(["/m/03"], object), 2))
    beside["chosen.txt"].write_bytes(b"0\n")
    readers = [
        file_outcome(path, read_unseen),
        file_outcome(path, lists.read_names),
        file_outcome(path, lists.read_image_ids),
        file_outcome(
            path, lambda file: lists.read_addresses(file, ("middle",), {"actor/0001_2124494179.jpg"}, Counter())
        ),
        file_outcome(path, lambda file: read_ones(file, 3, 2, file)),
        *(
            file_outcome(path, lambda file, name=name: label_space(*(beside | {name: file}).values()))  # type: ignore[misc]
            for name in beside
        ),
    ]
    return lambda data: f"read by {[outcome(data) for outcome in readers].count('read')}"
