"""Weights under the names that the released code of BiAM gives them: to compare with it, to load its files."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from schemas.command import Command
from schemas.errors import UsageError

# ours -> the released one's
_PREFIXES = {
    "stem.conv": "conv_3X3.body",
    "stem.norm": "conv_3X3.bn",
    "region_context.query": "region_context_block.w_q",
    "region_context.key": "region_context_block.w_k",
    "region_context.value": "region_context_block.w_v",
    "region_context.output": "region_context_block.w_o",
    "region_context.widen": "region_context_block.sub_network.conv1",
    "region_context.narrow": "region_context_block.sub_network.conv2",
    "scene_context.key": "scene_context_block.w_g",
    "scene_context.shared.conv": "scene_context_block.channel_conv.body",
    "scene_context.refine.conv": "scene_context_block.gcff.body",
    "scene_context.refine.norm": "scene_context_block.gcff.bn",
    "fusion.conv": "conv_1X1.body",
    "label_projection": "W",
}


def released_names(names: Iterable[str]) -> dict[str, str]:
    """What the released code calls the tensors of a BiAM, by our own names, which are given.

    Raises:
        UsageError: the model has a part that the released code does not know.
    """
    return {name: _released_key(name) for name in names}


def released_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a BiAM under the released names, shapes unchanged.

    Preset `released` has all of them, preset `paper` a part.

    Raises:
        UsageError: the model has a part that the released code does not know.
    """
    state = model.state_dict()
    return {released: state[own] for own, released in released_names(state).items()}


def load_released_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put weights that carry the released names into a BiAM.

    Raises:
        UsageError: names or shapes are not those of the model.
    """
    theirs = released_names(model.state_dict())
    expected = {key: tuple(value.shape) for key, value in released_state(model).items()}
    actual = {key: tuple(value.shape) for key, value in state.items()}
    differing = sorted(key for key in expected.keys() | actual.keys() if expected.get(key) != actual.get(key))
    if differing:
        key = differing[0]
        raise UsageError(
            f"released weights do not fit the model in {len(differing)} of {len(expected)} tensors, first {key}:",
            found=str(actual.get(key, "none")),
            expected=str(expected.get(key, "none")),
            hint="Compare model.preset, model.channels and the backbone with those of the weights. Run:",
            run=Command("show", ("config",)),
        )
    model.load_state_dict({own: state[released] for own, released in theirs.items()})


def _released_key(key: str) -> str:
    prefix, _, name = key.rpartition(".")
    if prefix not in _PREFIXES:
        raise UsageError(
            f"the released code of BiAM has no part {prefix!r}",
            expected=f"some of: {', '.join(_PREFIXES)}",
            hint="Its weights are those of model.region_attention = 'self' and model.region_norm = 'none'",
        )
    return f"{_PREFIXES[prefix]}.{name}"
