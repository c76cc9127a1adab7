"""Settings: one model a section, each key with its unit in the name and its default.

What stands below a setting explains it, in `show config` and docs/settings.md, too. The values come from presets, the
dag, a TOML file, the environment, `--set` and flags; `pipeline.settings.layers` merges them in that order. Nothing here
reads a file.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, model_validator

from schemas.datasets import DatasetSection
from schemas.errors import UnfitError
from schemas.figures import SectionName
from schemas.fit import Resizer
from schemas.section import Content, Names, Older, Recipe, Section, Steers
from schemas.values import (
    Decay,
    Device,
    FolderName,
    Fraction,
    Ks,
    Networks,
    NotNegative,
    Positive,
    Prompts,
    Rate,
    RowName,
    Seconds,
    Seed,
    SomeWorkers,
    Texts,
    Workers,
)


class DownloadConfig(Section):
    """How image bytes are fetched and checked, and how weights, word vectors and official lists are fetched."""

    requests: Steers[Positive] = 32
    """Requests that one worker has in flight, over all hosts."""
    host_requests: Steers[Positive] = 64
    """Requests in flight to one host, of all workers together."""
    connect_timeout_s: Steers[Seconds] = 10.0
    """Seconds in which a connection to a server has to stand."""
    timeout_s: Steers[Seconds] = 60.0
    """Seconds that one image may take, with all its attempts, redirects and waits; and those for which the connection
    of a larger file may be silent.
    """
    attempts: Steers[Positive] = 4
    """Requests for one image at most, the first included. Only passing faults, such as status 503, are tried again."""
    backoff_s: Steers[Seconds] = 0.5
    """Seconds before the second attempt. The wait doubles with each further one, and is shortened at random by up to a
    half.
    """
    max_redirects: Steers[NotNegative] = 5
    """Redirects that a request follows; an image behind more gets the status bad_redirect. 0 follows none."""
    max_bytes: Recipe[Positive] = 64 * 2**20
    """Bytes that an image may have; one with more gets the status too_large."""
    max_pixels: Recipe[Positive] = 100_000_000
    """Pixels that an image may have by its header; one with more gets the status too_many_pixels and is not decoded."""
    user_agent: Steers[str] = "biam-pipe"
    """What requests name as their sender."""
    allowed_networks: Steers[Networks] = ()
    """Private and link-local networks that may be asked for images, such as "10.0.0.0/8". All others of that kind are
    refused, so that no address of a data set reaches into the network around this machine. An address that stands in
    the settings is asked wherever it lies, but may not redirect into other networks of that kind.
    """
    respect_opt_out: Steers[Literal["auto", "always", "never"]] = "auto"
    """Whether an image is left alone, with the status opted_out, where its server says `X-Robots-Tag: noai` or
    `noimageai`, or `tdm-reservation: 1`: `always`, `never`, or with `auto` where a user's own list names it, and not
    where it belongs to a published data set. Such an image is no failure, and only --retry-failed=opted_out asks again.
    """
    placeholder_md5: Steers[Texts] = ("e60b98765d26e34bfbb797c1a5f378f2",)
    """MD5 sums, in hex, of pictures that stand in for an image that is no longer there; such an answer of up to 16 kB
    gets the status placeholder. The default is Flickr's "unavailable" GIF.
    """


class ImagesConfig(Section):
    """What becomes of fetched bytes; never part of a recipe."""

    keep: Steers[bool] = True
    """Whether fetched images stay on disk. If false, an image shard is dropped once its features are committed."""


class BackboneConfig(Section):
    """The network that turns an image into maps."""

    name: Recipe[str] = "vgg19"
    """Name of the network; see `show backbones`."""
    weights: Annotated[Recipe[str], Names.FILES] = "default"
    """Weights of the network: "default" for the published ones, the path of a file, or "random:SEED"."""
    # At 4,096 px a row of VGG's conv1 is too long for Parquet (2 GiB).
    input_px: Recipe[Annotated[int, Field(ge=1, le=2048)] | None] = None
    """Side, in pixels, of the square that every image becomes before the network sees it; at most 2048. null: the
    backbone's own, which is 224 unless `show backbones` says otherwise.
    """
    layers: Recipe[Texts] = ()
    """Maps to store, by column, in this order. An empty list stores the backbone's usual ones."""
    fit: Annotated[Recipe[Literal["squeeze", "crop"]], Older()] = "squeeze"
    """How an image becomes that square: the whole of it, `squeeze`d, so that regions cover all of it; or as the
    backbone was trained to see it (`crop`): the shorter side resized to somewhat more, and the middle cut out.
    """


