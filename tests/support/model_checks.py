"""What models are tried on, and what holds for every one that scores labels by their words."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.fitting import Fitting
from pipeline.models.targets import Targets
from schemas.config import ModelSection, TrainConfig

IMAGES, FEATURES, SEEN, WORD = 8, 5, 6, 4


def features(seed: int = 0) -> Tensor:
    """Global features with a large common mean, as the store has them."""
    return (3 + torch.randn(IMAGES, FEATURES, generator=torch.Generator().manual_seed(seed))).half()


def words(labels: int = SEEN, seed: int = 1) -> Tensor:
    """Words of so many labels."""
    return functional.normalize(torch.randn(labels, WORD, generator=torch.Generator().manual_seed(seed)), dim=1)


def codes(seed: int = 2) -> Tensor:
    """At least one positive label in each image."""
    drawn = torch.randint(-1, 2, (IMAGES, SEEN), generator=torch.Generator().manual_seed(seed), dtype=torch.int8)
    drawn[:, 0] = 1
    return drawn


def fitting() -> Fitting:
    """The images as training images, in two batches."""
    halves = [((half,), known) for half, known in zip(features().split(3), codes().split(3), strict=True)]
    present, absent = ((codes() == code).sum(dim=0) for code in (1, -1))
    return Fitting(words(), present, absent, lambda: iter(halves), None, seed=0)


def targets(settings: ModelSection, known: Tensor, of: Tensor | None = None) -> Targets:
    """A whole batch."""
    return Targets(known, words() if of is None else of, len(known), settings, TrainConfig())


def check_scores_follow_words(network: nn.Module) -> None:
    """A label's score depends on its own word alone, and scoring changes nothing."""
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given, new = features(), words(5, seed=3)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        scores = network(given, new)
        assert (scores.shape, scores.dtype) == ((IMAGES, 5), torch.float32)
        torch.testing.assert_close(network(given, new[order]), scores[:, order])
        torch.testing.assert_close(network(given, new[:2]), scores[:, :2])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
