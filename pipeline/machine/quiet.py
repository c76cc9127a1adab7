"""Whether warnings are wanted on stderr, in this process and in all that it starts."""

import logging
import os

_VARIABLE = "BIAM_PIPE_QUIET"  # no setting: it names no section
_LOGGER = "biam_pipe"


def hush(*, quiet: bool) -> None:
    """Let warnings of ours be silent, or heard, here and in processes that begin from now on."""
    if quiet:
        os.environ[_VARIABLE] = "1"
    else:
        os.environ.pop(_VARIABLE, None)
    heed()


def heed() -> None:
    """Do as the process that started this one was told."""
    logging.getLogger(_LOGGER).setLevel(logging.ERROR if os.environ.get(_VARIABLE) else logging.NOTSET)
