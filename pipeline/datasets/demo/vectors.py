"""The demo's word vectors: one random direction a word, in the text form of GloVe files.

They are the same whatever the seed of the pictures, as real vectors do not depend on the data set.
"""

from random import Random

from pipeline.datasets.demo.scene import LOOKS, SHAPES

DIMENSIONS = 300  # as GloVe's: at that size two random words are nearly at right angles (cosine about 0.06)


def glove_text() -> bytes:
    """Lines of a word and its numbers, separated by blanks; no header.

    A label's vector is left to the reader: the mean of its words, as for real labels.
    """
    lines = [f"{word} {' '.join(_numbers(word))}\n" for word in (*LOOKS, *SHAPES)]
    return "".join(lines).encode()


def _numbers(word: str) -> list[str]:
    random = Random(f"word:{word}")
    return [f"{random.gauss(0.0, 0.4):.5f}" for _ in range(DIMENSIONS)]
