"""Sums over the processes that share a batch."""

from torch import Tensor, distributed


def several() -> bool:
    """Whether more than one process takes part."""
    return distributed.is_available() and distributed.is_initialized()


def summed(part: Tensor) -> Tensor:
    """The sum of the parts of all processes, without a gradient; where there is one, its part. Changes the tensor."""
    if several():
        distributed.all_reduce(part)
    return part
