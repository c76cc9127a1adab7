"""Settings of the data set `folder`."""

from schemas.datasets import DatasetSection
from schemas.section import Content, Recipe
from schemas.values import Positive, Texts


class FolderDataset(DatasetSection):
    """A user's own images: folders on disk and addresses in a CSV file."""

    name: Recipe[str] = "folder"
    folders: Content[Texts] = ()
    """Folders of images, each "path", or "prefix=path" where two hold equal names. All files at any depth count."""
    labels: Content[str | None] = None
    """CSV file with the columns image and labels; labels are joined by ';'. Images may also be addresses. null: no
    image is labelled.
    """
    unseen: Content[str | None] = None
    """Text file with one unseen label a line. null: all labels are seen."""
    limit: Content[Positive | None] = None
    """Images to use, the first ones of the list. null: all."""
