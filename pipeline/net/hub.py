"""A file of a repository on the Hugging Face hub: where it lies on this machine, or is fetched by our downloader.

What the hub's own client keeps is read and never changed. Nothing of that client is used.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.machine.environment import home
from pipeline.net.fetch import cache_folder, fetch
from schemas.errors import PipelineError
from schemas.status import ImageStatus

_HUB = "https://huggingface.co"
_MIRROR_VARIABLE = "HF_ENDPOINT"  # by which the hub's client, too, knows a mirror
_BRANCH = "main"


@dataclass(frozen=True)
class HubFile:
    """A file that a repository has under one of several names.

    Attributes:
        repository: owner and name, as "laion/CLIP-ViT-B-32-laion2B-s34B-b79K".
        names: the best first; the others where there is none of that name.
    """

    repository: str
    names: tuple[str, ...]

    def address(self, name: str | None = None) -> str:
        """Where the file is fetched from, by its best name if none is given."""
        hub = os.environ.get(_MIRROR_VARIABLE, _HUB).rstrip("/")
        return f"{hub}/{self.repository}/resolve/{_BRANCH}/{name or self.names[0]}"

    def kept(self, name: str | None = None) -> Path:
        """Where it lies once it was fetched: names repeat from repository to repository."""
        return cache_folder() / "hub" / self.repository.replace("/", "--") / (name or self.names[0])

    def here(self) -> Path | None:
        """Where it lies on this machine already, by the best name that it has here."""
        for name in self.names:
            for path in (self.kept(name), self._of_the_client(name)):
                if path is not None and path.is_file():
                    return path
        return None

    def local(self, sha256: str | None = None, *, setting: str = "") -> Path:
        """Where it lies on this machine, fetched if need be.

        Args:
            sha256: as of `fetch`, like the setting.

        Raises:
            PipelineError: it could not be fetched.
            IntegrityError: it is not the file of that hash.
        """
        there = self.here()
        if there is not None and there not in map(self.kept, self.names):
            return fetch(str(there), there, sha256, setting=setting)
        names = self.names if there is None else (there.name,)
        for name in names:
            try:
                return fetch(self.address(name), self.kept(name), sha256, setting=setting)
            except PipelineError as error:
                if name == names[-1] or not _is_of_another_name(error):
                    raise
        raise AssertionError("there is a name")

    def _of_the_client(self, name: str) -> Path | None:
        """Where the hub's client would keep it; None where it keeps nothing of the repository."""
        if (folder := _client_cache()) is None:
            return None
        repository = folder / f"models--{self.repository.replace('/', '--')}"
        try:
            commit = (repository / "refs" / _BRANCH).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None
        return repository / "snapshots" / commit / name


def _client_cache() -> Path | None:
    """The folder of the hub's client, by its environment variables, else its usual place."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")):
        if chosen := os.environ.get(variable):
            return Path(chosen).expanduser() / below
    return None if (folder := home()) is None else folder / ".cache" / "huggingface" / "hub"


def _is_of_another_name(error: PipelineError) -> bool:
    """Whether a server said that there is no file of that name."""
    from pipeline.net.long_body import BrokenBodyError

    cause = error.__cause__
    return isinstance(cause, BrokenBodyError) and cause.answer.status is ImageStatus.NOT_FOUND