class ExtractConfig(Section):
    """How images run through the backbone."""

    batch_images: Steers[Positive] = 16
    """Images that the network takes at once. Halves itself where memory does not hold so many."""
    precision: Recipe[Literal["fp32", "tf32", "bf16", "fp16"]] = "fp32"
    """Number format of the network's weights and activations: fp32, bf16 or fp16; or tf32, which is fp32 with products
    of 10 bits, on CUDA alone.
    """
    compile: Recipe[bool] = False
    """Whether torch.compile translates the network: slower to start, faster after. On a CPU it wants a C++ compiler."""
    orientation: Recipe[Literal["exif", "dataset", "none"]] = "exif"
    """What turns an image upright: the tag in its file (`exif`), the rotation that the data set lists (`dataset`), or
    nothing (`none`).
    """
    decoder: Recipe[Literal["pillow", "torchvision"]] = "pillow"
    """What decodes JPEGs: `pillow`, or `torchvision`, which decodes upright RGB and grey ones a batch at a time on
    `extract.device`, with pixels of its own, and leaves all other files to Pillow.
    """
    resize: Annotated[Recipe[Resizer], Older()] = "pillow"
    """What resizes the images that Pillow decodes: `pillow`, or `torch`, which takes half the time or less. Of the
    numbers of an ordinary photograph less than one in a hundred then differs, of a tall one's up to one in five, by 1
    of 255. With `backbone.fit` = `crop` most differ, and by more: the middle that torch cuts out begins and ends at
    whole pixels of the image, as that of the decoder `torchvision` does.
    """
    only_labelled: Annotated[Recipe[bool], Older()] = False
    """Whether images without labels are left out, with the status unlabelled. They are no failures, and follow once
    they have labels.
    """
    device: Steers[Device] = "auto"
    """Device that computes features: auto (a GPU where there is one), cpu, mps, cuda or cuda:N."""
    decode_threads: Steers[Workers | None] = None
    """Threads that decode images beside the network. null: as many as there are cores."""
    max_failed_fraction: Steers[Fraction] = 0.05
    """Fraction of the images, from 0 to 1, that may fail. A run with more finishes all the same, with exit code 3."""

    @property
    def jpeg_device(self) -> str | None:
        """Where ordinary JPEGs are decoded; None: Pillow decodes all."""
        return self.device if self.decoder == "torchvision" else None

    @model_validator(mode="after")
    def _decoding_has_a_device(self) -> Self:
        # Workers may have different devices, and so different pixels.
        if self.jpeg_device in ("auto", "mps"):
            raise UnfitError(
                f"settings extract.decoder and extract.device: torchvision on {self.device!r}, expected cpu, cuda or "
                "cuda:N, since pixels depend on it, or the decoder pillow",
                {"extract.device": "cuda"},
            )
        return self


class StoreConfig(Section):
    """How features lie on disk. Nothing here changes the numbers."""

    name: Steers[str] = "parquet"
    """File format of feature shards; see `show stores`."""
    compression: Steers[Literal["none", "lz4", "zstd"]] = "zstd"
    """Compression of feature shards: none, lz4 or zstd."""
    compression_level: Steers[Annotated[int, Field(ge=1, le=22)]] = 1
    """Level of zstd, from 1 (fast) to 22 (small). Other compressions have none."""
    row_group_rows: Steers[Positive] = 32
    """Images that are compressed and read together in Parquet. HDF5 can read each one alone all the same."""


