"""Stage `unseen`: which labels are unseen, drawn by a seed (`split.unseen_seed`), where the data set does not say.

Stands between `split` and `embed`, and only where labels are drawn. Each draw has a file of its own beside the split of
the images, which stays as it is: runs over many draws share images, features and vectors.

Whether a label takes part follows from how many images of the whole data set bear it; no other annotation is looked at.
"""

import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.batches.label_space import TAKING_PART
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.tables import content_hash, write_table
from schemas.command import Command
from schemas.config import Config, SplitConfig
from schemas.errors import PipelineError, UsageError
from schemas.section import content
from schemas.status import LabelRole
from schemas.tables import LABEL_ROLES

VERSION = 1

_SHARE = 5  # where no number is set, one label in so many is unseen


@dataclass(frozen=True)
class Settings:
    """The split's section."""

    split: SplitConfig


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings. The draw is no part of its recipe: stages after it keep what draws share."""
    del sources  # nothing from outside shapes it
    split = config.split
    stem = f"unseen-{split.num_unseen or 'fifth'}-from-{split.min_label_images}-seed-{split.unseen_seed}"
    return Stage(
        name="unseen",
        version=VERSION,
        recipe={},
        settings=Settings(split),
        run=run,
        upstream={"index": "all", "split": "whole"},
        outputs={"labels": OutputFile(f"{{folder}}/{stem}.parquet", LABEL_ROLES, {"role": LabelRole})},
        place="compute",
        folder=f"splits/{split.name}",
        record=f"{stem}.stage",
        outside=content("split", split),
        command="embed",
    )


def require_not_fixed(config: Config) -> None:
    """See that nothing else says which labels are unseen.

    Raises:
        UsageError: the data set does, or its settings.
    """
    if (fixed := config.dataset.unseen_fixed_by) is not None:
        raise UsageError(
            "setting split.unseen_seed:",
            got=config.split.unseen_seed,
            expected=f"null, since none are drawn where {fixed}",
            hint="Use:",
            run=Command(sets={"split.unseen_seed": None}),
        )


def run(task: Task) -> list[Output]:
    """Write the role of every label that takes part.

    Raises:
        PipelineError: too few labels have images enough.
    """
    config: SplitConfig = task.settings.split
    listed = task.inputs.table("split", "labels")["label_index"].to_pylist()
    names = {label["label_index"]: label["name"] for label in task.inputs.table("index", "labels").to_pylist()}
    images = _images(task, 1 + max(names, default=-1))
    taking_part = [index for index in listed if images[index] >= config.min_label_images]
    num_unseen = config.num_unseen or len(taking_part) // _SHARE
    if not 0 < num_unseen < len(taking_part):
        raise PipelineError(
            f"unseen: cannot draw {num_unseen or 1} of the labels and leave a seen one",
            found=f"{len(taking_part)} of {len(listed)} labels with at least {config.min_label_images} images",
            expected="more",
            hint="Label more images, draw fewer (split.num_unseen), or let rarer labels take part:",
            run=Command(
                "run", dataset=task.inputs.dataset, sets={"split.min_label_images": 1 + config.min_label_images // 3}
            ),
        )
    in_order = sorted(taking_part, key=lambda index: (names[index], index))
    drawn = set(random.Random(config.unseen_seed).sample(in_order, num_unseen))
    rows = [{"label_index": i, "role": LabelRole.UNSEEN if i in drawn else LabelRole.SEEN} for i in sorted(in_order)]
    table = pa.Table.from_pylist(rows, schema=LABEL_ROLES)
    write_table(task.storage, task.path("labels"), table)
    counts = dict(sorted(Counter(str(row["role"]) for row in rows).items()))
    return [
        Output(
            files=("labels",),
            rows=len(rows),
            counts=counts,
            content=content_hash(table),
            parts={TAKING_PART: content_hash(table.select(["label_index"]))},
            facts={"rarer_labels": len(listed) - len(rows), "unseen": sorted(names[index] for index in drawn)},
        )
    ]


def _images(task: Task, labels: int) -> np.ndarray:
    """Images that bear each label, by its index."""
    found = np.zeros(labels, np.int64)
    for shard in task.inputs.shards("index"):
        positive = task.inputs.table("index", "annotations", shard, ["positive"])["positive"].combine_chunks()
        found += np.bincount(positive.flatten(), minlength=labels)
    return found
