"""Stage `unseen`: which labels are unseen, where others are to be than those that the data set says.

They are drawn by a seed (`split.unseen_seed`), where the data set fixes none; or they are seen labels that are hidden
(`split.held_out_fold`), to choose by, and those that are unseen take no part. Stands between `split` and `embed`, and
only in these cases. Each draw and fold has a file of its own beside the split of the images, which stays as it is: runs
over many of them share images, features and vectors.

Whether a label takes part in a draw follows from how many images of the whole data set bear it; no other annotation is
looked at.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.batches.label_space import TAKING_PART
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.tables import content_hash, write_table
from pipeline.models.fitting import fold_of_labels
from schemas.command import Command
from schemas.config import Config, SplitConfig
from schemas.errors import PipelineError, UsageError
from schemas.section import content
from schemas.status import LabelRole
from schemas.tables import LABEL_ROLES

VERSION = 1

_FEWEST_FOLDS = 2
_SHARE = 5  # where no number is set, one label in so many is unseen


@dataclass(frozen=True)
class Settings:
    """The split's section."""

    split: SplitConfig


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings. The draw is no part of its recipe: stages after it keep what draws share."""
    del sources  # nothing from outside shapes it
    split = config.split
    return Stage(
        name="unseen",
        version=VERSION,
        recipe={},
        settings=Settings(split),
        run=run,
        upstream={"index": "all", "split": "whole"},
        outputs={"labels": OutputFile(f"{{folder}}/{_stem(split)}.parquet", LABEL_ROLES, {"role": LabelRole})},
        place="compute",
        folder=f"splits/{split.name}",
        record=f"{_stem(split)}.stage",
        outside=content("split", split),
        command="embed",
    )


def _stem(split: SplitConfig) -> str:
    """Of the file of a draw and fold."""
    drawn = f"-{split.num_unseen or 'fifth'}-from-{split.min_label_images}-seed-{split.unseen_seed}"
    hidden = f"-hidden-{split.held_out_fold}-of-{split.held_out_folds}"
    return "unseen" + drawn * (split.unseen_seed is not None) + hidden * (split.held_out_fold is not None)


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
        PipelineError: too few labels have images enough, or are seen.
    """
    config: SplitConfig = task.settings.split
    listed = {row["label_index"]: row["role"] for row in task.inputs.table("split", "labels").to_pylist()}
    names = {label["label_index"]: label["name"] for label in task.inputs.table("index", "labels").to_pylist()}
    roles = listed if config.unseen_seed is None else _drawn(task, config, list(listed), names)
    facts = {"rarer_labels": len(listed) - len(roles)} if config.unseen_seed is not None else {}
    if config.held_out_fold is not None:
        roles = _hidden(task, config, roles, names)
    rows = [{"label_index": index, "role": role} for index, role in sorted(roles.items())]
    table = pa.Table.from_pylist(rows, schema=LABEL_ROLES)
    write_table(task.storage, task.path("labels"), table)
    unseen = sorted(names[index] for index, role in roles.items() if role == LabelRole.UNSEEN)
    return [
        Output(
            files=("labels",),
            rows=len(rows),
            counts=dict(sorted(Counter(map(str, roles.values())).items())),
            content=content_hash(table),
            parts={TAKING_PART: content_hash(table.select(["label_index"]))},
            facts={**facts, "unseen": unseen},
        )
    ]


def _drawn(task: Task, config: SplitConfig, listed: list[int], names: Mapping[int, str]) -> dict[int, str]:
    """The roles of the labels that are frequent enough, unseen ones drawn by the seed."""
    images = _images(task, 1 + max(names, default=-1))
    taking_part = [index for index in listed if images[index] >= config.min_label_images]
    num_unseen = config.num_unseen or len(taking_part) // _SHARE
    if not 0 < num_unseen < len(taking_part):
        raise PipelineError(
            f"unseen: cannot draw {num_unseen or 1} of the labels and leave a seen one",
            found=f"{len(taking_part)} of {len(listed)} labels with at least {config.min_label_images} images",
            expected="more",
            hint="Label more images, draw fewer (split.num_unseen), or let rarer labels take part"
            + (":" if (sets := _drawable(config, len(taking_part))) else ""),
            run=Command(sets=sets) if sets else None,
        )
    in_order = _by_name(taking_part, names)
    drawn = set(random.Random(config.unseen_seed).sample(in_order, num_unseen))
    return {index: LabelRole.UNSEEN if index in drawn else LabelRole.SEEN for index in in_order}


def _drawable(config: SplitConfig, taking_part: int) -> dict[str, int]:
    """Settings with which something may be drawn; none where no setting helps."""
    if taking_part > 1:
        return {"split.num_unseen": max(1, taking_part // _SHARE)}
    rarer = 1 + config.min_label_images // 3
    return {"split.min_label_images": rarer} if rarer < config.min_label_images else {}


def _hidden(task: Task, config: SplitConfig, roles: Mapping[int, str], names: Mapping[int, str]) -> dict[int, str]:
    """The same labels: of the seen ones those of one fold as unseen, and the unseen ones left out."""
    seen = _by_name([index for index, role in roles.items() if role == LabelRole.SEEN], names)
    if len(seen) < 2 * config.held_out_folds:
        larger = len(seen) >= 2 * _FEWEST_FOLDS
        raise PipelineError(
            f"unseen: cannot hide one of {config.held_out_folds} folds of {len(seen)} seen labels",
            expected="two labels a fold at least",
            hint="Hide larger folds:" if larger else "Label more images",
            run=Command(sets={"split.held_out_folds": _FEWEST_FOLDS}) if larger else None,
        )
    folds = zip(seen, fold_of_labels(len(seen), config.held_out_folds), strict=True)
    hidden = {index: LabelRole.UNSEEN if fold == config.held_out_fold else LabelRole.SEEN for index, fold in folds}
    return {**dict.fromkeys(roles, LabelRole.LEFT_OUT), **hidden}


def _by_name(labels: Iterable[int], names: Mapping[int, str]) -> list[int]:
    return sorted(labels, key=lambda index: (names[index], index))


def _images(task: Task, labels: int) -> np.ndarray:
    """Images that bear each label, by its index."""
    found = np.zeros(labels, np.int64)
    for shard in task.inputs.shards("index"):
        positive = task.inputs.table("index", "annotations", shard, ["positive"])["positive"].combine_chunks()
        found += np.bincount(positive.flatten(), minlength=labels)
    return found
