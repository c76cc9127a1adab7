"""What a run came to: counts, figures, and whether too many images failed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.commands.failures import named
from pipeline.commands.reextract import Reextraction
from pipeline.commands.status import StageStatus, line
from pipeline.commands.verify import Verification
from pipeline.engine.graph import Graph, inputs_of
from pipeline.files.storage import Storage
from schemas.command import Command
from schemas.config import Config
from schemas.errors import IntegrityError, PipelineError, TooManyFailedError
from schemas.random_weights import is_random
from schemas.receipts import status_counts
from schemas.status import FAULTS, ImageStatus


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        ran: number of tasks that ran, by stage; empty where all was up to date.
        metrics: content of metrics.json, None where the run stops before the evaluation.
        report: path of the page, None where the run stops before it.
        random_weights: the setting, where the backbone's weights are random; None where they are real, or where the run
            stops before they are used.
        problem: what makes the exit code differ from 0 although all stages ended.
    """

    root: str
    stages: tuple[StageStatus, ...]
    ran: Mapping[str, int]
    metrics: Mapping[str, Any] | None
    report: str | None
    random_weights: str | None
    problem: PipelineError | None

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values, but for the problem."""
        return {
            "work": self.root,
            "stages": [{**asdict(line), "ran": self.ran.get(line.name, 0)} for line in self.stages],
            "metrics": self.metrics,
            "report": self.report,
            "random_weights": self.random_weights,
        }


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes:
        files: compared with their receipts.
        again: images whose features were made anew; None where nobody asked for it.
    """

    dataset: str
    files: Verification
    again: Reextraction | None

    @property
    def problem(self) -> IntegrityError | None:
        """What makes the exit code differ from 0."""
        if self.files.problems:
            return IntegrityError(
                f"files gone, or not as written: {len(self.files.problems)}",
                hint="Remove what is left of them, then run with their settings:",
                run=Command("run", dataset=self.dataset),
            )
        if self.again and self.again.problems:
            return IntegrityError(
                f"{len(self.again.problems)} of {self.again.images} images give other features than those that are "
                "stored",
                hint="Other libraries or another device? See:",
                run=Command("plan", dataset=self.dataset),
            )
        return None

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values, but for the problem."""
        return {
            **asdict(self.files),
            "reextracted": asdict(self.again) if self.again else None,
        }


def outcome(config: Config, storage: Storage, graph: Graph, ran: Mapping[str, int]) -> Result:
    """What a run over a graph came to.

    Args:
        ran: number of tasks that ran, by stage.
    """
    report_node, evaluate_node = graph.get("report"), graph.get("evaluate")
    metrics = None
    if evaluate_node:
        left = inputs_of(graph, "the outcome of a run", {"evaluate": evaluate_node.receipts()})
        metrics = left.json("evaluate", "metrics")
    backbone = config.backbone.weights
    return Result(
        root=storage.root,
        stages=tuple(line(node.name, node.receipts()) for node in graph.values()),
        ran=ran,
        metrics=metrics,
        report=storage.shown(report_node.outputs["report"].at(None)) if report_node else None,
        random_weights=backbone if "extract" in graph and is_random(backbone) else None,
        problem=_too_many_failed(config, graph),
    )


def _too_many_failed(config: Config, graph: Graph) -> TooManyFailedError | None:
    node = graph.get("extract") or graph.get("download")
    if node is None or node.shards is not None:  # the share of all images is told by the run that ends with all
        return None
    counts = status_counts(node.valid.values())
    failed = sum(counts[status] for status in FAULTS)
    images = failed + counts[ImageStatus.OK]
    if failed <= config.extract.max_failed_fraction * images:
        return None
    return TooManyFailedError(
        f"{failed} of {images} images failed ({failed / images:.1%}; extract.max_failed_fraction is "
        f"{config.extract.max_failed_fraction:.1%}): {_counted(counts)}, such as {named(graph)}",
        hint="See all of them:",
        run=Command("status", ("--failed",), dataset=config.dataset.name),
    )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common() if name in FAULTS)
