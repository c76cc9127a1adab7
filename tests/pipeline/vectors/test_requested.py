from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from pipeline.files.storage import sha256_file
from pipeline.net.fetch import CACHE_VARIABLE
from pipeline.vectors.location import VectorsFile
from pipeline.vectors.requested import embed_labels
from schemas.config import EmbedConfig
from schemas.errors import PipelineError

TEXT = "zebra 1 0\nstreet 0 2\nprotest 2 0\nnight 0 -1\n"


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    path = tmp_path / "words.txt"
    path.write_text(TEXT)
    return path


def requested(path: Path, *names: str, sha256: str | None = None, overrides: Mapping[str, str] | None = None):
    config = EmbedConfig(vectors=str(path), overrides=dict(overrides or {}))
    return embed_labels(names, config, sha256 or sha256_file(path), lambda: nullcontext({}))


def test_words_are_looked_up_by_the_rule_of_the_label_matrix(vectors: Path):
    found = requested(vectors, "Zebra (animal)", "street protest", "night owl", "xyzzy")
    np.testing.assert_allclose(found["Zebra (animal)"].vector, [1, 0])
    np.testing.assert_allclose(found["street protest"].vector, [np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)
    assert found["night owl"].words.missing == ("owl",)
    np.testing.assert_allclose(found["night owl"].vector, [0, -1])
    assert found["xyzzy"].vector is None
    np.testing.assert_allclose(requested(vectors, "xyzzy", overrides={"xyzzy": "night"})["xyzzy"].vector, [0, -1])


def test_words_once_looked_up_are_known_without_the_file_and_others_ask_for_it(vectors: Path):
    sha256 = sha256_file(vectors)
    first = requested(vectors, "street protest", "xyzzy")
    vectors.unlink()
    again = requested(vectors, "street protest", "xyzzy", "protest", sha256=sha256)
    np.testing.assert_array_equal(again["street protest"].vector, first["street protest"].vector)
    assert again["xyzzy"].vector is None
    with pytest.raises(PipelineError, match=r"words\.txt"):
        requested(vectors, "zebra", sha256=sha256)


def test_vectors_other_than_those_behind_the_label_matrix_are_refused(vectors: Path):
    with pytest.raises(
        PipelineError, match=r"words\.txt has sha256 .*label matrix was made from 0{16}.*biam-pipe train"
    ):
        requested(vectors, "zebra", sha256="0" * 64)


def test_words_of_an_array_are_looked_up_as_those_of_a_text_file(vectors: Path):
    rows = [line.split() for line in TEXT.splitlines()]
    array = vectors.with_name("words.npy")
    np.save(array, np.array([row[1:] for row in rows], dtype=np.float32))
    listed = vectors.with_name("words.words.txt")
    listed.write_text("\n".join(row[0] for row in rows))
    sha256 = VectorsFile(array, listed).sha256

    found = requested(array, "street protest", "xyzzy", sha256=sha256)

    expected = requested(vectors, "street protest", "xyzzy")
    np.testing.assert_array_equal(found["street protest"].vector, expected["street protest"].vector)
    assert found["xyzzy"].vector is None
    listed.write_text("\n".join(row[0] for row in reversed(rows)))
    with pytest.raises(PipelineError, match=r"words\.npy has sha256 .*label matrix was made from"):
        requested(array, "zebra", sha256=sha256)
