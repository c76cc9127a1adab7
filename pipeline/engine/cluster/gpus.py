"""Whether there are GPUs, told without loading a GPU library."""

import os
from pathlib import Path

from schemas.errors import PipelineError


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name not in ("", "-1")]
    return [str(number) for number in range(64) if Path(f"/dev/nvidia{number}").exists()]


def require_gpu(offered: int) -> None:
    """See that the workers offer a GPU.

    Raises:
        PipelineError: they do not.
    """
    if not offered:
        raise PipelineError(
            "a stage wants a GPU (extract.device=cuda), and no worker has one",
            hint="Set extract.device=cpu, or start a worker that offers it: dask worker ADDRESS --resources GPU=1",
        )
