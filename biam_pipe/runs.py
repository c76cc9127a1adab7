"""From a path to the run that lies there: a run's folder, or a work folder with runs."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.files.alone import Located, located
from pipeline.files.storage import require_local
from schemas.command import Command
from schemas.errors import IntegrityError, UsageError

# Where the receipts of runs lie below a path: of a run, of all, of a data set's, of those of all data sets.
_BELOW = ("", "*/", "runs/*/", "*/runs/*/")


def find_run(path: str | Path, reader: str, stage: str) -> Located:
    """The run in a folder; of several the one in which a stage was done last.

    Args:
        path: a run's folder, such as `work/demo/runs/biam-released-77fa804c`, or a folder around runs.
        reader: who looks, for error texts.
        stage: that the run has done, `train` or `evaluate`.

    Raises:
        UsageError: there is no such run.
        IntegrityError: its receipt cannot be read.
    """
    require_local(Path(path), reader)
    receipt = f"{stage}.stage.json"
    folder = _newest(Path(path), receipt)
    if folder is None:
        raise UsageError(
            f"{reader}: no run in {path} has done {stage}",
            expected="a run's folder, or a work folder with runs",
            hint="Runs are made by:",
            run=Command("run"),
        )
    found = located(folder, (receipt,))
    if found is None:
        raise IntegrityError(
            f"{folder / receipt} is no receipt", expected="as it was written", hint="Run:", run=Command(stage)
        )
    return found


def _newest(path: Path, receipt: str) -> Path | None:
    for below in _BELOW:
        found: Sequence[Path] = sorted(path.glob(below + receipt), key=lambda file: file.stat().st_mtime_ns)
        if found:
            return found[-1].parent
    return None
