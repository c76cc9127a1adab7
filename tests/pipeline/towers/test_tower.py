"""Names of towers, and what open_clip says of them."""

import re
import subprocess
import sys

import pytest

from pipeline.towers.tower import Tower, prompts
from pipeline.vectors.source import source_of
from schemas.config import EmbedConfig
from schemas.errors import PipelineError, UsageError

open_clip = pytest.importorskip("open_clip")


def named(text: str) -> Tower:
    return Tower.named("embed.vectors", f"open_clip:{text}")


def test_a_name_says_the_model_and_its_weights() -> None:
    tagged, random, file = named("ViT-B-32:laion2b_s34b_b79k"), named("ViT-B-32:random:7"), named("ViT-B-32:a/b.bin")
    assert (tagged.model, tagged.weights, tagged.size, tagged.seed, tagged.path) == (
        "ViT-B-32", "laion2b_s34b_b79k", 512, None, None
    )  # fmt: skip
    assert (random.seed, random.path) == (7, None)
    assert (file.seed, file.path) == (None, "a/b.bin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ViT-B-33:openai", "open_clip has no model 'ViT-B-33'. Nearest: ViT-B-32, "),
        ("../ViT-B-32:openai", "open_clip has no model '../ViT-B-32'"),
        ("ViT-B-32:opanai", "open_clip knows no weights 'opanai' of ViT-B-32. Known: open_clip:ViT-B-32:openai, "),
        ("ViT-B-32:openai", "another activation than ViT-B-32 has. Use open_clip:ViT-B-32-quickgelu:openai"),
        ("ViT-B-32:random:x", "expected a number after 'random:'"),
        ("ViT-B-16-SigLIP:webli", "the text tower of ViT-B-16-SigLIP has a tokenizer of the library transformers"),
        ("roberta-ViT-B-32:laion2b_s12b_b32k", "has a tokenizer of the library transformers"),
    ],
)
def test_what_is_no_tower_is_refused_with_what_is(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        source_of(EmbedConfig(vectors=f"open_clip:{text}")).without([])


def test_every_published_weights_file_of_open_clip_lies_on_the_hub() -> None:
    for model, tag in open_clip.list_pretrained():
        found = open_clip.get_pretrained_cfg(model, tag)
        try:
            published = Tower("embed.vectors", model, tag).published
        except UsageError as error:
            assert "activation" in str(error)  # noqa: PT017
            continue
        assert published.file.address().startswith(f"https://huggingface.co/{published.file.repository}/resolve/main/")
        assert published.file.repository.count("/") == 1
        assert (published.mean, published.std) == (tuple(found["mean"]), tuple(found["std"]))


def test_the_ensemble_is_open_clip_s_own() -> None:
    found = prompts(("ensemble",))
    assert len(found) == 80
    assert [text.replace("{}", "cat") for text in found] == [one("cat") for one in open_clip.OPENAI_IMAGENET_TEMPLATES]


def test_a_plan_needs_no_torch() -> None:
    code = """
import sys
from pipeline.towers.tower import Tower, prompts, tokenizer_sha256
from pipeline.vectors.source import source_of
from schemas.config import BackboneConfig, EmbedConfig
from pipeline.backbones import describe
source = source_of(EmbedConfig(vectors="open_clip:ViT-B-32:laion2b_s34b_b79k", prompts="ensemble"))
assert len(source.recipe(None)["embed.prompts"]) == 80 and source.stem == "open-clip-vit-b-32-laion2b-s34b-b79k"
assert describe(BackboneConfig(name="open_clip:ViT-B-16", weights="random:0")).maps[0].shape == (14, 14, 512)
assert not {"torch", "open_clip"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.towers import tower

    tower.models.cache_clear()
    monkeypatch.setattr(tower, "FAMILY", "open_clip_that_is_not_there")
    with pytest.raises(PipelineError, match=re.escape("Run: pip install 'biam-pipe[open_clip]'")):
        named("ViT-B-32:openai")
