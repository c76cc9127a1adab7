"""The embed stage: label names and a file of word vectors in, a label matrix out."""

import gzip
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stage_tasks import sealed
from stage_tasks import task as task_of

from benchmarks.fault_server import serving
from pipeline.datasets.demo.settings import DemoDataset
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.storage import Storage, sha256_file
from pipeline.files.tables import write_table
from pipeline.stages.embed import Settings, run, stage
from schemas.config import Config, DownloadConfig, EmbedConfig
from schemas.errors import IntegrityError, PipelineError, UsageError
from schemas.receipts import Receipt
from schemas.tables import LABEL_ROLES, LABELS, embeddings

VECTORS = {
    "red": (3.0, 0.0, 4.0),
    "circle": (-1.0, 2.0, 2.0),
    "anti-circle": (1.0, -2.0, -2.0),
    "up": (0.0, 1.0, 0.0),
    "down": (0.0, -1.0, 0.0),
    "interesting": (1.0, 1.0, 0.0),
    "nothing": (0.0, 0.0, 0.0),
}


def text(vectors: dict[str, tuple[float, ...]] = VECTORS) -> bytes:
    return "".join(f"{word} {' '.join(map(str, numbers))}\n" for word, numbers in vectors.items()).encode()


def left(root: Path, name: str, columns: dict[str, list[Any]], schema: pa.Schema) -> tuple[Receipt, ...]:
    """The labels as a stage left them."""
    task = task_of(name, root, None)
    write_table(task.storage, task.path("labels"), pa.table(columns, schema=schema))
    return sealed(task, [Output(("labels",), rows=len(columns["label_index"]))])


def task_for(
    root: Path,
    names: list[str],
    config: EmbedConfig,
    unseen: Collection[int] = (),
    unlisted: Collection[int] = (),
    base: str | None = None,
    download: DownloadConfig | None = None,
) -> Task:
    work = root / "work"
    numbers = list(range(len(names)))
    labels = {"label_index": numbers, "label_id": [f"/m/{number}" for number in numbers], "name": names}
    listed = [number for number in numbers if number not in unlisted]
    roles = {"label_index": listed, "role": ["unseen" if number in unseen else "seen" for number in listed]}
    inputs = {"index": left(work, "index", labels, LABELS), "split": left(work, "split", roles, LABEL_ROLES)}
    bases = {} if base is None else {"demo": base}
    return task_of("embed", work, Settings(config, download or DownloadConfig()), inputs, bases=bases)


def described(config: EmbedConfig) -> Stage:
    return stage(Config(dataset=DemoDataset(), embed=config), Sources(Storage("nowhere")))


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "Word.Vectors.txt"
    path.write_bytes(text())
    return path


def embedded(task: Task) -> tuple[Output, pa.Table]:
    (output,) = run(task)
    return output, pq.read_table(task.storage.shown(task.path("embeddings")))


def unit(*words: str) -> list[float]:
    """The rule by hand: sum the words' numbers, divide by the root of the sum of squares."""
    sums = [sum(VECTORS[word][axis] for word in words) for axis in range(3)]
    norm = sum(value * value for value in sums) ** 0.5
    return [value / norm for value in sums]


def test_every_label_gets_the_normalised_mean_of_its_words(tmp_path: Path, vectors: Path) -> None:
    names = ["Red", "red circle", "Anti circle", "interestingness", "red (shade) zzyzx"]
    output, table = embedded(task_for(tmp_path, names, EmbedConfig(vectors=str(vectors))))
    assert table.schema.equals(embeddings(3))
    assert table["label_index"].to_pylist() == list(range(5))
    assert table["label_id"].to_pylist() == [f"/m/{number}" for number in range(5)]
    expected = [unit("red"), unit("red", "circle"), unit("anti-circle"), unit("interesting"), unit("red")]
    np.testing.assert_allclose(table["vector"].to_pylist(), expected, rtol=1e-6)
    assert table["words_found"].to_pylist() == [["red"], ["red", "circle"], ["anti-circle"], ["interesting"], ["red"]]
    assert table["words_missing"].to_pylist() == [[], [], [], [], ["zzyzx"]]
    assert output.files == ("embeddings",)
    assert {name: output.facts[name] for name in ("labels", "complete", "partial", "without", "dimensions")} == {
        "labels": 5,
        "complete": 4,
        "partial": 1,
        "without": 0,
        "dimensions": 3,
    }


