"""Settings of the data set `folder`."""

from typing import Annotated, ClassVar

from schemas.datasets import DatasetSection
from schemas.section import Content, Names, Older, Recipe
from schemas.values import Positive, Texts


class FolderDataset(DatasetSection):
    """A user's own images: folders on disk and addresses in a CSV file."""

    split_by_content: ClassVar[bool] = True  # nobody has seen to it that a photograph is there once
    labels_here: ClassVar[bool] = True

    name: Recipe[str] = "folder"
    folders: Annotated[Content[Texts], Names.FILES] = ()
    """Folders of images, each "path", or "prefix=path" where two hold equal names. Image files at any depth count,
    by their suffixes, and whatever else the CSV names.
    """
    labels: Annotated[Content[str | None], Names.FILES] = None
    """CSV file with the columns image and labels; labels are joined by ';', or stand in lines of their own. Images may
    also be addresses. A column split says train, validation or test, or nothing; of train,
    split.validation_fraction validates. null: no image is labelled.
    """
    image_column: Annotated[Content[str], Older()] = "image"
    """Column of the CSV with the path or address of an image."""
    labels_column: Annotated[Content[str], Older()] = "labels"
    """Column of the CSV with the labels of an image."""
    unseen: Annotated[Content[str | None], Names.FILES] = None
    """Text file with one unseen label a line; one that begins with # is a remark, unless images have that label. null:
    all labels are seen, unless `split.unseen_seed` draws unseen ones.
    """
    limit: Content[Positive | None] = None
    """Images to use, the first ones of the list. null: all."""

    @property
    def unseen_fixed_by(self) -> str | None:
        """As that of all data sets."""
        return super().unseen_fixed_by or (None if self.unseen is None else "dataset.unseen lists them")
