"""A folder of a stage found by its path, in a work folder or taken out of one.

Receipts name files by where they belong below the data set's folder. A folder that was copied elsewhere keeps these
names: its files are found by them, and receipts and records prove what they are as if they had never been moved.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.files.storage import Storage
from schemas.receipts import Receipt


@dataclass(frozen=True, kw_only=True)
class FolderAlone(Storage):
    """One folder without those around it.

    Attributes:
        folder: where it belongs, such as `features/vgg19-1f2e3d4c/parquet`.
    """

    folder: str

    @property
    def name(self) -> str:
        """Nobody knows of which data set it is."""
        return ""

    def local(self, path: str) -> Path:
        """Where a file lies on this machine; what belongs to another folder is not there."""
        return Path(self.root) if path == self.folder else Path(self.root, path.removeprefix(f"{self.folder}/"))

    def shown(self, path: str = "") -> str:
        """Where a file lies, for people to read."""
        return str(self.local(path))


@dataclass(frozen=True)
class Located:
    """The folder of a stage.

    Attributes:
        storage: the data set's folder; the stage's alone where that lies in none.
        folder: where it belongs below the data set's.
    """

    storage: Storage
    folder: str


def located(folder: Path, receipts: Iterable[str]) -> Located | None:
    """Where a folder belongs, by the first of some receipts in it that can be read; None where none can.

    What the receipt says is not proven by this: whoever reads it as a receipt of that place compares its hash.

    Args:
        receipts: names of their files.
    """
    folder = folder.resolve()
    for name in receipts:
        try:
            receipt = Receipt.model_validate_json(folder.joinpath(name).read_bytes())
        except (OSError, ValueError):
            continue
        if receipt.files:
            belongs = PurePosixPath(receipt.files[0].path).parent
            depth = len(belongs.parts)
            if folder.parts[-depth:] == belongs.parts:
                return Located(Storage(str(Path(*folder.parts[:-depth]))), str(belongs))
            return Located(FolderAlone(str(folder), folder=str(belongs)), str(belongs))
    return None
