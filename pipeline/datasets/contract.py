"""What a data set's module has to have."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from schemas.datasets import DatasetSection

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.datasets.label import Label
    from pipeline.datasets.listing import Listing
    from pipeline.net.look import OutsideFile


class DataSet(Protocol):
    """Which images and labels exist. `config` is the data set's own section of the settings.

    Attributes:
        SETTINGS: class of that section, with defaults. Its `published` says whether images lie where their publisher
            put them; else opt-outs of their owners are respected. Its `split_by_content` says whether images are dealt
            to splits by the hash of their bytes, so that equal ones share one: the stage `split` then comes after
            `download`. Without, they are dealt by their ids. Official splits stay either way. Its `labels_here` says
            whether `labels` reads no file that would have to be fetched first.
    """

    SETTINGS: ClassVar[type[DatasetSection]]

    def sources(self, config: Any) -> tuple[str, ...]:
        """Files from outside whose hashes belong to the recipe of the index."""

    def listing(self, config: Any) -> "Listing":
        """A look at the outside world, which must not take long.

        Its digest is equal as long as names, sizes and time stamps are. What else it gives says
        `pipeline.datasets.listing.Listing`.
        """

    def labels(self, config: Any) -> "list[Label]":
        """The label space in its official order, with the roles that labels have in `config.task`."""

    def records(self, config: Any, left_out: Counter[str]) -> "Iterator[pa.Table]":
        """All images in a stable order, in bounded batches of schema `schemas.tables.RECORDS`.

        What the files say and the rows do not is counted in `left_out`, by its kind.
        """

    def base_addresses(self, config: Any) -> AbstractContextManager[Mapping[str, str]]:
        """Address of each kind of location that is known only while the data set is open.

        Such as that of a server on this machine.
        """


class DataSetOptions(Protocol):
    """What a data set's module may have, too, for `biam-pipe check`, and what that does where it has not.

    Its settings may have a `limit` of images: by it `check --images` takes some of them (`DatasetSection.at_most`).
    """

    def official_files(self, config: Any) -> "Iterable[OutsideFile]":
        """A `pipeline.net.look.OutsideFile` for each file that a setting names, at a path or an address.

        Others of `sources` are looked at as a whole. Without, nobody asks before a run whether files can be fetched.
        """

    def first_images(self, config: Any, count: int) -> "pa.Table":
        """About so many of the images that come first, as `records` has them, but for labels; reads no list of labels.

        Without, no image is tried before there is an index.
        """
