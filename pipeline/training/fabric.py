"""On what a training run computes: device, precision, and the ranks that share its batches."""

import logging
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from pipeline.machine.device import require_one_each
from pipeline.machine.precision import require_precision
from schemas.config import TrainConfig


def start_fabric(config: TrainConfig, device: torch.device) -> Fabric:
    """Device, precision and, where there are several ranks, the connection to the others.

    Raises:
        UsageError: more ranks than devices, or a precision that the device has not.
    """
    several, precision = config.processes > 1, "bf16-mixed" if config.precision == "bf16" else "32-true"
    require_one_each(device, config.processes)
    require_precision(config.precision, str(device), "train.precision")
    if config.precision == "tf32":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    devices: Any = config.processes if several or device.type != "cuda" else [device.index or 0]
    strategy: Any = DDPStrategy() if several else "auto"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it writes to stderr by itself
    fabric = Fabric(accelerator=device.type, devices=devices, strategy=strategy, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric
