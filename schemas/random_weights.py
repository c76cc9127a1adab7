"""Weights that are drawn from a seed in place of a file, `random:SEED`, as settings and feature specs name them."""

RANDOM = "random:"

_SEED_LIMIT = 2**63  # torch takes no larger seed


def is_random(weights: str) -> bool:
    """Whether weights of this name were never trained."""
    return weights.startswith(RANDOM)


def seed_of(weights: str) -> int | None:
    """The seed of random weights; None where they are no random ones.

    Raises:
        ValueError: it is no number that torch takes; the text says what is expected.
    """
    if not is_random(weights):
        return None
    text = weights.removeprefix(RANDOM)
    if not (text.isascii() and text.isdigit() and int(text) < _SEED_LIMIT):
        raise ValueError(f"a number after {RANDOM!r}")
    return int(text)
