"""MPS has no float64: what sums in float64 elsewhere asks whether the device has it."""

import torch

from pipeline.models.shared.precision import long, long_type


def test_float64_is_asked_for_where_the_device_has_it() -> None:
    assert (long_type(torch.device("cpu")), long_type(torch.device("mps"))) == (torch.float64, torch.float32)
    assert long(torch.ones(1, dtype=torch.int8)).dtype == torch.float64
