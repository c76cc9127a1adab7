import gzip
from pathlib import Path

import numpy as np
import pytest

from pipeline.files.storage import sha256_file
from pipeline.net.fetch import CACHE_VARIABLE
from pipeline.vectors.location import (
    PACKAGED,
    PUBLISHED,
    VectorsFile,
    file_here,
    local_file,
    local_files,
    outside_files,
    slug,
    vectors_file,
)
from schemas.config import EmbedConfig
from schemas.errors import IntegrityError, PipelineError, UsageError


@pytest.mark.parametrize(
    ("vectors", "name"),
    [
        ("glove-wiki-gigaword-300", "glove-wiki-gigaword-300"),
        ("/data/glove.6B.300d.excerpt.txt.gz", "glove-6b-300d-excerpt"),
        ("https://host/GoogleNews-vectors-negative300.bin.gz", "googlenews-vectors-negative300"),
        ("demo:vectors.txt", "demo-vectors"),
        ("/data/.txt", "vectors"),
        ("/data/glove.6B.50d.npy", "glove-6b-50d"),
    ],
)
def test_the_short_name_fits_a_file_name(vectors: str, name: str) -> None:
    assert slug(vectors) == name


def test_only_a_path_is_a_file_that_shapes_the_output(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("red 1\n")
    assert local_file(EmbedConfig(vectors=str(path))) == str(path)
    for fetched in (*PUBLISHED, *PACKAGED, "https://host/vectors.txt", "demo:vectors.txt"):
        assert local_file(EmbedConfig(vectors=fetched)) is None


def test_a_name_that_is_nearly_known_is_suggested() -> None:
    with pytest.raises(UsageError, match="Did you mean 'glove-wiki-gigaword-300'"):
        local_file(EmbedConfig(vectors="glove-wiki-gigaword-30"))


def test_a_path_without_a_file_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    config = EmbedConfig(vectors=str(tmp_path / "no.txt"))
    with pytest.raises(PipelineError, match=r"no\.txt, expected one\. Check embed\.vectors"), vectors_file(config, {}):
        pass


def test_a_server_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    config = EmbedConfig(vectors="demo:vectors.txt")
    message = r"no such file, and no data set serves 'demo' \(served: other:\.\.\.\)"
    with pytest.raises(UsageError, match=message), vectors_file(config, {"other": "http://127.0.0.1:1"}):
        pass


def test_a_path_is_used_where_it_lies_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("red 1\n")
    with vectors_file(EmbedConfig(vectors=str(path)), {}) as file:
        assert file.path == path
    wrong = EmbedConfig(vectors=str(path), sha256="0" * 64)
    with pytest.raises(IntegrityError, match="expected 0000"), vectors_file(wrong, {}):
        pass


def test_published_vectors_are_taken_from_the_cache_once_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    cached = tmp_path / "vectors" / "glove-wiki-gigaword-300.gz"
    cached.parent.mkdir()
    cached.write_bytes(gzip.compress(b"red 1\n"))
    with vectors_file(EmbedConfig(), {}) as file:
        assert gzip.decompress(file.path.read_bytes()) == b"red 1\n"


def test_the_file_that_would_be_read_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    (published,) = outside_files(EmbedConfig(), {})
    assert (published.address, published.size_bytes) == (PUBLISHED["glove-wiki-gigaword-300"], 394_362_229)
    assert published.kept == tmp_path / "vectors/glove-wiki-gigaword-300.gz"
    (served,) = outside_files(EmbedConfig(vectors="demo:vectors.txt"), {"demo": "http://127.0.0.1:1/"})
    assert (served.address, served.kept) == ("http://127.0.0.1:1/vectors.txt", None)
    (tmp_path / "v.txt").write_text("red 1\n")
    (local,) = outside_files(EmbedConfig(vectors=str(tmp_path / "v.txt"), sha256="ab" * 32), {})
    assert (local.here, local.sha256) == (tmp_path / "v.txt", "ab" * 32)
    with pytest.raises(UsageError, match="no data set serves 'demo'"):
        outside_files(EmbedConfig(vectors="demo:vectors.txt"), {})


def test_an_array_is_two_files_with_one_hash(tmp_path: Path) -> None:
    path, listed = tmp_path / "v.npy", tmp_path / "v.words.txt"
    np.save(path, np.ones((1, 2), np.float32))
    listed.write_text("red\n")
    config = EmbedConfig(vectors=str(path), sha256=sha256_file(path))

    assert local_files(config) == (str(path), str(listed))
    assert [file.here for file in outside_files(config, {})] == [path, listed]
    with vectors_file(config, {}) as file:
        before = file.sha256
        assert (file.path, file.listed, file.quickly_scanned) == (path, listed, True)
        assert file.read({"red"}).vectors["red"].tolist() == [1, 1]
        assert file.without([{"red"}, {"blue"}]) == [1]
    listed.write_text("blue\n")
    assert VectorsFile(path, listed).sha256 not in (before, sha256_file(path))


def test_an_array_at_an_address_is_refused_before_it_is_fetched() -> None:
    with pytest.raises(UsageError, match="got an array at an address, expected a path of one"):
        local_file(EmbedConfig(vectors="https://host/v.npy"))


def test_vectors_of_a_package_are_read_where_it_is_installed() -> None:
    config = EmbedConfig(vectors="glove-6b-50d")
    assert local_files(config) == ()
    try:
        here = file_here(config)
    except UsageError as error:
        pytest.skip(str(error))
    assert [file.here for file in outside_files(config, {})] == [here.path, here.listed]
    with vectors_file(config, {}) as file:
        found = file.read({"the", "sandberger", "zebra", "xyzzyq"})
        assert file.without([{"zebra"}, {"xyzzyq"}]) == [1]
    assert (file, found.dimensions, sorted(found.vectors)) == (here, 50, ["sandberger", "the", "zebra"])
    np.testing.assert_allclose(
        found.vectors["the"][:4], [0.418, 0.24968, -0.41242, 0.1217]
    )  # as Stanford's text has it
