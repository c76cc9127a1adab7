"""Places of word vectors, against the formulas."""

import numpy as np
import pytest
import torch

from pipeline.models.shared.word_space import word_space


def drawn(labels: int, seed: int) -> np.ndarray:
    """Vectors of norm 1 with a common mean."""
    vectors = 0.5 + np.random.default_rng(seed).normal(size=(labels, 6))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left / np.linalg.norm(left, axis=1, keepdims=True)) @ (
        right / np.linalg.norm(right, axis=1, keepdims=True)
    ).T


def test_plain_vectors_stay_to_the_bit() -> None:
    words = torch.from_numpy(drawn(5, 0))
    assert word_space("plain", words).placed(words) is words


def test_centred_vectors_have_lost_the_mean_of_seen_ones() -> None:
    seen, unseen = drawn(9, 0), drawn(4, 1)
    space = word_space("centred", torch.from_numpy(seen))
    found = space.placed(torch.from_numpy(unseen)).numpy()
    np.testing.assert_allclose(cosines(found, found), cosines(unseen - seen.mean(0), unseen - seen.mean(0)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)


def test_whitened_cosines_are_those_of_the_formula() -> None:
    seen, unseen = drawn(9, 0), drawn(4, 1)
    centre = seen.mean(0)
    _, values, right = np.linalg.svd(seen - centre, full_matrices=False)
    scale = (values / values[0] + 0.05) ** -0.3
    space = word_space("whitened", torch.from_numpy(seen))
    placed = [space.placed(torch.from_numpy(words)).numpy() for words in (seen, unseen)]
    expected = [(words - centre) @ right.T * scale for words in (seen, unseen)]
    np.testing.assert_allclose(cosines(*placed), cosines(*expected), atol=1e-12)


@pytest.mark.parametrize("labels", [1, 3])
def test_directions_without_seen_vectors_weigh_alike(labels: int) -> None:
    """Then the place of a word does not depend on which vectors a library gives for them."""
    seen = torch.from_numpy(drawn(labels, 0))
    axes = word_space("whitened", seen).axes
    left = seen - seen.mean(dim=0)
    outside = torch.linalg.qr(torch.cat([left[: labels - 1], torch.eye(6, dtype=torch.float64)]).T).Q[:, labels - 1 :]
    torch.testing.assert_close(axes @ outside, 0.05**-0.3 * outside, atol=1e-6, rtol=0)
