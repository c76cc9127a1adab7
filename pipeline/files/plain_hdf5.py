"""Datasets of HDF5 files that strangers made: only those that lie in the file itself, of the expected shape and type.

HDF5 can lead elsewhere: soft and external links, external storage and virtual datasets name other files of this
machine. A declared size costs nothing, either, so that it is compared before anything is read.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py


class NotPlainError(ValueError):
    """What stands there is not to be read; the text says what it is."""


def plain_dataset(
    file: "h5py.File", name: str, shapes: Collection[tuple[int, ...]] | None, kinds: str = "f"
) -> "h5py.Dataset | None":
    """A dataset of numbers in the file; None where there is nothing of that name. Nothing is read of it yet.

    Args:
        name: at the top of the file.
        shapes: that it may have; None for any.
        kinds: NumPy's letters of the kinds of numbers that it may hold.

    Raises:
        NotPlainError: it lies elsewhere, or is no dataset of such numbers.
    """
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise NotPlainError(f"a link ({type(link).__name__}), expected a dataset in the file itself")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise NotPlainError(f"a {type(found).__name__.lower()}, expected a dataset")
    if found.is_virtual or found.external:
        raise NotPlainError("a dataset whose numbers lie in other files, expected them in the file itself")
    if found.dtype.kind not in kinds:
        raise NotPlainError(f"of type {found.dtype}, expected numbers")
    if shapes is not None and found.shape not in shapes:
        expected = " or ".join(map(str, sorted(shapes)))
        raise NotPlainError(f"of shape {found.shape}, expected {expected}")
    return found
