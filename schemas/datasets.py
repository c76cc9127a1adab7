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


class DemoDataset(DatasetSection):
    """Pictures drawn on the spot from a seed, served over loopback http."""

    name: Recipe[Literal["demo"]] = "demo"
    shard_images: Content[Positive] = 40
    num_images: Content[Positive] = 400
    seed: Recipe[Seed] = 0


class FolderDataset(DatasetSection):
    """A user's own images: folders on disk and addresses in a CSV file."""

    name: Recipe[Literal["folder"]] = "folder"
    shard_images: Content[Positive] = 1024
    folders: Content[Texts] = ()  # "path", or "prefix=path" where two folders hold equal names
    labels: Content[str | None] = None  # CSV with columns image,labels; labels joined by ';'
    unseen: Content[str | None] = None  # text file, one unseen label a line
    limit: Content[Positive | None] = None  # the first so many images only


class OpenImagesDataset(DatasetSection):
    """Open Images V4 (release 2018_04): the official CSVs, each a path or an http(s) address, plain or .gz."""

    own_protocol: ClassVar[str] = "openimages"

    name: Recipe[Literal["openimages"]] = "openimages"
    shard_images: Content[Positive] = 1024
    splits: Content[tuple[OfficialSplit, ...]] = ("train", "validation", "test")
    boxable_only: Content[bool] = False  # of train only the 1.7 million images that the bucket holds
    limit: Content[Positive | None] = None  # the first so many images of each split only
    # in turn
    sources: Content[tuple[Literal["tar", "bucket", "flickr", "thumbnail"], ...]] = ("bucket", "flickr", "thumbnail")
    bucket: Content[str] = "https://open-images-dataset.s3.amazonaws.com"
    images: Content[dict[OfficialSplit, str]] = Field(
        default={
            "train": f"{_OPENIMAGES}/image_ids_and_rotation.csv",
            "validation": f"{_OPENIMAGES}/validation/validation-images-with-rotation.csv",
            "test": f"{_OPENIMAGES}/test/test-images-with-rotation.csv",
        }
    )
    boxable_images: Content[str] = f"{_OPENIMAGES}/train/train-images-boxable-with-rotation.csv"
    annotations: Content[dict[OfficialSplit, str]] = Field(
        default={
            split: f"{_OPENIMAGES}/{split}/{split}-annotations-human-imagelabels.csv"
            for split in ("train", "validation", "test")
        }
    )
    class_descriptions: Content[str] = f"{_OPENIMAGES}/class-descriptions.csv"
    seen_labels: Content[str] = f"{_OPENIMAGES}/classes-trainable.txt"
    unseen_labels: Content[str] = f"{_BIAM}/OpenImages/2018_04/unseen_labels.pkl"
    unseen_chosen: Content[str] = f"{_BIAM}/OpenImages/2018_04/top_400_unseen.csv"
    sha256: Content[dict[str, str]] = Field(
        default={  # expected hashes, by key of this section
            "class_descriptions": "6301d51a91632a2199060d3a0c8cd70904c95863f6867a5a7c4d24a031ee4062",
            "seen_labels": "07284fc58eae2c080fa26484cb523c562e27b5ba5958d31f2b0c30af694f4598",
            "unseen_labels": "ae47468824f22deab1ea59a00d259fa043c66a544a0cca8b75f1d90e95960d56",
            "unseen_chosen": "cc9c8c78bb3fdc465bc5ec1c41f2eb59aa93345b890ad31027b9d6848e9453ff",
        }
    )


class NusWideDataset(DatasetSection):
    """NUS-WIDE: the extracted archives of lists, tags and ground truth, and images on disk or at Flickr."""

    name: Recipe[Literal["nuswide"]] = "nuswide"
    shard_images: Content[Positive] = 1024
    splits: Content[tuple[Literal["train", "test"], ...]] = ("train", "test")
    limit: Content[Positive | None] = None  # the first so many images of each split only
    setting: Content[Literal["zero-shot", "standard"]] = "zero-shot"  # standard: train and test on the 81 human labels
    # holds ImageList, NUS_WID_Tags, Groundtruth, ConceptsList; NUS-WIDE-urls.txt if there
    root: Content[str | None] = None
    images: Content[str | None] = None  # folder with actor/0002_174174086.jpg or actor_0002_174174086.jpg
    features: Content[Texts] = ()  # in place of images: nus_wide_{train,test}.h5 as the authors of BiAM shared them
    urls: Content[str | None] = None  # NUS-WIDE-urls.txt, where it does not lie in root
    url_sizes: Content[tuple[Literal["middle", "large", "small", "original"], ...]] = (
        "middle",
        "large",
        "small",
        "original",
    )
    tags: Content[str] = f"{_BIAM}/NUS-WIDE/NUS_WID_Tags/TagList1k.txt"  # only where root has none
    concepts: Content[str] = f"{_BIAM}/NUS-WIDE/ConceptsList/Concepts81.txt"  # only where root has none
    sha256: Content[dict[str, str]] = Field(
        default={  # expected hashes, by key of this section
            "tags": "fc676bfd97f4319a227b0ccf2996b76d7403fc180ff529e6851d53c02997670b",
            "concepts": "439aff2804e6104a53b7f9e4a7d634ed6e6303733d8a482260b240769ae9bf42",
        }
    )


Dataset = Annotated[
    DemoDataset | FolderDataset | OpenImagesDataset | NusWideDataset,
    Field(discriminator="name"),
]
