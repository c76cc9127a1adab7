"""What checks and measurements on a GPU share: the device, sizes, and a folder of photographs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.photographs import photographs
from pipeline.images.decode import decode
from pipeline.images.resize import resize
from schemas.fit import Fit

ROOT = Path(__file__).resolve().parents[2]
MAX_PIXELS = 10**8
FIT = Fit((224, 224))


@dataclass(frozen=True)
class Bench:
    """Where and how large.

    Attributes:
        device: "cuda"; in a rehearsal "cpu".
        rehearsal: whether all is small, and the figures mean nothing.
        folder: to work in.
        backbones: whose figures are wanted, the first one in checks, too.
        precisions: of extraction that the device has.
    """

    device: str
    rehearsal: bool
    folder: Path
    backbones: tuple[str, ...]
    precisions: tuple[str, ...]

    @property
    def images(self) -> int:
        """Photographs to extract features from."""
        return 48 if self.rehearsal else 6144

    @property
    def batch_images(self) -> int:
        """Of a pass through a backbone."""
        return 8 if self.rehearsal else 256

    @cached_property
    def photos(self) -> Path:
        """A folder of photographs of 500 to 1,024 px."""
        folder = self.folder / "photos"
        photographs(folder, self.images, distinct=12 if self.rehearsal else 96)
        return folder

    @cached_property
    def pixels(self) -> list[NDArray[np.uint8]]:
        """Some of them, as a backbone takes them."""
        paths = sorted(self.photos.iterdir())[: 6 if self.rehearsal else 48]
        return [resize(decode(path.read_bytes(), "exif", None, MAX_PIXELS), FIT) for path in paths]

    def biam_pipe(self, *arguments: str, sets: Mapping[str, object]) -> dict[str, Any]:
        """What a command prints as JSON.

        Raises:
            RuntimeError: it ended with an error; the text is what it said.
        """
        done = subprocess.run(
            self.command(*arguments, sets=sets), capture_output=True, text=True, cwd=ROOT, check=False
        )
        if done.returncode:
            raise RuntimeError(f"biam-pipe {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def command(self, *arguments: str, sets: Mapping[str, object]) -> list[str]:
        """The command line."""
        told = [f"--set={key}={value}" for key, value in sets.items()]
        return [sys.executable, "-m", "cli", *arguments, "--json", *told]

    def inside(self, function: Callable[..., None], *arguments: str) -> str:
        """What a function of `children` prints, in a process of its own; the last line."""
        command = [sys.executable, "-m", "benchmarks.on_gpu.children", function.__name__, self.device, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ}, check=False)
        if done.returncode:
            raise RuntimeError(f"{function.__name__} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        return done.stdout.strip().splitlines()[-1]
