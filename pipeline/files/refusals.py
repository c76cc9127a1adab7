"""What the system refuses to a program that reads or writes files, told as errors: where, why, and what to do next.

A disk is full, fails or is read-only; a right or a file handle is missing. Whoever writes a file does so inside
`refusals_named`, as `Storage` does. What a library was refused is told where a task or a command ends, by `refusal`.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.command import AGAIN
from schemas.errors import PipelineError

ABSENCE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
TEMPORARY_SUFFIX = ".tmp"  # of what is not committed yet

_ELSEWHERE = "Use another folder (--work; BIAM_PIPE_CACHE for what is fetched; TMPDIR), or let this user write there"
_WHOLE = "See to the disk (dmesg may say more)"
_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free space (bytes or inodes)"),
    errno.EDQUOT: ("the disk quota is used up", "Free space"),
    errno.EFBIG: ("the limit (ulimit -f) on the size of a file is reached", "Free space"),
    errno.EIO: ("the disk fails (input/output error)", _WHOLE),
    errno.EREMOTEIO: ("the disk fails (input/output error elsewhere)", _WHOLE),
    errno.ENODEV: ("the disk is gone", _WHOLE),
    errno.ENXIO: ("the disk is gone", _WHOLE),
    errno.ENOTCONN: ("the file system is no longer connected", _WHOLE),
    errno.ESTALE: ("the file server has lost the file", _WHOLE),
    errno.EROFS: ("the file system is read-only", _ELSEWHERE),
    errno.EACCES: ("permission is denied", _ELSEWHERE),
    errno.EPERM: ("the system does not allow it", _ELSEWHERE),
    errno.EMFILE: ("this process has too many files open", "Allow more (ulimit -n)"),
    errno.ENFILE: ("the machine has too many files open", "End other programs"),
    errno.ENOMEM: ("the machine has no memory left", "End other programs"),
    errno.ENAMETOOLONG: ("a name is too long", "Use a shorter --work, or shorter names"),
    errno.ELOOP: ("links lead in a circle", "Remove them"),
    errno.ENOTDIR: ("a part of the path is no folder", "Move it away"),
    errno.EISDIR: ("a folder stands in its place", "Move it away"),
    errno.ENOENT: ("it is not there", "Was it removed meanwhile? If it should be there"),
    errno.ENOTEMPTY: ("a folder stands in its place", "Move it away"),
    errno.EBUSY: ("another program holds it", "End that program"),
    errno.ENOLCK: ("the file system gives no locks", "Use a --work on one with flock"),
    errno.EOPNOTSUPP: ("the file system cannot do that", "Use a --work on another"),
}

_LIBRARIES = ("safetensors", "pyarrow", "h5py")  # they tell what the system said in their text alone
_IN_TEXT = re.compile(r"(?:\(os error |\[errno |errno = )(\d+)", re.IGNORECASE)


@contextmanager
def refusals_named(path: str | Path, doing: str = "write") -> Iterator[None]:
    """In this block, what the system refuses becomes an error that names the file and the cause.

    Args:
        path: what is read or written, where the refusal names no other.
        doing: a verb, such as "read".

    Raises:
        PipelineError: the system refused something.
    """
    try:
        yield
    except Exception as error:
        if (found := refusal(error, path, doing)) is None:
            raise
        raise found from error


def refusal(error: Exception, path: str | Path, doing: str = "read or write") -> PipelineError | None:
    """The error for a person, where this one stems from what the system refuses; else None.

    Args:
        path: as `refusals_named` takes it.
        doing: as `refusals_named` takes it.
    """
    if (cause := _CAUSES.get(_number(error) or 0)) is None:
        return None
    words, remedy = cause
    other = getattr(error, "filename", None)  # a temporary name says nothing to people
    if isinstance(other, str) and other != str(path) and not other.endswith(TEMPORARY_SUFFIX):
        path, doing = other, doing if Path(path).is_relative_to(other) else "read or write"
    return PipelineError(f"{words}: cannot {doing} {path}", hint=f"{remedy}, run the same command:", run=AGAIN)


def refusal_to_read(error: Exception, path: str | Path) -> PipelineError | None:
    """As `refusal`, but None where there is no such file: what that means is for whoever asks to judge."""
    return None if isinstance(error, ABSENCE) else refusal(error, path, "read")


def _number(error: Exception) -> int | None:
    """The system's number for what happened."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    of_library = isinstance(error, OSError) or type(error).__module__.startswith(_LIBRARIES)
    found = _IN_TEXT.search(str(error)) if of_library else None
    return int(found[1]) if found else None
