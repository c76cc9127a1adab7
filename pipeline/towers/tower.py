"""A tower of open_clip by its name, and what open_clip says of it. Needs no torch but for tags of published weights.

What is read of open_clip without importing it, which would take torch and seconds, are its tables of models, the
vocabulary of its tokenizer and its prompts.
"""

import json
import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.engine.fingerprint import fingerprint
from pipeline.files.storage import sha256_once
from pipeline.net.hub import HubFile
from schemas.errors import UsageError
from schemas.fit import Interpolation
from schemas.random_weights import RANDOM, is_random, seed_of

FAMILY = "open_clip"
ENSEMBLE = ("ensemble",)

_NEAR = 5
_FILES = (".safetensors", ".bin", ".pt", ".pth")
_USUAL_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class Tower:
    """What a setting names.

    Attributes:
        setting: dotted key, for error texts.
        model: as open_clip calls the architecture.
        weights: a tag of published weights, `random:SEED`, or the path of a file; empty where the name has none.
    """

    setting: str
    model: str
    weights: str

    @classmethod
    def named(cls, setting: str, name: str) -> "Tower":
        """The tower of `open_clip:MODEL:WEIGHTS`.

        Raises:
            UsageError: open_clip is not installed, or has no such model.
        """
        _, _, rest = name.partition(":")
        model, _, weights = rest.partition(":")
        if model not in models():
            near = get_close_matches(model, models(), n=_NEAR, cutoff=0.0)
            raise UsageError(
                f"{setting} = {name!r}: open_clip has no model {model!r}", hint=f"Nearest: {', '.join(near)}"
            )
        return cls(setting, model, weights)

    @property
    def seed(self) -> int | None:
        """Of random weights; None where they are no random ones.

        Raises:
            UsageError: it is no number.
        """
        try:
            return seed_of(self.weights)
        except ValueError as error:
            raise UsageError(f"{self.setting} = {FAMILY}:{self.model}:{self.weights}:", expected=str(error)) from None

    @property
    def path(self) -> str | None:
        """Of the file of weights; None where they are random, or named by a tag."""
        if is_random(self.weights) or not self.weights:
            return None
        named = "/" in self.weights or self.weights.endswith(_FILES) or Path(self.weights).is_file()
        return self.weights if named else None

    @property
    def size(self) -> int:
        """Elements of its vectors."""
        return int(self.config["embed_dim"])

    @property
    def config(self) -> Mapping[str, Any]:
        """What open_clip says of the architecture."""
        return model_config(self.model)

    @property
    def published(self) -> "Pretrained":
        """What open_clip says of the weights of this tag. It is imported for that, with torch.

        Raises:
            UsageError: it knows no such tag of the model, or it goes with another model.
        """
        import open_clip

        if not (found := open_clip.get_pretrained_cfg(self.model, self.weights)):
            known = open_clip.list_pretrained_tags_by_model(self.model)
            near = ", ".join(f"{FAMILY}:{self.model}:{tag}" for tag in known) or f"none, so a file or {RANDOM}SEED"
            raise UsageError(
                f"{self.setting}: open_clip knows no weights {self.weights!r} of {self.model}", hint=f"Known: {near}"
            )
        # The weights fit both models, and give other numbers: open_clip itself only warns.
        if found.get("quick_gelu", False) != self.config.get("quick_gelu", False):
            plain = self.model.removesuffix("-quickgelu")
            other = plain if plain != self.model else f"{plain}-quickgelu"
            raise UsageError(
                f"{self.setting}: {self.weights} are weights for another activation than {self.model} has",
                hint=f"Use {FAMILY}:{other}:{self.weights}",
            )
        repository, _, file = found["hf_hub"].rpartition("/")
        return Pretrained(
            HubFile(repository, (file,) if file else _USUAL_FILES),
            tuple(found["mean"]),
            tuple(found["std"]),
            found["interpolation"],
        )

    def require_text(self) -> None:
        """See that its texts can be encoded.

        Raises:
            UsageError: its tokenizer is not open_clip's own; those of other libraries fetch their files themselves.
        """
        text = self.config["text_cfg"]
        if {"hf_tokenizer_name", "hf_model_name"} & text.keys() or "siglip" in self.model.lower():
            raise UsageError(
                f"{self.setting}: the text tower of {self.model} has a tokenizer of the library transformers",
                expected=f"a model with open_clip's own, such as {FAMILY}:ViT-B-32:laion2b_s34b_b79k",
            )


@dataclass(frozen=True)
class Pretrained:
    """Published weights, and the pixels that they were trained on.

    Attributes:
        file: of the weights.
        mean: of pixels from 0 to 1, per channel, as std.
        interpolation: by which images were resized.
    """

    file: HubFile
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation


def is_tower(name: str) -> bool:
    """Whether a setting names a tower."""
    return name.startswith(f"{FAMILY}:")


def random_sha256(model: str, seed: int) -> str:
    """What stands for the file that random weights do not have."""
    return fingerprint([FAMILY, model, RANDOM, seed])


@lru_cache
def model_config(model: str) -> Mapping[str, Any]:
    """What open_clip says of an architecture."""
    found: Mapping[str, Any] = json.loads((_folder() / "model_configs" / f"{model}.json").read_text())
    return found


def tokenizer_sha256() -> str:
    """Hash of the vocabulary of open_clip's own tokenizer."""
    return sha256_once(_folder() / "bpe_simple_vocab_16e6.txt.gz")


@lru_cache
def prompts(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The templates of a setting, written out, each with one `{}` for the name of a label."""
    if chosen != ENSEMBLE:
        return chosen
    templates = runpy.run_path(str(_folder() / "zero_shot_metadata.py"))["OPENAI_IMAGENET_TEMPLATES"]
    return tuple(template("{}") for template in templates)


@lru_cache
def models() -> tuple[str, ...]:
    """Names of open_clip's architectures.

    Raises:
        UsageError: it is not installed.
    """
    return tuple(sorted(path.stem for path in (_folder() / "model_configs").glob("*.json")))


def _folder() -> Path:
    """Where open_clip is installed.

    Raises:
        UsageError: it is not.
    """
    found = find_spec(FAMILY)
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            "open_clip is not installed, which towers come from", hint="Run: pip install 'biam-pipe[open_clip]'"
        )
    return Path(found.submodule_search_locations[0])
