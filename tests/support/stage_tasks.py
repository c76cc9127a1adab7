"""Tasks of single stages, as the engine makes them: with the files that the real stages declare."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from dags import default
from pipeline.engine.ledger import seal
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Task
from pipeline.files.inputs import Inputs, OutputFile, StageFiles
from pipeline.files.storage import Storage
from pipeline.settings.layers import configuration
from schemas.receipts import Receipt

FOLDERS = {
    "index": "index",
    "download": "downloads",
    "extract": "features/tiny-00000000/parquet",
    "split": "splits/default",
    "embed": "embeddings",
    "train": "runs/small",
    "evaluate": "runs/small",
    "report": "runs/small",
}

Receipts = Mapping[str, Iterable[Receipt]]


@cache
def declared(store: str = "parquet") -> dict[str, Mapping[str, OutputFile]]:
    """What each stage declares to leave, with folders still open."""
    sets = [f"store.name={store}", "embed.vectors=http://h/e.txt"]
    config = configuration("demo", None, {}, sets, Path("nowhere"))
    return {stage.name: stage.outputs for stage in default.stages(config, Sources(Storage("nowhere")))}


def outputs(stage: str, folder: str, store: str = "parquet") -> dict[str, OutputFile]:
    """The files that a stage leaves in a folder."""
    return {
        name: replace(file, path=file.path.replace("{folder}", folder).replace("-{fp8}", ""))
        for name, file in declared(store)[stage].items()
    }


def inputs(root: Path | str, reader: str, receipts: Receipts, folders: Mapping[str, str] = FOLDERS) -> Inputs:
    """What stages left, as these receipts say."""
    left = {}
    for stage, given in receipts.items():
        store = "hdf5" if folders[stage].endswith("/hdf5") else "parquet"
        left[stage] = StageFiles(folders[stage], outputs(stage, folders[stage], store), tuple(given))
    return Inputs(Storage(str(root)), reader, left)


def task(
    stage: str,
    root: Path | str,
    settings: Any,
    receipts: Receipts | None = None,
    shard: int | None = None,
    folders: Mapping[str, str] = FOLDERS,
    **changes: Any,
) -> Task:
    """A task of a stage over what others left."""
    store = "hdf5" if folders[stage].endswith("/hdf5") else "parquet"
    made = Task(
        stage=stage,
        shard=shard,
        storage=Storage(str(root)),
        folder=folders[stage],
        recipe="r" * 64,
        fingerprint="f" * 64,
        settings=settings,
        inputs=inputs(root, stage, receipts or {}, folders),
        outputs=outputs(stage, folders[stage], store),
    )
    return replace(made, **changes)


def sealed(task: Task, outputs: Iterable[Output]) -> tuple[Receipt, ...]:
    """The receipts of what a task did."""
    return tuple(seal(task, output, started_at=0.0, seconds=0.0) for output in outputs)
