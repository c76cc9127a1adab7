"""First contact with the world: can everything be had that a run needs, before it runs for hours? Changes nothing."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from pipeline.commands.checks import addresses, disks, machine
from pipeline.commands.checks.finding import Finding, Look, Verdict, fault, together
from pipeline.commands.checks.ladder import ladder
from pipeline.commands.checks.rehearsal import Rehearsal, RunIn, rehearse
from pipeline.datasets import DATASETS
from pipeline.files.storage import Storage
from pipeline.net.look import OutsideFile
from pipeline.stages.download import settled
from schemas.config import Config, DownloadConfig
from schemas.errors import PipelineError

_BUDGET_S = 50.0
# Of the user's settings, no more: a dead server is to be told of while somebody waits.
_ATTEMPTS, _CONNECT_S, _SILENT_S = 2, 8.0, 15.0


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        findings: in the order in which they are told.
        rehearsal: over few images; None where nobody asked for it, or it did not come to its end.
    """

    findings: tuple[Finding, ...]
    rehearsal: Rehearsal | None = None

    @property
    def problem(self) -> PipelineError | None:
        """What makes the exit code differ from 0."""
        faults = Counter(finding.outcome for finding in self.findings)[Verdict.FAULT]
        if not faults:
            return None
        return PipelineError(f"check: {faults} of {len(self.findings)} lines are faults", hint="Each says what to do")

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values, but for the problem."""
        return asdict(self)


def check(config: Config, storage: Storage, images: int | None, run_in: RunIn) -> Checked:
    """Look at all that a run of these settings needs; within a minute, whatever servers do.

    Args:
        images: to run through all stages in a folder of their own, where nothing else is amiss; None for no such run.
        run_in: does that.
    """
    looked = Checked(tuple(_findings(config, storage)))
    if images is None:
        return looked
    if looked.problem is not None:
        left_out = Finding("rehearsal", Verdict.WARNING, "not run, for what stands above", "See to that first")
        return Checked((*looked.findings, left_out))
    rehearsal, findings = rehearse(config, storage, images, run_in)
    return Checked((*looked.findings, *findings), rehearsal)


def _findings(config: Config, storage: Storage) -> Iterator[Finding]:
    clocks: list[float] = []
    with ExitStack() as stack:
        dataset, bases = DATASETS.load(config.dataset.name), {}
        files: list[OutsideFile] = []
        looks: dict[str, Look] = {}
        try:
            bases = dict(stack.enter_context(dataset.base_addresses(config.dataset)))
            if hasattr(dataset, "official_files"):
                files += dataset.official_files(config.dataset)
            else:
                told = f"not known: the data set {config.dataset.name} does not say which files it fetches"
                yield Finding("lists", Verdict.WARNING, told, "docs/adding.md: official_files")
            looks["lists"] = partial(addresses.other_lists, dataset, config.dataset, tuple(files))
            looks["images"] = partial(ladder, config, storage, bases)
        except PipelineError as error:
            yield fault("data set", error)
        for found in addresses.weights_and_vectors(config, bases):
            if isinstance(found, Finding):
                yield found
            else:
                files.append(found)
        asked: dict[str, Look] = {file.setting: partial(addresses.looked_at, file, clocks) for file in files}
        here: dict[str, Look] = {
            "device": partial(machine.devices, config),
            "libraries": machine.versions,
            "memory": machine.memory_and_cores,
            "limits": machine.limits,
            "work folder": partial(disks.work_folder, storage),
            "TMPDIR": disks.temporary_folder,
            "cache": disks.fetched_folder,
            "proxy": machine.proxies,
        }
        yield from together(asked | looks | here, _quick(config), _BUDGET_S)
    yield addresses.clock(clocks)


def _quick(config: Config) -> DownloadConfig:
    """How things are fetched here: as a run does, but given up sooner."""
    download = settled(config)
    sooner = {
        "attempts": min(download.attempts, _ATTEMPTS),
        "connect_timeout_s": min(download.connect_timeout_s, _CONNECT_S),
        "timeout_s": min(download.timeout_s, _SILENT_S),
    }
    return download.model_copy(update=sooner)
