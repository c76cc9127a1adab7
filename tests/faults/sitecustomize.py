"""Put on PYTHONPATH by tests that kill: ends the whole run by SIGKILL at a chosen rename.

Python announces each rename to audit hooks before the system does it, so a run can be killed exactly between a shard
and its receipt, or while a checkpoint is written, without a hook in the product. `BIAM_PIPE_TEST_KILL` holds a regular
expression for the name that a file is about to get; the run's main process is the leader of its session.
"""

import os
import re
import signal
import sys

_pattern = os.environ.get("BIAM_PIPE_TEST_KILL")


def _kill_at_rename(event: str, arguments: tuple[object, ...]) -> None:
    if event == "os.rename" and re.search(str(_pattern), str(arguments[1])):
        os.kill(os.getsid(0), signal.SIGKILL)
        signal.pause()  # in a worker: the rename must not happen while the main process dies


if _pattern:
    sys.addaudithook(_kill_at_rename)
