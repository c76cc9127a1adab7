"""Runs a backbone: pixels in, maps as they are stored out. One network is in memory in each process."""

import os
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.backbones import BACKBONES, weights
from pipeline.backbones.normalisation import Normalisation
from pipeline.core.device import resolve_device
from schemas.config import BackboneConfig
from schemas.features import MapSpec

_PIXEL_MAX = 255.0


@dataclass(frozen=True)
class Network:
    """A backbone on a device.

    Attributes:
        device: where it runs.
        batch_images: every batch is filled up to that many, so that no image's numbers depend on how many came along.
    """

    module: nn.Module
    normalisation: Normalisation
    maps: tuple[MapSpec, ...]
    device: torch.device
    batch_images: int
    lock: Lock

    def run(self, pixels: NDArray[np.uint8], threads: int | None = None) -> dict[str, NDArray[Any]]:
        """Maps by column, [image, *shape], in the precision in which they are stored.

        Two callers wait for each other: side by side they would need twice the memory and be no faster.

        Args:
            pixels: [image, height, width, 3], at most `batch_images`.
            threads: of torch on a CPU; None for all cores.
        """
        filled = np.zeros((self.batch_images, *pixels.shape[1:]), np.uint8)
        filled[: len(pixels)] = pixels
        # TF32, cuDNN's default, would give 10 bits in place of 23; deterministic kernels make equal runs equal.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with self.lock, torch.inference_mode(), exact:
            torch.set_num_threads(threads or _cores())
            found = self.module(self._normalised(torch.from_numpy(filled).to(self.device)))
            return {one.column: self._stored(found[one.column][: len(pixels)], one) for one in self.maps}

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """[image, 3, height, width] in channels_last memory: of [image, height, width, 3] only the axes change names.

        On a CPU convolutions are up to twice as fast in that memory order.
        """
        mean, std = (torch.tensor(one, device=self.device) for one in (self.normalisation.mean, self.normalisation.std))
        # One pass and not three: on a CPU every operation over all pixels waits for cores that decode the next images.
        return torch.addcmul(-mean / std, pixels.float(), 1 / (_PIXEL_MAX * std)).permute(0, 3, 1, 2)

    def _stored(self, values: torch.Tensor, one: MapSpec) -> NDArray[Any]:
        return values.to(getattr(torch, one.dtype)).contiguous().cpu().numpy()


@dataclass
class _Held:
    """The network of this process, and what it was made from."""

    key: tuple[Any, ...] = ()
    network: Network | None = None


_held = _Held()
_loading = Lock()


def network(config: BackboneConfig, device: str, batch_images: int) -> Network:
    """The network with these settings: the one in memory if it is that, else loaded in its place.

    Raises:
        UsageError: there is no such backbone or device.
        PipelineError: its weights cannot be had.
        IntegrityError: they are not the published ones.
    """
    room = BACKBONES.load(config.name)
    with _loading:
        key = (config, weights.sha256(config, room.PUBLISHED), device, batch_images)
        if _held.network is None or _held.key != key:
            _held.key, _held.network = (), None  # the old one goes before the new one comes
            _held.network = _load(config, resolve_device(device, "extract.device"), batch_images)
            _held.key = key
        return _held.network


def _load(config: BackboneConfig, device: torch.device, batch_images: int) -> Network:
    room = BACKBONES.load(config.name)
    module = room.build(config).to(device=device, memory_format=torch.channels_last)
    return Network(module, room.NORMALISATION, room.maps(config), device, batch_images, Lock())


def _cores() -> int:
    """Cores that this process may use; where the system cannot say, all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