class EmbedConfig(Section):
    """Which word vectors, and what to do with a label that has none."""

    vectors: Annotated[Recipe[str], Names.FILES] = "glove-wiki-gigaword-300"
    """Word vectors: glove-wiki-gigaword-300 (fetched), glove-6b-50d (of the extra `real`), a path or an http(s) address
    of word2vec or GloVe vectors, as text or binary, plain or .gz; the path of an array of float32 [word, dimension],
    X.npy, with a word a row in X.words.txt or X.parquet beside it; or a text tower of open_clip, as
    open_clip:MODEL:TAG for published weights, open_clip:MODEL:PATH or open_clip:MODEL:random:SEED.
    """
    sha256: Steers[str | None] = None
    """Hash, in hex, that the file of word vectors (of an array: X.npy) or of a tower's weights must have. null: any."""
    missing: Recipe[Literal["error", "drop", "unseen-excluded"]] = "error"
    """What to do about labels without any known word: stop with an `error`, `drop` them, or leave them out where they
    are unseen (`unseen-excluded`) and stop where they are seen.
    """
    overrides: Recipe[dict[str, str]] = Field(default={})
    """Words to look up in place of a label's name, by that name."""
    prompts: Annotated[Recipe[Prompts], Older()] = ("a photo of a {}.",)
    """Texts into which a text tower's labels are put, each in the place of {}; a label's vector is the mean over them.
    "ensemble": the 80 of CLIP for ImageNet.
    """


class SplitConfig(Section):
    """Which images train, validate and test, and which labels are unseen where the data set does not say."""

    name: Recipe[FolderName] = "default"
    """Name of the folder below splits/ that holds the split."""
    seed: Recipe[Seed] = 0
    """Seed of the draw of test and validation images."""
    test_fraction: Recipe[Fraction] = 0.2
    """Fraction, from 0 to 1, of the images without an official split that become test images."""
    validation_fraction: Recipe[Fraction] = 0.2
    """Fraction, from 0 to 1, of the training images that become validation images."""
    unseen_seed: Annotated[Content[Seed | None], Older()] = None
    """Seed by which unseen labels are drawn out of all labels that take part, where the data set does not fix them. The
    split of the images stays the same. null: none is drawn, and roles are those of the data set.
    """
    num_unseen: Annotated[Content[Positive | None], Older()] = None
    """Labels that `split.unseen_seed` draws as unseen ones. null: a fifth of those that take part, rounded down."""
    min_label_images: Annotated[Content[Positive], Older()] = 20
    """Images that bear a label, of all splits, with which it takes part where `split.unseen_seed` draws; rarer labels
    are left out, neither seen nor unseen.
    """

    held_out_fold: Annotated[Content[NotNegative | None], Older()] = None
    """Fold, from 0, of the seen labels that is hidden: its labels count as unseen ones, and those that are unseen take
    no part, so that models can be chosen without a look at them. null: none.
    """
    held_out_folds: Annotated[Content[Annotated[int, Field(ge=2, le=64)]], Older()] = 4
    """Folds that the seen labels are dealt into, of which `split.held_out_fold` hides one."""

    @property
    def role_stages(self) -> tuple[str, ...]:
        """The stages that tell which labels are seen, for those that read it."""
        return ("split",) if self.unseen_seed is None and self.held_out_fold is None else ("split", "unseen")

    @model_validator(mode="after")
    def _fold_is_there(self) -> Self:
        if self.held_out_fold is not None and self.held_out_fold >= self.held_out_folds:
            raise UnfitError(
                f"settings split.held_out_fold and split.held_out_folds: fold {self.held_out_fold} of "
                f"{self.held_out_folds}, expected one from 0 to {self.held_out_folds - 1}",
                {"split.held_out_fold": 0},
            )
        return self


class ModelSection(Section):
    """The model, and how it is trained. Presets fill what is not set."""

    name: Recipe[str] = "biam"
    """Name of the model; see `show models`."""
    preset: Recipe[str] = "released"
    """Name of a set of settings of `model` and `train` that belong together; see the model."""


