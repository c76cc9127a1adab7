"""The first stage of the small pipelines that the tests of the engine run: it lists numbers."""

from collections.abc import Sequence

from pipeline.engine.task import Output, Stage, Task


def list_numbers(task: Task) -> list[Output]:
    """Index: one shard for each entry of the settings."""
    outputs = []
    for shard, number in enumerate(task.settings):
        path = f"numbers/shard-{shard:05d}.txt"
        task.storage.write(path, str(number).encode())
        outputs.append(Output((path,), rows=1, shard=shard))
    task.storage.write("numbers/all.txt", b"whole")
    return [*outputs, Output(("numbers/all.txt",), rows=0)]


def listing(numbers: Sequence[int]) -> Stage:
    return Stage(
        "list", 1, {}, tuple(numbers), list_numbers, {}, "compute", "numbers", many=True,
        outside={"numbers": list(numbers)},
    )  # fmt: skip
