import pytest
import torch

from pipeline.models.biam import pooling
from pipeline.models.biam.pooling import top_k_scores

IMAGES, JOINT, REGIONS, LABELS = 3, 4, 9, 5


def inputs():
    generator = torch.Generator().manual_seed(0)
    shapes = (IMAGES, JOINT, REGIONS), (LABELS, JOINT)
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def from_the_definition(regions, labels, top_k):
    scores = [[(regions[i].T @ label).sort().values[-top_k:].mean() for label in labels] for i in range(len(regions))]
    return torch.stack([torch.stack(row) for row in scores])


@pytest.mark.parametrize("top_k", [1, 3, REGIONS])
@pytest.mark.parametrize("images_at_once", [1, 2, IMAGES])
def test_scores_and_gradients_are_those_of_all_responses(top_k, images_at_once, monkeypatch):
    monkeypatch.setitem(pooling._CELLS_AT_ONCE, "cpu", images_at_once * LABELS * REGIONS)
    weights = torch.linspace(-1, 1, IMAGES * LABELS).view(IMAGES, LABELS)
    found, expected = inputs(), inputs()
    scores, slow = top_k_scores(*found, top_k), from_the_definition(*expected, top_k)
    torch.testing.assert_close(scores, slow.float())
    (scores * weights).sum().backward()
    (slow * weights).sum().backward()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-7)


def test_the_layout_of_the_regions_changes_nothing():
    regions, labels = (one.detach() for one in inputs())
    by_channel = regions.mT.contiguous().mT
    torch.testing.assert_close(top_k_scores(by_channel, labels, 2), top_k_scores(regions, labels, 2))
