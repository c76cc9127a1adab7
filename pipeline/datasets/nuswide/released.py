"""Feature files of the authors of BiAM, found somewhere: which images they hold, and what those are labelled with.

Features are not looked at here. Which split a file is of shows in the number of its labels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.nuswide.layout import Split
from pipeline.files.plain_hdf5 import NotPlainError, plain_names, plain_numbers, plain_shape
from schemas.errors import PipelineError, UsageError
from schemas.released import FEATURES, LABELS, image_id

if TYPE_CHECKING:
    import h5py

_KINDS = "iuf"  # of numbers that labels are written in: whole ones, or fractions


@dataclass(frozen=True)
class FoundFile:
    """One file.

    Attributes:
        names: of its images, in its order.
        split: of all of them.
    """

    path: Path
    names: tuple[str, ...]
    split: Split

    @property
    def image_ids(self) -> list[str]:
        """Of its images, in its order."""
        return [image_id(name) for name in self.names]


def paths(files: tuple[str, ...]) -> tuple[Path, ...]:
    """Where the files lie.

    Raises:
        UsageError: one is not there, or two have the same name.
    """
    found = tuple(Path(file).expanduser().resolve() for file in files)
    for given, path in zip(files, found, strict=True):
        if not path.is_file():
            raise UsageError(
                f"dataset.features: no file {given!r} (seen from {Path.cwd()});",
                expected="an HDF5 file such as nus_wide_train.h5",
                hint="Check the setting",
            )
    if len({path.name for path in found}) < len(found):
        raise UsageError("dataset.features: two files have the same name", expected="different ones", hint="Rename one")
    return found


def found_file(path: Path, num_seen: int, num_unseen: int) -> FoundFile:
    """What is in a file.

    Raises:
        PipelineError: it is no such file, or its labels are others than those of the data set.
    """
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            every = plain_names(file)
            names = tuple(name.removesuffix(FEATURES) for name in every if name.endswith(FEATURES))
            labelled = next((name for name in names if name + LABELS in every), "")
            shape = _shape(path, file, labelled + LABELS) if labelled else None
            width = shape[0] if shape is not None and len(shape) == 1 else 0
    except (OSError, NotPlainError) as error:
        raise PipelineError(f"{path}: cannot be read as HDF5 ({error})", hint="Copy the file again") from error
    splits: dict[int, Split] = {num_seen: "train", num_seen + num_unseen: "test"}
    if not names or width not in splits:
        raise PipelineError(
            f"{path}:",
            found=f"{len(names)} images with {width} labels",
            expected=f"datasets such as actor_0002_174174086.jpg{FEATURES} and {LABELS} with {num_seen} labels (train) "
            f"or {num_seen + num_unseen} (test)",
            hint="Is it a file of another data set?",
        )
    return FoundFile(path, names, splits[width])


def positives(found: FoundFile, num_seen: int, num_unseen: int) -> Iterator[list[int] | None]:
    """Columns of the labels that each image bears, seen labels first; None where it has none of them stored.

    Raises:
        PipelineError: labels are no numbers in the file, or another number of them than the file's first ones.
    """
    import h5py

    with h5py.File(found.path, "r", locking=False) as file:
        for name in found.names:
            width = num_seen if found.split == "train" else num_seen + num_unseen
            seen = _stored(found.path, file, name + LABELS, width)
            if seen is None:
                yield None
                continue
            unseen = _stored(found.path, file, f"{name}{LABELS}_{num_unseen}", num_unseen)
            parts = [seen, unseen] if found.split == "train" and unseen is not None else [seen]
            yield np.flatnonzero(np.concatenate(parts) > 0).tolist()


def _shape(path: Path, file: "h5py.File", name: str) -> tuple[int, ...] | None:
    """The shape of labels under a name; None where there are none."""
    with _named(path, name):
        return plain_shape(file, name, _KINDS)


def _stored(path: Path, file: "h5py.File", name: str, width: int) -> NDArray[Any] | None:
    """Labels under a name, so many; None where there are none."""
    with _named(path, name):
        return plain_numbers(file, name, [(width,)], _KINDS)


@contextmanager
def _named(path: Path, name: str) -> Iterator[None]:
    """In this block, labels that are no plain numbers become the error of the file."""
    try:
        yield
    except NotPlainError as error:
        raise PipelineError(f"{path}: {name!r} is {error}", hint="Is it a file of another data set?") from error
