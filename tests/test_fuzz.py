"""Changed files and answers mean something or have a named outcome; benchmarks/fuzz.py looks at thousands of each."""

from pathlib import Path

import pytest

from benchmarks.fuzz import fuzz, kinds

MOST = {"images": 150, "answers, images": 60, "answers, official files": 40, "tar": 100, "tar.gz": 100}
OTHERS = [
    "CSV",
    "TOML",
    "lists",
    "vectors, text",
    "vectors, binary",
    "vectors, array",
    "vectors, listed",
    "pickled lists",
    "hdf5",
]
OF_TORCH = ["safetensors, models", "safetensors, weights", "torch, weights"]


@pytest.mark.parametrize("name", [*MOST, *OTHERS, *OF_TORCH])
def test_whatever_is_changed_in_what_comes_from_outside_has_a_named_outcome(name: str, tmp_path: Path) -> None:
    with kinds(tmp_path) as known:
        told = fuzz(known[name](), examples=MOST.get(name, 100))

    assert told.outcomes.total() >= 100
    assert len(told.outcomes) > 1


def test_the_kinds_are_those_of_the_benchmark(tmp_path: Path) -> None:
    with kinds(tmp_path) as known:
        assert set(known) == {*MOST, *OTHERS, *OF_TORCH}
