"""What a person reads of what a command came to: lines and tables. What a program reads is the JSON of the command."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.command import Command
from schemas.figures import figure_name
from schemas.readable import rough_duration_text, size_text

if TYPE_CHECKING:
    from pipeline.commands.convert import Converted
    from pipeline.commands.failures import Failure
    from pipeline.commands.outcome import Result, Verified
    from pipeline.commands.predict import Prediction
    from pipeline.commands.status import WorkStatus
    from pipeline.engine.plan import StagePlan
    from pipeline.files.lock import Writer


def result_lines(result: "Result") -> Iterator[str]:
    """What a run came to: a line for each stage, then the figures, then where the page is."""
    rows = [
        (
            line.name,
            f"ran {result.ran[line.name]}" if line.name in result.ran else "up to date",
            str(line.rows),
            size_text(line.size_bytes),
            _counts(line.counts),
        )
        for line in result.stages
    ]
    yield from _table(("stage", "shards", "rows", "size", "counts"), rows)
    if result.metrics and result.metrics["coverage"]["warning"]:
        yield f"WARNING: {result.metrics['coverage']['warning']}"
    for section in ("zsl", "gzsl", "standard"):
        if result.metrics and section in result.metrics:
            yield from metric_lines(section, result.metrics[section])
    if result.random_weights:
        yield f"{result.random_weights} weights: the figures show that the pipeline works, not how good the model is"
    if result.report:
        page = Path(result.report)
        yield f"report: {page.relative_to(Path.cwd()) if page.is_relative_to(Path.cwd()) else page}"


def metric_lines(name: str, section: Mapping[str, Any]) -> Iterator[str]:
    """The figures of a section of metrics.json, each beside chance; and which of them want a remark."""
    ks = [int(key.removeprefix("f1@")) for key in section if key.startswith("f1@")]
    head = section["headline"]
    figures = [f"{figure_name(head)} {section[head]:.3f} (chance {section['chance'][head]:.3f}"]
    if section["permuted"][head] is not None:  # a single label has nothing to change places with
        figures[0] += f", word vectors permuted {section['permuted'][head]:.3f}"
    if "@" in head:  # one ranking for all images comes far with the best K
        figures[0] += f", constant {section['constant'][head]:.3f}"
    figures[0] += ")"
    figures += [
        f"F1@{k} {section[f'f1@{k}']:.3f} (chance {section['chance'][f'f1@{k}']:.3f}, constant "
        f"{section['constant'][f'f1@{k}']:.3f})"
        for k in ks
    ]
    yield f"{name.upper()}  " + "  ".join(figures)
    if too_large := [f"F1@{k}" for k in ks if k > section["labels"]]:
        yield f"NOTE: {name.upper()} has {section['labels']} labels; for {' and '.join(too_large)} all are predicted"
    if without := section["labels_without_positive"]:
        note = f"NOTE: {name.upper()}: {without} of {section['labels']} labels have no positive test image"
        if (others := section.get("map_of_occurring")) is not None:  # a protocol of one's own may have no such figure
            note += f"; {figure_name('map_of_occurring')} {others:.3f}"
        yield note


def plan_lines(plan: Sequence["StagePlan"]) -> Iterator[str]:
    """What a run would do, a line for each stage."""
    rows = [
        (
            line.name,
            "up to date" if line.up_to_date else f"run {'?' if line.to_run is None else line.to_run}",
            str(line.done),
            size_text(line.size_bytes),
            "" if line.expected_s is None or line.up_to_date else f"about {rough_duration_text(line.expected_s)}",
            "; ".join((*line.reasons, *line.notes)) + _again_note(line) + _versions_note(line.other_versions),
        )
        for line in plan
    ]
    return _table(("stage", "plan", "done", "size", "time", "why"), rows)


def status_lines(status: "WorkStatus") -> Iterator[str]:
    """What is in a work folder, a line for each stage, and who writes in it or died over it."""
    rows = [
        (
            line.name,
            f"{line.shards}, {line.pruned} pruned" if line.pruned else str(line.shards),
            str(line.rows),
            size_text(line.size_bytes),
            rough_duration_text(line.seconds),
            "" if line.images_per_s is None else f"{line.images_per_s:.0f}",
            "" if line.bytes_per_s is None else f"{line.bytes_per_s / 1e6:.1f}",
            "" if line.left_s is None else rough_duration_text(line.left_s),
            _counts(line.counts),
        )
        for line in status.stages
    ]
    yield from _table(("stage", "shards", "rows", "size", "work", "images/s", "MB/s", "left", "counts"), rows)
    if status.writer is not None:
        yield _writer_line(status.writer)


def _writer_line(writer: "Writer") -> str:
    process = f"process {writer.pid} on {writer.host} since {writer.since}"
    if writer.alive is None:
        return f"{process} writes here, or ended without a word: that cannot be seen from another host"
    if writer.alive:
        return f"{process} writes here"
    return f"{process} wrote here, and ended without a word. What is committed stands; run the same command again"


def verification_lines(verified: "Verified") -> Iterator[str]:
    """What a comparison found, and how images that were made anew came out."""
    files, again = verified.files, verified.again
    counted = f"{_number(files.files, 'file')}, {size_text(files.size_bytes)}"
    yield f"{counted}, {_number(len(files.problems), 'problem')}"
    yield from files.problems
    if files.uncommitted:
        names = ", ".join(files.uncommitted)
        yield f"no receipt names these, as after a run that was stopped; the next one makes them anew: {names}"
    if files.unhashed:
        yield f"nobody can tell whether these are as they were written: {', '.join(files.unhashed)}"
    if again is None:
        return
    if again.note:
        yield again.note
        return
    errors = f"largest error {again.largest_error:.3g}, mean {again.mean_error:.3g}"
    tolerance = f"tolerated: {again.tolerance:.2g} of a map's largest number"
    yield f"{again.images} images made anew: {again.equal} with equal bits; {errors} ({tolerance})"
    yield from again.problems


def conversion_lines(made: "Converted") -> Iterator[str]:
    """What was converted, where it lies, and what one does with it."""
    yield f"{made.to}: {made.files} files ({made.made} made now), {made.rows} images, {size_text(made.size_bytes)}"
    yield f"in {made.folder}"
    yield f"next: {made.next_step}"


def failed_lines(rows: Iterable["Failure"]) -> Iterator[str]:
    """A line for each image that failed: id, status, where it was sought, and why, between tabs."""
    for row in rows:
        yield "\t".join((row.image_id, row.status, row.address or "", row.error or "")).rstrip("\t")


def training_line(dataset: str, sets: Sequence[str], given: Command) -> str:
    """What one does with features that were taken in with these settings, after the command that the user gave."""
    command = Command("train", dataset=dataset, sets=dict(text.split("=", 1) for text in sets))
    return f"next: {command.with_options(given)}"


def prediction_lines(prediction: "Prediction") -> Iterator[str]:
    """The scores of each image, best first, with the heat maps' paths."""
    for image in prediction.images:
        yield image.image if image.error is None else f"{image.image}: {image.status} ({image.error})"
        for label in image.labels:
            yield f"  {label.score:8.3f}  {label.label}  {label.heat_map or ''}".rstrip()
    if any(label.heat_map is None for image in prediction.images for label in image.labels):
        yield "no heat maps: the model does not tell where in a picture it sees a label"
    for name, words in prediction.words_missing.items():
        yield f"{name!r} goes without {', '.join(map(repr, words))}, which has no vector"
    if prediction.random_weights and prediction.problem is None:
        yield f"{prediction.weights} weights: the scores show that the pipeline works, not what is in the pictures"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _again_note(line: "StagePlan") -> str:
    return f" ({line.again_rows} images, {size_text(line.again_bytes)} to fetch again)" if line.again_rows else ""


def _versions_note(other: Sequence[str]) -> str:
    return f" (written with {', '.join(other)})" if other else ""