def test_a_label_without_a_vector_is_an_error_that_says_the_way_out(tmp_path: Path, vectors: Path) -> None:
    names = ["red", *(f"qwx{number}" for number in range(7))]
    message = "7 labels of 8 have no word in .*'qwx0', .*'qwx4', .*embed.missing=drop"
    with pytest.raises(PipelineError, match=message) as error:
        run(task_for(tmp_path, names, EmbedConfig(vectors=str(vectors))))
    assert "qwx5" not in str(error.value)


@pytest.mark.parametrize("name", ["nothing", "up down", "zzyzx", "(remark)"])
def test_what_has_no_direction_is_no_vector_and_never_a_row_of_zeros(tmp_path: Path, vectors: Path, name: str) -> None:
    config = EmbedConfig(vectors=str(vectors), missing="drop")
    output, table = embedded(task_for(tmp_path, ["red", name], config))
    assert table["vector"].to_pylist()[1] is None
    assert (output.facts["complete"], output.facts["without"]) == (1, 1)


def test_unseen_labels_without_a_vector_may_be_excluded_but_not_seen_ones(tmp_path: Path, vectors: Path) -> None:
    config = EmbedConfig(vectors=str(vectors), missing="unseen-excluded")
    _, table = embedded(task_for(tmp_path, ["red", "zzyzx"], config, unseen={1}))
    assert [vector is None for vector in table["vector"].to_pylist()] == [False, True]
    with pytest.raises(PipelineError, match=r"1 seen labels of 2 have no word in .*: 'zzyzx'"):
        run(task_for(tmp_path, ["red", "zzyzx"], config, unseen={0}))


@pytest.mark.parametrize("missing", ["error", "drop", "unseen-excluded"])
def test_a_label_that_left_the_data_set_keeps_its_row_and_needs_no_vector(
    tmp_path: Path, vectors: Path, missing: Literal["error", "drop", "unseen-excluded"]
) -> None:
    config = EmbedConfig(vectors=str(vectors), missing=missing)
    output, table = embedded(task_for(tmp_path, ["red", "zzyzx", "up"], config, unlisted={1, 2}))
    assert table["label_index"].to_pylist() == [0, 1, 2]
    assert [vector is None for vector in table["vector"].to_pylist()] == [False, True, False]
    assert (output.rows, output.facts["labels"], output.facts["without"]) == (3, 1, 0)


def test_labels_that_left_the_data_set_are_not_counted_among_those_without_a_word(
    tmp_path: Path, vectors: Path
) -> None:
    with pytest.raises(PipelineError, match=r"1 labels of 2 have no word in .*: 'zzyzx';"):
        run(task_for(tmp_path, ["red", "zzyzx", "qwx"], EmbedConfig(vectors=str(vectors)), unlisted={2}))


def test_overrides_of_the_settings_are_looked_up(tmp_path: Path, vectors: Path) -> None:
    config = EmbedConfig(vectors=str(vectors), overrides={"Zzyzx": "red circle"})
    _, table = embedded(task_for(tmp_path, ["zzyzx"], config))
    np.testing.assert_allclose(table["vector"].to_pylist(), [unit("red", "circle")], rtol=1e-6)


def test_text_binary_and_gzip_give_equal_bytes(tmp_path: Path) -> None:
    records = b"".join(word.encode() + b" " + struct.pack("<3f", *numbers) for word, numbers in VECTORS.items())
    forms = {
        "v.txt": text(),
        "v.txt.gz": gzip.compress(text()),
        "v.vec": b"%d 3\n" % len(VECTORS) + text(),
        "v.bin": b"%d 3\n" % len(VECTORS) + records,
    }
    written, contents = set(), set()
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        task = task_for(tmp_path, ["red circle", "up"], EmbedConfig(vectors=str(tmp_path / name)))
        (output,) = run(task)
        written.add(task.storage.read(task.path("embeddings")))
        contents.add(output.content)
    assert len(written) == len(contents) == 1


def test_an_array_gives_the_same_and_counts_by_both_its_files(tmp_path: Path, vectors: Path) -> None:
    array, listed = tmp_path / "glove.npy", tmp_path / "glove.parquet"
    np.save(array, np.array(list(VECTORS.values()), dtype=np.float32))
    pq.write_table(pa.table({"word": list(VECTORS)}), listed)
    names, config = ["red circle", "up"], EmbedConfig(vectors=str(array))

    output, table = embedded(task_for(tmp_path, names, config))
    of_text, expected = embedded(task_for(tmp_path, names, EmbedConfig(vectors=str(vectors))))

    assert table.equals(expected)
    recipe = described(config).recipe["embed.vectors"]
    assert recipe == output.facts["vectors_sha256"] != of_text.facts["vectors_sha256"]
    pq.write_table(pa.table({"word": [*reversed(VECTORS)]}), listed)
    assert described(config).recipe["embed.vectors"] != recipe
    listed.unlink()
    with pytest.raises(PipelineError, match=r"glove\.words\.txt: No such file.*in glove\.words\.txt or glove\.parquet"):
        described(config)