class TrainConfig(Section):
    """How the model is trained."""

    run: Steers[FolderName | None] = None
    """Name of the folder below runs/. null: `<model>-<preset>-<digits>`, digits of settings and data, so that runs of
    others leave it as it is. A run with a name is replaced by one of other settings or data with --replace alone.
    """
    weights: Annotated[Recipe[str | None], Names.FILES, Older()] = None
    """File of a model's weights, which are evaluated in place of training: `model.safetensors` of a run, or tensors as
    `torch.save` writes them, under the model's own names or, of BiAM, those of the authors' released weights. What
    shapes do not tell, such as `model.heads` and `model.top_k`, is as the settings say. null: the model is trained.
    """
    init_from: Annotated[Recipe[FolderName | None], Older()] = None
    """Run whose weights training starts from, by the name of its folder below runs/; or `latest`, the last one that is
    done. It has to be of the same model, over the same kind of features and the same split, and must have learnt no
    label that is unseen now. null: the first weights are drawn.
    """
    seed: Recipe[Seed] = 0
    """Seed of the first weights, the order of the images and dropout."""
    device: Steers[Device] = "auto"
    """Device that trains: auto (a GPU where there is one), cpu, mps, cuda or cuda:N."""
    precision: Recipe[Literal["fp32", "tf32", "bf16"]] = "fp32"
    """Number format of the arithmetic: fp32, bf16, or on CUDA alone tf32. Weights and sums are float32 in all."""
    processes: Steers[Workers] = 1
    """Processes that train together, each with a GPU of its own, or a share of the CPU. They share out every batch."""
    loader_workers: Steers[SomeWorkers] = 1
    """Threads that each read a window of features ahead. 0 reads a window when it is wanted."""
    feature_cache: Steers[Literal["auto", "host", "never"]] = "auto"
    """Where features stay after they are first read. `auto`: in a GPU's memory if they fit, else in the machine's if
    they fit; `host`: never in a GPU's; `never`: nowhere, they are read in every epoch.
    """
    batch_images: Recipe[Positive] = 32
    """Images of a step, of all processes together."""
    epochs: Recipe[Positive] = 40
    """Epochs on the training images."""
    lr: Recipe[Rate] = 1e-3
    """Learning rate after the warm-up, above 0."""
    final_lr: Recipe[Rate | None] = None
    """Learning rate, above 0, that the rate falls to along a cosine after the warm-up; the epoch after the last one
    would have it. null: the rate stays as it is after the warm-up.
    """
    warmup_epochs: Recipe[NotNegative] = 3
    """Epochs in which the learning rate rises in equal steps; the last of them has `train.lr`. 0: no warm-up."""
    fall_factor: Annotated[Recipe[Fraction | None], Older()] = None
    """Factor, from 0 to 1, of the learning rate after a validation at which the running mean of F1@K (0.7 of the old
    one, 0.3 of the new value) has fallen; not within five validations of the last time. null: none.
    """
    optimizer: Annotated[Recipe[Literal["adam", "adamw", "sgd", "rmsprop", "tf-rmsprop"]], Older()] = "adam"
    """What changes the weights: adam, adamw, sgd, rmsprop, or RMSProp as TensorFlow has it (`tf-rmsprop`)."""
    betas: Recipe[tuple[Decay, Decay]] = (0.9, 0.999)
    """Decay rates of Adam's two running means, of gradients and of their squares; each from 0 to below 1."""
    momentum: Annotated[Recipe[Decay], Older()] = 0.9
    """Share of the last change of the weights that is made again, from 0 to below 1; of sgd and both RMSProps."""
    weight_decay: Recipe[Fraction] = 5e-4
    """Factor, from 0 to 1, of the L2 penalty that is added to the gradients (in adamw: of the weights that each step
    takes off).
    """
    decayed: Annotated[Recipe[Literal["all", "matrices"]], Older()] = "all"
    """Weights that the penalty is for: `all`, or those with two axes or more (`matrices`), so neither offsets nor
    normalisation.
    """
    loss: Recipe[Literal["paper", "released"]] = "released"
    """Form of the ranking loss: the sum over all pairs of labels (`paper`), or the mean over the violating pairs of
    each image (`released`).
    """
    max_positives: Recipe[Positive | None] = None
    """Labels that a training image may bear; images with more are left out. null: no limit."""
    validate_every_epochs: Recipe[Positive] = 2
    """Epochs from one validation to the next. The last epoch is validated in any case."""
    selection_k: Recipe[Positive] = 5
    """K of the F1@K of seen labels on validation images; the epoch where it is best gives the model."""
    patience: Recipe[Positive | None] = None
    """Validations in a row without a better one after which training ends. null: all epochs are run."""
    full_epochs: Recipe[NotNegative] = 0
    """Epochs on training and validation images together, after all others and from the best weights."""
    full_lr: Recipe[Rate] = 3.33e-4
    """Learning rate, above 0, of the epochs on training and validation images, which have a fresh optimiser."""
    checkpoint_every_s: Steers[Seconds] = 300.0
    """Seconds from one checkpoint to the next; what is newer is lost where the process is killed."""
    shuffle_window_blocks: Recipe[Positive] = 64
    """Blocks of 32 neighbouring images whose images are mixed with each other. More mix better and take more memory."""

    @model_validator(mode="after")
    def _begins_once(self) -> Self:
        if self.init_from is not None and self.weights is not None:
            raise UnfitError(
                "settings train.init_from and train.weights: training cannot start from a run where a file gives the "
                "weights, expected one of them",
                {"train.weights": None},
            )
        if self.init_from is not None and self.init_from == self.run:
            raise UnfitError(
                f"settings train.init_from and train.run: run {self.run} cannot start from itself, expected another",
                {"train.run": None},
            )
        return self

    @model_validator(mode="after")
    def _every_process_has_images(self) -> Self:
        if self.processes > self.batch_images:
            raise UnfitError(
                f"settings train.processes and train.batch_images: a batch of {self.batch_images} images cannot be "
                f"shared out among {self.processes} processes, expected at least one image for each",
                {"train.processes": self.batch_images},
            )
        return self


