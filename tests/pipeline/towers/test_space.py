"""Maps and words of two towers are refused by name; those of one are told to be no zero-shot ones."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import pytest

from pipeline.towers.space import pretraining_remark, require_one_space, require_planned
from schemas.config import BackboneConfig
from schemas.errors import UsageError
from schemas.features import FeatureSpec, MapSpec

TAG, OTHER_TAG = "laion2b_s34b_b79k", "datacomp_xl_s13b_b90k"
WHOLE = MapSpec(column="pooled", role="global", layer="image embedding", shape=(512,), layout="C")

needs_open_clip = pytest.mark.skipif(find_spec("open_clip") is None, reason="open_clip is not installed")


def spec(backbone: str, weights: str, sha256: str = "a" * 64) -> FeatureSpec:
    return FeatureSpec(
        backbone=backbone, weights=weights, weights_sha256=sha256, maps=(WHOLE,), preprocess=None, precision="fp32",
        recipe="0" * 64, versions={},
    )  # fmt: skip


def facts(model: str, weights: str, sha256: str = "a" * 64) -> dict[str, Any]:
    return {"tower": {"model": model, "weights": weights}, "vectors_sha256": sha256}


@needs_open_clip
@pytest.mark.parametrize(
    ("name", "weights", "vectors"),
    [
        (f"ViT-B-32:{TAG}", "default", f"ViT-B-32:{OTHER_TAG}"),
        (f"ViT-B-32:{TAG}", "default", f"ViT-B-16:{TAG}"),
        (f"ViT-B-32:{TAG}", "default", "ViT-B-32:random:0"),
        ("ViT-B-32", "random:0", "ViT-B-32:random:1"),
        (f"ViT-B-32:{TAG}", "default", f"ViT-L-14:{TAG}"),  # 512 numbers, and 768
    ],
)
def test_two_towers_are_refused_by_name_before_anything_runs(name: str, weights: str, vectors: str) -> None:
    backbone = BackboneConfig(name=f"open_clip:{name}", weights=weights)
    with pytest.raises(UsageError, match=rf"model cosine compares maps with label vectors: .*open_clip:{vectors}"):
        require_planned("cosine", backbone, f"open_clip:{vectors}", [WHOLE])


@needs_open_clip
@pytest.mark.parametrize(
    ("name", "weights", "vectors"),
    [
        (f"ViT-B-32:{TAG}", "default", f"open_clip:ViT-B-32:{TAG}"),
        (f"ViT-B-32:{TAG}", "weights.pt", f"open_clip:ViT-B-32:{TAG}"),  # hashes tell, once both are read
        ("ViT-B-32", "random:0", "open_clip:ViT-B-32:random:0"),
        (f"ViT-B-32:{TAG}", "default", "words-of-that-tower.txt"),
    ],
)
def test_one_tower_is_none_too_many(name: str, weights: str, vectors: str) -> None:
    require_planned("cosine", BackboneConfig(name=f"open_clip:{name}", weights=weights), vectors, [WHOLE])


@pytest.mark.parametrize(
    ("made", "embedded"),
    [
        (spec(f"open_clip:ViT-B-32:{TAG}", "w", "a" * 64), facts("ViT-B-32", TAG, "b" * 64)),
        (spec(f"open_clip:ViT-B-32:{TAG}", "w"), facts("ViT-B-16", TAG)),
        (spec("open_clip:ViT-B-32", "random:0", "a" * 64), facts("ViT-B-32", "random:1", "b" * 64)),
        (spec("open_clip:ViT-B-32", "random:0"), facts("ViT-B-32", TAG)),
        (spec("vgg19", "VGG19_Weights.IMAGENET1K_V1"), facts("ViT-B-32", TAG)),
    ],
)
def test_what_two_towers_made_is_refused_by_name(made: FeatureSpec, embedded: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"got {made.backbone} with the weights .*, and open_clip:"):
        require_one_space("cosine", [WHOLE], 512, made, embedded)


def test_what_one_tower_made_is_taken_and_so_is_what_nobody_knows() -> None:
    require_one_space("cosine", [WHOLE], 512, spec(f"open_clip:ViT-B-32:{TAG}", "a"), facts("ViT-B-32", "b.bin"))
    require_one_space(
        "cosine", [WHOLE], 512, spec("open_clip:ViT-B-32", "random:0", "b"), facts("ViT-B-32", "random:0")
    )
    require_one_space("cosine", [WHOLE], 512, spec("vgg19", "x"), {})
    with pytest.raises(UsageError, match="got the map pooled with 512 numbers, and the label vectors with 300"):
        require_one_space("cosine", [WHOLE], 300, spec("vgg19", "x"), {})


def test_trained_towers_are_told_and_others_are_not() -> None:
    both = pretraining_remark(spec(f"open_clip:ViT-B-32:{TAG}", "x"), facts("ViT-B-16", TAG))
    assert both is not None
    assert both.startswith(f"pretraining not zero-shot: open_clip:ViT-B-16:{TAG} and open_clip:ViT-B-32:{TAG} (x) met")
    assert "ViT-B-32" in str(pretraining_remark(spec("vgg19", "x"), facts("ViT-B-32", TAG)))
    assert "ViT-B-32" in str(pretraining_remark(spec("open_clip:ViT-B-32:t", "x"), {}))
    assert pretraining_remark(spec("open_clip:ViT-B-32", "random:0"), facts("ViT-B-32", "random:0")) is None
    assert pretraining_remark(spec("vgg19", "x"), {}) is None
