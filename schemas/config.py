"""Settings: one model a section, each key with its unit in the name and its default.

The values come from presets, the dag, a TOML file, the environment, `--set` and flags; `pipeline.settings.layers`
merges them in that order. Nothing here reads a file.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.datasets import Dataset
from schemas.section import Recipe, Section, Steers
from schemas.values import (
    Block,
    Decay,
    Device,
    FolderName,
    Fraction,
    Ks,
    Networks,
    NotNegative,
    Positive,
    Rate,
    Seconds,
    Seed,
    SomeWorkers,
    Texts,
    Workers,
)


class DownloadConfig(Section):
    """How image bytes are fetched and checked."""

    requests: Steers[Positive] = 32  # requests in flight of one worker
    host_requests: Steers[Positive] = 64  # requests in flight to one host, of all workers together
    connect_timeout_s: Steers[Seconds] = 10.0
    timeout_s: Steers[Seconds] = 60.0  # of one image, all attempts, redirects and waits included
    attempts: Steers[Positive] = 4
    backoff_s: Steers[Seconds] = 0.5  # before the second attempt; doubles after each, with jitter
    max_redirects: Steers[NotNegative] = 5
    max_bytes: Recipe[Positive] = 64 * 2**20
    max_pixels: Recipe[Positive] = 100_000_000
    user_agent: Steers[str] = "biam-pipe"
    allowed_networks: Steers[Networks] = ()  # such as "10.0.0.0/8": private and link-local addresses that may be asked
    # pictures that say "unavailable": Flickr's GIF
    placeholder_md5: Steers[Texts] = ("e60b98765d26e34bfbb797c1a5f378f2",)


class ImagesConfig(Section):
    """What becomes of fetched bytes; never part of a recipe."""

    keep: Steers[bool] = True  # false: an image shard is dropped once its features are committed


class BackboneConfig(Section):
    """The network that turns an image into maps."""

    name: Recipe[str] = "vgg19"
    weights: Recipe[str] = "default"  # "default" (the published ones), a path, or "random:SEED"
    # Side of the square that an image is squeezed into; at 4,096 a row of VGG's conv1 is too long for Parquet (2 GiB).
    input_px: Recipe[Annotated[int, Field(ge=1, le=2048)]] = 224
    layers: Recipe[Texts] = ()  # maps to store, by column; empty: the backbone's usual ones


class ExtractConfig(Section):
    """How images run through the backbone."""

    batch_images: Steers[Positive] = 16  # halves itself where memory does not hold so many
    precision: Recipe[Literal["fp32", "bf16", "fp16"]] = "fp32"  # of weights and activations
    compile: Recipe[bool] = (
        False  # the network by torch.compile: slower to start, faster after; on a CPU it wants a C++ compiler
    )
    orientation: Recipe[Literal["exif", "dataset", "none"]] = "exif"
    # torchvision: upright RGB and grey JPEGs are decoded a batch at a time on `device`, whose pixels are its own
    decoder: Recipe[Literal["pillow", "torchvision"]] = "pillow"
    device: Steers[Device] = "auto"
    decode_threads: Steers[Workers | None] = None  # null: as many as cores
    max_failed_fraction: Steers[Fraction] = 0.05  # more quarantined images than this, and the run ends with exit code 3

    @property
    def jpeg_device(self) -> str | None:
        """Where ordinary JPEGs are decoded; None: Pillow decodes all."""
        return self.device if self.decoder == "torchvision" else None

    @model_validator(mode="after")
    def _decoding_has_a_device(self) -> Self:
        # Workers may have different devices, and so different pixels.
        if self.jpeg_device in ("auto", "mps"):
            raise ValueError(
                f"settings extract.decoder and extract.device: torchvision on {self.device!r}, expected cpu, cuda or "
                "cuda:N, since pixels depend on it. Use: --set extract.device=cuda, or --set extract.decoder=pillow"
            )
        return self


class StoreConfig(Section):
    """How features lie on disk. Nothing here changes the numbers."""

    name: Steers[str] = "parquet"
    compression: Steers[Literal["none", "lz4", "zstd"]] = "zstd"
    compression_level: Steers[Annotated[int, Field(ge=1, le=22)]] = 1  # of zstd
    row_group_rows: Steers[Positive] = 32  # that are read together; in HDF5 every row can be read alone all the same


class EmbedConfig(Section):
    """Which word vectors, and what to do with a label that has none."""

    # that name, a path or an http(s) address; text or binary, plain or .gz
    vectors: Recipe[str] = "glove-wiki-gigaword-300"
    sha256: Steers[str | None] = None  # expected hash of the file
    missing: Recipe[Literal["error", "drop", "unseen-excluded"]] = "error"
    overrides: Recipe[dict[str, str]] = Field(default={})  # label name -> the words to look up in its place


class SplitConfig(Section):
    """Which images train, validate and test."""

    name: Recipe[FolderName] = "default"
    seed: Recipe[Seed] = 0
    test_fraction: Recipe[Fraction] = 0.2  # of images without an official split
    validation_fraction: Recipe[Fraction] = 0.2  # of the training images


class ModelConfig(Section):
    """The zero-shot model. Presets fill what is not set."""

    name: Recipe[str] = "biam"
    preset: Recipe[Literal["paper", "released"]] = "released"
    channels: Recipe[Positive] = 256
    heads: Recipe[Positive] = 8
    joint_size: Recipe[Positive] = 512  # of the space where regions meet labels; `released` only (`paper`: channels)
    top_k: Recipe[Positive] = 6
    attention_dropout: Recipe[Fraction] = 0.1
    global_dropout: Recipe[Fraction] = 0.2
    # What the paper compares itself with; the defaults are BiAM.
    # pooled: the mean of all regions meets the labels (fig. 5)
    classification: Recipe[Literal["region", "pooled"]] = "region"
    blocks: Recipe[Block] = ("rcb", "scb")  # () leaves the bare regions (tab. 3)
    region_attention: Recipe[Literal["self", "non-local", "criss-cross"]] = "self"  # the block in RCB's place (tab. 4)
    region_weighting: Recipe[Literal["softmax", "sigmoid"]] = "softmax"  # of RCB (tab. 4)
    region_norm: Recipe[Literal["none", "layer"]] = "none"  # of RCB (tab. 4)
    scene_weighting: Recipe[Literal["sigmoid", "softmax"]] = "sigmoid"  # of SCB (tab. 4)
    # the region map is averaged to so many rows and columns (fig. 7); null: as it is
    grid_side: Recipe[Positive | None] = None

    @model_validator(mode="after")
    def _heads_share_channels(self) -> Self:
        if self.channels % self.heads:
            fits = max(heads for heads in range(1, self.heads) if self.channels % heads == 0)
            raise ValueError(
                f"settings model.channels and model.heads: {self.channels} channels cannot be shared out among "
                f"{self.heads} heads, expected a number of heads that divides them. Use: --set model.heads={fits}"
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_set_in_vain(self) -> Self:
        without_rcb = "rcb" not in self.blocks or self.region_attention != "self"
        of_block = {
            "region_attention": ("RCB", "rcb" not in self.blocks),
            "region_weighting": ("RCB", without_rcb),
            "region_norm": ("RCB", without_rcb),
            "scene_weighting": ("SCB", "scb" not in self.blocks),
        }
        for key, (block, missing) in of_block.items():
            default = type(self).model_fields[key].default
            if missing and getattr(self, key) != default:
                raise ValueError(
                    f"setting model.{key}: got {getattr(self, key)!r}, which is of {block}, and this model does "
                    f"without (model.blocks = {list(self.blocks)}, model.region_attention = {self.region_attention!r})"
                    f"; expected {default!r}. Use: --set model.{key}={default}"
                )
        return self


class TrainConfig(Section):
    """The optimiser's schedule."""

    run: Steers[FolderName | None] = None  # of the run's folder; null: <model>-<preset>-<recipe>
    seed: Recipe[Seed] = 0
    device: Steers[Device] = "auto"
    precision: Recipe[Literal["fp32", "bf16"]] = "fp32"  # of the arithmetic; weights and sums are float32 in both
    processes: Steers[Workers] = 1  # each with a device of its own, or a share of the CPU; they share every batch
    loader_workers: Steers[SomeWorkers] = 1  # threads that read windows ahead; 0 reads when they are wanted
    # features stay in memory that holds them; host: not a GPU's
    feature_cache: Steers[Literal["auto", "host", "never"]] = "auto"
    batch_images: Recipe[Positive] = 32  # of all processes together
    epochs: Recipe[Positive] = 40
    lr: Recipe[Rate] = 1e-3
    final_lr: Recipe[Rate | None] = None  # cosine end value; null keeps lr constant after warm-up
    warmup_epochs: Recipe[NotNegative] = 3
    betas: Recipe[tuple[Decay, Decay]] = (0.9, 0.999)
    weight_decay: Recipe[Fraction] = 5e-4
    loss: Recipe[Literal["paper", "released"]] = "released"
    max_positives: Recipe[Positive | None] = None  # images with more are left out of training
    validate_every_epochs: Recipe[Positive] = 2
    selection_k: Recipe[Positive] = 5  # validation F1@K of seen labels picks the checkpoint
    patience: Recipe[Positive | None] = None  # validations in a row without a better one that end it; null: all epochs
    full_epochs: Recipe[NotNegative] = 0  # on training and validation images, after that, from the best weights
    full_lr: Recipe[Rate] = 3.33e-4  # of those, with a fresh optimiser
    checkpoint_every_s: Steers[Seconds] = 300.0
    shuffle_window_blocks: Recipe[Positive] = 64  # blocks of 32 rows of a shard, mixed with each other

    @model_validator(mode="after")
    def _every_process_has_images(self) -> Self:
        if self.processes > self.batch_images:
            raise ValueError(
                f"settings train.processes and train.batch_images: a batch of {self.batch_images} images cannot be "
                f"shared out among {self.processes} processes, expected at least one image for each. "
                f"Use: --set train.processes={self.batch_images}"
            )
        return self


class EvaluateConfig(Section):
    """Which numbers are computed, and how they are called."""

    protocol: Recipe[str | None] = None  # nuswide, openimages or openimages-biam; null: the data set's own
    ks: Recipe[Ks | None] = None  # of F1@K, precision@K, recall@K; null: the protocol's own
    batch_images: Steers[Positive] = 64
    device: Steers[Device] = "auto"
    scores_in_memory_bytes: Steers[Positive] = 2**30  # more lie in a file of the run's folder meanwhile, in train, too
    draws: Recipe[Positive] = 20  # random score matrices behind the chance level, and permutations behind the control
    seed: Recipe[Seed] = 0
    min_coverage: Recipe[Fraction] = 0.95  # fewer of the listed images than this in use, and the evaluation warns
    examples: Recipe[NotNegative] = 12  # test images that the report shows, with their predictions and maps
    examples_seed: Recipe[Seed] = 0  # of the draw of those


class EngineConfig(Section):
    """How work is spread; never part of a recipe."""

    io_workers: Steers[Workers] = 2  # one fetches while the other waits for its last slow servers
    compute_workers: Steers[Workers] = 1
    threads: Steers[Workers | None] = None  # of torch in each process; null: all cores


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
    engine: EngineConfig = EngineConfig()
