"""Bytes of an image file on a local disk, of which nothing is known yet."""

from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from pipeline.images.problem import ImageProblem
from schemas.status import ImageStatus


@dataclass(frozen=True)
class LocalFile:
    """An image file that nobody has checked yet."""

    path: str
    max_bytes: int

    def read(self) -> bytes:
        """Its bytes, as `read_local` gives them.

        Raises:
            ImageProblem: as `read_local` raises.
        """
        return read_local(self.path, self.max_bytes)


def read_local(path: str, max_bytes: int) -> bytes:
    """All bytes of a file. Error texts carry no path: whoever asks has it.

    Raises:
        ImageProblem: a `missing_file`, an `unreadable_file`, a `bad_address`, or `too_large`.
    """
    try:
        seen = Path(path).stat()
        if not S_ISREG(seen.st_mode):  # reading a pipe or a device might never end
            raise ImageProblem(ImageStatus.UNREADABLE_FILE, "not a regular file")
        if seen.st_size > max_bytes:
            raise ImageProblem(ImageStatus.TOO_LARGE, f"more bytes than download.max_bytes = {max_bytes}")
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageProblem(ImageStatus.MISSING_FILE, "no such file") from error
    except OSError as error:
        raise ImageProblem(ImageStatus.UNREADABLE_FILE, (error.strerror or "input/output error").lower()) from error
    except ValueError as error:
        raise ImageProblem(ImageStatus.BAD_ADDRESS, "not a path: it holds a zero byte") from error
