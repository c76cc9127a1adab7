"""What is in a work folder as OpenMetrics text, for Prometheus and what else reads that format.

Source: OpenMetrics 1.0, "Text format". All are gauges: what was committed can also be dropped, or made anew.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline.commands.status import WorkStatus

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: with its unit as an ending, where it has one.
        help: what it says, a sentence.
        unit: of its values; empty for a count.
    """

    name: str
    help: str
    unit: str = ""


SHARDS = Metric("biam_pipe_shards", "Shards with a receipt, or receipts of a stage without shards.")
ROWS = Metric("biam_pipe_rows", "Rows in them, failures included.")
STATUSES = Metric("biam_pipe_status_rows", "Rows by status, as far as the stage counts them.")
SIZE = Metric("biam_pipe_size_bytes", "Bytes of the files that the stage left and that are there.", "bytes")
WORK = Metric("biam_pipe_work_seconds", "Seconds of work, added up over all tasks.", "seconds")
RATE = Metric("biam_pipe_images_per_second", "Images a second while at least one shard was under way.")
STAGE_LEFT = Metric(
    "biam_pipe_stage_left_seconds", "Seconds until all shards are done, as they went so far.", "seconds"
)
OUTDATED = Metric("biam_pipe_outdated", "Whether a run with these settings would do some of the stage: 0 or 1.")
IMAGES = Metric("biam_pipe_images", "Images that the index lists, those with features, and those that failed.")
LEFT = Metric("biam_pipe_left_seconds", "Seconds until all shards of all stages are done.", "seconds")
WRITING = Metric("biam_pipe_writing", "Whether a process writes here (1), or wrote here and died (0).")
SINCE = Metric("biam_pipe_writer_start_timestamp_seconds", "Unix time at which that process began.", "seconds")

Sample = tuple[Mapping[str, str], float]


def text(dataset: str, status: WorkStatus) -> str:
    """The whole text; each sample has the data set as a label."""
    lines: list[str] = []
    for metric, samples in _samples(status):
        lines += _family(metric, [({"dataset": dataset, **labels}, value) for labels, value in samples])
    return "\n".join([*lines, "# EOF", ""])


def _samples(status: WorkStatus) -> Iterator[tuple[Metric, list[Sample]]]:
    stages = status.stages
    yield SHARDS, [({"stage": stage.name}, stage.shards) for stage in stages]
    yield ROWS, [({"stage": stage.name}, stage.rows) for stage in stages]
    counts = [(stage.name, name, count) for stage in stages for name, count in stage.counts.items()]
    yield STATUSES, [({"stage": stage, "status": name}, count) for stage, name, count in counts]
    yield SIZE, [({"stage": stage.name}, stage.size_bytes) for stage in stages]
    yield WORK, [({"stage": stage.name}, stage.seconds) for stage in stages]
    yield RATE, [({"stage": stage.name}, stage.images_per_s) for stage in stages if stage.images_per_s is not None]
    yield STAGE_LEFT, [({"stage": stage.name}, stage.left_s) for stage in stages if stage.left_s is not None]
    if (totals := status.totals) is not None:
        if (outdated := totals.outdated) is not None:
            yield OUTDATED, [({"stage": stage.name}, stage.name in outdated) for stage in stages]
        images = {"listed": totals.images, "done": totals.done, "failed": totals.failed}
        yield IMAGES, [({"state": state}, count) for state, count in images.items()]
        if totals.left_s is not None:
            yield LEFT, [({}, totals.left_s)]
    if (writer := status.writer) is not None:
        if writer.alive is not None:
            yield WRITING, [({"host": writer.host}, writer.alive)]
        yield SINCE, [({"host": writer.host}, datetime.fromisoformat(writer.since).timestamp())]


def _family(metric: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    """The lines of a metric, none where it has no sample."""
    lines = [f"{metric.name}{{{_labels(labels)}}} {_number(value)}" for labels, value in samples]
    if not lines:
        return
    yield f"# TYPE {metric.name} gauge"
    if metric.unit:
        yield f"# UNIT {metric.name} {metric.unit}"
    yield f"# HELP {metric.name} {metric.help}"
    yield from lines


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{"".join(_ESCAPES.get(sign, sign) for sign in value)}"' for name, value in labels.items())


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
