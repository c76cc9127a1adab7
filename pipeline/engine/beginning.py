"""What work that is history begins with, where that is what other work of the same stage left.

Work that is done already, over the same data, keeps what it began with; else the latest would begin with itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.engine.ledger import Ledger, Record
from pipeline.engine.task import START, Start
from pipeline.files.inputs import OutputFile, StageFiles
from schemas.errors import UsageError


@dataclass(frozen=True)
class Beginning:
    """Other work, as far as it counts.

    Attributes:
        name: of its folder.
        content: hash of what it left.
        files: that it left; None where they are gone, and were used by work that is done.
    """

    name: str
    content: str
    files: StageFiles | None


@dataclass(frozen=True)
class Seeker:
    """Seeks it.

    Attributes:
        start: what is asked for.
        recipe: document of the work that is to begin.
        own: where its work lies, or will lie.
        outputs: of the stage, in that folder.
        recorded: where work of the stage is recorded, of whatever settings, the newest first.
    """

    start: Start
    recipe: Mapping[str, Any]
    own: Ledger
    outputs: Mapping[str, OutputFile]
    recorded: Callable[[], Iterator[Ledger]]

    def seek(self, fingerprint: Callable[[str], str]) -> Beginning:
        """What the work begins with.

        Args:
            fingerprint: of the work, by the content of what it begins with.

        Raises:
            UsageError: there is no such work, or none that suits.
        """
        every = list(self._records())
        if self.start.name is None or not any(_name(ledger) == self.start.name for ledger, _ in every):
            for _, record in every:
                (receipt,) = record.receipts
                began = receipt.facts.get(START, {"run": None, "sha256": ""})
                asked = began["run"] is not None and self.start.name in (None, began["run"])
                if asked and fingerprint(began["sha256"]) == receipt.fingerprint:
                    return self._found(every, began["run"], began["sha256"])
        return self._chosen(every)

    def require(self) -> None:
        """See early that there is such work.

        Raises:
            UsageError: there is none, or none that suits.
        """
        self._chosen(list(self._records()))

    def _records(self) -> Iterator[tuple[Ledger, Record]]:
        for ledger in self.recorded():
            if (record := ledger.read_record()) is not None and record.receipts:
                yield ledger, record

    def _chosen(self, every: Sequence[tuple[Ledger, Record]]) -> Beginning:
        reasons: list[str] = []
        for ledger, record in every:
            name = _name(ledger)
            if ledger.folder == self.own.folder or self.start.name not in (None, name):
                continue
            if (reason := self.start.unfit(record.recipe, self.recipe)) is None:
                return self._of(ledger, record)
            reasons.append(f"{name} has {reason}")
        raise UsageError(
            f"setting {self.start.setting}: {self.own.stage} has no run to start from;",
            found="; ".join(reasons[:3]) if reasons else f"no {self.start.name or 'run'} that is done",
            expected="one of the same model, over the same kind of features and the same split",
            hint="Start anew:",
            run=self.start.without,
        )

    def _found(self, every: Sequence[tuple[Ledger, Record]], name: str, content: str) -> Beginning:
        for ledger, record in every:
            if (name, content) == (_name(ledger), record.receipts[0].content):
                return self._of(ledger, record)
        return Beginning(name, content, None)

    def _of(self, ledger: Ledger, record: Record) -> Beginning:
        outputs = {
            name: replace(file, path=file.path.replace(self.own.folder, ledger.folder))
            for name, file in self.outputs.items()
        }
        (receipt,) = record.receipts
        return Beginning(_name(ledger), receipt.content, StageFiles(ledger.folder, outputs, (receipt,)))


def _name(ledger: Ledger) -> str:
    return ledger.folder.rpartition("/")[2]
