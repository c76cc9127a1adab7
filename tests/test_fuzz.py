"""Changed files give what they mean or a named outcome; benchmarks/fuzz.py looks at thousands, here are some."""

from pathlib import Path

import pytest

from benchmarks.fuzz import fuzz, kinds


@pytest.mark.parametrize("kind", ["images", "CSV", "TOML", "vectors, text", "vectors, binary"])
def test_whatever_is_changed_in_a_file_has_a_named_outcome(kind: str, tmp_path: Path) -> None:
    seeds, outcome, _ = kinds(tmp_path)[kind]

    told = fuzz(seeds, outcome, examples=150)

    assert told.outcomes.total() >= 100
    assert len(told.outcomes) > 1
