"""Settings of the data set `openimages`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.datasets import DatasetSection, Task
from schemas.section import Content, Names, Older, Recipe
from schemas.values import OfficialSplit, Positive

_OPENIMAGES = "https://storage.googleapis.com/openimages/2018_04"
_BIAM = "https://raw.githubusercontent.com/akshitac8/BiAM/main/datasets"

# Images of its split that each published list has. Source: the page of facts and figures.
PUBLISHED_IMAGES = {
    f"{_OPENIMAGES}/image_ids_and_rotation.csv": 9_011_219,
    f"{_OPENIMAGES}/train/train-images-boxable-with-rotation.csv": 1_743_042,
    f"{_OPENIMAGES}/validation/validation-images-with-rotation.csv": 41_620,
    f"{_OPENIMAGES}/test/test-images-with-rotation.csv": 125_436,
}


class OpenImagesDataset(DatasetSection):
    """Open Images V4 (release 2018_04): the official CSVs, each a path or an http(s) address, plain or .gz."""

    published: ClassVar[bool] = True
    own_protocol: ClassVar[str] = "openimages"

    name: Recipe[str] = "openimages"
    task: Annotated[Content[Task], Older()] = "zero-shot"
    """What is learnt: with `zero-shot` there are seen and unseen labels, with `standard` only the seen ones, to train
    and to test on.
    """
    splits: Content[tuple[OfficialSplit, ...]] = ("train", "validation", "test")
    """Official splits to use: train, validation, test."""
    boxable_only: Content[bool] = False
    """Whether to use, of split train, only the 1.7 million images that the bucket holds."""
    limit: Content[Positive | None] = None
    """Images to use of each split, the first ones of its list. null: all."""
    sources: Content[tuple[Literal["tar", "bucket", "flickr", "thumbnail"], ...]] = ("bucket", "flickr", "thumbnail")
    """Where an image is sought, one place after the other: in archives of the bucket (`tar`), in the `bucket` itself,
    at `flickr` as it was uploaded, at Flickr as a `thumbnail`.
    """
    bucket: Content[str] = "https://open-images-dataset.s3.amazonaws.com"
    """Address of the bucket."""
    images: Annotated[Content[dict[OfficialSplit, str]], Names.FILES] = Field(
        default={
            "train": f"{_OPENIMAGES}/image_ids_and_rotation.csv",
            "validation": f"{_OPENIMAGES}/validation/validation-images-with-rotation.csv",
            "test": f"{_OPENIMAGES}/test/test-images-with-rotation.csv",
        }
    )
    """CSV of images with their rotation, of each split; a path or an http(s) address."""
    boxable_images: Annotated[Content[str], Names.FILES] = f"{_OPENIMAGES}/train/train-images-boxable-with-rotation.csv"
    """CSV of images with their rotation that `dataset.boxable_only` uses for split train; a path or an http(s) address.
    """
    annotations: Annotated[Content[dict[OfficialSplit, str]], Names.FILES] = Field(
        default={
            split: f"{_OPENIMAGES}/{split}/{split}-annotations-human-imagelabels.csv"
            for split in ("train", "validation", "test")
        }
    )
    """CSV of human verifications, of each split; a path or an http(s) address."""
    class_descriptions: Annotated[Content[str], Names.FILES] = f"{_OPENIMAGES}/class-descriptions.csv"
    """CSV of labels by id and name; a path or an http(s) address."""
    seen_labels: Annotated[Content[str], Names.FILES] = f"{_OPENIMAGES}/classes-trainable.txt"
    """Text file of ids of the seen labels; a path or an http(s) address."""
    unseen_labels: Annotated[Content[str], Names.FILES] = f"{_BIAM}/OpenImages/2018_04/unseen_labels.pkl"
    """Pickle of the released code with the candidates for unseen labels; a path or an http(s) address."""
    unseen_chosen: Annotated[Content[str], Names.FILES] = f"{_BIAM}/OpenImages/2018_04/top_400_unseen.csv"
    """CSV of the released code that chooses the unseen labels; a path or an http(s) address."""
    sha256: Content[dict[str, str]] = Field(
        default={
            "class_descriptions": "6301d51a91632a2199060d3a0c8cd70904c95863f6867a5a7c4d24a031ee4062",
            "seen_labels": "07284fc58eae2c080fa26484cb523c562e27b5ba5958d31f2b0c30af694f4598",
            "unseen_labels": "ae47468824f22deab1ea59a00d259fa043c66a544a0cca8b75f1d90e95960d56",
            "unseen_chosen": "cc9c8c78bb3fdc465bc5ec1c41f2eb59aa93345b890ad31027b9d6848e9453ff",
        }
    )
    """Hashes that files must have, in hex, by their key in this section."""

    @property
    def unseen_fixed_by(self) -> str | None:
        """As that of all data sets."""
        return "the data set is 'openimages', which lists its unseen labels"
