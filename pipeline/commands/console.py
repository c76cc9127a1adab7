"""What a person reads of what a command came to: lines and tables. What a program reads is the JSON of the command."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.command import Command
from schemas.figures import figure_name, ks, remarks
from schemas.readable import listed, printable, rough_duration_text, size_text, table_lines

if TYPE_CHECKING:
    from pipeline.backbones import Listing
    from pipeline.commands.check import Checked
    from pipeline.commands.checks.rehearsal import Rehearsal
    from pipeline.commands.compare import CellPlan, Compared
    from pipeline.commands.convert import Converted
    from pipeline.commands.failures import Failure
    from pipeline.commands.outcome import Result, Verified
    from pipeline.commands.status import StageStatus, Totals, WorkStatus
    from pipeline.engine.forecast import Disk, Forecast
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
    yield from table_lines(("stage", "shards", "rows", "size", "counts"), rows)
    yield from _notes(result.stages)
    if result.metrics and result.metrics["coverage"]["warning"]:
        yield f"WARNING: {result.metrics['coverage']['warning']}"
    for section in ("zsl", "gzsl", "standard"):
        if result.metrics and section in result.metrics:
            yield from metric_lines(section, result.metrics[section], result.metrics.get("remarks", {}).get(section))
    if result.random_weights:
        what = "figures" if result.metrics else "features"
        yield f"{result.random_weights} weights: the {what} show that the pipeline works, not how good the model is"
    if result.report:
        yield f"report: {_from_here(result.report)}"


def _from_here(path: str) -> Path:
    """A path as it is typed in this folder."""
    whole, here = Path(path), Path.cwd()
    return whole.relative_to(here) if whole.is_relative_to(here) else whole


def metric_lines(name: str, section: Mapping[str, Any], notes: Iterable[str] | None = None) -> Iterator[str]:
    """The figures of a section of metrics.json, each beside chance, and what is remarked of them.

    Args:
        notes: as metrics.json has them; None where it is from before it had some.
    """
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
        for k in ks(section)
    ]
    yield f"{name.upper()}  " + "  ".join(figures)
    for note in remarks(name, section) if notes is None else notes:
        yield f"NOTE: {note}"


def plan_lines(plan: Sequence["StagePlan"], disks: Sequence["Disk"]) -> Iterator[str]:
    """What a run would do, a line for each stage; then what is known of images and labels, and of disk and time."""
    rows = [
        (
            line.name,
            "up to date" if line.up_to_date else f"run {'?' if line.to_run is None else line.to_run}",
            str(line.done),
            size_text(line.size_bytes),
            "" if line.forecast is None else _forecast_cell(line.forecast),
            "" if line.expected_s is None else f"about {rough_duration_text(line.expected_s)}",
            "; ".join((*line.reasons, *line.notes)) + _again_note(line) + _versions_note(line.other_versions),
        )
        for line in plan
    ]
    yield from table_lines(("stage", "plan", "done", "size", "to write", "time", "why"), rows)
    for line in plan:
        yield from _facts_lines(line)
    yield from (disk.text for disk in disks)
    if untimed := [line.name for line in plan if line.shard_wise and line.forecast and line.expected_s is None]:
        yield f"time of {listed(untimed)}: unknown until the first shard"


def cell_lines(cells: Sequence["CellPlan"]) -> Iterator[str]:
    """What each run of a comparison waits for."""
    hidden = ["" if cell.fold is None else f"fold {cell.fold}" for cell in cells]
    rows = [
        (cell.row, str(cell.seed), fold, cell.state, "; ".join(cell.why))
        for cell, fold in zip(cells, hidden, strict=True)
    ]
    yield from table_lines(("row", "seed", "hidden", "plan", "why"), rows)


def comparison_lines(found: "Compared") -> Iterator[str]:
    """The table of a comparison, its notes, and where its files lie."""
    table = found.table
    failed = [line for line in table.lines if line[1].startswith("failed: ")]
    yield from table_lines(table.header, [line for line in table.lines if line not in failed], keys=2)
    for title, why, *_ in failed:  # a text that is too long for a cell
        yield f"{title}  {why}"
    yield from table.notes
    yield f"{found.ran} runs were made or brought up to date; report: {_from_here(f'{found.folder}/report.html')}"


def _forecast_cell(told: "Forecast") -> str:
    if told.size_bytes is None:
        return told.basis
    return f"{'at most' if told.basis == 'at most' else 'about'} {size_text(told.size_bytes)}"


def _facts_lines(line: "StagePlan") -> Iterator[str]:
    """What is known of the images and their labels."""
    from pipeline.datasets.census import sentences

    if images := line.facts.get("images", line.rows if line.facts else 0):
        told = [f"{images:,} images"]
        told += [f"{size_text(line.facts['size_bytes'])} here"] if line.facts.get("size_bytes") else []
        texts = {"labelled": "with labels", "without_file": "without a file", "fetched": "at addresses"}
        told += [f"{line.facts[key]:,} {text}" for key, text in texts.items() if line.facts.get(key)]
        yield ", ".join(told)
    yield from sentences(line.facts.get("images_a_label", {}))


def status_lines(status: "WorkStatus") -> Iterator[str]:
    """What is in a work folder, a line for each stage, and who writes in it or died over it."""
    rows = [
        (
            line.name,
            f"{line.shards}, {line.pruned} pruned" if line.pruned else str(line.shards),
            str(line.rows),
            size_text(line.size_bytes),
            rough_duration_text(line.seconds),
            "" if line.images_per_s is None else _rate_text(line.images_per_s),
            "" if line.bytes_per_s is None else _rate_text(line.bytes_per_s / 1e6),
            "" if line.left_s is None else rough_duration_text(line.left_s),
            _counts(line.counts),
        )
        for line in status.stages
    ]
    yield from table_lines(("stage", "shards", "rows", "size", "work", "images/s", "MB/s", "left", "counts"), rows)
    yield from _notes(status.stages)
    if any(line.name == "train" for line in status.stages):
        yield f"run: {status.run or 'its folder gets its name once all that training reads is up to date'}"
    if status.totals is not None:
        yield from _totals_lines(status.totals)
    if status.unknown is not None:
        yield f"what is up to date cannot be told: {status.unknown}"
    if status.writer is not None:
        yield _writer_line(status.writer)
    for one in status.under_way:
        yield f"  {one.stage}: {one.told}"
    for some in status.slices:
        yield f"shards {some.text}: {_writer_line(some.writer)}"


def _notes(stages: Iterable["StageStatus"]) -> Iterator[str]:
    return (f"WARNING: {note}" for line in stages for note in line.notes)


def _totals_lines(totals: "Totals") -> Iterator[str]:
    told = [f"{totals.images:,} images", f"{totals.done:,} done", f"{totals.failed:,} failed"]
    told += [size_text(totals.size_bytes)]
    told += [] if totals.left_s is None else [f"{rough_duration_text(totals.left_s)} left"]
    yield f"total: {', '.join(told)}"
    if totals.outdated:
        yield f"not up to date: {', '.join(totals.outdated)} (biam-pipe plan says why)"


def _rate_text(rate: float) -> str:
    """Without a fraction from 10 on; two digits below, so that slow is told from nothing."""
    return f"{rate:.0f}" if rate >= 9.95 else f"{rate:.2g}"


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
    yield from files.outside
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


def check_lines(checked: "Checked") -> Iterator[str]:
    """A line for each thing that was looked at, below it what to do; then what few images came to."""
    outcomes, names = (max(len(getattr(finding, key)) for finding in checked.findings) for key in ("outcome", "name"))
    for finding in checked.findings:
        yield f"{finding.outcome:<{outcomes}}  {finding.name:<{names}}  {finding.found}"
        if finding.remedy:
            yield f"{'':<{outcomes + names + 4}}-> {finding.remedy}"
    if checked.rehearsal is not None:
        yield ""
        yield from _rehearsal_lines(checked.rehearsal)


def _rehearsal_lines(rehearsal: "Rehearsal") -> Iterator[str]:
    rows = [
        (
            stage.name,
            str(stage.rows),
            rough_duration_text(stage.seconds),
            size_text(stage.size_bytes),
            "" if stage.all_s is None else rough_duration_text(stage.all_s),
            "" if stage.all_bytes is None else size_text(stage.all_bytes),
            _counts(stage.counts),
        )
        for stage in rehearsal.stages
    ]
    yield from table_lines(("stage", "rows", "work", "size", "all images", "their size", "counts"), rows)


def conversion_lines(made: "Converted") -> Iterator[str]:
    """What was converted, where it lies, and what one does with it."""
    yield f"{made.to}: {made.files} files ({made.made} made now), {made.rows} images, {size_text(made.size_bytes)}"
    yield f"in {made.folder}"
    yield f"next: {made.next_step}"


def backbone_lines(found: "Listing") -> Iterator[str]:
    """What a search for backbones came to."""
    rows = [
        (
            row.name,
            f"{row.resize[0]} px" if row.resize[0] == row.resize[1] else " x ".join(map(str, row.resize)),
            ", ".join(f"{one.column} ({', '.join(map(str, one.shape))})" for one in row.maps),
            row.licence or "no weights of that name",
        )
        for row in found.rows
    ]
    if rows:
        yield from table_lines(("backbone", "input", "stores", "licence of the weights"), rows)
    if found.left_out:
        yield f"and {found.left_out} more; a longer text finds fewer"
    yield from found.notes
    if not rows and not found.notes:
        yield "no backbone has this text in its name"


def failed_lines(rows: Iterable["Failure"]) -> Iterator[str]:
    """A line for each image that failed: id, status, where it was sought, and why, between tabs."""
    for row in rows:
        fields = (row.image_id, row.status, row.address or "", row.error or "")
        yield "\t".join(map(printable, fields)).rstrip("\t")


def training_line(dataset: str, sets: Sequence[str], given: Command) -> str:
    """What one does with features that were taken in with these settings, after the command that the user gave."""
    command = Command("train", dataset=dataset, sets=dict(text.split("=", 1) for text in sets))
    return f"next: {command.with_options(given)}"


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _again_note(line: "StagePlan") -> str:
    return f" ({line.again_rows} images, {size_text(line.again_bytes)} to fetch again)" if line.again_rows else ""


def _versions_note(other: Sequence[str]) -> str:
    return f" (written with {', '.join(other)})" if other else ""
