"""Models side by side: every run of a comparison is an ordinary run, and what they came to lies in compare/."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from pipeline.commands.process import explained
from pipeline.commands.runs.clean import COMPARED
from pipeline.comparison.cell import Cell, Cost, Row
from pipeline.comparison.forms import comma_separated, latex, markdown
from pipeline.comparison.grid import Grid, grid
from pipeline.comparison.per_label import per_label
from pipeline.comparison.table import Setting, document
from pipeline.comparison.tables import published_as
from pipeline.engine.fingerprint import FP8, fingerprint
from pipeline.engine.graph import Graph, inputs_of, latest_of_recipe
from pipeline.engine.ledger import Ledger, file_receipt, library_versions
from pipeline.engine.plan import StagePlan
from pipeline.engine.task import RECORD
from pipeline.files.inputs import Inputs, OutputFile, StageFiles
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
from pipeline.files.tables import write_table
from pipeline.machine import stopping
from pipeline.metrics.paired import Replicates
from pipeline.models.contract import TASKS
from schemas.command import Command
from schemas.comparison import ComparisonSettings, RowSettings, shaping
from schemas.config import Config
from schemas.errors import (
    HeldFolderError,
    IntegrityError,
    InterruptedRunError,
    PipelineError,
    TimeBudgetError,
    UsageError,
)
from schemas.random_weights import is_random
from schemas.receipts import Receipt
from schemas.status import ImageSplit, LabelRole

if TYPE_CHECKING:
    from pipeline.comparison.figures.made import Figures
    from pipeline.comparison.figures.rows import FigureRow

_DOCUMENT, _PER_LABEL = "compare.json", "per_label.parquet"
_OF_LABELS = ["label_id", "name", "role", "average_precision"]
_SHARED = ("extract", "embed")  # stages by which all that models read is there
_STOPS = (HeldFolderError, InterruptedRunError, TimeBudgetError)  # of the whole comparison
_VERSION = 3  # of what stands in the document


@dataclass(frozen=True)
class Looked:
    """How one run stands before anything runs.

    Attributes:
        lines: what it would do.
        refusal: why it could not come to an end here; None where nothing is in its way.
    """

    graph: Graph
    lines: Sequence[StagePlan]
    refusal: PipelineError | None


Look = Callable[[Config], Looked]


@dataclass(frozen=True)
class CellPlan:
    """What a run of a comparison waits for.

    Attributes:
        row: its title.
        seed: of the run.
        state: `up to date`, `to train`, `to evaluate`, `after` the first stage of all that is to run before, or `cannot
            run`.
        why: reasons, the most frequent first.
        fold: of labels that it never sees; None of a run for the table.
    """

    row: str
    seed: int
    state: str
    why: tuple[str, ...]
    fold: int | None = None


@dataclass(frozen=True)
class Compared:
    """What a comparison came to.

    Attributes:
        folder: where its files lie.
        document: as compare.json has it.
        ran: how many runs were not up to date.
    """

    folder: str
    document: Mapping[str, Any]
    ran: int

    @property
    def table(self) -> Grid:
        """The table, to be printed."""
        return grid(self.document)

    @property
    def problem(self) -> PipelineError | None:
        """What makes the exit code differ from 0: a run that failed."""
        failed = [row["title"] for row in self.document["rows"] if row["failure"] is not None]
        if not failed:
            return None
        return PipelineError(f"compare: {len(failed)} of {len(self.document['rows'])} rows failed: {', '.join(failed)}")

    def as_json(self) -> dict[str, Any]:
        """The document, with where its files lie."""
        return {"folder": self.folder, "ran": self.ran, **self.document}


@dataclass
class _Run:
    """One run of a row, and how it stands."""

    row: RowSettings
    seed: int
    config: Config
    looked: Looked
    fold: int | None = None
    failure: str | None = None

    def __post_init__(self) -> None:
        self.graph = self.looked.graph
        if self.looked.refusal is not None:
            self.failure = _first_line(self.looked.refusal)

    @property
    def up_to_date(self) -> bool:
        return all(line.up_to_date for line in self.looked.lines)

    @property
    def evidence(self) -> str | None:
        """What it was evaluated from; None where it is not there."""
        receipts = self.graph["evaluate"].receipts()
        return receipts[0].fingerprint if receipts and self.failure is None else None

    @property
    def title(self) -> str:
        hidden = "" if self.fold is None else f", without the labels of fold {self.fold}"
        return f"{self.row.variant.title}, seed {self.seed}{hidden}"

    def plan(self) -> CellPlan:
        first = next((line for line in self.looked.lines if not line.up_to_date), None)
        title = self.row.variant.title
        if self.failure is not None:
            return CellPlan(title, self.seed, "cannot run", (self.failure,), self.fold)
        if first is None:
            return CellPlan(title, self.seed, "up to date", (), self.fold)
        waits = f"{'to' if first.name in ('train', 'evaluate') else 'after'} {first.name}"
        new = first.name == "train" and latest_of_recipe(self.graph["train"]) is None
        return CellPlan(title, self.seed, waits, ("no such run yet",) if new else first.reasons, self.fold)


def plan_cells(settings: ComparisonSettings, look: Look) -> list[CellPlan]:
    """A line for each run of a comparison."""
    return [run.plan() for run in _runs(settings, look)]


def _runs(settings: ComparisonSettings, look: Look) -> list[_Run]:
    return [
        _Run(row, seed, config, look(config), fold)
        for row in settings.rows
        for seed, of_seed in row.cells.items()
        for fold, config in [(None, of_seed), *enumerate(row.hidden.get(seed, ()))]
    ]


def compare(
    settings: ComparisonSettings,
    storage: Storage,
    look: Look,
    bring_up_to_date: Callable[[Config, str], Graph],
    deadline: float | None,
    tell: Callable[[str], None],
) -> Compared:
    """Bring every run of a comparison up to date, and write what they came to. A run that fails is a row that says so.

    Where all is up to date nothing is written.

    Args:
        look: tells how a run stands.
        bring_up_to_date: gives the graph of a stage, with all that it needs, that was done.
        deadline: `time.time()` at which the time budget ends.
        tell: takes a line about the run that begins.

    Raises:
        PipelineError: no run can come to an end here, or a stop was asked for.
    """
    runs = _runs(settings, look)
    refusals = [run.looked.refusal for run in runs if run.looked.refusal is not None]
    if len(refusals) == len(runs) > 0:
        raise refusals[0]
    ledger = Ledger(storage, "compare", f"compare/{settings.config.compare.name}-{_digits(settings, runs)}", RECORD)
    todo = [run for run in runs if not run.up_to_date and run.failure is None]
    if not todo and (standing := _standing(ledger, _evidence(runs))) is not None:
        return Compared(storage.shown(ledger.folder), standing, 0)
    for run, stage in _first_stages(todo):
        graph = bring_up_to_date(run.config, stage)
        if run.fold is not None and stage == _SHARED[-1]:
            _require_validation(graph)
    for number, run in enumerate(todo):
        if number:  # so that the shortest budget gets on
            stopping.heed(deadline)
        tell(f"compare: run {number + 1} of {len(todo)}: {run.title}")
        try:
            run.graph = bring_up_to_date(run.config, "evaluate")
        except _STOPS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other rows are wanted
            run.failure = _first_line(error if isinstance(error, PipelineError) else explained(error))
    rows = [_row(row, [run for run in runs if run.row is row]) for row in settings.rows]
    made = document(_setting(settings.config), rows)
    figures = None
    if settings.config.compare.figures:
        from pipeline.comparison.figures.made import make_figures

        if todo:  # they are drawn as a whole
            stopping.heed(deadline)
        figures = make_figures(_figure_rows(runs, rows), made, settings.config, tell)
    with writing(storage):
        _write(ledger, made, figures, _evidence(runs), sorted({run.graph["train"].folder for run in runs}))
    return Compared(storage.shown(ledger.folder), made, len(todo))


def _first_stages(todo: Sequence[_Run]) -> Iterator[tuple[_Run, str]]:
    """Stages of which a failure would be one of every run, or of every run without a fold: before hours of training."""
    yield from ((run, stage) for run in todo[:1] for stage in _SHARED)
    yield from ((run, _SHARED[-1]) for run in [run for run in todo if run.fold is not None][:1])


def _require_validation(graph: Graph) -> None:
    """See that there are images by which rows can be chosen.

    Args:
        graph: of a run that hides a fold of labels; its stage `split` is done.

    Raises:
        UsageError: there are none.
    """
    if not any(receipt.counts.get(ImageSplit.VALIDATION) for receipt in graph["split"].receipts()):
        raise UsageError(
            "setting compare.choose:",
            got="'held_out_labels', and there are no validation images",
            expected="some, on which hidden labels are scored",
            hint="Use:",
            run=Command("compare", sets={"split.validation_fraction": 0.1}),
        )


def _first_line(error: PipelineError) -> str:
    return next(iter(str(error).splitlines()), "")


def _digits(settings: ComparisonSettings, runs: Sequence[_Run]) -> str:
    """Of all that decides which runs there are, and what is shown of them."""
    recipes = [[run.title, run.graph["evaluate"].digest] for run in runs]
    shown = {"tasks": settings.config.compare.tasks, "rows": [row.variant.title for row in settings.rows]}
    if settings.config.compare.figures:
        shown["figures"] = settings.config.compare.side_by_side
    return fingerprint({"version": _VERSION, "runs": recipes, **shown})[:FP8]


def _evidence(runs: Sequence[_Run]) -> str:
    """Of all that the document is made from, as a hash."""
    return fingerprint([[run.evidence, run.failure] for run in runs])


def _standing(ledger: Ledger, evidence: str) -> dict[str, Any] | None:
    """The document of the same runs, where it and all that was made of it is there as it was written."""
    receipt = ledger.read(None)
    if receipt is None or receipt.fingerprint != evidence:
        return None
    names = [file.path.rpartition("/")[2] for file in receipt.files]
    outputs = {name: OutputFile(f"{ledger.folder}/{name}") for name in names}
    left = Inputs(ledger.storage, "compare", {ledger.stage: StageFiles(ledger.folder, outputs, (receipt,))})
    try:
        for name in names:
            left.sized(ledger.stage, name)
        found: dict[str, Any] = left.json(ledger.stage, _DOCUMENT)
    except IntegrityError:  # made anew
        return None
    return found


def _setting(config: Config) -> Setting:
    return Setting(
        dataset=config.dataset.name,
        backbone=config.backbone.name,
        tasks=config.compare.tasks or TASKS[config.dataset.task],
        seeds=config.compare.seeds,
        vary=config.compare.vary,
        random_weights=is_random(config.backbone.weights),
        standardise=config.evaluate.standardise,
    )


def _row(row: RowSettings, runs: Sequence[_Run]) -> Row:
    failure = next((run.failure for run in runs if run.failure is not None), None)
    preset = runs[0].config.model.preset if runs else row.variant.preset or ""
    return Row(
        title=row.variant.title,
        published_as=published_as(row.variant, preset),
        model=row.variant.model,
        preset=preset,
        cells={} if failure is not None else {run.seed: _cell(run.graph) for run in runs if run.fold is None},
        failure=failure,
        hidden={} if failure is not None else _hidden(runs),
        settings=shaping(runs[0].config) if runs else {},
        changed=row.changed,
    )


def _hidden(runs: Sequence[_Run]) -> dict[int, list[float]]:
    """How well each run ranks the labels that it never saw, by seed, fold by fold."""
    found: dict[int, list[float]] = {}
    for run in runs:
        if run.fold is not None:
            receipts = {"evaluate": run.graph["evaluate"].receipts()}
            section = inputs_of(run.graph, "compare", receipts).json("evaluate", "metrics")["zsl"]
            found.setdefault(run.seed, []).append(section[section["headline"]])
    return found


def _cell(graph: Graph) -> Cell:
    """What a run left."""
    left = inputs_of(graph, "compare", {name: graph[name].receipts() for name in ("train", "evaluate")})
    metrics = left.json("evaluate", "metrics")
    labels = _told_apart(left.table("evaluate", "per_label", columns=_OF_LABELS).to_pylist())
    return Cell(
        run=left.folder("train"),
        metrics=metrics,
        replicates=Replicates.of(left.read("evaluate", "bootstrap")),
        labels={label["name"]: label["average_precision"] for label in labels},
        unseen=frozenset(label["name"] for label in labels if label["role"] == LabelRole.UNSEEN),
        cost=Cost(
            parameters=_parameters(left),
            training_s=left.receipt("train").seconds,
            scoring_ms=1000 * left.receipt("evaluate").facts["seconds_scoring"] / metrics["images"],
        ),
    )


def _told_apart(labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The labels, with their ids behind names that several have, as some of Open Images do."""
    borne = Counter(label["name"] for label in labels)
    return [
        label | {"name": f"{label['name']} ({label['label_id']})"} if borne[label["name"]] > 1 else label
        for label in labels
    ]


