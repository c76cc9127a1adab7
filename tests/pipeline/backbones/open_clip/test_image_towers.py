"""Image towers of open_clip, beside what open_clip itself computes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from towers import MODEL, SEED, SIZE, reference

from pipeline.backbones import describe
from pipeline.backbones.network import network
from pipeline.backbones.open_clip import build
from schemas.config import BackboneConfig, ExtractConfig
from schemas.errors import UsageError

open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = BackboneConfig(name=f"open_clip:{MODEL}", weights=f"random:{SEED}")


@torch.inference_mode()
def test_maps_are_those_of_open_clip() -> None:
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found, visual = build(CONFIG)(images), reference().visual

    torch.testing.assert_close(found["pooled"], reference().encode_image(images), atol=1e-6, rtol=0)
    tokens = visual.ln_post(visual.transformer(visual._embeds(images)))
    torch.testing.assert_close(found["pooled"], tokens[:, 0] @ visual.proj, atol=1e-5, rtol=0)
    patches = torch.stack([tokens[:, 1 + region] @ visual.proj for region in range(49)], dim=1)
    torch.testing.assert_close(found["patches"].flatten(1, 2), patches, atol=1e-5, rtol=0)
    mean = tokens[:, 1:].mean(dim=1) @ visual.proj  # what a tower that pools by the mean would give
    torch.testing.assert_close(found["patches"].mean(dim=(1, 2)), mean, atol=1e-5, rtol=0)


def test_pixels_become_maps_as_open_clip_s_preprocessing_has_them(tmp_path: Path) -> None:
    """The same numbers by way of a file of weights, and from bytes of pixels in float16."""
    save_file(
        {name: value.contiguous() for name, value in reference().state_dict().items()}, tmp_path / "w.safetensors"
    )
    config = CONFIG.model_copy(update={"weights": str(tmp_path / "w.safetensors")})
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)

    found = network(config, ExtractConfig(device="cpu"), 1).run(pixels)

    mean, std = (torch.tensor(one) for one in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    seen = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = reference().encode_image(seen).numpy()
    np.testing.assert_allclose(found["pooled"], expected, atol=4e-3)
    assert {column: values.shape[1:] for column, values in found.items()} == {
        one.column: one.shape for one in describe(config).maps
    }
    assert found["patches"].dtype == np.float16


@pytest.mark.parametrize(
    ("name", "maps", "side_px"),
    [
        (MODEL, {"patches": (7, 7, SIZE), "pooled": (SIZE,)}, 224),
        ("ViT-L-14-336", {"patches": (24, 24, 768), "pooled": (768,)}, 336),
        ("ViT-B-16-SigLIP:webli", {"pooled": (768,)}, 224),
        ("RN50", {"pooled": (1024,)}, 224),
        ("coca_ViT-B-32", {"pooled": (512,)}, 224),
        ("convnext_base_w_320", {"pooled": (640,)}, 320),
    ],
)
def test_only_towers_that_project_single_tokens_offer_patches(
    name: str, maps: dict[str, tuple[int, ...]], side_px: int
) -> None:
    found = describe(BackboneConfig(name=f"open_clip:{name}"))
    assert {one.column: one.shape for one in found.maps} == maps
    assert found.resize == (side_px, side_px)
    with pytest.raises(UsageError, match=r"layer of open_clip:.* in backbone\.layers 'conv5'"):
        describe(BackboneConfig(name=f"open_clip:{name}", layers=("conv5",)))


def test_a_tag_says_the_weights_and_the_pixels() -> None:
    found = describe(BackboneConfig(name="open_clip:ViT-B-16-SigLIP:webli"))
    assert found.normalisation.mean == (0.5, 0.5, 0.5)
    assert found.published is not None
    assert found.published.name == "ViT-B-16-SigLIP webli"
    assert found.published.address == (
        "https://huggingface.co/timm/ViT-B-16-SigLIP/resolve/main/open_clip_model.safetensors"
    )


def test_a_map_alone_is_the_same_map() -> None:
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    both = build(CONFIG)(images)
    for column, expected in both.items():
        (found,) = build(CONFIG.model_copy(update={"layers": (column,)}))(images).values()
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": f"open_clip:{MODEL}:random:0"}, f"name=open_clip:{MODEL} --set backbone.weights=random:0"),
        ({"input_px": 448}, "takes 224 x 224 alone"),
        ({"weights": "default"}, "has no published weights"),
    ],
)
def test_what_a_tower_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(CONFIG.model_copy(update=changes))
