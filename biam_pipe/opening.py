"""From a path to the features that lie there: a feature folder, or a work folder around one."""

from collections.abc import Sequence
from pathlib import Path

from biam_pipe.features import READER, Features
from pipeline.batches.feature_files import outputs
from pipeline.engine.ledger import Ledger, files_left
from pipeline.engine.task import RECORD
from pipeline.files.alone import Located, located
from pipeline.files.storage import require_local
from pipeline.stores import STORES
from schemas.command import Command
from schemas.config import StoreConfig
from schemas.errors import IntegrityError, UsageError

_SPEC = "spec.json"
# Where the specs of features lie below a path: of a store, of a backbone, of all features, of a data set, of all.
_BELOW = ("", "*/", "*/*/", "features/*/*/", "*/features/*/*/")


def open_features(path: str | Path) -> Features:
    """The features in a folder; reads receipts and the spec, and writes nothing.

    Args:
        path: a feature folder, such as `work/demo/features/vgg19-1f2e3d4c/parquet`, wherever it lies by now; or the
            folder of a data set, such as `work/demo`, or a work folder, that holds one. Of two stores with the same
            features the first by name that is complete is taken.

    Raises:
        UsageError: there are no features, or several that differ.
        PipelineError: no shard is there yet.
        IntegrityError: the spec, or the receipts of all shards, are gone or damaged.
    """
    require_local(Path(path), READER)
    found = _located(Path(path))
    store = found.folder.rpartition("/")[2]
    STORES.require(store)
    ledger = Ledger(found.storage, "extract", found.folder, RECORD)
    left = files_left(ledger, outputs(StoreConfig(name=store)))
    return Features(found.storage, left, complete=ledger.read_record() is not None)


def _located(path: Path) -> Located:
    folders = _feature_folders(path)
    if len({folder.parent for folder in folders}) > 1:
        listed = ", ".join(str(folder) for folder in folders)
        raise UsageError(f"{READER}: there are several features in {path};", got=listed, expected="the path of one")
    folder = min(folders, key=lambda each: (not (each / f"{RECORD}.parquet").exists(), each.name))
    names = sorted(file.name for file in folder.glob("shard-*.json"))
    found = located(folder, (f"{RECORD}.json", *names))
    if found is None:
        raise IntegrityError(
            f"{READER}: no receipt in {folder} can be read",
            expected=f"{RECORD}.json and one beside each shard, as extract leaves them",
            hint="Copy the folder as a whole, or run:",
            run=Command("extract"),
        )
    return found


def _feature_folders(path: Path) -> Sequence[Path]:
    for below in _BELOW:
        if folders := sorted(spec.parent for spec in path.glob(f"{below}{_SPEC}")):
            return folders
    raise UsageError(
        f"{READER}: no features in {path}, expected a feature folder (with {_SPEC}) or a work folder",
        hint="Features are made by:",
        run=Command("extract"),
    )
