"""Warnings are silent where nobody wants them, in processes that are started, too."""

import logging
import os
import subprocess
import sys
from pathlib import Path

from pipeline.machine.quiet import heed, hush

ROOT = Path(__file__).resolve().parents[3]


def test_what_is_hushed_here_is_hushed_in_processes_that_are_started() -> None:
    program = (
        "import logging; from pipeline.machine.quiet import heed; heed(); "
        "logging.getLogger('biam_pipe.any').warning('a warning'); logging.getLogger('biam_pipe.any').error('an error')"
    )

    def said() -> str:
        return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True).stderr

    try:
        hush(quiet=True)
        assert logging.getLogger("biam_pipe").level == logging.ERROR
        assert said() == "an error\n"
    finally:
        hush(quiet=False)
    assert "BIAM_PIPE_QUIET" not in os.environ
    heed()
    assert logging.getLogger("biam_pipe").level == logging.NOTSET
    assert said() == "a warning\nan error\n"
