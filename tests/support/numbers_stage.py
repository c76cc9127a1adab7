"""The first stage of the small pipelines that the tests of the engine run: it lists numbers."""

from collections.abc import Sequence

from pipeline.engine.task import Output, Stage, Task
from pipeline.files.inputs import OutputFile


def list_numbers(task: Task) -> list[Output]:
    """Index: one shard for each entry of the settings."""
    outputs = []
    for shard, number in enumerate(task.settings):
        task.storage.write(task.path("number", shard), str(number).encode())
        outputs.append(Output(("number",), rows=1, shard=shard))
    task.storage.write(task.path("all"), b"whole")
    return [*outputs, Output(("all",), rows=0)]


def listing(numbers: Sequence[int]) -> Stage:
    files = {"number": OutputFile("numbers/{shard}.txt"), "all": OutputFile("numbers/all.txt")}
    return Stage(
        "list", 1, {}, tuple(numbers), list_numbers, {}, files, "compute", "numbers", outside={"numbers": list(numbers)}
    )
