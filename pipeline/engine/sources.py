"""Hashes of files from outside, remembered by version so that each is read once."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.files import own_hash
from pipeline.files.storage import Storage, sha256_file, sha256_once, version_of
from schemas.command import AGAIN
from schemas.errors import IntegrityError, PipelineError

_MEMORY = "sources.json"
_HASH_KEY = "hash"  # of the memory's own bytes; no path is called so


@dataclass
class Sources:
    """sha256 of outside files. Reading changes nothing on disk; `save` keeps what was learnt.

    Args:
        needed: whether the files have to be there. Who only looks at what was made takes the hashes of before.
        seen: what was seen of the outside world, by what was asked. Graphs that share it, as those of a comparison do,
            look once, and see the same.

    Attributes:
        learnt: whether a file was read since.
    """

    storage: Storage
    needed: bool = True
    seen: dict[str, Any] = field(default_factory=dict, repr=False)
    _known: dict[str, dict[str, Any]] = field(init=False)
    learnt: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        try:
            data = self.storage.read(_MEMORY)
            self._known = {} if own_hash.is_whole(data, _MEMORY) is False else json.loads(data)
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

    def look(self, asked: str, look: Callable[[], Any]) -> Any:
        """What a look gives, or gave when the same was asked before."""
        if asked not in self.seen:
            self.seen[asked] = look()
        return self.seen[asked]

    def remembered(self) -> dict[str, dict[str, Any]]:
        """What is known of each file: the version that was read, as `version_of` gives it, and its sha256."""
        return dict(self._known)

    def save(self) -> None:
        """Write what was learnt since the last time. Only for the holder of the lock."""
        if self.learnt:
            text = json.dumps({_HASH_KEY: own_hash.BLANK, **self._known}, indent=1, sort_keys=True)
            self.storage.write(_MEMORY, own_hash.filled(text.encode(), _MEMORY))
            self.learnt = False

    def _hash(self, path: str, setting: str) -> str:
        try:
            version = version_of(Path(path))
            known = self._known.get(path, {})
            if {key: known.get(key) for key in version} != version:
                known = self._known[path] = {**version, "sha256": sha256_file(Path(path))}
                self.learnt = True
        except OSError as error:
            if not self.needed:
                return str(self._known.get(path, {}).get("sha256", ""))
            raise PipelineError(
                f"cannot read the file {path}: {error.strerror}", expected="a file", hint=f"Check {setting}"
            ) from error
        return str(known["sha256"])


def require_unchanged(hashes: Mapping[str, str]) -> None:
    """See that files from outside are still those whose hashes went into a recipe; for whoever has just read them.

    A run of days may meet another file than it began with. What is made of that must not stand under the old hash.

    Args:
        hashes: sha256 by path.

    Raises:
        PipelineError: a file is gone, or cannot be read.
        IntegrityError: a file has other bytes.
    """
    for path, expected in hashes.items():
        try:
            found = sha256_once(Path(path))
        except OSError as error:
            raise PipelineError(f"cannot read the file {path}: {error.strerror}", expected="a file") from error
        if found != expected:
            raise IntegrityError(
                f"{path} is no longer the file that the run began with",
                found=f"sha256 {found}",
                expected=expected,
                hint="Run the same command again:",
                run=AGAIN,
            )
