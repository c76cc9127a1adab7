import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.vectors.parser import is_quickly_scanned, read_vectors, without_words
from schemas.errors import PipelineError

VECTORS = {"red": (1.0, 0.5, -0.25), "ice-cream": (0.0, 2.0, 1e-3), "été": (3.0, -1.5, 8.0), "nil": (0.0, 0.0, 0.0)}


def glove(vectors: dict[str, tuple[float, ...]] = VECTORS) -> bytes:
    return "".join(f"{word} {' '.join(map(repr, numbers))}\n" for word, numbers in vectors.items()).encode()


def word2vec(vectors: dict[str, tuple[float, ...]] = VECTORS) -> bytes:
    return b"%d 3\n" % len(vectors) + glove(vectors)


def binary(newline: bytes = b"") -> bytes:
    records = [word.encode() + b" " + struct.pack("<3f", *numbers) + newline for word, numbers in VECTORS.items()]
    return b"%d 3\n" % len(VECTORS) + b"".join(records)


FORMS: dict[str, Callable[[], bytes]] = {
    "glove.txt": glove,
    "glove.txt.gz": lambda: gzip.compress(glove()),
    "cached-without-suffix": lambda: gzip.compress(word2vec()),
    "word2vec.txt": word2vec,
    "trailing-spaces.txt": lambda: word2vec().replace(b"\n", b" \r\n"),
    "tabs.txt": lambda: glove().replace(b" ", b"\t"),
    "words-with-spaces.txt": lambda: glove() + b". . . 1 2 3\nat name@domain.com 4 5 6\n\n",
    "vectors.bin": binary,
    "newlines.bin": lambda: binary(b"\n"),
    "vectors.bin.gz": lambda: gzip.compress(binary()),
    "header-says-less.bin": lambda: binary().replace(b"4 3", b"1 3", 1),
    "header-says-less.txt": lambda: word2vec().replace(b"4 3", b"1 3", 1),
    "newlines-at-the-end.bin": lambda: binary(b"\r\n") + b"\n\n",
    "mark.txt": lambda: b"\xef\xbb\xbf" + glove(),
    "mark-before-counts.txt.gz": lambda: gzip.compress(b"\xef\xbb\xbf" + word2vec()),
    "mark.bin": lambda: b"\xef\xbb\xbf" + binary(),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_tells_which_groups_have_no_word(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMS[name]())
    assert without_words(path, [{"red", "absent"}, {"absent"}, {"ice-cream"}, {""}, set()]) == [1, 3, 4]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_vectors_of_the_words_asked_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMS[name]())
    got = read_vectors(path, {"red", "été", "absent", "ice cream", ""})
    assert got.dimensions == 3
    assert sorted(got.vectors) == ["red", "été"]
    for word, vector in got.vectors.items():
        assert vector.dtype == np.float32
        assert vector.tolist() == np.float32(VECTORS[word]).tolist()


def test_vectors_of_zeros_or_with_values_that_are_not_finite_count_as_none(tmp_path: Path) -> None:
    path = tmp_path / "odd.txt"
    path.write_bytes(glove() + b"broken 1 nan 2\nendless inf 1 2\n")
    assert sorted(read_vectors(path, {"nil", "broken", "endless", "red"}).vectors) == ["red"]


def test_the_first_of_equal_words_counts(tmp_path: Path) -> None:
    path = tmp_path / "twice.txt"
    path.write_bytes(b"red 1 2 3\nred 4 5 6\n")
    assert read_vectors(path, {"red"}).vectors["red"].tolist() == [1, 2, 3]


