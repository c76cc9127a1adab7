"""Changed files of every kind that comes from outside: each has to give what it means, or a named outcome.

    python -m benchmarks.fuzz                 5,000 images, 1,000 each of CSV, TOML and word vectors as text and binary
    python -m benchmarks.fuzz --examples 300  of each kind

Hypothesis changes sound files: bytes and spans are replaced, put in, doubled, cut out, and files cut off. It draws the
same changes each time, and makes a failing one small. Printed are the outcomes by kind, the slowest case and the
highest memory of the process. Exit code 1 where something came out that has no name.
"""

import argparse
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from benchmarks.measured import cpu
from pipeline.datasets.folder.label_file import read_labels
from pipeline.images.decode import decode
from pipeline.images.header import inspect
from pipeline.images.problem import ImageProblem
from pipeline.settings.layers import configuration
from pipeline.vectors.parser import read_vectors
from schemas.errors import PipelineError

MAX_PIXELS = 4_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI", "DIB", "ICO", "TGA", "MPO")
_MODES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "P", "I;16", "RGBA"), "TIFF": ("RGB", "I;16", "F", "1")}
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

Outcome = Callable[[bytes], str]


@dataclass
class Told:
    """What the changed files of one kind came to.

    Attributes:
        outcomes: how many had each.
        slowest_s: the longest that one took.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        return f"{self.outcomes.total()}: {counts}; slowest {self.slowest_s:.2f} s"


def image_seeds() -> list[bytes]:
    """A small sound file of each format and mode that is read."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    found = []
    for kind in _FORMATS:
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


def vector_seeds(binary: bool) -> list[bytes]:
    """A small file of word vectors."""
    values = np.random.default_rng(0).normal(size=(len(_WORDS), 4)).astype("<f4")
    head = f"{len(_WORDS)} 4\n".encode()
    if binary:
        return [head + b"".join(w.encode() + b" " + v.tobytes() + b"\n" for w, v in zip(_WORDS, values, strict=True))]
    lines = [f"{word} {' '.join(f'{x:.4f}' for x in row)}\n" for word, row in zip(_WORDS, values, strict=True)]
    text = "".join(lines).encode()
    return [text, head + text]


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A sound file with one to five changes."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.sampled_from((1, 1, 1, 2, 4, 16, 200)))
        span = bytes(data[at : at + length])
        kind = draw(st.sampled_from(("replace", "replace", "put in", "double", "cut out", "cut off", "number")))
        if kind == "replace":
            data[at : at + length] = draw(st.binary(min_size=len(span), max_size=len(span)))
        elif kind == "put in":
            data[at:at] = draw(st.binary(min_size=1, max_size=length))
        elif kind == "double":
            data[at:at] = span
        elif kind == "cut out":
            del data[at : at + length]
        elif kind == "cut off":
            del data[at:]
        else:
            number = draw(st.sampled_from((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)))
            data[at : at + 4] = number.to_bytes(4, draw(st.sampled_from(("big", "little"))))
    return bytes(data)


def image_outcome(data: bytes) -> str:
    """The status that download and extraction give."""
    try:
        inspect(data, MAX_PIXELS)
        picture = decode(data, "exif", None, MAX_PIXELS)
    except ImageProblem as problem:
        return str(problem.status)
    assert picture.mode == "RGB", picture.mode
    return "ok"


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


def fuzz(seeds: list[bytes], outcome: Outcome, examples: int) -> Told:
    """So many changed files, each looked at; what has no name is raised, made small."""
    told = Told()

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(changed(seeds))
    def each(data: bytes) -> None:
        started = time.perf_counter()
        told.outcomes[outcome(data)] += 1
        told.slowest_s = max(told.slowest_s, time.perf_counter() - started)

    each()
    return told


def kinds(folder: Path) -> dict[str, tuple[list[bytes], Outcome, int]]:
    """What is changed: sound files, what is made of one, and how many examples there are by default."""
    text, binary, csv, toml = (folder / name for name in ("w.txt", "w.bin", "labels.csv", "biam-pipe.toml"))
    vectors = partial(read_vectors, words=_WORDS)
    return {
        "images": (image_seeds(), image_outcome, 5000),
        "CSV": ([_CSV, _CSV.replace(b",", b";"), b"\xef\xbb\xbf" + _CSV], file_outcome(csv, read_labels), 1000),
        "TOML": ([_TOML], file_outcome(toml, lambda path: configuration("demo", path, {}, (), folder)), 1000),
        "vectors, text": (vector_seeds(binary=False), file_outcome(text, vectors), 1000),
        "vectors, binary": (vector_seeds(binary=True), file_outcome(binary, vectors), 1000),
    }


def main() -> None:
    """Change files of each kind and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, help="of each kind")
    arguments = parser.parse_args()
    print(cpu(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind, (seeds, outcome, examples) in kinds(Path(folder)).items():
            print(f"{kind}, {fuzz(seeds, outcome, arguments.examples or examples)}", flush=True)
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB")


if __name__ == "__main__":
    main()
