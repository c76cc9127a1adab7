"""A folder in which commands run on a small demo."""

import json
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.flips.warm import Ended, Runner
from pipeline.settings.layers import configuration
from schemas.config import Config

SMALL = """
[dataset]
name = "demo"
num_images = 80
[backbone]
name = "tiny"
[model]
channels = 8
[train]
epochs = 2
warmup_epochs = 1
"""


@dataclass(frozen=True)
class Shell:
    """A folder with a small biam-pipe.toml to run commands in, with the cache; nothing may be left outside of it."""

    folder: Path
    runner: Runner

    def __call__(self, command: str, *, code: int = 0) -> Ended:
        with tempfile.TemporaryDirectory() as outside:
            places = {"HOME": outside, "TMPDIR": outside, "BIAM_PIPE_CACHE": str(self.folder / "cache")}
            ended = self.runner(shlex.split(command), places, folder=self.folder)
            assert list(Path(outside).iterdir()) == []
        assert (ended.code, ended.left) == (code, ()), ended.stderr
        return ended

    def json(self, command: str, *, code: int = 0) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self(f"{command} --json", code=code).stdout)
        return value

    def ran(self, command: str) -> dict[str, int]:
        return {stage["name"]: stage["ran"] for stage in self.json(command)["stages"] if stage["ran"]}

    def config(self, *sets: str) -> Config:
        return configuration(None, self.folder / "biam-pipe.toml", {}, sets, self.folder / "work")

    def files(self) -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (self.folder / "work").rglob("*")}