def test_a_file_with_none_of_the_words_gives_no_vectors(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_bytes(glove())
    assert read_vectors(path, {"absent"}).vectors == {}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("short.txt", b"red 1 2 3\nblue 1 2\n", "line 2: got 2 numbers after the word, not 3"),
        ("short.txt", b"red 1 2 3\n\nblue\n", "line 3: got 0 numbers after the word, not 3"),
        ("glued.txt", b"red 1 2 3\nblue 1 2 3green 4 5 6\n", "line 2: got 6 numbers"),
        ("words.txt", b"tag 1 2 3\nred one 2 3\n", "line 2: got something else than 3 numbers after 'red'"),
        ("gap.txt", b"tag 1 2 3\nred  2 3\n", "line 2: got something else than 3 numbers after 'red'"),
        ("page.txt", b"<html><body>not found</body></html>\n", "line 1: got neither"),
        ("empty.txt", b"", "line 1: got neither"),
        ("torn.txt", b"5 3\n" + glove(), "4 words, expected 5 as line 1 says"),
        ("torn.bin", binary()[:-2], "word 4: the file is torn there; line 1 says 4 words"),
        ("more.bin", binary() + b"\n\0", "word 5: the file is torn there; line 1 says 4 words"),
        ("says-more.bin", binary().replace(b"4 3", b"9 3", 1), "word 5: the file is torn there; line 1 says 9 words"),
        (
            "wide.bin",
            binary().replace(b"4 3", b"4 4", 1),
            r"word \d: (got bytes of no text for a word|the file is torn)",
        ),
        ("narrow.bin", binary().replace(b"4 3", b"4 2", 1), "word 2: got bytes of no text for a word; the dimensions"),
        ("huge.bin", b"1 1000000000000\nred " + b"\0" * 99, "1,000,000,000,000 dimensions, expected at most 100,000"),
        ("huge.txt", b"1 1000000000000\nred 1\n", "1,000,000,000,000 dimensions, expected at most 100,000"),
        ("huge.txt", b"0 1000000000000\n", "1,000,000,000,000 dimensions, expected at most 100,000"),
        ("digits.bin", b"1 " + b"9" * 5000 + b"\nred 1\n", "no counts of words and dimensions"),
        ("counted-text.bin", word2vec(), "is text, though its name ends as that of a binary file. Rename"),
        ("binary.txt", binary(), r"line 2: got .*must end in .bin"),
        ("binary-newlines.txt", binary(b"\n"), r"line [234]: got .*must end in .bin|4 words"),
        ("sixteen-bit.txt", glove().decode().encode("utf-16"), "line 1: got neither"),
        ("text.bin", glove(), "no counts of words and dimensions"),
        ("torn.txt.gz", gzip.compress(glove() * 50, mtime=0)[:60], "the gzip stream is torn"),
        ("broken.txt.gz", b"\x1f\x8b\x08\x00" + b"\xff" * 40, "the gzip stream is torn"),
        ("glove.zip", b"PK\x03\x04" + b"\0" * 30, "is a zip archive.*Unpack it"),
    ],
)
def test_a_torn_or_malformed_file_is_an_error_that_says_where(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(PipelineError, match=message) as error:
        read_vectors(path, {"red"})
    assert str(path) in str(error.value)


@pytest.mark.parametrize("first", [b"", b"red 1 2 3\n", b"2 3\n"], ids=["at-once", "later", "after-counts"])
@pytest.mark.parametrize("name", ["endless.txt", "endless.bin"])
def test_a_line_or_word_without_end_is_read_in_bounded_memory(tmp_path: Path, name: str, first: bytes) -> None:
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(first)
        for _ in range(64):
            file.write(b"x" * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(PipelineError, match=r"bytes without an end of the line|no counts|file is torn") as error:
            read_vectors(path, {"red"})
        assert tracemalloc.get_traced_memory()[1] < 24 * 2**20
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value)


def test_a_scan_ends_where_each_group_has_a_word_and_a_torn_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "torn.txt.gz"
    path.write_bytes(gzip.compress(glove() * 1000)[:-8])
    assert without_words(path, [{"red"}, {"été"}]) == []
    with pytest.raises(PipelineError, match=r"torn\.txt\.gz: the gzip stream is torn"):
        without_words(path, [{"absent"}])


def test_a_file_that_takes_long_is_told_by_its_size(tmp_path: Path) -> None:
    def sized(name: str, size_bytes: int) -> Path:
        with (tmp_path / name).open("wb") as file:
            file.truncate(size_bytes)  # a hole
        return tmp_path / name

    assert is_quickly_scanned(sized("glove.6B.300d.txt", 1_037_962_819))
    assert not is_quickly_scanned(sized("glove.840B.300d.txt", 5_646_236_541))
    assert not is_quickly_scanned(sized("glove-wiki-gigaword-300.gz", 394_362_229))
    assert not is_quickly_scanned(sized("GoogleNews-vectors-negative300.bin", 3_644_258_522))
