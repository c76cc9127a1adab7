"""Hashes of files from outside, remembered by size and time stamp so that each is read once."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.files import own_hash
from pipeline.files.storage import Storage, sha256_file
from schemas.errors import PipelineError

_MEMORY = "sources.json"
_HASH_KEY = "hash"  # of the memory's own bytes; no path is called so


@dataclass
class Sources:
    """sha256 of outside files. Reading changes nothing on disk; `save` keeps what was learnt."""

    storage: Storage
    _known: dict[str, dict[str, Any]] = field(init=False)
    _learnt: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        try:
            data = self.storage.read(_MEMORY)
            self._known = {} if own_hash.is_whole(data) is False else json.loads(data)
            self._known.pop(_HASH_KEY, None)
        except (FileNotFoundError, ValueError, AttributeError):  # no memory, or a damaged one: all is hashed again
            self._known = {}

    def hashes(self, paths: Iterable[str], setting: str = "the setting that names it") -> dict[str, str]:
        """sha256 by path.

        Args:
            setting: that names them, for error texts.

        Raises:
            PipelineError: a file is not there, is none, or cannot be read.
        """
        return {path: self._hash(path, setting) for path in paths}

    def hash_of(self, paths: Iterable[str], setting: str) -> str | None:
        """sha256 of the one file that a setting names, whatever its path; None where it names none."""
        return next(iter(self.hashes(paths, setting).values()), None)

    def save(self) -> None:
        """Write what was learnt since the last time. Only for the holder of the lock."""
        if self._learnt:
            text = json.dumps({_HASH_KEY: own_hash.BLANK, **self._known}, indent=1, sort_keys=True)
            self.storage.write(_MEMORY, own_hash.filled(text.encode()))
            self._learnt = False

    def _hash(self, path: str, setting: str) -> str:
        try:
            seen = Path(path).stat()
            stamp = {"size_bytes": seen.st_size, "modified_ns": seen.st_mtime_ns}
            known = self._known.get(path, {})
            if {key: known.get(key) for key in stamp} != stamp:
                known = self._known[path] = {**stamp, "sha256": sha256_file(Path(path))}
                self._learnt = True
        except OSError as error:
            raise PipelineError(
                f"cannot read the file {path}: {error.strerror}", expected="a file", hint=f"Check {setting}"
            ) from error
        return str(known["sha256"])
