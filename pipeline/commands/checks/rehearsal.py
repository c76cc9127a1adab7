"""A run over few images with the user's settings, in a folder that is gone afterwards: what would all images cost?"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.checks.disks import free_bytes
from pipeline.commands.checks.finding import Finding, Verdict, fault
from pipeline.commands.outcome import Result
from pipeline.commands.status import StageStatus, WorkStatus
from pipeline.files.scratch import kept_aside, scratch_folder
from pipeline.files.storage import Storage
from pipeline.models import MODELS
from pipeline.models.contract import learns_by_steps
from pipeline.stages import index
from schemas.config import Config
from schemas.errors import InterruptedRunError, PipelineError, UsageError
from schemas.readable import rough_duration_text, size_text

_NAME = "rehearsal"
_EPOCHS = 2
# Stages whose work does not grow with the images, and those that leave no more for more of them.
_FIXED = frozenset({"embed", "report"})
_EVEN = _FIXED | {"train"}

RunIn = Callable[[Config, Path], tuple[Result, WorkStatus]]


@dataclass(frozen=True)
class StageRehearsal:
    """What one stage came to with few images, and would with all.

    Attributes:
        seconds: of work, added up over all tasks.
        all_s: seconds for all images, about; None where nobody knows how many those are.
        all_bytes: of the files for all images, about; likewise.
    """

    name: str
    rows: int
    size_bytes: int
    counts: dict[str, int]
    seconds: float
    all_s: float | None
    all_bytes: int | None


@dataclass(frozen=True)
class Rehearsal:
    """What a run over few images came to.

    Attributes:
        images: that it had.
        all_images: that the index of the work folder lists; None where there is none.
    """

    images: int
    all_images: int | None
    stages: tuple[StageRehearsal, ...]


def rehearse(
    config: Config, storage: Storage, images: int, run_in: RunIn
) -> tuple[Rehearsal | None, tuple[Finding, ...]]:
    """Run all stages over so many images. After a fault what they left is kept, and where is told.

    Args:
        storage: of the work folder, which is not touched.
        run_in: runs all stages in another work folder.

    Raises:
        UsageError: the data set has no way to take some of its images.
        InterruptedRunError: asked to stop.
    """
    small = _small(config, images)
    with scratch_folder() as scratch:
        folder = scratch / "work"
        try:
            result, status = run_in(small, folder)
        except InterruptedRunError:
            raise
        except PipelineError as error:
            kept = f"; what it left is kept in {kept_aside(folder)}" if folder.exists() else ""
            remedy = (error.hint or "Mend that, and run the same command again").removesuffix(":")
            return None, (Finding(_NAME, Verdict.FAULT, fault(_NAME, error).found + kept, remedy),)
    all_images = _listed(storage)
    rehearsal = _told(config, small, status, all_images)
    return rehearsal, (_outcome(rehearsal, result.problem), *_whole(config, storage, rehearsal))


def _small(config: Config, images: int) -> Config:
    dataset = config.dataset.at_most(images)
    if dataset is None:
        raise UsageError(
            f"check: data set {config.dataset.name!r} has no setting `limit`",
            expected="one, by which --images takes some of its images",
            hint="docs/adding.md says how it can have one",
        )
    train = config.train
    fewer = {
        "run": None,
        "epochs": min(train.epochs, _EPOCHS),
        "warmup_epochs": min(train.warmup_epochs, 1),
        "full_epochs": min(train.full_epochs, 1),
    }
    return config.model_copy(update={"dataset": dataset, "train": train.model_copy(update=fewer)})


def _listed(storage: Storage) -> int | None:
    """Images of the index of a work folder, less tombstones; None where there is none."""
    receipts = [receipt for receipt in index.left(storage, "check").receipts("index") if receipt.shard is not None]
    return sum(receipt.rows - receipt.counts.get("removed", 0) for receipt in receipts) if receipts else None


def _told(config: Config, small: Config, status: WorkStatus, all_images: int | None) -> Rehearsal:
    images = next(stage.rows for stage in status.stages if stage.name == "index")
    times = None if all_images is None else all_images / images
    epochs, fewer = (each.train.epochs + each.train.full_epochs for each in (config, small))
    more_epochs = epochs / fewer if learns_by_steps(MODELS.load(config.model.name)) else 1.0
    stages = (_stage(stage, times, more_epochs) for stage in status.stages)
    return Rehearsal(images, all_images, tuple(stages))


def _stage(stage: StageStatus, times: float | None, more_epochs: float) -> StageRehearsal:
    under_way_s = stage.rows / stage.images_per_s if stage.images_per_s else stage.seconds
    epochs = more_epochs if stage.name == "train" else 1.0
    all_s = None if times is None else under_way_s * epochs * (1.0 if stage.name in _FIXED else times)
    all_bytes = None if times is None else round(stage.size_bytes * (1.0 if stage.name in _EVEN else times))
    return StageRehearsal(stage.name, stage.rows, stage.size_bytes, stage.counts, stage.seconds, all_s, all_bytes)


def _outcome(rehearsal: Rehearsal, problem: PipelineError | None) -> Finding:
    told = f"{rehearsal.images} images went through all stages"
    if problem is None:
        return Finding(_NAME, Verdict.OK, told)
    return Finding(_NAME, Verdict.WARNING, f"{told}, but {problem.what}", fault(_NAME, problem).remedy)


def _whole(config: Config, storage: Storage, rehearsal: Rehearsal) -> tuple[Finding, ...]:
    """What all images would take beside what there is; nothing where nobody knows how many those are."""
    if rehearsal.all_images is None:
        return ()
    stages = rehearsal.stages
    all_s = sum(stage.all_s or 0.0 for stage in stages)
    all_bytes = sum(stage.all_bytes or 0 for stage in stages if config.images.keep or stage.name != "download")
    room_bytes = free_bytes(Path(storage.shown()))
    told = (
        f"about {rough_duration_text(all_s)} of work one stage after the other and {size_text(all_bytes)} for "
        f"{rehearsal.all_images} images, {size_text(room_bytes)} free"
    )
    if all_bytes <= room_bytes:
        return (Finding("all images", Verdict.OK, told),)
    remedy = "Use a --work on a larger disk, images.keep=false, or fewer layers (backbone.layers)"
    return (Finding("all images", Verdict.WARNING, told, remedy),)
