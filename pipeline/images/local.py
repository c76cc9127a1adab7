"""Bytes of an image file on a local disk, of which nothing is known yet; and what it means that one is not there."""

import errno
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from pipeline.images.problem import ImageProblem
from schemas.command import AGAIN
from schemas.errors import PipelineError
from schemas.status import ImageStatus

# A file that is removed, and one on a disk or a share that is away.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV}


class VanishedFileError(PipelineError):
    """A file is not there any more, though a stage before has seen it.

    No outcome of an image: it would count as up to date once its disk is back. Where the file was removed on purpose,
    the next run's index leaves it out, or knows that it is missing where a list of the user's names it.
    """


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
    except OSError as error:
        if is_away(error):
            raise ImageProblem(ImageStatus.MISSING_FILE, "no such file") from error
        raise ImageProblem(ImageStatus.UNREADABLE_FILE, (error.strerror or "input/output error").lower()) from error
    except ValueError as error:
        raise ImageProblem(ImageStatus.BAD_ADDRESS, "not a path: it holds a zero byte") from error


def is_away(error: OSError) -> bool:
    """Whether a file is not there, or the disk that holds it: then it may come back as it was."""
    return error.errno in _NOT_THERE


def vanished(path: str) -> VanishedFileError:
    """The error about one."""
    return VanishedFileError(
        f"{path} is gone: it was there when this data set was looked at",
        hint="If its disk or share is away, bring it back. Then, or if it was removed on purpose, run the same again:",
        run=AGAIN,
    )
