"""Settings of the data set `nuswide`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.datasets import DatasetSection, Task
from schemas.section import Content, Names, Older, Recipe
from schemas.values import Positive, Texts

_BIAM = "https://raw.githubusercontent.com/akshitac8/BiAM/main/datasets"


class NusWideDataset(DatasetSection):
    """NUS-WIDE: the extracted archives of lists, tags and ground truth, and images on disk or at Flickr."""

    published: ClassVar[bool] = True
    labels_here: ClassVar[bool] = True
    released_name: ClassVar[str | None] = "nus_wide"

    name: Recipe[str] = "nuswide"
    task: Annotated[Content[Task], Older("setting")] = "zero-shot"
    """What is learnt: with `zero-shot` the tags are the seen labels and the 81 human labels the unseen ones, with
    `standard` there are the 81 human labels alone, to train and to test on.
    """
    splits: Content[tuple[Literal["train", "test"], ...]] = ("train", "test")
    """Official splits to use: train, test."""
    limit: Content[Positive | None] = None
    """Images to use of each split, the first ones of its list. null: all."""
    root: Annotated[Content[str | None], Names.FILES] = None
    """Folder with the extracted archives ImageList, NUS_WID_Tags, Groundtruth and ConceptsList, and NUS-WIDE-urls.txt
    if there. null: only with `dataset.features`.
    """
    images: Annotated[Content[str | None], Names.FILES] = None
    """Folder of images, as actor/0002_174174086.jpg or actor_0002_174174086.jpg. null: all images are fetched."""
    features: Annotated[Content[Texts], Names.FILES] = ()
    """Files nus_wide_train.h5 and nus_wide_test.h5 of features as the authors of BiAM shared them, in place of images.
    """
    urls: Annotated[Content[str | None], Names.FILES] = None
    """File NUS-WIDE-urls.txt of addresses at Flickr. null: the one in `dataset.root`, if there."""
    url_sizes: Content[tuple[Literal["middle", "large", "small", "original"], ...]] = (
        "middle",
        "large",
        "small",
        "original",
    )
    """Sizes of an image to fetch from Flickr, the one to try first in front: middle, large, small, original."""
    tags: Annotated[Content[str], Names.FILES] = f"{_BIAM}/NUS-WIDE/NUS_WID_Tags/TagList1k.txt"
    """Text file of the 1,000 tags, where `dataset.root` has none; a path or an http(s) address."""
    concepts: Annotated[Content[str], Names.FILES] = f"{_BIAM}/NUS-WIDE/ConceptsList/Concepts81.txt"
    """Text file of the 81 concepts, where `dataset.root` has none; a path or an http(s) address."""
    sha256: Content[dict[str, str]] = Field(
        default={
            "tags": "fc676bfd97f4319a227b0ccf2996b76d7403fc180ff529e6851d53c02997670b",
            "concepts": "439aff2804e6104a53b7f9e4a7d634ed6e6303733d8a482260b240769ae9bf42",
        }
    )
    """Hashes that files must have, in hex, by their key in this section."""

    @property
    def unseen_fixed_by(self) -> str | None:
        """As that of all data sets."""
        return "the data set is 'nuswide', whose 81 concepts are the unseen labels"
