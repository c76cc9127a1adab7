"""Runs a backbone: pixels in, maps as they are stored out. One network is in memory in each process."""

import logging
import os
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.backbones import build, describe, weights
from pipeline.backbones.on_cpu import on_cpu, pieces
from pipeline.machine.device import cores, first_line, is_out_of_memory, one_thread, resolve_device
from pipeline.machine.memory import keep_freed_memory
from pipeline.machine.precision import require_precision
from schemas.command import Command
from schemas.config import BackboneConfig, ExtractConfig
from schemas.errors import PipelineError
from schemas.features import MapSpec

_CUDA_LANES = 3  # one batch on its way to the GPU, one computing, one on its way back
_PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_log = logging.getLogger("biam_pipe.extract")


class Network:
    """A backbone on a device.

    Attributes:
        maps: what it gives.
        fit: size of the images that it takes, and what brings them to it.
        device: where it runs.
        lanes: batches that run at once, each in a caller's thread of its own. On a GPU each has a stream, so that
            copies and computing overlap; on a CPU each has a core.
        batch_images: of a pass. On a GPU every pass is filled up to that many, so that no image's numbers depend on how
            many came along. Halves where memory does not hold so many.
    """

    def __init__(self, config: BackboneConfig, extract: ExtractConfig, threads: int | None = None) -> None:
        described = describe(config)
        self.maps: tuple[MapSpec, ...] = described.maps
        self.fit = described.fit(config)
        self.device = resolve_device(extract.device, "extract.device")
        require_precision(extract.precision, str(self.device), "extract.precision")
        self.batch_images = extract.batch_images
        cuda = self.device.type == "cuda"
        # Not one batch on all cores: its threads would wait for each other where one of them makes room for decoding.
        self.lanes = _CUDA_LANES if cuda else threads or cores()
        if cuda:
            _compute_exactly(tf32=extract.precision == "tf32")
        else:
            keep_freed_memory()
        self._compiled = extract.compile
        self._dtype = _PRECISIONS[extract.precision]
        self._module = _module(config, extract, self.device)
        seen = described.normalisation
        mean, std = (torch.tensor(one, device=self.device) for one in (seen.mean, seen.std))
        # As long as a row of pixels: one of three numbers is too short for the vector units of a CPU.
        width = self.fit.size_px[1]
        self._offset, self._scale = (one.repeat(width) for one in (-mean / std, 1 / (seen.pixel_scale * std)))
        self._streams: queue.SimpleQueue[torch.cuda.Stream | None] = queue.SimpleQueue()
        for _ in range(self.lanes):
            self._streams.put(torch.cuda.Stream(self.device) if cuda else None)
        if cuda:
            torch.cuda.synchronize(self.device)  # the lanes do not wait for the stream that loaded the weights

    def run(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
        """Maps by column, [image, *shape], in the precision in which they are stored.

        More callers than `lanes` wait for each other.

        Args:
            images: each [height, width, 3].

        Raises:
            PipelineError: memory does not hold a single image, or the network cannot be compiled.
        """
        parts: list[dict[str, NDArray[Any]]] = []
        start = 0
        while start < len(images):
            size = self.batch_images
            try:
                parts.append(self._pass(images[start : start + size], size))
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(size, error)
                continue
            start += size
        if len(parts) == 1:
            return parts[0]
        return {one.column: np.concatenate([part[one.column] for part in parts]) for one in self.maps}

    def _pass(self, images: Sequence[NDArray[np.uint8]], size: int) -> dict[str, NDArray[Any]]:
        """Maps of at most `size` images; where a GPU computes, all is under way before anything is waited for."""
        with self.lane(), torch.inference_mode():
            cuda = self.device.type == "cuda"
            rows = size if cuda else len(images)  # on a CPU the layers fill up what they need
            filled = torch.zeros((rows, *images[0].shape), dtype=torch.uint8, pin_memory=cuda)
            for row, image in enumerate(images):
                filled.numpy()[row] = image
            found = self._computed(self._normalised(filled.to(self.device, non_blocking=True)))
            stored = {one.column: self._stored(found[one.column][: len(images)], one) for one in self.maps}
        return {column: values.numpy() for column, values in stored.items()}

    @contextmanager
    def lane(self) -> Iterator[None]:
        """A core or a stream of its own for this thread; when the block ends, all that was put on it is done."""
        stream = self._streams.get()
        try:
            with one_thread(), nullcontext() if stream is None else torch.cuda.stream(stream):
                yield
            if stream is not None:
                stream.synchronize()
        finally:
            self._streams.put(stream)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """[image, 3, height, width] in channels_last memory: of [image, height, width, 3] only the axes change names.

        On a CPU convolutions are up to twice as fast in that memory order.
        """
        # One pass and not three: on a CPU every operation over all pixels waits for cores that decode the next images.
        rows = torch.addcmul(self._offset, pixels.flatten(2).float(), self._scale).to(self._dtype)
        return rows.view(pixels.shape).permute(0, 3, 1, 2)

    def _computed(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        if not self._compiled:
            return self._module(images)
        from torch._dynamo.exc import BackendCompilerFailed  # takes a second, which the plain network need not wait

        try:
            return self._module(images)
        except BackendCompilerFailed as error:
            first = str(error.__cause__ or error).strip().splitlines()[0]
            raise PipelineError(
                f"extract.compile: torch cannot compile the network here ({first})",
                hint="Install a C++ compiler, or run with:",
                run=Command(sets={"extract.compile": False}),
            ) from error

    def _stored(self, values: torch.Tensor, one: MapSpec) -> torch.Tensor:
        """The map on its way to memory of the CPU: it is there when the lane ends."""
        narrow = values.to(getattr(torch, one.dtype)).contiguous()
        if self.device.type != "cuda":
            return narrow
        return torch.empty(narrow.shape, dtype=narrow.dtype, pin_memory=True).copy_(narrow, non_blocking=True)

    def _halve(self, size: int, error: Exception) -> None:
        """Make batches smaller than one of `size`, for which memory was too small."""
        if size == 1:
            raise PipelineError(
                f"extract: {self.device} has not enough memory for one image ({first_line(error)})",
                expected="some hundred MB",
                hint="Close other programs, or set extract.device to another",
            ) from error
        if self.batch_images == size:  # another lane may have halved it by now
            self.batch_images = size // 2
            _log.warning(
                "extract: no memory on %s for %d images at once, going on with %d", self.device, size, size // 2
            )


@dataclass
class _Held:
    """The network of this process, and what it was made from."""

    key: tuple[Any, ...] = ()
    network: Network | None = None


_held = _Held()
_loading = Lock()


def network(config: BackboneConfig, extract: ExtractConfig, threads: int | None = None) -> Network:
    """The network with these settings: the one in memory if it is that, else loaded in its place.

    Args:
        threads: that compute on a CPU; None for one a core.

    Raises:
        UsageError: there is no such backbone, layer or device.
        PipelineError: its weights cannot be had.
        IntegrityError: they are not the published ones.
    """
    found = weights.sha256(config, describe(config).published)
    with _loading:
        key = (config, found, extract.device, extract.precision, extract.compile, extract.batch_images, threads)
        if _held.network is None or _held.key != key:
            _held.key, _held.network = (), None  # the old one goes before the new one comes
            _held.network = Network(config, extract, threads)
            _held.key = key
        return _held.network


def _module(config: BackboneConfig, extract: ExtractConfig, device: torch.device) -> nn.Module:
    module = build(config).to(device, _PRECISIONS[extract.precision]).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        module = on_cpu(module)
    if extract.compile:  # frozen: weights become constants in the order in which the device wants them
        for piece in pieces(module):
            piece.compile(dynamic=False, options={"freezing": True})
    return module


def _compute_exactly(*, tf32: bool) -> None:
    """Let CUDA repeat itself to the bit, in float32 with all its digits or those of tf32. Several lanes compute so."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with a fixed workspace
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = tf32  # by cuDNN's default it is on, which gives 10 bits in place of 23
    torch.backends.cuda.matmul.allow_tf32 = tf32
