"""Names of devices in settings."""

import pytest

from pipeline.machine.device import resolve_device
from schemas.errors import UsageError


def test_a_device_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"train.device: torch knows no device 'gpu'.* --set train.device=auto"):
        resolve_device("gpu", "train.device")
    with pytest.raises(UsageError, match=r"'cuda:99' asked for, but torch sees \d+ CUDA devices"):
        resolve_device("cuda:99", "train.device")
    assert resolve_device("cpu", "train.device").type == "cpu"
