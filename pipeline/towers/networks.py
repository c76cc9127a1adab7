"""Networks of open_clip with their weights, and vectors of texts. Weights are read without running code from them."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from torch import Tensor, nn
from torch.nn import functional

from pipeline.files.weights_file import WeightsFile, drawn
from pipeline.machine import stopping
from pipeline.machine.telling import counted, tell

if TYPE_CHECKING:
    from jaxtyping import Float32

_TEXTS = 256  # that are encoded at a time
_SCALES = ("logit_scale", "logit_bias")  # of the loss; some files have them as numbers, some as vectors of one


def created(model: str) -> nn.Module:
    """Both towers of a model, with the numbers that they begin with: not all buffers of towers stand in files."""
    config: dict[str, Any] = open_clip.get_model_config(model)
    custom_text = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    config["text_cfg"] |= {"hf_model_pretrained": False} if "hf_model_name" in config["text_cfg"] else {}
    if not custom_text:
        return open_clip.CLIP(**config)
    return (open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP)(**config)


def loaded(model: str, file: WeightsFile) -> nn.Module:
    """Both towers with the weights of a file.

    Raises:
        PipelineError: the file cannot be read, or fits another network.
    """
    found = created(model)
    wanted = {name: tuple(value.shape) for name, value in found.state_dict().items() if name not in _SCALES}
    tensors = _own_names(found, file.read())
    file.require_fit(wanted, tensors)
    found.load_state_dict(tensors, strict=False)  # all but the scales, as was seen above
    return found


def _own_names(found: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file by the names of the network, as open_clip itself loads files of before."""
    tensors = convert_state_dict(found, tensors)
    if "positional_embedding" in tensors and not hasattr(found, "positional_embedding"):
        tensors = convert_to_custom_text_state_dict(tensors)
    return {name: value for name, value in tensors.items() if name not in _SCALES}


@torch.inference_mode()
def text_vectors(
    model: str, weights: int | WeightsFile, texts: Sequence[str], prompts: Sequence[str], device: torch.device
) -> "Float32[Tensor, 'text size']":
    """The l2-normalised mean, over prompts, of the l2-normalised vectors of each text put into the prompt.

    Args:
        weights: a file, or the seed of random ones.
        prompts: each with one `{}`.

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (ICML 2021),
    section 3.1.4; `open_clip.build_zero_shot_classifier`.

    Raises:
        PipelineError: as `loaded`.
    """
    made = drawn(partial(created, model), weights) if isinstance(weights, int) else loaded(model, weights)
    towers: Any = made.eval().to(device)
    config = open_clip.get_model_config(model)["text_cfg"]
    tokenize = open_clip.SimpleTokenizer(
        context_length=config.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
        **config.get("tokenizer_kwargs", {}),
    )

    def vectors(some: Sequence[str]) -> Tensor:
        filled = [prompt.replace("{}", text) for text in some for prompt in prompts]
        found = functional.normalize(towers.encode_text(tokenize(filled).to(device)).float(), dim=-1)
        return functional.normalize(found.unflatten(0, (len(some), -1)).mean(dim=1), dim=-1).cpu()

    return torch.cat([*map(vectors, _portions(texts, max(1, _TEXTS // len(prompts))))])


def _portions(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """A few texts at a time; says how far the task is, and ends it where that was asked for."""
    for start in range(0, len(texts), size):
        stopping.heed(None)
        yield texts[start : start + size]
        done = min(start + size, len(texts))
        tell(done, len(texts), f"encoding {counted(done, len(texts), 'labels')}")
