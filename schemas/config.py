"""Settings: one model a section, each key with its unit in the name and its default.

The values come from presets, the dag, a TOML file, the environment, `--set` and flags; `dags.settings` merges them in
that order. Nothing here reads a file.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.values import Block, Decay, Device, FolderName, Fraction, Networks, OfficialSplit, Positive, Seconds, Texts

_OPENIMAGES = "https://storage.googleapis.com/openimages/2018_04"
_BIAM = "https://raw.githubusercontent.com/akshitac8/BiAM/main/datasets"


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetSection(Section):
    """Base of the data sets."""

    own_protocol: ClassVar[str] = "nuswide"  # by which the data set is evaluated where the settings name none


class DemoDataset(DatasetSection):
    """Pictures drawn on the spot from a seed, served over loopback http."""

    name: Literal["demo"] = "demo"
    shard_images: Positive = 40
    num_images: Positive = 400
    seed: int = 0


class FolderDataset(DatasetSection):
    """A user's own images: folders on disk and addresses in a CSV file."""

    name: Literal["folder"] = "folder"
    shard_images: Positive = 1024
    folders: Texts = ()  # "path", or "prefix=path" where two folders hold equal names
    labels: str | None = None  # CSV with columns image,labels; labels joined by ';'
    unseen: str | None = None  # text file, one unseen label a line
    limit: Positive | None = None  # the first so many images only


class OpenImagesDataset(DatasetSection):
    """Open Images V4 (release 2018_04): the official CSVs, each a path or an http(s) address, plain or .gz."""

    own_protocol: ClassVar[str] = "openimages"

    name: Literal["openimages"] = "openimages"
    shard_images: Positive = 1024
    splits: tuple[OfficialSplit, ...] = ("train", "validation", "test")
    boxable_only: bool = False  # of train only the 1.7 million images that the bucket holds
    limit: Positive | None = None  # the first so many images of each split only
    sources: tuple[Literal["tar", "bucket", "flickr", "thumbnail"], ...] = ("bucket", "flickr", "thumbnail")  # in turn
    bucket: str = "https://open-images-dataset.s3.amazonaws.com"
    images: dict[OfficialSplit, str] = {
        "train": f"{_OPENIMAGES}/image_ids_and_rotation.csv",
        "validation": f"{_OPENIMAGES}/validation/validation-images-with-rotation.csv",
        "test": f"{_OPENIMAGES}/test/test-images-with-rotation.csv",
    }
    boxable_images: str = f"{_OPENIMAGES}/train/train-images-boxable-with-rotation.csv"
    annotations: dict[OfficialSplit, str] = {
        split: f"{_OPENIMAGES}/{split}/{split}-annotations-human-imagelabels.csv"
        for split in ("train", "validation", "test")
    }
    class_descriptions: str = f"{_OPENIMAGES}/class-descriptions.csv"
    seen_labels: str = f"{_OPENIMAGES}/classes-trainable.txt"
    unseen_labels: str = f"{_BIAM}/OpenImages/2018_04/unseen_labels.pkl"
    unseen_chosen: str = f"{_BIAM}/OpenImages/2018_04/top_400_unseen.csv"
    sha256: dict[str, str] = {  # expected hashes, by key of this section
        "class_descriptions": "6301d51a91632a2199060d3a0c8cd70904c95863f6867a5a7c4d24a031ee4062",
        "seen_labels": "07284fc58eae2c080fa26484cb523c562e27b5ba5958d31f2b0c30af694f4598",
        "unseen_labels": "ae47468824f22deab1ea59a00d259fa043c66a544a0cca8b75f1d90e95960d56",
        "unseen_chosen": "cc9c8c78bb3fdc465bc5ec1c41f2eb59aa93345b890ad31027b9d6848e9453ff",
    }


class NusWideDataset(DatasetSection):
    """NUS-WIDE: the extracted archives of lists, tags and ground truth, and images on disk or at Flickr."""

    name: Literal["nuswide"] = "nuswide"
    shard_images: Positive = 1024
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")
    limit: Positive | None = None  # the first so many images of each split only
    setting: Literal["zero-shot", "standard"] = "zero-shot"  # standard: train and test on the 81 human labels
    root: str | None = None  # holds ImageList, NUS_WID_Tags, Groundtruth, ConceptsList; NUS-WIDE-urls.txt if there
    images: str | None = None  # folder with actor/0002_174174086.jpg or actor_0002_174174086.jpg
    features: Texts = ()  # in place of images: nus_wide_{train,test}.h5 as the authors of BiAM shared them
    urls: str | None = None  # NUS-WIDE-urls.txt, where it does not lie in root
    url_sizes: tuple[Literal["middle", "large", "small", "original"], ...] = ("middle", "large", "small", "original")
    tags: str = f"{_BIAM}/NUS-WIDE/NUS_WID_Tags/TagList1k.txt"  # only where root has none
    concepts: str = f"{_BIAM}/NUS-WIDE/ConceptsList/Concepts81.txt"  # only where root has none
    sha256: dict[str, str] = {  # expected hashes, by key of this section
        "tags": "fc676bfd97f4319a227b0ccf2996b76d7403fc180ff529e6851d53c02997670b",
        "concepts": "439aff2804e6104a53b7f9e4a7d634ed6e6303733d8a482260b240769ae9bf42",
    }


