"""Label vectors of a text tower, beside what open_clip itself computes."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from towers import MODEL, SEED, SIZE, reference

from pipeline.datasets.demo.settings import DemoDataset
from pipeline.engine.fingerprint import recipe_document
from pipeline.engine.sources import Sources
from pipeline.engine.task import Stage
from pipeline.files.storage import Storage, sha256_file
from pipeline.net.fetch import CACHE_VARIABLE
from pipeline.settings.layers import configuration
from pipeline.stages.embed import stage
from pipeline.vectors.source import Embedded, source_of
from pipeline.vectors.text_tower import TextTower
from schemas.config import Config, EmbedConfig
from schemas.errors import PipelineError, UsageError

open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.usefixtures("one_thread")

RANDOM = f"open_clip:{MODEL}:random:{SEED}"
NAMES = ["cat", "Traffic light (city)"]
PROMPTS = ("a photo of a {}.", "{}, seen from above", "{}")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in a file, of the form that open_clip's training writes."""
    path = tmp_path_factory.mktemp("weights") / "tower.pt"
    state = {f"module.{name}": value for name, value in reference().state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, path)
    return path


def embedded(vectors: str, names: list[str] = NAMES, **settings: object) -> Embedded:
    config = EmbedConfig.model_validate({"vectors": vectors, **settings})
    return source_of(config).embed(names, {}, "cpu")


def matrix(found: Embedded) -> np.ndarray:
    return np.array([row.vector for row in found.rows])


@torch.inference_mode()
def by_open_clip(names: list[str], prompts: tuple[str, ...]) -> np.ndarray:
    """One text at a time, without anything of ours."""
    tokenize, rows = open_clip.get_tokenizer(MODEL), []
    for name in names:
        found = [reference().encode_text(tokenize([prompt.format(name)]), normalize=True) for prompt in prompts]
        mean = torch.cat(found).mean(dim=0)
        rows.append((mean / mean.norm()).numpy())
    return np.array(rows)


def test_a_label_s_vector_is_the_mean_of_its_normalised_prompts() -> None:
    found = embedded(RANDOM, prompts=PROMPTS)
    np.testing.assert_allclose(matrix(found), by_open_clip(NAMES, PROMPTS), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(matrix(found), axis=1), 1, atol=1e-6)
    assert (found.dimensions, matrix(found).dtype) == (SIZE, np.float32)
    assert [row.words.found for row in found.rows] == [("cat",), ("Traffic light (city)",)]
    assert found.facts["prompts"] == list(PROMPTS)
    assert found.facts["tower"] == {"model": MODEL, "weights": f"random:{SEED}"}


def test_overrides_stand_in_place_of_names_and_the_table_for_glove_does_not() -> None:
    found = embedded(RANDOM, ["kitty", "Selfie"], overrides={"Kitty": "cat"})
    np.testing.assert_allclose(matrix(found), by_open_clip(["cat", "Selfie"], ("a photo of a {}.",)), atol=1e-6)


def test_a_file_of_weights_counts_by_its_hash(weights: Path) -> None:
    name = f"open_clip:{MODEL}:{weights}"
    found = embedded(name)
    np.testing.assert_allclose(matrix(found), matrix(embedded(RANDOM)), atol=1e-6)
    assert found.sha256 == sha256_file(weights)
    assert described(vectors=name).recipe["embed.vectors"] == f"open_clip:{MODEL}:{found.sha256}"


def test_a_file_that_would_run_code_or_is_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": Evil()}, tmp_path / "code.pt")
    with pytest.raises(PipelineError, match=f"pickle that asks for .* --set embed.vectors=open_clip:{MODEL}:PATH"):
        embedded(f"open_clip:{MODEL}:{tmp_path / 'code.pt'}")
    torch.save({"visual.proj": torch.zeros(3, 3)}, tmp_path / "other.pt")
    with pytest.raises(PipelineError, match=f"1 tensors .* without .*, expected the .* tensors of open_clip's {MODEL}"):
        embedded(f"open_clip:{MODEL}:{tmp_path / 'other.pt'}")


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('code ran')",)


def described(**settings: object) -> Stage:
    config = Config(dataset=DemoDataset(), embed=EmbedConfig.model_validate(settings))
    return stage(config, Sources(Storage("nowhere")))


def test_prompts_and_tokenizer_belong_to_the_recipe() -> None:
    usual = described(vectors=RANDOM)
    assert usual.recipe["embed.prompts"] == ["a photo of a {}."]
    assert len(usual.recipe["embed.tokenizer"]) == 64
    recipes = [
        recipe_document(each, {})["settings"]
        for each in (usual, described(vectors=RANDOM, prompts="{}"), described(vectors=RANDOM, prompts="ensemble"))
    ]
    assert recipes[0] != recipes[1] != recipes[2]
    assert len(recipes[2]["embed.prompts"]) == 80
    assert usual.outputs["embeddings"].path == "{folder}/open-clip-vit-s-32-alt-random-3-{fp8}.parquet"


def test_words_that_a_user_types_are_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())
    source = source_of(EmbedConfig(vectors=f"open_clip:{MODEL}:{copy}"))

    def requested(*names: str) -> Iterator[np.ndarray]:
        found = source.requested(names, sha256_file(weights), lambda: nullcontext({}), "cpu")
        return (found[name].vector for name in names)

    first = list(requested(*NAMES))
    np.testing.assert_allclose(first, by_open_clip(NAMES, ("a photo of a {}.",)), atol=1e-6)
    torch.save({}, copy)
    np.testing.assert_array_equal(list(requested(*NAMES)), first)  # without the file
    with pytest.raises(PipelineError, match="the label matrix was made from"):
        list(requested("zebra"))


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["embed.prompts=a {}"], "setting embed.prompts: .* of text towers, and embed.vectors is"),
        ([f"embed.vectors={RANDOM}", "embed.missing=drop"], "setting embed.missing: .* every label has a vector"),
        ([f"embed.vectors={RANDOM}", "embed.sha256=01234567"], "setting embed.sha256: .* weights are random"),
        ([f"embed.vectors={RANDOM}", "embed.prompts=a photo"], "expected one {} in the label's place"),
        ([f"embed.vectors={RANDOM}", "embed.prompts=[]"], "at least one, such as"),
    ],
)
def test_settings_that_count_for_nothing_are_refused(sets: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        configuration("demo", None, {}, sets, tmp_path)


def test_weights_count_from_the_folder_of_the_settings(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "tower.pt").write_bytes(weights.read_bytes())
    (tmp_path / "biam-pipe.toml").write_text(f'[embed]\nvectors = "open_clip:{MODEL}:tower.pt"\n')
    config = configuration("demo", tmp_path / "biam-pipe.toml", {}, [], tmp_path)
    assert Path(*TextTower(config.embed).paths).resolve() == tmp_path / "tower.pt"
