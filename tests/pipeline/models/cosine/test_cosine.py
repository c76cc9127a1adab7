"""The cosine, against a slow loop."""

from math import sqrt

import pytest
import torch

from pipeline.models import cosine
from pipeline.models.sizes import FeatureSizes


def test_scores_are_the_cosines_of_image_and_label() -> None:
    draw = torch.Generator().manual_seed(0)
    whole, words = 3 * torch.randn(5, 7, generator=draw), torch.randn(4, 7, generator=draw)
    whole[4] = 0  # has no direction
    network = cosine.build(cosine.SETTINGS(), FeatureSizes({"global": 7}, 7))
    found = network(whole, words)
    for image in range(4):
        for label in range(4):
            a, b = whole[image].tolist(), words[label].tolist()
            product = sum(x * y for x, y in zip(a, b, strict=True))
            norms = sqrt(sum(x * x for x in a)) * sqrt(sum(y * y for y in b))
            assert found[image, label].item() == pytest.approx(product / norms, abs=1e-6)
    assert not found[4].any()
    assert network(whole.half(), words).dtype == torch.float32
    assert not list(network.parameters())