Dataset = Annotated[
    DemoDataset | FolderDataset | OpenImagesDataset | NusWideDataset,
    Field(discriminator="name"),
]


class DownloadConfig(Section):
    """How image bytes are fetched and checked."""

    concurrency: Positive = 32  # requests in flight of one worker
    host_concurrency: Positive = 64  # requests in flight to one host, of all workers together
    connect_timeout_s: Seconds = 10.0
    timeout_s: Seconds = 60.0  # of one image, all attempts, redirects and waits included
    attempts: Positive = 4
    backoff_s: Seconds = 0.5  # before the second attempt; doubles after each, with jitter
    max_redirects: Annotated[int, Field(ge=0)] = 5
    max_bytes: Positive = 64 * 2**20
    max_pixels: Positive = 100_000_000
    user_agent: str = "biam-pipe"
    allowed_networks: Networks = ()  # such as "10.0.0.0/8": private and link-local addresses that may be asked
    placeholder_md5: Texts = ("e60b98765d26e34bfbb797c1a5f378f2",)  # pictures that say "unavailable": Flickr's GIF


class ImagesConfig(Section):
    """What becomes of fetched bytes; never part of a recipe."""

    keep: bool = True  # false: an image shard is dropped once its features are committed


class BackboneConfig(Section):
    """The network that turns an image into maps."""

    name: str = "vgg19"
    weights: str = "default"  # "default" (the published ones), a path, or "random:SEED"
    input_px: Positive = 224  # side of the square that an image is squeezed into
    layers: Texts = ()  # maps to store, by column; empty: the backbone's usual ones


class ExtractConfig(Section):
    """How images run through the backbone."""

    batch_images: Positive = 16  # halves itself where memory does not hold so many
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of weights and activations
    compile: bool = (
        False  # the network by torch.compile: slower to start, faster after; on a CPU it wants a C++ compiler
    )
    orientation: Literal["exif", "dataset", "none"] = "exif"
    device: Device = "auto"
    decode_threads: Positive | None = None  # null: as many as cores
    max_failed_fraction: Fraction = 0.05  # more quarantined images than this, and the run ends with exit code 3


class StoreConfig(Section):
    """How features lie on disk. Nothing here changes the numbers."""

    name: str = "parquet"
    compression: Literal["none", "lz4", "zstd"] = "zstd"
    compression_level: int = 1  # of zstd
    row_group_rows: Positive = 32  # that are read together; in HDF5 every row can be read alone all the same


class EmbedConfig(Section):
    """Which word vectors, and what to do with a label that has none."""

    vectors: str = "glove-wiki-gigaword-300"  # that name, a path or an http(s) address; text or binary, plain or .gz
    sha256: str | None = None  # expected hash of the file
    missing: Literal["error", "drop", "unseen-excluded"] = "error"
    overrides: dict[str, str] = {}  # label name -> the words to look up in its place


class SplitConfig(Section):
    """Which images train, validate and test."""

    name: FolderName = "default"
    seed: int = 0
    test_fraction: Fraction = 0.2  # of images without an official split
    validation_fraction: Fraction = 0.2  # of the training images


