"""Runs below runs/ as training and evaluation leave them, of scores that are given; written with the real receipts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from stage_tasks import FOLDERS, sealed, task

from pipeline.engine.ledger import Ledger
from pipeline.engine.task import Output
from pipeline.files.storage import Storage
from pipeline.files.tables import write_table
from pipeline.inference.kept_scores import write_scores
from pipeline.metrics.bootstrap import Resampling
from pipeline.metrics.paired import Replicates, pairing
from pipeline.metrics.protocols import Baselines, evaluate, replicates
from pipeline.metrics.score_table import ScoreTable
from pipeline.settings.layers import configuration
from pipeline.stages.train import training_toml
from schemas.config import Config
from schemas.tables import PER_LABEL

PROTOCOL, KS, REPLICATES = "nuswide", (1,), 100


def config_of(root: Path, *sets: str) -> Config:
    return configuration("demo", None, {}, ["embed.vectors=http://h/e.txt", *sets], root)


def write_run(
    root: Path,
    name: str,
    image_ids: Sequence[str],
    scores: np.ndarray,
    codes: np.ndarray,
    *sets: str,
    keeps_scores: bool = True,
    label_ids: Sequence[str] | None = None,
    started_at: float = 0.0,
) -> None:
    """A run, evaluated on images of which the last two labels are unseen.

    Args:
        root: the data set's folder.
        sets: its settings, as of `--set`.
    """
    labels = scores.shape[1]
    ids, roles = list(label_ids or map(str, range(labels))), ["seen"] * (labels - 2) + ["unseen"] * 2
    folders = FOLDERS | dict.fromkeys(("train", "evaluate"), f"runs/{name}")
    storage = Storage(str(root))

    def leave(stage: str, output: Output) -> None:
        (receipt,) = sealed(task(stage, root, None, folders=folders), [output])
        dated = receipt.model_copy(update={"started_at": started_at})
        Ledger(storage, stage, folders[stage], f"{stage}.stage").write(dated)

    for file, data in {"model.safetensors": b"weights", "history.json": b"{}"}.items():
        storage.write(f"runs/{name}/{file}", data)
    storage.write(f"runs/{name}/config.toml", training_toml(config_of(root, *sets)).encode())
    leave("train", Output(("model", "history", "config"), 1, facts={"images": {"train": 9, "validation": 3}}))
    table = ScoreTable.of(scores, codes)
    resampling = Resampling.of(image_ids, REPLICATES)
    drawn: dict[str, Any] = {}
    document: dict[str, Any] = {"protocol": PROTOCOL, "images": len(image_ids)}
    for section, first in (("zsl", labels - 2), ("gzsl", 0)):
        part = table.section(first)
        document[section] = evaluate(PROTOCOL, section, part, KS, Baselines(2, 0)).as_json()
        found = replicates(PROTOCOL, section, part, KS, resampling)
        drawn |= {f"{section}/{figure}": values for figure, values in found.items()}
    named = {"seen": ids[:-2], "unseen": ids[-2:]}
    paired = Replicates(pairing(image_ids, named, table.codes, PROTOCOL, KS), drawn)
    storage.write(f"runs/{name}/metrics.json", json.dumps(document).encode())
    storage.write(f"runs/{name}/bootstrap.npz", paired.as_bytes())
    rows = {"label_index": range(labels), "label_id": ids, "name": ids, "role": roles}
    empty = {field.name: [0] * labels for field in PER_LABEL if field.name not in rows}
    write_table(storage, f"runs/{name}/per_label.parquet", pa.table({**rows, **empty}, schema=PER_LABEL))
    files = ["metrics", "bootstrap", "per_label"]
    if keeps_scores:
        with storage.commit(f"runs/{name}/scores.parquet") as temporary:
            write_scores(temporary, image_ids, table)
        files.append("scores")
    leave("evaluate", Output(tuple(files), len(image_ids), facts={"keeps_scores": keeps_scores}))
