from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def reference():
    """Reads a reference file; skips where the machine has none."""

    def read(name):
        path = Path(__file__).parents[3] / "../shared/fixtures" / name
        if not path.exists():
            pytest.skip(f"no {path}")
        with np.load(path) as arrays:
            return dict(arrays)

    return read
