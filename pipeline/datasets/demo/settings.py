"""Settings of the data set `demo`."""

from typing import ClassVar, Self

from schemas.datasets import DatasetSection
from schemas.section import Content, Recipe
from schemas.values import Positive, Seed


class DemoDataset(DatasetSection):
    """Pictures drawn on the spot from a seed, served over loopback http."""

    published: ClassVar[bool] = True
    labels_here: ClassVar[bool] = True

    name: Recipe[str] = "demo"
    shard_images: Content[Positive] = 40
    num_images: Content[Positive] = 400
    """Pictures to draw."""
    seed: Recipe[Seed] = 0
    """Seed of the pictures and their labels."""

    def at_most(self, images: int) -> Self:
        """As that of all data sets."""
        return self.model_copy(update={"num_images": min(images, self.num_images)})
