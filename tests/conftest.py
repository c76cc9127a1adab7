"""Fixtures for all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of papers, real photographs and fixtures beside the project; tests that use it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED
