"""Put on PYTHONPATH by tests that disturb a run: sends it a signal at a chosen moment of its work with files.

Python announces each rename and each opening of a file to audit hooks before the system does it, in whichever process
of the run that is. So a run can be killed exactly between a shard and its receipt, or while a checkpoint is written,
without a hook in the product. `BIAM_PIPE_TEST_FAULT` holds the fields of `benchmarks.disturbing.moments.Fault` and
where to leave a mark as JSON. The run's main process must be the leader of its session.

`BIAM_PIPE_TEST_KILLER` is a regular expression instead: a process dies, as of a crash in a C library, where it opens an
image file of such a name to decode it. `BIAM_PIPE_TEST_HEADER_KILLER` is a text: a process dies where Pillow opens
bytes that hold it.
"""

import json
import os
import re
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

# Of the event: the name that the file is about to get, or has.
_PATH_ARGUMENT = {"os.rename": 1, "open": 0, "os.remove": 0}


def _watch(fault: dict[str, str | int]) -> None:
    """Wait for the moment, in this process."""
    number = signal.Signals[str(fault["signal"])]
    event_awaited, times = str(fault["event"]), count(1)
    argument, name = _PATH_ARGUMENT[event_awaited], re.compile(str(fault["name"]))

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event != event_awaited or not name.search(str(arguments[argument])) or next(times) != fault["count"]:
            return
        Path(str(fault["mark"])).touch()
        if number is not signal.SIGKILL:
            os.killpg(os.getsid(0), number)  # as a terminal does: to every process of the run
            return
        if event == "os.rename":  # what a kill in the middle of writing leaves under the temporary name
            os.truncate(str(arguments[0]), Path(str(arguments[0])).stat().st_size // 2)
        os.kill(os.getsid(0), number)
        while True:
            signal.pause()  # in a worker: nothing must happen any more while the main process dies

    sys.addaudithook(hook)


def _die_of(image: re.Pattern[str]) -> None:
    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not image.search(str(arguments[0])):
            return
        frame = sys._getframe()
        while frame := frame.f_back:
            if frame.f_code.co_name == "begin":
                os.kill(os.getpid(), signal.SIGSEGV)

    sys.addaudithook(hook)


def _die_of_header(mark: bytes) -> None:
    from PIL import Image

    plain = Image.open

    def deadly(stream: Any, *arguments: Any, **options: Any) -> Image.Image:
        if mark in stream.getvalue():
            os.kill(os.getpid(), signal.SIGSEGV)
        return plain(stream, *arguments, **options)

    Image.open = deadly


if _mark := os.environ.get("BIAM_PIPE_TEST_HEADER_KILLER"):
    _die_of_header(_mark.encode())
if _killer := os.environ.get("BIAM_PIPE_TEST_KILLER"):
    _die_of(re.compile(_killer))
if _fault := os.environ.get("BIAM_PIPE_TEST_FAULT"):
    _watch(json.loads(_fault))
