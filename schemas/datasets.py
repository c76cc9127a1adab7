"""Settings of the data sets: one model each, told apart by the name."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.section import Content, Recipe, Section
from schemas.values import OfficialSplit, Positive, Seed, Texts

_OPENIMAGES = "https://storage.googleapis.com/openimages/2018_04"
_BIAM = "https://raw.githubusercontent.com/akshitac8/BiAM/main/datasets"


class DatasetSection(Section):
    """Base of the data sets."""

    own_protocol: ClassVar[str] = "nuswide"  # by which the data set is evaluated where the settings name none
    released_name: ClassVar[str | None] = None  # how the authors of BiAM begin the names of its feature files


class DemoDataset(DatasetSection):
    """Pictures drawn on the spot from a seed, served over loopback http."""

    name: Recipe[Literal["demo"]] = "demo"
    """Name of the data set."""
    shard_images: Content[Positive] = 40
    """Images of a new shard. Images that are indexed already stay where they are."""
    num_images: Content[Positive] = 400
    """Pictures to draw."""
    seed: Recipe[Seed] = 0
    """Seed of the pictures and their labels."""


class FolderDataset(DatasetSection):
    """A user's own images: folders on disk and addresses in a CSV file."""

    name: Recipe[Literal["folder"]] = "folder"
    """Name of the data set."""
    shard_images: Content[Positive] = 1024
    """Images of a new shard. Images that are indexed already stay where they are."""
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


class OpenImagesDataset(DatasetSection):
    """Open Images V4 (release 2018_04): the official CSVs, each a path or an http(s) address, plain or .gz."""

    own_protocol: ClassVar[str] = "openimages"

    name: Recipe[Literal["openimages"]] = "openimages"
    """Name of the data set."""
    shard_images: Content[Positive] = 1024
    """Images of a new shard. Images that are indexed already stay where they are."""
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
    images: Content[dict[OfficialSplit, str]] = Field(
        default={
            "train": f"{_OPENIMAGES}/image_ids_and_rotation.csv",
            "validation": f"{_OPENIMAGES}/validation/validation-images-with-rotation.csv",
            "test": f"{_OPENIMAGES}/test/test-images-with-rotation.csv",
        }
    )
    """CSV of images with their rotation, of each split; a path or an http(s) address."""
    boxable_images: Content[str] = f"{_OPENIMAGES}/train/train-images-boxable-with-rotation.csv"
    """CSV of images with their rotation that `dataset.boxable_only` uses for split train; a path or an http(s) address.
    """
    annotations: Content[dict[OfficialSplit, str]] = Field(
        default={
            split: f"{_OPENIMAGES}/{split}/{split}-annotations-human-imagelabels.csv"
            for split in ("train", "validation", "test")
        }
    )
    """CSV of human verifications, of each split; a path or an http(s) address."""
    class_descriptions: Content[str] = f"{_OPENIMAGES}/class-descriptions.csv"
    """CSV of labels by id and name; a path or an http(s) address."""
    seen_labels: Content[str] = f"{_OPENIMAGES}/classes-trainable.txt"
    """Text file of ids of the seen labels; a path or an http(s) address."""
    unseen_labels: Content[str] = f"{_BIAM}/OpenImages/2018_04/unseen_labels.pkl"
    """Pickle of the released code with the candidates for unseen labels; a path or an http(s) address."""
    unseen_chosen: Content[str] = f"{_BIAM}/OpenImages/2018_04/top_400_unseen.csv"
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


class NusWideDataset(DatasetSection):
    """NUS-WIDE: the extracted archives of lists, tags and ground truth, and images on disk or at Flickr."""

    released_name: ClassVar[str | None] = "nus_wide"

    name: Recipe[Literal["nuswide"]] = "nuswide"
    """Name of the data set."""
    shard_images: Content[Positive] = 1024
    """Images of a new shard. Images that are indexed already stay where they are."""
    splits: Content[tuple[Literal["train", "test"], ...]] = ("train", "test")
    """Official splits to use: train, test."""
    limit: Content[Positive | None] = None
    """Images to use of each split, the first ones of its list. null: all."""
    setting: Content[Literal["zero-shot", "standard"]] = "zero-shot"
    """Which labels there are: with `zero-shot` the tags as seen ones and the 81 human labels as unseen ones, with
    `standard` the 81 human labels alone, to train and to test on.
    """
    root: Content[str | None] = None
    """Folder with the extracted archives ImageList, NUS_WID_Tags, Groundtruth and ConceptsList, and NUS-WIDE-urls.txt
    if there. null: only with `dataset.features`.
    """
    images: Content[str | None] = None
    """Folder of images, as actor/0002_174174086.jpg or actor_0002_174174086.jpg. null: all images are fetched."""
    features: Content[Texts] = ()
    """Files nus_wide_train.h5 and nus_wide_test.h5 of features as the authors of BiAM shared them, in place of images.
    """
    urls: Content[str | None] = None
    """File NUS-WIDE-urls.txt of addresses at Flickr. null: the one in `dataset.root`, if there."""
    url_sizes: Content[tuple[Literal["middle", "large", "small", "original"], ...]] = (
        "middle",
        "large",
        "small",
        "original",
    )
    """Sizes of an image to fetch from Flickr, the one to try first in front: middle, large, small, original."""
    tags: Content[str] = f"{_BIAM}/NUS-WIDE/NUS_WID_Tags/TagList1k.txt"
    """Text file of the 1,000 tags, where `dataset.root` has none; a path or an http(s) address."""
    concepts: Content[str] = f"{_BIAM}/NUS-WIDE/ConceptsList/Concepts81.txt"
    """Text file of the 81 concepts, where `dataset.root` has none; a path or an http(s) address."""
    sha256: Content[dict[str, str]] = Field(
        default={
            "tags": "fc676bfd97f4319a227b0ccf2996b76d7403fc180ff529e6851d53c02997670b",
            "concepts": "439aff2804e6104a53b7f9e4a7d634ed6e6303733d8a482260b240769ae9bf42",
        }
    )
    """Hashes that files must have, in hex, by their key in this section."""


Dataset = Annotated[
    DemoDataset | FolderDataset | OpenImagesDataset | NusWideDataset,
    Field(discriminator="name"),
]