class EvaluateConfig(Section):
    """Which numbers are computed, and how they are called."""

    protocol: Recipe[str | None] = None
    """How results are counted; see `show protocols`. null: the data set's own."""
    ks: Recipe[Ks | None] = None
    """K of F1@K, precision@K and recall@K. null: the protocol's own."""
    batch_images: Steers[Positive] = 64
    """Images that are scored at once."""
    device: Steers[Device] = "auto"
    """Device that scores: auto (a GPU where there is one), cpu, mps, cuda or cuda:N."""
    scores_in_memory_bytes: Steers[Positive] = 2**30
    """Bytes of scores that stay in memory, also of a validation in training. More lie in a file of the run's folder
    meanwhile.
    """
    draws: Recipe[Positive] = 20
    """Random score matrices behind the chance level, and exchanges of labels behind the permuted control."""
    seed: Recipe[Seed] = 0
    """Seed of the chance level and of the permuted control."""
    min_coverage: Recipe[Fraction] = 0.95
    """Fraction of the listed images, from 0 to 1, that should be in use; with fewer, metrics and report carry a
    warning.
    """
    examples: Recipe[NotNegative] = 12
    """Test images that the report shows, with the model's predictions and response maps."""
    examples_seed: Recipe[Seed] = 0
    """Seed of the draw of the test images that the report shows. Those with an unseen label come first."""
    images: Annotated[Recipe[Literal["test", "validation"]], Older()] = "test"
    """Images that are scored: those of the `test` split, or of `validation`, to choose by."""
    standardise: Annotated[Recipe[bool], Older()] = False
    """Whether each image's scores are set on one scale: minus their mean over the seen labels, divided by their
    deviation there. Average precision compares images, F1@K does not. Published figures are without.
    """
    replicates: Recipe[NotNegative] = 1000
    """How often the test images are drawn anew, to tell what the luck of the images makes of each figure: the
    replicates in bootstrap.npz, by which two runs are compared. 0: not at all.
    """
    kept_scores_bytes: Annotated[Recipe[NotNegative], Older()] = 2**30
    """Bytes of scores that a run keeps in scores.parquet at most, by which `runs` compares it with one that was tested
    on other images, too. A run with more keeps none. 0: no run does.
    """


