"""What a model says of itself, and what is taken for granted where it says nothing. Needs no torch."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from schemas.command import Command
from schemas.config import Config, ModelSection, TrainConfig
from schemas.errors import UsageError
from schemas.features import MapSpec
from schemas.figures import SectionName
from schemas.section import is_recipe

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets

# By `dataset.task`: sections of metrics.json.
TASKS: Mapping[str, tuple[SectionName, ...]] = {"zero-shot": ("zsl", "gzsl"), "standard": ("standard",)}
EVERY_TASK = tuple(chain.from_iterable(TASKS.values()))


class Model(Protocol):
    """A model's module. It loads without torch; `build`, `loss`, `optimizer` and `fit` import what they need.

    Attributes:
        SETTINGS: class of section `model` of the settings, with defaults.
        TASKS: which figures it can be asked for: some of `zsl`, `gzsl` and `standard`.
    """

    SETTINGS: ClassVar[type[ModelSection]]
    TASKS: ClassVar[Sequence[str]]

    def needs(self, settings: Any) -> Sequence[str]:
        """The maps it reads, by role (`region`, `global`) or column, in the order in which `forward` takes them."""

    def build(self, settings: Any, sizes: "FeatureSizes") -> "nn.Module":
        """A network with fresh weights, drawn from torch's global random state.

        Its `forward(*maps, words)` takes maps as the store has them, [image, *shape], and words [label, word], and
        gives scores [image, label], float32; larger means more likely. A label's score depends on its own word alone:
        the control with permuted words counts on that. Also called under `torch.device("meta")`, to tell the sizes.
        """


class ModelOptions(Protocol):
    """What a model's module may have, too, and what holds where it has not.

    Attributes:
        PRESETS: settings of the sections `model` and `train` by preset. Without, there are the defaults only.
        EPOCHS: whether it learns step by step. Without, it does; where it is False, `fit` gives all there is to learn.
        RESPONSE_MAPS: whether its network has `response_maps`, with the arguments of `forward`, which gives
            [image, label, height, width]. Without, it has none.
        SHARED_ATTENTIONS: whether its network has `by_attention`, with the arguments of `forward`, which gives [image,
            label, attention]: the score of a label by each of the attentions that all labels share, of which the
            largest is its score. Without, there are none.
        LABEL_FEATURES: whether its network has `label_features`, with the arguments of `forward`, which gives [image,
            label, size]: the vector in an image from which it reads the score of a label. Without, it has none.
        LABEL_WEIGHTS: whether it has weights for each label that it learns; `build` is told how many these are.
            Without, it has none. One whose only task is `standard` scores these labels, in their order, whatever the
            words.
        FITTED: presets in which `fit` computes something. Without, it does in all, where there is one.
        READS_LOSS: whether its own `loss` follows `train.loss`. Without, it does not.
        READS_CODES: whether its `forward` in training takes the codes, int8 [image, label], after the words. Without,
            it does not.
        IN_WORD_SPACE: whether it compares its maps with words as they are, so that both have to be of one tower.
            Without, features and words may come from anywhere.
    """

    PRESETS: Mapping[str, Mapping[str, Any]]
    EPOCHS: bool
    RESPONSE_MAPS: bool
    SHARED_ATTENTIONS: bool
    LABEL_FEATURES: bool
    LABEL_WEIGHTS: bool
    FITTED: Sequence[str]
    READS_LOSS: bool
    READS_CODES: bool
    IN_WORD_SPACE: bool

    def in_vain(self, config: Any) -> Mapping[str, str]:
        """Settings that are not read, given the others, by dotted key: each with the reason. Without, all are read."""

    def require(self, settings: Any, maps: Any) -> None:
        """Raises UsageError where the maps, in the order of `needs`, do not suit. Without, all do."""

    def published_names(self, names: Any) -> Mapping[str, str]:
        """What published files of weights (`train.weights`) call the tensors of the network, by its own names.

        The own names are given, as a list. Without, they are the same.
        """

    def loss(self, output: Any, targets: Any) -> "Tensor":
        """Of what `forward` gives in training, which may be more than scores. Without, the ranking loss of BiAM.

        `targets` is a `pipeline.models.targets.Targets`. The losses of the parts of a batch, each in a process of its
        own, have to add up to that of the batch.
        """

    def optimizer(self, network: Any, train: Any) -> "Optimizer":
        """What changes the weights; its rate is set at each epoch. Without, what `train.optimizer` names."""

    def fit(self, settings: Any, fitting: Any) -> "Fitted":
        """A `pipeline.models.fitting.Fitted`: buffers of the network that are computed once before training.

        They come from what `fitting.Fitting` gives: seen words, training and validation images. Their shapes may be
        others than those with which `build` made them. Without, there are none.
        """


def presets(model: Model) -> Mapping[str, Mapping[str, Any]]:
    """Settings by preset."""
    return getattr(model, "PRESETS", {})


def learns_by_steps(model: Model) -> bool:
    """Whether there are epochs."""
    return getattr(model, "EPOCHS", True)


def has_response_maps(model: Model) -> bool:
    """Whether its network tells where in an image it sees a label."""
    return getattr(model, "RESPONSE_MAPS", False)


def has_shared_attentions(model: Model) -> bool:
    """Whether its labels share attentions, of which each takes the one that suits it best."""
    return getattr(model, "SHARED_ATTENTIONS", False)


def has_label_features(model: Model) -> bool:
    """Whether its network tells from which vector it reads the score of a label."""
    return getattr(model, "LABEL_FEATURES", False)


def has_label_weights(model: Model) -> bool:
    """Whether it has weights for each label that it learns."""
    return getattr(model, "LABEL_WEIGHTS", False)


def is_fitted(model: Model, settings: ModelSection) -> bool:
    """Whether a part of the network is computed before training."""
    return hasattr(model, "fit") and settings.preset in getattr(model, "FITTED", (settings.preset,))


def reads_codes(model: Model) -> bool:
    """Whether its network takes the codes in training."""
    return getattr(model, "READS_CODES", False)


def is_in_word_space(model: Model) -> bool:
    """Whether it compares its maps with words as they are."""
    return getattr(model, "IN_WORD_SPACE", False)


def reads_words(model: Model) -> bool:
    """Whether it scores labels by their words, and so any label; else those that it learnt."""
    return set(model.TASKS) != set(TASKS["standard"])


def in_vain(model: Model, config: Config) -> dict[str, str]:
    """Settings that are not read, given the others: the reason by dotted key."""
    found = dict(model.in_vain(config)) if hasattr(model, "in_vain") else {}
    if config.train.weights is not None:
        unread = (key for key in TrainConfig.model_fields if key != "weights" and is_recipe(config.train, key))
        return found | {f"train.{key}": "which is of training, and train.weights gives the weights" for key in unread}
    if not config.train.full_epochs:
        found["train.full_lr"] = "which is of the epochs on all images, and there are none (train.full_epochs = 0)"
    if not learns_by_steps(model):
        read = {"run", "device", "max_positives", "weights"}
        reason = f"model {config.model.name} has no epochs"
        return found | {f"train.{key}": reason for key in TrainConfig.model_fields if key not in read}
    if hasattr(model, "loss") and not getattr(model, "READS_LOSS", False):
        found |= {"train.loss": f"model {config.model.name} has a loss of its own"}
    if hasattr(model, "optimizer"):
        reason = f"model {config.model.name} has an optimiser of its own"
        return found | dict.fromkeys(("train.optimizer", "train.betas"), reason)
    used = config.train.optimizer
    if not used.startswith("adam"):
        found |= {"train.betas": f"which is of Adam, and train.optimizer is {used!r}"}
    else:
        found |= {"train.momentum": f"which train.optimizer {used!r} has not"}
    return found


def require_task(model: Model, config: Config) -> None:
    """See that the model can do what is asked of it.

    Raises:
        UsageError: it cannot.
    """
    can = [task for task, parts in TASKS.items() if not set(parts).isdisjoint(model.TASKS)]
    if config.dataset.task not in can:
        raise UsageError(
            "setting dataset.task:",
            got=f"{config.dataset.task!r}, which the model {config.model.name} cannot do",
            expected=" or ".join(can),
            hint="Use:",
            run=Command(sets={"dataset.task": can[0]}),
        )


def require(model: Model, settings: ModelSection, maps: Sequence[MapSpec]) -> None:
    """See that the model can read these maps.

    Raises:
        UsageError: it cannot.
    """
    if hasattr(model, "require"):
        model.require(settings, maps)


def published_names(model: Model, names: Sequence[str]) -> Mapping[str, str]:
    """What published files of weights call the tensors of the network, by its own names."""
    if hasattr(model, "published_names"):
        named: Mapping[str, str] = model.published_names(names)
        return named
    return {name: name for name in names}


def loss(model: Model, output: Any, targets: "Targets") -> "Tensor":
    """The loss of a batch, or of one process's part of it."""
    from pipeline.models.shared.ranking import ranking_loss

    if hasattr(model, "loss"):
        own: Tensor = model.loss(output, targets)
        return own
    return ranking_loss(output, targets.codes, targets.train.loss, targets.batch_images)


def optimizer(model: Model, network: "nn.Module", train: TrainConfig) -> "Optimizer":
    """What changes the weights."""
    from pipeline.models.shared import optimizers

    if hasattr(model, "optimizer"):
        own: Optimizer = model.optimizer(network, train)
        return own
    return optimizers.optimizer(network, train)


def fit(model: Model, settings: ModelSection, fitting: "Fitting") -> "Fitted":
    """What is computed before training."""
    from pipeline.models.fitting import Fitted

    if not hasattr(model, "fit") or not is_fitted(model, settings):
        return Fitted()
    fitted: Fitted = model.fit(settings, fitting)
    return fitted


def put(network: "nn.Module", buffers: "Mapping[str, Tensor]") -> None:
    """Put buffers in the places of those of the same names, whatever the shapes of those."""
    for name, value in buffers.items():
        owner, _, own = name.rpartition(".")
        network.get_submodule(owner).register_buffer(own, value)
