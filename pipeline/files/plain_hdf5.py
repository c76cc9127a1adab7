"""Numbers in HDF5 files that strangers made: only those that lie in the file itself, of the expected shape and type.

HDF5 can lead elsewhere: soft and external links, external storage and virtual datasets name other files of this
machine. A declared size costs nothing, either, so that it is compared before anything is read.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pipeline.files.damages import DAMAGES

if TYPE_CHECKING:
    import h5py


class NotPlainError(ValueError):
    """What stands there is not to be read; the text says what it is."""


def plain_names(file: "h5py.File") -> list[str]:
    """All names at the top of the file.

    Raises:
        NotPlainError: the file is damaged.
    """
    with _damages_named():
        return [name for name in file if isinstance(name, str)]


def plain_shape(file: "h5py.File", name: str, kinds: str = "f") -> tuple[int, ...] | None:
    """The shape of a dataset of numbers in the file; None where there is nothing of that name. Reads none of them.

    Args:
        name: at the top of the file.
        kinds: NumPy's letters of the kinds of numbers that it may hold.

    Raises:
        NotPlainError: it lies elsewhere, is no dataset of such numbers, or is damaged.
    """
    with _damages_named():
        found = _dataset(file, name, kinds)
        return None if found is None else tuple(found.shape)


def plain_numbers(
    file: "h5py.File", name: str, shapes: Collection[tuple[int, ...]], kinds: str = "f"
) -> NDArray[Any] | None:
    """The numbers of a dataset in the file; None where there is nothing of that name.

    Args:
        name: at the top of the file.
        shapes: that it may have.
        kinds: NumPy's letters of the kinds of numbers that it may hold.

    Raises:
        NotPlainError: it lies elsewhere, is no dataset of such numbers, or is damaged.
    """
    with _damages_named():
        found = _dataset(file, name, kinds)
        if found is None:
            return None
        if found.shape not in shapes:
            expected = " or ".join(map(str, sorted(shapes)))
            raise NotPlainError(f"of shape {found.shape}, expected {expected}")
        numbers: NDArray[Any] = found[:]
        return numbers


def _dataset(file: "h5py.File", name: str, kinds: str) -> "h5py.Dataset | None":
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
    return found


@contextmanager
def _damages_named() -> Iterator[None]:
    """In this block, what h5py raises becomes the error of a damaged file."""
    try:
        yield
    except NotPlainError:
        raise
    except DAMAGES as error:
        raise NotPlainError(f"damaged ({error}), expected numbers") from error
