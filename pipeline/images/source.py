"""Where the bytes of a checked image are: in memory, or in a file that may have changed since."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.images.local import is_away, vanished
from pipeline.images.problem import ImageProblem
from schemas.command import Command
from schemas.errors import IntegrityError
from schemas.readable import hashes_apart
from schemas.status import ImageStatus

_SHOWN_DIGITS = 12


@dataclass(frozen=True)
class ImageSource:
    """Bytes of one image, or the file that holds them.

    Attributes:
        data: the bytes, None where they lie in a file.
        path: of the file, None where `data` is given.
        size_bytes: of the file when it was checked.
        sha256: of the bytes when they were checked; None where nobody did.
        stored: which image in which shard `data` is, for error texts.
    """

    data: bytes | None
    path: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    stored: str = "an image in the images shard"

    def read(self) -> bytes:
        """The bytes.

        Raises:
            ImageProblem: the file is an `unreadable_file`, such as one that has changed.
            VanishedFileError: the file is gone.
            IntegrityError: bytes from a shard are not those that were checked.
        """
        if self.data is not None:
            if self.sha256 is not None and (digest := hashlib.sha256(self.data).hexdigest()) != self.sha256:
                got, expected = hashes_apart(digest, self.sha256, _SHOWN_DIGITS)
                raise IntegrityError(
                    f"{self.stored} has sha256 {got}",
                    expected=f"{expected} as the downloads shard says",
                    run=Command("verify"),
                )
            return self.data
        assert self.path is not None, "an image without bytes has a file"
        try:
            found = Path(self.path).stat().st_size
            if found != self.size_bytes:  # before reading: it may have grown beyond all memory
                raise _changed(f"{found} bytes, was {self.size_bytes}")
            data = Path(self.path).read_bytes()
        except OSError as error:
            if is_away(error):
                raise vanished(self.path) from error
            raise ImageProblem(ImageStatus.UNREADABLE_FILE, (error.strerror or "input/output error").lower()) from error
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.sha256:
            got, before = hashes_apart(digest, str(self.sha256), _SHOWN_DIGITS)
            raise _changed(f"sha256 {got}, was {before}")
        return data


def _changed(how: str) -> ImageProblem:
    return ImageProblem(
        ImageStatus.UNREADABLE_FILE, f"the file has changed since it was checked: {how}. Run: biam-pipe run"
    )
