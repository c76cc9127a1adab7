"""Tar files for the library `webdataset`: one for each shard and split.

A sample is `<key>.json` with the image's id, split and labels by name, and `<key>.<column>.npy` for each map. Images
that failed are left out.
"""

import io
import json
import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conversion.form import UNSPLIT, Handover, Write, pieces
from pipeline.stores.shard import row_groups

VERSION = 1
READS = ("index", "extract", "split", "unseen")


def jobs(handover: Handover) -> dict[str, Write]:
    """A tar file a shard and split, and the labels with their roles."""
    made: dict[str, Write] = {
        f"{split}-{handover.features.numbers[position]:05d}.tar": partial(_write, handover, split, position, rows)
        for split, position, rows in pieces(handover)
    }
    return {**made, "labels.json": partial(_write_labels, handover)}


def opened(out: str) -> str:
    """As one line of Python."""
    return f'webdataset.WebDataset(glob("{out}/train-*.tar"), shardshuffle=False).decode()'


def _write(handover: Handover, split: str, position: int, rows: Sequence[int], path: Path) -> int:
    number, names, wanted = handover.features.numbers[position], handover.labels.names, frozenset(rows)
    known, row = handover.known(number), -1
    with handover.features.open(position) as reader, tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for batch in row_groups(reader):
            for inside, image_id in enumerate(batch.image_ids):
                row += 1
                if row not in wanted:
                    continue
                told: dict[str, Any] = {"image_id": image_id, "split": None if split == UNSPLIT else split}
                for key, column in (("labels", "positive"), ("absent_labels", "negative")):
                    told[key] = None if known[row][column] is None else [names[label] for label in known[row][column]]
                _add(tar, f"{number:05d}-{row:05d}.json", json.dumps(told, ensure_ascii=False).encode())
                for column, values in batch.maps.items():
                    data = io.BytesIO()
                    np.save(data, np.ascontiguousarray(values[inside]), allow_pickle=False)
                    _add(tar, f"{number:05d}-{row:05d}.{column}.npy", data.getvalue())
    return len(rows)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A file without time or owner: equal samples give equal bytes."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _write_labels(handover: Handover, path: Path) -> int:
    """All labels with the data set's own ids and roles; no image is in the file."""
    labels = handover.labels
    rows = [
        {"name": name, "label_id": own, "role": role}
        for name, own, role in zip(labels.names, labels.ids, labels.roles, strict=True)
    ]
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return 0
