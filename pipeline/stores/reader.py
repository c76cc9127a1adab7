"""What every store gives back for an open shard."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from pipeline.files.refusals import refusal_to_read
from schemas.command import Command
from schemas.errors import IntegrityError
from schemas.features import FeatureSpec


class Reader(Protocol):
    """An open feature shard. For one thread at a time."""

    @property
    def spec(self) -> FeatureSpec:
        """What shaped the numbers."""

    @property
    def num_rows(self) -> int:
        """Failed images included."""

    @property
    def row_groups(self) -> Sequence[range]:
        """Rows that are best read together, in order; together they are all rows."""

    def image_ids(self) -> list[str]:
        """One a row."""

    def statuses(self) -> list[str]:
        """One a row."""

    def errors(self) -> list[str | None]:
        """What was wrong, one a row, None where nothing was."""

    def read(self, rows: range, column: str) -> NDArray[Any]:
        """Maps of consecutive rows, [row, *shape], not to be written to; all zero where the image failed.

        Raises:
            IntegrityError: the bytes fail their checksum.
        """

    def each(self, rows: Sequence[int], column: str) -> Iterator[NDArray[Any]]:
        """The map of each of some rows in rising order, [*shape], as `read` gives them; rows between may be read, too.

        Raises:
            IntegrityError: the bytes fail their checksum.
        """


# What pyarrow and h5py may raise on bytes that are not as they were written: changing each byte of a shard in turn
# brought up most of them. pyarrow's classes derive from these but for ArrowException itself, which its store adds.
_DAMAGE: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@contextmanager
def damage_named(path: Path, *more: type[Exception]) -> Iterator[None]:
    """What a library raises on broken bytes comes out as an error that names the file.

    Raises:
        IntegrityError: in place of what broken bytes bring about, or of one of `more`.
        PipelineError: the system refuses to read it.
    """
    try:
        yield
    except (*_DAMAGE, *more) as error:
        if (refused := refusal_to_read(error, path)) is not None:
            raise refused from error
        raise IntegrityError(
            f"{path}:",
            got=f"a file that cannot be read ({error})",
            expected="a whole feature shard",
            hint="See what else is damaged with biam-pipe verify, then remove the file and run:",
            run=Command("extract"),
        ) from error