def test_a_data_set_may_serve_the_vectors(tmp_path: Path) -> None:
    with serving() as server:
        config = EmbedConfig(vectors="demo:vectors/words.txt")
        _, table = embedded(task_for(tmp_path, ["red"], config, base=server.base))
    np.testing.assert_allclose(table["vector"].to_pylist(), [unit("red")], rtol=1e-6)
    assert described(config).outputs["embeddings"].path == "{folder}/words-{fp8}.parquet"


def test_the_wrong_file_of_vectors_is_an_error(tmp_path: Path, vectors: Path) -> None:
    with pytest.raises(IntegrityError, match="expected 0123456789"):
        run(task_for(tmp_path, ["red"], EmbedConfig(vectors=str(vectors), sha256="0123456789")))
    with pytest.raises(UsageError, match="Did you mean"):
        run(task_for(tmp_path, ["red"], EmbedConfig(vectors="glove-wiki-gigaword-200")))


def test_a_local_file_of_vectors_is_a_source(vectors: Path) -> None:
    local, published = described(EmbedConfig(vectors=str(vectors))), described(EmbedConfig())
    assert local.recipe["embed.vectors"] == sha256_file(vectors)
    assert local.outputs["embeddings"].path == "{folder}/word-vectors-{fp8}.parquet"
    assert published.recipe["embed.vectors"] == "glove-wiki-gigaword-300"
    assert published.outputs["embeddings"].path == "{folder}/glove-wiki-gigaword-300-{fp8}.parquet"
    assert published.record == "glove-wiki-gigaword-300-{fp8}.stage"


def test_labels_of_nus_wide_get_the_released_vectors(tmp_path: Path, shared: Path) -> None:
    glove, lists = shared / "data/glove", shared / "data/metadata/nuswide"
    if not glove.is_dir() or not lists.is_dir():
        pytest.skip("no word vectors and label lists in ../shared")
    tags = (lists / "TagList1k.txt").read_text().split()
    concepts = (lists / "Concepts81.txt").read_text().split()
    names = [tag for tag in tags if tag not in concepts] + concepts
    released = np.concatenate(
        [
            np.load(glove / "nus_tags_1000x300.npy")[[tag not in concepts for tag in tags]],
            np.load(glove / "nus_concepts_81x300.npy"),
        ]
    )
    config = EmbedConfig(vectors=str(glove / "glove.6B.300d.excerpt.txt.gz"))
    output, table = embedded(task_for(tmp_path, names, config))
    assert (output.facts["labels"], output.facts["complete"]) == (1006, 1006)
    expected = released / np.linalg.norm(released, axis=1, keepdims=True)
    np.testing.assert_allclose(np.array(table["vector"].to_pylist()), expected, rtol=0, atol=1e-7)


def test_the_label_matrix_of_nuswide_is_the_released_one(tmp_path: Path, shared: Path) -> None:
    real = shared / "data"
    tags = (real / "metadata/nuswide/TagList1k.txt").read_text().split()
    concepts = (real / "metadata/nuswide/Concepts81.txt").read_text().split()
    released = dict(zip(tags, np.load(real / "glove/nus_tags_1000x300.npy"), strict=True))
    released |= dict(zip(concepts, np.load(real / "glove/nus_concepts_81x300.npy"), strict=True))
    names = [tag for tag in tags if tag not in set(concepts)] + concepts
    config = EmbedConfig(vectors=str(real / "glove/glove.6B.300d.excerpt.txt.gz"))

    _, table = embedded(task_for(tmp_path, names, config))

    found = np.array(table["vector"].to_pylist())
    expected = np.array([released[name] / np.linalg.norm(released[name]) for name in names])
    assert found.shape == (1006, 300)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_vectors_are_fetched_as_the_section_download_says(tmp_path: Path) -> None:
    with serving() as server:
        config = EmbedConfig(vectors=f"{server.base}/code/500")
        task = task_for(tmp_path, ["red"], config, download=DownloadConfig(attempts=2, backoff_s=0.001))
        with pytest.raises(PipelineError, match="got HTTP 500"):
            run(task)
    assert server.requests == {"/code/500": 2}
