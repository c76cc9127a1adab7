"""Settings of BiAM, and which of them count beside which. They need no torch."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from schemas.config import ModelSection
from schemas.errors import UnfitError
from schemas.section import Recipe
from schemas.values import Fraction, Positive, Texts


def _known_blocks(names: tuple[str, ...]) -> tuple[str, ...]:
    """In the order of the model, so that equal models have equal recipes."""
    known = ("rcb", "scb")
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0]!r} is no block, expected some of: {', '.join(known)}")
    return tuple(name for name in known if name in names)


Block = Annotated[Texts, AfterValidator(_known_blocks)]


class BiamConfig(ModelSection):
    """BiAM, the bi-level attention model. Presets fill what is not set."""

    name: Recipe[str] = "biam"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["paper", "released"]] = "released"
    """Whether the model and its training follow the text of the paper (`paper`) or the authors' code (`released`).
    Fills all settings of `model` and `train` that are not set.
    """
    channels: Recipe[Positive] = 256
    """Channels that regions have inside the model, before and after each block."""
    heads: Recipe[Positive] = 8
    """Heads of the attention between regions. They share out `model.channels`, and must divide them."""
    joint_size: Recipe[Positive] = 512
    """Size of the space where regions meet labels, in preset `released`. Preset `paper` uses `model.channels` in its
    place.
    """
    top_k: Recipe[Positive] = 6
    """Regions whose scores are averaged to the score of a label, the best ones; at most as many as the map has."""
    attention_dropout: Recipe[Fraction] = 0.1
    """Fraction, from 0 to 1, of attention weights, and of the attention's output, that is set to zero in training.
    Preset `released` only.
    """
    global_dropout: Recipe[Fraction] = 0.2
    """Fraction, from 0 to 1, of the global feature that is set to zero in training. Preset `released` only."""
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