def _parameters(left: Inputs) -> int:
    """Numbers in the file of a model, by its header."""
    from safetensors import safe_open

    with safe_open(left.path("train", "model"), framework="numpy") as tensors:
        return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118


def _figure_rows(runs: Sequence[_Run], rows: Sequence[Row]) -> "list[FigureRow]":
    """The rows that came to an end, each with its first run."""
    from pipeline.comparison.figures.rows import FigureRow

    found = []
    for row in rows:
        for seed, cell in [*row.cells.items()][:1]:
            of_row = (run for run in runs if run.row.variant.title == row.title and run.fold is None)
            graph = next(run.graph for run in of_row if run.seed == seed)
            left = inputs_of(graph, "compare", {name: node.receipts() for name, node in graph.items()})
            found.append(FigureRow(row.title, row.model, cell.replicates.pairing, left))
    return found


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _write(
    ledger: Ledger, made: Mapping[str, Any], figures: "Figures | None", evidence: str, folders: Sequence[str]
) -> None:
    """All forms of a document, last the document itself, and their receipt, which names the folders of all runs."""
    from pipeline.comparison.page import page

    storage, folder, table, started = ledger.storage, ledger.folder, grid(made), time.time()
    ledger.forget(None)
    texts = {
        "table.md": markdown(table),
        "table.tex": latex(table),
        "table.csv": comma_separated(table),
        "report.html": page(made, table, figures),
        **({} if figures is None else {"figures.json": _json(figures.as_json())}),
        _DOCUMENT: _json(made),
    }
    tables = {_PER_LABEL: per_label(made)} | ({} if figures is None else figures.tables())
    for name, found in tables.items():
        write_table(storage, f"{folder}/{name}", found)
    for name, text in texts.items():
        storage.write(f"{folder}/{name}", text.encode())
    files = tuple(file_receipt(storage, f"{folder}/{name}") for name in (*tables, *texts))
    ledger.write(
        Receipt(
            stage=ledger.stage,
            shard=None,
            fingerprint=evidence,
            content=files[-1].sha256,
            files=files,
            rows=len(made["rows"]),
            counts={},
            facts={COMPARED: list(folders)},
            started_at=round(started, 3),
            seconds=round(time.time() - started, 3),
            versions=library_versions(),
        )
    )
