"""What a run came to."""

from pathlib import Path
from typing import Any

from biam_pipe.runs import find_run
from pipeline.engine.ledger import Ledger, files_left
from pipeline.files.inputs import Inputs, OutputFile

_OUTPUTS = {"metrics": OutputFile("{folder}/metrics.json")}


def metrics(run: str | Path) -> dict[str, Any]:
    """The figures of a run, as docs/metrics.md explains them: `metrics(run)["zsl"]["map"]`.

    Args:
        run: its folder, wherever it lies; or a work folder, whose run that was evaluated last is meant.

    Raises:
        UsageError: there is no such run.
        IntegrityError: metrics.json is not as it was written.
    """
    found = find_run(run, "metrics", "evaluate")
    left = files_left(Ledger(found.storage, "evaluate", found.folder, "evaluate.stage"), _OUTPUTS)
    figures: dict[str, Any] = Inputs(found.storage, "metrics", {"evaluate": left}).json("evaluate", "metrics")
    return figures
