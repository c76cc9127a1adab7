"""A data file inside an installed distribution, found by its path: nothing of the distribution is imported or run."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pipeline.files.storage import sha256_once
from schemas.errors import IntegrityError, UsageError


@dataclass(frozen=True)
class PackagedFile:
    """A data file of a distribution that pip installs.

    Attributes:
        distribution: its name in the package index.
        extra: of biam-pipe, that brings it.
        path: of the file, as the distribution's own list of files has it.
        sha256: of the file.
        size_bytes: of the file.
    """

    distribution: str
    extra: str
    path: str
    sha256: str
    size_bytes: int

    def located(self, setting: str) -> Path:
        """Where the file lies on this machine.

        Args:
            setting: that asks for it, with its value, for error texts.

        Raises:
            UsageError: the distribution is not installed, or has no such file.
        """
        try:
            path = Path(str(distribution(self.distribution).locate_file(self.path)))
        except PackageNotFoundError:
            path = None
        if path is None or not path.is_file():
            raise UsageError(
                f"{setting} is a file of the package {self.distribution}, which is not installed here",
                found=None if path is None else f"no file {path}",
                hint=f"Install it: pip install 'biam-pipe[{self.extra}]'",
            )
        return path

    def checked(self, setting: str) -> Path:
        """Where it lies, with the bytes that it has to have; read once in a process.

        Raises:
            UsageError: as `located`.
            IntegrityError: it has others.
        """
        path = self.located(setting)
        if (digest := sha256_once(path)) != self.sha256:
            raise IntegrityError(
                f"{path}:",
                got=f"sha256 {digest}",
                expected=self.sha256,
                hint=f"Install it again: pip install --force-reinstall --no-deps {self.distribution}",
            )
        return path