class Variant(BaseModel):
    """A model with settings of its own, as one row of a comparison.

    Attributes:
        name: of the row; null: the model's and the preset's.
        model: its name; see `show models`.
        preset: null: the one that the model has on this data set.
        set: settings by dotted key, such as `{"model.blocks" = ["region"]}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    preset: str | None = None
    name: RowName | None = None
    set: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """What its row is called."""
        return self.name or (self.model if self.preset is None else f"{self.model}:{self.preset}")


class CompareConfig(Section):
    """Which models `compare` sets beside each other, and over what luck.

    Rows are `models`, those of `tables`, and `variants`, and in zero-shot tables closed forms of ridge regression.
    """

    name: Steers[FolderName] = "comparison"
    """Name of the comparison: its files lie in the folder compare/<name>-<digits>."""
    models: Steers[Texts] = ()
    """Models to compare, by name or as name:preset."""
    tables: Steers[Texts] = ()
    """Tables of the paper whose rows are compared: 1 and 2 (zero-shot), 3 and 4 (parts of BiAM), 6 and 7 (standard), 8
    (DINO features).
    """
    variants: Steers[tuple[Variant, ...]] = ()
    """Models with settings of their own, such as {name = "regions alone", model = "biam", set = {"model.blocks" =
    []}}.
    """
    tasks: Steers[tuple[SectionName, ...]] = ()
    """Tasks whose figures are shown. An empty list shows all that the data set's task has."""
    seeds: Steers[Annotated[tuple[Seed, ...], Field(min_length=1)]] = (0,)
    """Seeds: each row is trained once with each."""
    vary: Steers[Literal["training", "split", "labels"]] = "training"
    """What the seeds are of: `training` alone; the `split` of images, too; or which `labels` are unseen."""
    choose: Steers[Literal["held_out_labels"] | None] = None
    """Whether to name the row that one would take: each is trained without some seen labels, too, and scored on these
    as if they were unseen, on validation images (`held_out_labels`). null: none is named.
    """
    choose_folds: Steers[Annotated[int, Field(ge=1, le=64)]] = 2
    """Folds of `split.held_out_folds` that are hidden for that, one after the other: a run of each row and seed for
    each.
    """
    figures: Steers[bool] = False
    """Whether the page also shows what the models say of test images, as the paper's figures do. That takes minutes."""
    side_by_side: Steers[Texts] = ()
    """Two rows whose best labels of the same images the figures set side by side, by their names. An empty list takes
    the best row and the next.
    """


class EngineConfig(Section):
    """How work is spread; never part of a recipe."""

    io_workers: Steers[Workers] = 2
    """Worker processes that fetch, of the embedded cluster. With two, one fetches while the other waits for its last
    slow servers.
    """
    compute_workers: Steers[Workers] = 1
    """Worker processes that compute on the CPU, of the embedded cluster. Each GPU has a worker of its own."""
    threads: Steers[Workers | None] = None
    """Threads of torch in each process that computes. null: one a core."""
    wait_for_workers_s: Steers[Seconds] = 60.0
    """Seconds that a run on a cluster of one's own (--scheduler) waits for a worker that is fit, at its start and
    whenever none is left.
    """


class Config(Section):
    """Everything `biam-pipe show config` prints."""

    dataset: SerializeAsAny[DatasetSection]
    download: DownloadConfig = DownloadConfig()
    images: ImagesConfig = ImagesConfig()
    backbone: BackboneConfig = BackboneConfig()
    extract: ExtractConfig = ExtractConfig()
    store: StoreConfig = StoreConfig()
    embed: EmbedConfig = EmbedConfig()
    split: SplitConfig = SplitConfig()
    model: SerializeAsAny[ModelSection] = ModelSection()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    compare: CompareConfig = CompareConfig()
    engine: EngineConfig = EngineConfig()
