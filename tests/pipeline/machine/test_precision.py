"""Number formats: which of them a device has, and what is said of those that a CPU imitates."""

import logging

import pytest
import torch

from pipeline.machine.precision import require_precision, told_slower, verdict
from schemas.errors import UsageError


@pytest.mark.parametrize("device", ["cpu", "auto"] if not torch.cuda.is_available() else ["cpu"])
def test_tf32_is_for_cuda_alone(device: str) -> None:
    with pytest.raises(UsageError, match=r"extract.precision = tf32: only CUDA .* --set extract.precision=fp32$"):
        require_precision("tf32", device, "extract.precision")
    require_precision("bf16", device, "extract.precision")


@pytest.mark.parametrize(
    ("chosen", "share", "told"),
    [
        ("bf16", 12.0, "train.precision: bf16 takes 12 times as long as fp32 on this CPU, and gives other numbers"),
        ("fp32", 0.25, "train.precision: bf16 takes 0.25 times as long as fp32 on this CPU, and gives other numbers"),
        ("bf16", 0.25, None),
        ("fp32", 12.0, None),
        ("fp16", 1.05, None),
    ],
)
def test_the_slower_format_is_told(chosen: str, share: float, told: str | None) -> None:
    assert verdict("train.precision", chosen, share) == told


def test_a_cpu_is_timed_once_and_a_gpu_never(caplog: pytest.LogCaptureFixture) -> None:
    told_slower.cache_clear()
    with caplog.at_level(logging.WARNING):
        told = {told_slower("extract.precision", "bf16", "cpu") for _ in range(2)}
        assert told_slower("extract.precision", "bf16", "cuda") is None

    assert [record.getMessage() for record in caplog.records] == [text for text in told if text is not None]


def test_timing_leaves_random_numbers_as_they_were() -> None:
    told_slower.cache_clear()
    before = torch.get_rng_state()
    told_slower("train.precision", "bf16", "cpu")
    assert torch.equal(torch.get_rng_state(), before)
