"""Vectors in an array, with the list of its words beside it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.vectors.array import list_beside, read_array, without_listed
from schemas.errors import PipelineError

WORDS = ["red", "été", "ice cream", "nil", "broken", "red"]
ROWS = np.array([[1, 2], [3, 4], [5, 6], [0, 0], [np.nan, 1], [7, 8]], dtype=np.float32)


def array(folder: Path, rows: np.ndarray = ROWS) -> Path:
    np.save(folder / "v.npy", rows)
    return folder / "v.npy"


def text(folder: Path, data: bytes = "\n".join(WORDS).encode()) -> Path:
    (folder / "v.words.txt").write_bytes(data)
    return folder / "v.words.txt"


def parquet(folder: Path, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns or {"index": WORDS}), folder / "v.parquet")
    return folder / "v.parquet"


@pytest.mark.parametrize("listed", [text, parquet])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_rows_of_the_words_asked_for_are_their_vectors(tmp_path: Path, listed, order: str) -> None:
    found = read_array(array(tmp_path, np.asarray(ROWS, order=order)), listed(tmp_path), {*WORDS, "absent", ""})

    assert found.dimensions == 2
    assert {word: vector.tolist() for word, vector in found.vectors.items()} == {
        "red": [1, 2],
        "été": [3, 4],
        "ice cream": [5, 6],
    }  # of a word listed twice the first; no zeros, and nothing that is not finite


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfred\r\nblue\r\n", b"red\nblue\n", b"red\nblue"])
def test_lines_end_in_any_way(tmp_path: Path, data: bytes) -> None:
    assert sorted(read_array(array(tmp_path, ROWS[:2]), text(tmp_path, data), {"red", "blue"}).vectors) == [
        "blue",
        "red",
    ]


def test_an_empty_line_and_a_null_are_rows_without_a_word(tmp_path: Path) -> None:
    rows = array(tmp_path, ROWS[:3])
    for listed in (text(tmp_path, b"a\n\nred\n"), parquet(tmp_path, word=["a", None, "red"])):
        assert read_array(rows, listed, {"red"}).vectors["red"].tolist() == [5, 6]


def test_the_column_called_word_is_taken_among_several(tmp_path: Path) -> None:
    listed = parquet(tmp_path, lemma=["x"] * 6, word=WORDS, count=[1] * 6)

    assert without_listed(listed, [{"red"}, {"x"}, {"absent", "été"}, set()]) == [1, 3]


def test_text_stands_before_parquet_and_a_missing_list_is_told_as_text(tmp_path: Path) -> None:
    rows = array(tmp_path)
    assert list_beside(rows) == tmp_path / "v.words.txt"
    second = parquet(tmp_path)
    assert list_beside(rows) == second
    first = text(tmp_path)
    assert list_beside(rows) == first


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        (ROWS.astype(np.float64), r"got float64 of shape \(6, 2\), expected an array of float32 \[word, dimension\]"),
        (ROWS.astype(">f4"), r"got >f4 of shape"),
        (ROWS[0], r"got float32 of shape \(2,\)"),
        (ROWS[:, :0], r"got .*v.npy"),
        (np.zeros((1, 100_001), np.float32), r"got float32 of shape \(1, 100001\), .* at most 100,000 dimensions"),
        (np.array([["red"]], dtype=object), "got no .npy file of numbers, or a damaged one"),
    ],
)
def test_another_array_is_refused(tmp_path: Path, rows: np.ndarray, got: str) -> None:
    with pytest.raises(PipelineError, match=got.replace("got .*v.npy", "v.npy: got")):
        read_array(array(tmp_path, rows), text(tmp_path), {"red"})


def test_a_torn_array_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    path = array(tmp_path)
    whole = path.read_bytes()
    for data in (whole[:-1], whole[:40], b"", b"red 1 2\n", b"PK\x03\x04" + whole):
        path.write_bytes(data)
        with pytest.raises(PipelineError, match=r"v.npy: got no .npy file of numbers, or a damaged one \("):
            read_array(path, text(tmp_path), {"red"})


@pytest.mark.parametrize(("words", "got"), [(5, "5 words"), (7, "more than 6 words")])
@pytest.mark.parametrize("kind", ["text", "parquet"])
def test_a_list_of_another_length_is_refused(tmp_path: Path, words: int, got: str, kind: str) -> None:
    names = ["red"] * words
    listed = text(tmp_path, "\n".join(names).encode()) if kind == "text" else parquet(tmp_path, word=names)

    with pytest.raises(PipelineError, match=f"{listed.name}: got {got}, expected 6, as v.npy has rows"):
        read_array(array(tmp_path), listed, {"red"})


def test_what_is_no_list_of_words_is_refused(tmp_path: Path) -> None:
    rows = array(tmp_path)
    with pytest.raises(PipelineError, match=r"v.words.txt: cannot be read as text \(65,536 bytes without an end"):
        read_array(rows, text(tmp_path, b"x" * 70_000), {"red"})
    with pytest.raises(PipelineError, match=r"\(columns of text: a, b; expected 'word', or one alone\)"):
        read_array(rows, parquet(tmp_path, a=["x"], b=["y"]), {"red"})
    with pytest.raises(PipelineError, match=r"\(columns of text: none; expected 'word'"):
        read_array(rows, parquet(tmp_path, a=[1]), {"red"})
    (tmp_path / "v.parquet").write_bytes(b"PAR1")
    with pytest.raises(PipelineError, match=r"v.parquet: cannot be read as Parquet \(.*expected a list of words"):
        read_array(rows, tmp_path / "v.parquet", {"red"})
