"""One labels.csv of the same photographs, spelled as other people and programs spell theirs.

    python -m benchmarks.spellings                   60 pictures made for it
    python -m benchmarks.spellings --photos FOLDER   photographs, with their own labels.csv

Each photograph has to be one labelled image, or the file is refused where `plan` looks at it, in words. All lines are
spelled so, or one alone; then a photograph may also be told of, by the number of its line. Exit code 1 where one is
lost or doubled in silence.
"""

import argparse
import csv
import io
import logging
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from pipeline.datasets import folder as own_images
from pipeline.datasets.folder.label_file import read_labels
from pipeline.datasets.folder.settings import FolderDataset
from schemas.errors import PipelineError

Said = Mapping[str, Sequence[str]]  # labels of each photograph, by its path below the folder

MOST_S = 5.0
ONCE, REFUSED, TOLD = "each once", "refused", "told"


@dataclass(frozen=True)
class Photographs:
    """What is spelled.

    Attributes:
        folder: of the photographs.
        said: their labels.
    """

    folder: Path
    said: Said


@dataclass(frozen=True)
class Outcome:
    """What a data set makes of a spelling.

    Attributes:
        what: one of `ONCE`, `REFUSED` and `TOLD`, or what was lost or doubled.
        words: of the refusal, or of what is told.
        seconds: that it took.
    """

    what: str
    words: str
    seconds: float


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _nfd(name: str) -> str:
    return unicodedata.normalize("NFD", name)


# How a path is spelled, given the folder.
PATHS: dict[str, Callable[[str, Path], str]] = {
    "as it is": lambda name, _: name,
    "./a.jpg": lambda name, _: f"./{name}",
    "absolute": lambda name, folder: f"{folder}/{name}",
    "x/../a.jpg": lambda name, _: f"x/../{name}",
    "../folder/a.jpg": lambda name, folder: f"../{folder.name}/{name}",
    "backslashes": lambda name, _: name.replace("/", "\\"),
    ".\\a.jpg": lambda name, _: ".\\" + name.replace("/", "\\"),
    "blank at the end": lambda name, _: f"{name} ",
    "blank at the start": lambda name, _: f" {name}",
    "blank of no break": lambda name, _: f"{name}\u00a0",
    "suffix in capitals": lambda name, _: name.rpartition(".")[0] + "." + name.rpartition(".")[2].upper(),
    "all in small letters": lambda name, _: name.lower(),
    "letters composed": lambda name, _: _nfc(name),
    "letters in parts": lambda name, _: _nfd(name),
    "%20": lambda name, _: quote(name),
    "file://": lambda name, folder: f"file://{quote(f'{folder}/{name}')}",
    "file://localhost": lambda name, folder: f"file://localhost{quote(f'{folder}/{name}')}",
    "doubled slashes": lambda name, _: name.replace("/", "//"),
    "slash at the start": lambda name, _: f"/{name}",
    "folder before it": lambda name, folder: f"{folder.name}/{name}",
    "a drive": lambda name, folder: f"C:\\{folder.name}\\" + name.replace("/", "\\"),
    "~": lambda name, folder: f"~/{folder.name}/{name}",
    "without suffix": lambda name, _: name.rpartition(".")[0],
    "name alone": lambda name, _: name.rpartition("/")[2],
    "single quotes": lambda name, _: f"'{name}'",
    "printers' quotes": lambda name, _: f"\u201c{name}\u201d",
    "joiner of no width": lambda name, _: f"\u200b{name}",
    "underscores": lambda name, _: name.replace(" ", "_"),
}


def _table(
    said: Said, separator: str = ",", header: Sequence[str] = ("image", "labels"), quoting: int = csv.QUOTE_MINIMAL
) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, quoting=quoting, lineterminator="\n")
    writer.writerows([header, *([name, ";".join(labels)] for name, labels in said.items())])
    return out.getvalue()


def _one_label_a_line(said: Said) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([("image", "labels"), *((name, label) for name, labels in said.items() for label in labels)])
    return out.getvalue()


