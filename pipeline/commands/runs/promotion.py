"""Moves the pointer `latest` to a run that is better than the one it leads to, by more than the luck of the images."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.commands.runs.difference import FigureDifference, RunDifference, differences
from pipeline.commands.runs.found import SECTIONS, run_names
from pipeline.commands.runs.latest import Latest, whole_latest, write_latest
from pipeline.files.inputs import Inputs
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
from schemas.command import Command
from schemas.errors import PipelineError, UsageError
from schemas.figures import NO_FIGURES

MOST_APART = 0.1  # of the test images of either run, for two to be compared by those of both


@dataclass(frozen=True)
class Promotion:
    """What a promotion came to.

    Attributes:
        run: the one that was to be promoted.
        moved: whether the pointer was.
        latest: where it leads now.
        compared: with what it led to before; None where it led nowhere, or there already.
        problem: why it was not moved.
    """

    run: str
    moved: bool
    latest: Latest | None
    compared: RunDifference | None = None
    problem: PipelineError | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values, but for the problem."""
        return {
            "run": self.run,
            "moved": self.moved,
            "latest": None if self.latest is None else asdict(self.latest),
            "compared": None if self.compared is None else asdict(self.compared),
        }


def promote(storage: Storage, name: str, figure: str | None, left_of: Callable[[str], Inputs]) -> Promotion:
    """Move the pointer to a run where it is better; the first run that is promoted is compared with nothing.

    Args:
        figure: as `section/figure`; None for the headline of its first section.
        left_of: what a run left, by its name.

    Raises:
        PipelineError: the run was not evaluated, or somebody else writes in the work folder, or moved the pointer.
        UsageError: it has no such figure.
        IntegrityError: a file of a run is damaged, or the pointer: nobody knows what there is to be better than.
    """
    left = left_of(name)
    wanted, value = _figure(name, left, figure)
    before = whole_latest(storage)
    if before is not None and before.run == name:
        return Promotion(name, moved=False, latest=before)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    if before is None or before.run not in run_names(storage):
        return _moved(storage, before, Latest(name, since, wanted, value))
    found = differences(before.run, left_of(before.run), name, left_of(name))
    told = found.figure(wanted)
    if (problem := _refusal(found, told, wanted, storage.name)) is not None:
        return Promotion(name, moved=False, latest=before, compared=found, problem=problem)
    assert told is not None, "what is not told is refused"
    pointer = Latest(name, since, wanted, told.second, before.run, told.gain, told.interval)
    return _moved(storage, before, pointer, found)


def _moved(
    storage: Storage, before: Latest | None, pointer: Latest, compared: RunDifference | None = None
) -> Promotion:
    with writing(storage):
        if whole_latest(storage) != before:  # another promotion came between the comparison and this
            raise PipelineError(
                f"runs promote: another run became latest while {pointer.run} was compared", hint="Do it once more"
            )
        write_latest(storage, pointer)
    return Promotion(pointer.run, moved=True, latest=pointer, compared=compared)


def _figure(name: str, left: Inputs, figure: str | None) -> tuple[str, float]:
    if not left.has("evaluate"):
        raise PipelineError(
            f"runs promote: {name} was not evaluated",
            expected="its figures",
            hint="With its settings, run:",
            run=Command("evaluate", dataset=left.dataset),
        )
    metrics = left.json("evaluate", "metrics")
    known = {
        f"{section}/{key}": value
        for section in SECTIONS
        for key, value in metrics.get(section, {}).items()
        if key not in NO_FIGURES
    }
    if figure is None:
        first = next(section for section in SECTIONS if section in metrics)
        figure = f"{first}/{metrics[first]['headline']}"
    if figure not in known:
        raise UsageError(f"runs promote: {name} has no figure", got=repr(figure), expected=f"one of {', '.join(known)}")
    return figure, known[figure]


def _refusal(found: RunDifference, told: FigureDifference | None, figure: str, dataset: str) -> PipelineError | None:
    """Why the pointer stays; None where it moves."""
    pair = f"runs promote: {found.second} was not compared with {found.first}, which is latest"
    first, second, both = found.images
    if both and found.shared < 1 - MOST_APART:
        return PipelineError(
            f"{pair}: {both} test images are in both, of {first} and {second}",
            expected=f"{1 - MOST_APART:.0%} of each at least",
            hint=f"Evaluate {found.first} on the data as they are: with its settings and its weights as train.weights",
            run=Command("run", dataset=dataset),
        )
    if told is None or told.interval is None:
        return PipelineError(f"{pair} by {figure}: {found.note or 'no images were drawn anew (evaluate.replicates)'}")
    low, high = told.interval
    if low > 0:
        return None
    how = "worse" if high < 0 else "no better beyond the luck of the images"
    return PipelineError(
        f"runs promote: by {figure} {found.second} is {how} than {found.first}, which stays latest",
        found=f"{told.second:.3f} after {told.first:.3f}: {told.gain:+.3f} [{low:+.3f}, {high:+.3f}]",
        expected="an interval above 0",
    )