class ModelConfig(Section):
    """The zero-shot model. Presets fill what is not set."""

    name: str = "biam"
    preset: Literal["paper", "released"] = "released"
    channels: Positive = 256
    heads: Positive = 8
    joint_size: Positive = 512  # of the space where regions meet labels; `released` only (`paper`: channels)
    top_k: Positive = 6
    attention_dropout: Fraction = 0.1
    global_dropout: Fraction = 0.2
    # What the paper compares itself with; the defaults are BiAM.
    classification: Literal["region", "pooled"] = "region"  # pooled: the mean of all regions meets the labels (fig. 5)
    blocks: Block = ("rcb", "scb")  # () leaves the bare regions (tab. 3)
    region_attention: Literal["self", "non-local", "criss-cross"] = "self"  # the block in RCB's place (tab. 4)
    region_weighting: Literal["softmax", "sigmoid"] = "softmax"  # of RCB (tab. 4)
    region_norm: Literal["none", "layer"] = "none"  # of RCB (tab. 4)
    scene_weighting: Literal["sigmoid", "softmax"] = "sigmoid"  # of SCB (tab. 4)
    grid_side: Positive | None = None  # the region map is averaged to so many rows and columns (fig. 7); null: as it is

    @model_validator(mode="after")
    def _heads_share_channels(self) -> Self:
        if self.channels % self.heads:
            raise ValueError(f"model.channels = {self.channels} cannot be shared out among model.heads = {self.heads}")
        return self

    @model_validator(mode="after")
    def _nothing_is_set_in_vain(self) -> Self:
        without_rcb = "rcb" not in self.blocks or self.region_attention != "self"
        if without_rcb and (self.region_weighting, self.region_norm) != ("softmax", "none"):
            raise ValueError("model.region_weighting and model.region_norm are of RCB, which this model does without")
        if "rcb" not in self.blocks and self.region_attention != "self":
            raise ValueError(f"model.region_attention = {self.region_attention!r} wants 'rcb' among model.blocks")
        if "scb" not in self.blocks and self.scene_weighting != "sigmoid":
            raise ValueError("model.scene_weighting is of SCB, which is not among model.blocks")
        return self


class TrainConfig(Section):
    """The optimiser's schedule."""

    run: FolderName | None = None  # of the run's folder; null: <model>-<preset>-<recipe>
    seed: int = 0
    device: Device = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"  # of the arithmetic; weights and sums are float32 in both
    processes: Positive = 1  # each with a device of its own, or a share of the CPU; they share every batch
    loader_workers: Annotated[int, Field(ge=0)] = 1  # threads that read windows ahead; 0 reads when they are wanted
    resident: Literal["auto", "never"] = "auto"  # auto: features stay in memory where half of what is free holds them
    batch_images: Positive = 32  # of all processes together
    epochs: Positive = 40
    lr: Annotated[float, Field(gt=0.0)] = 1e-3
    final_lr: Annotated[float, Field(gt=0.0)] | None = None  # cosine end value; null keeps lr constant after warm-up
    warmup_epochs: Annotated[int, Field(ge=0)] = 3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0.0)] = 5e-4
    loss: Literal["paper", "released"] = "released"
    max_positives: Positive | None = None  # images with more are left out of training
    validate_every_epochs: Positive = 2
    selection_k: Positive = 5  # validation F1@K of seen labels picks the checkpoint
    patience: Positive | None = None  # validations in a row without a better one that end it; null: all epochs
    full_epochs: Annotated[int, Field(ge=0)] = 0  # on training and validation images, after that, from the best weights
    full_lr: Annotated[float, Field(gt=0.0)] = 3.33e-4  # of those, with a fresh optimiser
    checkpoint_every_s: Seconds = 300.0
    shuffle_window_blocks: Positive = 64  # blocks of 32 rows of a shard, mixed with each other


class EvaluateConfig(Section):
    """Which numbers are computed, and how they are called."""

    protocol: str | None = None  # nuswide, openimages or openimages-biam; null: the data set's own
    ks: tuple[Positive, ...] | None = None  # of F1@K, precision@K, recall@K; null: the protocol's own
    batch_images: Positive = 64
    device: Device = "auto"
    scores_in_memory_bytes: Positive = 2**30  # more than that lie in a file of the run's folder meanwhile
    draws: Positive = 20  # random score matrices behind the chance level, and permutations behind the control
    seed: int = 0
    min_coverage: Fraction = 0.95  # fewer of the listed images than this in use, and the evaluation warns


class ReportConfig(Section):
    """What the HTML page shows."""

    examples: Annotated[int, Field(ge=0)] = 12
    seed: int = 0


class EngineConfig(Section):
    """How work is spread; never part of a recipe."""

    network_workers: Positive = 2  # one fetches while the other waits for its last slow servers
    compute_workers: Positive = 1
    threads: Positive | None = None  # of torch in each process; null: all cores


class Config(Section):
    """Everything `biam-pipe show config` prints."""

    dataset: Dataset
    download: DownloadConfig = DownloadConfig()
    images: ImagesConfig = ImagesConfig()
    backbone: BackboneConfig = BackboneConfig()
    extract: ExtractConfig = ExtractConfig()
    store: StoreConfig = StoreConfig()
    embed: EmbedConfig = EmbedConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
    engine: EngineConfig = EngineConfig()