# How the file as a whole is written.
FORMS: dict[str, Callable[[Said], bytes]] = {
    "BOM": lambda said: b"\xef\xbb\xbf" + _table(said).encode(),
    "CRLF": lambda said: _table(said).replace("\n", "\r\n").encode(),
    "CR": lambda said: _table(said).replace("\n", "\r").encode(),
    "no last line end": lambda said: _table(said).rstrip("\n").encode(),
    "blank lines": lambda said: _table(said).replace("\n", "\n\n").encode(),
    "';' between columns": lambda said: _table(said, ";").encode(),
    "tabs between columns": lambda said: _table(said, "\t").encode(),
    "'|' between columns": lambda said: _table(said, "|").encode(),
    "blanks after ','": lambda said: _table(said, quoting=csv.QUOTE_ALL).replace('","', '", "').encode(),
    "all quoted": lambda said: _table(said, quoting=csv.QUOTE_ALL).encode(),
    "one label a line": lambda said: _one_label_a_line(said).encode(),
    "every line twice": lambda said: (_table(said) + _table(said).partition("\n")[2]).encode(),
    "header in capitals": lambda said: _table(said, header=("IMAGE", "Labels")).encode(),
    "other header": lambda said: _table(said, header=("filename", "tags")).encode(),
    "no header": lambda said: _table(said).partition("\n")[2].encode(),
    "one column more than the header": lambda said: _table(said).replace("\n", ",\n").partition("\n")[2].encode(),
    "a comment": lambda said: ("# made by hand\n" + _table(said)).encode(),
    "UTF-16": lambda said: _table(said).encode("utf-16"),
    "UTF-16 without a mark": lambda said: _table(said).encode("utf-16-be"),
    "UTF-32": lambda said: _table(said).encode("utf-32"),
    "Latin-1": lambda said: _table(said).encode("latin-1", "replace"),
    "HTML escapes": lambda said: _table(said).encode("ascii", "xmlcharrefreplace"),
    "JSON": lambda said: repr(dict(said)).replace("'", '"').encode(),
    "empty": lambda said: b"",
}


def spellings(photographs: Photographs) -> Iterator[tuple[str, bytes]]:
    """Each way to spell the file, by name: all of its lines, or the one in the middle alone."""
    names = list(photographs.said)
    for how, spelled in PATHS.items():
        for which, chosen in (("all", set(names)), ("one", {names[len(names) // 2]})):
            folder = photographs.folder
            lines = {spelled(name, folder) if name in chosen else name: photographs.said[name] for name in names}
            yield f"{how}, {which}", _table(lines).encode()
    for how, written in FORMS.items():
        yield how, written(photographs.said)


def outcome(photographs: Photographs, data: bytes, csv_path: Path) -> Outcome:
    """What `plan` and `index` make of a file."""
    csv_path.write_bytes(data)
    config = FolderDataset(folders=(str(photographs.folder),), labels=str(csv_path))
    started = time.perf_counter()
    with _warnings() as told:
        try:
            own_images.listing(config)
            rows = [row for table in own_images.records(config, Counter()) for row in table.to_pylist()]
        except PipelineError as error:
            return Outcome(REFUSED, str(error), time.perf_counter() - started)
    seconds = time.perf_counter() - started
    found = {row["image_id"]: row["positive"] for row in rows}
    words = " ".join(text for text in told if "without a file" in text)
    if len(found) < len(rows):
        return Outcome("DOUBLED", words, seconds)
    if found == {name: sorted(set(labels)) for name, labels in photographs.said.items()}:
        return Outcome(ONCE, words, seconds)
    known = found.keys() >= photographs.said.keys()
    return Outcome(TOLD if known and words else "LOST", words, seconds)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Gathers what a user is told in the block."""
    told: list[str] = []
    log = logging.getLogger("biam_pipe.index")
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    own_images._warn.cache_clear()
    try:
        yield told
    finally:
        log.removeHandler(handler)


def made(folder: Path, count: int = 60) -> Photographs:
    """Small pictures in a folder, some of whose names are hard to spell."""
    hard = (
        "Zo\u00eb.jpg",
        "sub/a b.jpg",
        "sub/it's.jpg",
        "a,b.jpg",
        "a;b.png",
        "100%.jpg",
        "sub/deep/A.JPG",
        "\u00df.jpg",
    )
    said = {name: ["cat", "dog"][: 1 + number % 2] for number, name in enumerate(hard)}
    said |= {f"sub/{number}.jpg": [("sky", "tree", "sea")[number % 3], "day"] for number in range(count - len(hard))}
    for name in said:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(folder / name)
    return Photographs(folder, said)


def main() -> None:
    """Spell a file in every way and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of photographs with a labels.csv")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.photos is None:
            photographs = made(Path(temporary, "photos"))
        else:
            rows = read_labels(arguments.photos / "labels.csv").rows
            photographs = Photographs(arguments.photos.resolve(), {row.image: row.labels for row in rows})
        print(f"{len(photographs.said)} photographs")
        counts, slowest_s = Counter[str](), 0.0
        for how, data in spellings(photographs):
            found = outcome(photographs, data, Path(temporary, "spelled.csv"))
            print(f"{how:34} {found.what:10} {found.words[:150]}")
            counts[found.what] += 1
            slowest_s = max(slowest_s, found.seconds)
    print(f"{counts.total()} spellings: {dict(counts)}; slowest {slowest_s:.2f} s")
    sys.exit(bool(counts.keys() - {ONCE, REFUSED, TOLD}) or slowest_s > MOST_S)


if __name__ == "__main__":
    main()
