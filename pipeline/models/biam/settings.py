"""Settings of BiAM, and which of them count beside which. They need no torch."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.config import ModelSection
from schemas.errors import UnfitError
from schemas.section import Older, Recipe
from schemas.values import Fraction, NotBelowZero, Positive, Texts


def _known_blocks(names: tuple[str, ...]) -> tuple[str, ...]:
    """In the order of the model, so that equal models have equal recipes."""
    known = ("rcb", "scb")
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0]!r} is no block, expected some of: {', '.join(known)}")
    return tuple(name for name in known if name in names)


Block = Annotated[Texts, AfterValidator(_known_blocks)]
Above = Annotated[float, Field(gt=0.0, le=1e6)]

# Settings of preset `tuned` alone.
_OF_TUNED = (
    *("similarity", "temperature", "words", "label_weights", "region_weight", "scene_weight", "scene_units"),
    *("scene_dropout", "hidden_dropout", "teacher_weight", "closed_form_weight", "kernel_weight"),
)


class BiamConfig(ModelSection):
    """BiAM, the bi-level attention model. Presets fill what is not set."""

    name: Recipe[str] = "biam"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["paper", "released", "tuned"]] = "released"
    """Whether the model and its training follow the text of the paper (`paper`), the authors' code (`released`), or
    what did best on other photographs than theirs (`tuned`, ours). Fills all settings of `model` and `train` that are
    not set.
    """
    channels: Recipe[Positive] = 256
    """Channels that regions have inside the model, before and after each block."""
    heads: Recipe[Positive] = 8
    """Heads of the attention between regions. They share out `model.channels`, and must divide them."""
    joint_size: Recipe[Positive] = 512
    """Size of the space where regions meet labels, in preset `released`. Preset `paper` uses `model.channels` in its
    place, and in `tuned` they meet among the words.
    """
    top_k: Recipe[Positive] = 6
    """Regions whose scores are averaged to the score of a label, the best ones; at most as many as the map has."""
    attention_dropout: Recipe[Fraction] = 0.1
    """Fraction, from 0 to 1, of attention weights, and of the attention's output, that is set to zero in training.
    Not in preset `paper`.
    """
    global_dropout: Recipe[Fraction] = 0.2
    """Fraction, from 0 to 1, of the global feature that is set to zero in training, in the block `scb`. Not in
    preset `paper`.
    """
    # What the paper compares itself with; the defaults are BiAM.
    classification: Recipe[Literal["region", "pooled"]] = "region"
    """What meets the labels: each `region`, or the mean of all regions (`pooled`). Source: figure 5 of the paper."""
    blocks: Recipe[Block] = ("rcb", "scb")
    """Blocks that enrich regions: `rcb` by other regions, `scb` by the whole scene. An empty list leaves regions as
    they are. Source: table 3 of the paper.
    """
    region_attention: Recipe[Literal["self", "non-local", "criss-cross"]] = "self"
    """Attention between regions: BiAM's own (`self`), or one that the paper compares it with (`non-local`,
    `criss-cross`). Source: table 4 of the paper.
    """
    region_weighting: Recipe[Literal["softmax", "sigmoid"]] = "softmax"
    """What turns the agreement of two regions into a weight: softmax or sigmoid. Only with `rcb` and `self` attention.
    Source: table 4 of the paper.
    """
    region_norm: Recipe[Literal["none", "layer"]] = "none"
    """Normalisation within the region block: `none`, or LayerNorm (`layer`) over the channels of a region. Only with
    `rcb` and `self` attention. Source: table 4 of the paper.
    """
    scene_weighting: Recipe[Literal["sigmoid", "softmax"]] = "sigmoid"
    """What turns the agreement of a channel with the scene into a weight: sigmoid or softmax. Only with `scb`. Source:
    table 4 of the paper.
    """
    grid_side: Recipe[Positive | None] = None
    """Rows and columns that the region map is averaged to before the model sees it; at most as many as it has. null:
    the map as it is. Source: figure 7 of the paper.
    """

    # Preset `tuned`: scores of regions, of the whole scene and of two closed forms are added up.
    similarity: Annotated[Recipe[Literal["cosine", "product"]], Older()] = "cosine"
    """How a region, or the scene, is compared with a word: by their `cosine`, with which all regions weigh the same in
    their mean, or their `product`. Preset `tuned` only, as all that follows.
    """
    temperature: Annotated[Recipe[Above], Older()] = 0.25
    """What scores are divided by before the softmax of the loss, above 0."""
    words: Annotated[Recipe[Literal["plain", "centred", "whitened"]], Older()] = "whitened"
    """Word vectors as they are (`plain`), less the mean of the seen ones (`centred`), or after that with the directions
    that seen ones have in common weighing less (`whitened`).
    """
    label_weights: Annotated[Recipe[Literal["rare", "equal"]], Older()] = "rare"
    """What the labels of an image weigh in its loss: by 1 / training images that bear them (`rare`), or all the same
    (`equal`).
    """
    region_weight: Annotated[Recipe[Above], Older()] = 1.0
    """Weight of the regions' scores in the sum, above 0; all parts are first divided by their deviation."""
    scene_weight: Annotated[Recipe[NotBelowZero], Older()] = 1.0
    """Weight of the scene's scores, which come from the global feature by one hidden layer. 0: there is none."""
    scene_units: Annotated[Recipe[Positive], Older()] = 512
    """Size of that hidden layer."""
    scene_dropout: Annotated[Recipe[Fraction], Older()] = 0.3
    """Fraction, from 0 to 1, of the global feature that is set to zero in training, before the hidden layer."""
    hidden_dropout: Annotated[Recipe[Fraction], Older()] = 0.5
    """Fraction, from 0 to 1, of the hidden layer that is set to zero in training."""
    teacher_weight: Annotated[Recipe[NotBelowZero], Older()] = 30.0
    """Weight, in the loss, of the mean square by which the scene's scores differ from the closed form's. 0: none."""
    closed_form_weight: Annotated[Recipe[NotBelowZero], Older()] = 1.0
    """Weight of the scores of ridge regression, which chooses its own settings by held-out labels. 0: there are none.
    """
    kernel_weight: Annotated[Recipe[NotBelowZero], Older()] = 0.5
    """Weight of the scores of ridge regression in form `kernel`, which is good where seen labels count. 0: none."""

    @model_validator(mode="after")
    def _heads_share_channels(self) -> Self:
        if "heads" not in self.in_vain() and self.channels % self.heads:
            fits = max(heads for heads in range(1, self.heads) if self.channels % heads == 0)
            raise UnfitError(
                f"settings model.channels and model.heads: {self.channels} channels cannot be shared out among "
                f"{self.heads} heads, expected a number of heads that divides them",
                {"model.heads": fits},
            )
        return self

    def in_vain(self) -> dict[str, str]:
        """Settings that the model does not read, given the others: the reason by key."""
        without = f"model.blocks = {list(self.blocks)}, model.region_attention = {self.region_attention!r}"
        of_rcb = f"which is of RCB, and this model does without ({without})"
        of_scb = f"which is of SCB, and this model does without ({without})"
        unread: dict[str, str] = {}
        if self.preset != "tuned":
            unread |= dict.fromkeys(_OF_TUNED, f"which is of preset 'tuned', and this one is {self.preset!r}")
        elif not self.blocks:
            unread |= {"channels": f"which is of blocks, and this model does without ({without})"}
        if self.preset == "tuned":
            unread |= {"joint_size": "which is of preset 'released', and this one is 'tuned'"}
            unread |= self._without_parts()
        if "rcb" not in self.blocks:
            unread |= {"region_attention": of_rcb}
        if "rcb" not in self.blocks or self.region_attention != "self":
            unread |= dict.fromkeys(("region_weighting", "region_norm", "heads", "attention_dropout"), of_rcb)
        if "scb" not in self.blocks:
            unread |= dict.fromkeys(("scene_weighting", "global_dropout"), of_scb)
        if self.preset == "paper":
            of_released = "which is of preset 'released', and this one is 'paper'"
            unread |= dict.fromkeys(("attention_dropout", "global_dropout", "joint_size"), of_released)
        if self.classification == "pooled":
            unread |= {"top_k": "which is of single regions, and this model pools them (model.classification)"}
        return unread

    def _without_parts(self) -> dict[str, str]:
        """Settings of parts of preset `tuned` that weigh nothing."""
        if self.scene_weight:
            return {}
        of_scene = ("scene_units", "scene_dropout", "hidden_dropout", "teacher_weight")
        return dict.fromkeys(of_scene, "which is of the scene, and that weighs nothing (model.scene_weight = 0)")
