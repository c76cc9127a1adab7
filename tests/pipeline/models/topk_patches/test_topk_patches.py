"""The best regions' cosines, against a slow loop, and the choice of their share."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from pipeline.models import contract, topk_patches
from pipeline.models.fitting import Fitting
from pipeline.models.sizes import FeatureSizes
from pipeline.models.topk_patches import network as code
from schemas.errors import UsageError

IMAGES, SIDE, SIZE, LABELS = 5, 3, 7, 4


@pytest.fixture
def given() -> tuple[Tensor, Tensor, Tensor]:
    """Regions, images, words."""
    draw = torch.Generator().manual_seed(0)
    shapes = (IMAGES, SIDE, SIDE, SIZE), (IMAGES, SIZE), (LABELS, SIZE)
    regions, whole, words = (torch.randn(shape, generator=draw) for shape in shapes)
    return regions, whole, words


def built(share: float | None, top_k: int) -> torch.nn.Module:
    settings = topk_patches.SETTINGS(global_share=share, top_k=top_k)
    network = topk_patches.build(settings, FeatureSizes({"region": SIZE, "global": SIZE}, SIZE))
    contract.put(network, topk_patches.fit(settings, fitting(None)).buffers)
    return network


def fitting(worth: list[float] | None) -> Fitting:
    """Validation images that say what each share is worth."""
    none = torch.zeros(0)

    def validated(scored: object) -> list[float]:
        del scored
        assert worth is not None
        return worth

    return Fitting(none, none, none, lambda: (), None if worth is None else validated, 0)


@pytest.mark.parametrize(("share", "top_k"), [(0.25, 2), (0.0, 1), (1.0, 3), (0.5, 16)])
def test_scores_are_those_of_the_formula(
    share: float, top_k: int, given: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "_CELLS", SIDE * SIDE * LABELS * 2)  # two images at a time
    regions, whole, words = given
    found = built(share, top_k)(*given)
    for image in range(IMAGES):
        for label in range(LABELS):
            each = [float(cosine_similarity(one, words[label], dim=0)) for one in regions[image].flatten(0, 1)]
            best = sorted(each, reverse=True)[:top_k]
            of_image = float(cosine_similarity(whole[image], words[label], dim=0))
            expected = share * of_image + (1 - share) * sum(best) / len(best)
            assert found[image, label].item() == pytest.approx(expected, abs=1e-6)


def test_response_maps_are_the_cosines_of_the_regions(given: tuple[Tensor, Tensor, Tensor]) -> None:
    regions, _, words = given
    found = built(0.5, 2).response_maps(*given)
    assert found.shape == (IMAGES, LABELS, SIDE, SIDE)
    assert float(found[1, 2, 0, 1]) == pytest.approx(
        float(cosine_similarity(regions[1, 0, 1], words[2], dim=0)), abs=1e-6
    )


def test_the_share_is_the_one_that_is_best_on_validation_images() -> None:
    fitted = topk_patches.fit(topk_patches.SETTINGS(), fitting([0.1, 0.2, 0.2, 0.4, 0.3]))
    assert fitted.buffers["global_share"] == 0.75
    assert fitted.facts["validation_map"] == {"0": 0.1, "0.25": 0.2, "0.5": 0.2, "0.75": 0.4, "1": 0.3}


def test_without_validation_images_the_share_has_to_be_set() -> None:
    with pytest.raises(UsageError, match=r"no validation images to choose one by.*--set model\.global_share=0\.5"):
        topk_patches.fit(topk_patches.SETTINGS(), fitting(None))
