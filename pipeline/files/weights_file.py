"""Weights of a network: out of a file, without running code from it, or drawn from a seed.

Of a file that cannot be used it says what it is instead.
"""

import pickle
import re
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile, is_zipfile

from pipeline.files.damages import DAMAGES
from schemas.command import Command
from schemas.errors import PipelineError

if TYPE_CHECKING:
    from torch import Tensor, nn

Module = TypeVar("Module", bound="nn.Module")

_EXPECTED = "tensors by name, as torch.save(network.state_dict(), PATH) or safetensors writes them"
_HEAD_BYTES = 16
_POINTER = b"version https://"  # what Git LFS leaves in place of a file that it did not fetch
# What torch says of a pickle that asks for something else than tensors.
_GLOBAL = re.compile(r"GLOBAL (\S+) (was not|whose module)")

# What checkpoints keep their networks under, the best first, and what those wrap theirs in.
_SELF_SUPERVISED = ("teacher", "student")
_NETWORKS = (*_SELF_SUPERVISED, "state_dict_ema", "model_ema", "state_dict", "model")
_PARALLEL = ("_orig_mod.", "module.")
_WRAPPERS = (*_PARALLEL, "backbone.")
_HEADS = ("head.",)  # of self-supervised training alone

Shape = Sequence[int | None]


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, as a setting names it.

    Attributes:
        path: of the file.
        setting: that names it.
        stage: whose command reads it.
        network: that gets the weights, for error texts: "backbone 'vgg19'".
        spelling: of a path in that setting.
    """

    path: Path
    setting: str
    stage: str
    network: str
    spelling: str = "PATH"

    def refused(self, got: str, expected: str) -> PipelineError:
        """The error for a file that gives the network no weights."""
        again = Command(self.stage, sets={self.setting: self.spelling})
        return PipelineError(f"{self.setting} = {self.path}:", got=got, expected=expected, run=again)

    def read(self) -> "dict[str, Tensor]":
        """The tensors of a network, by the names that the network itself uses.

        Raises:
            PipelineError: the file cannot be read, or holds something else.
        """
        import torch

        if not self.path.stat().st_size:
            raise self.refused("an empty file", _EXPECTED)
        found = _unwrapped(self._safetensors() if self.path.suffix == ".safetensors" else self._torch_file())
        if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
            held = ", ".join(map(str, [*found][:3])) if isinstance(found, dict) else f"a {type(found).__name__}"
            raise self.refused(held, f"tensors by name, at the top level or under {' or '.join(_NETWORKS)}")
        if not found:
            raise self.refused("a file without tensors", f"those of {self.network}")
        return found

    def require_fit(self, wanted: Mapping[str, Shape], found: "Mapping[str, Tensor]") -> None:
        """See that the tensors are those of the network.

        Args:
            wanted: their shapes, by name; None for a length that is not known yet.
            found: what the file holds.

        Raises:
            PipelineError: one is missing, unexpected or of another shape.
        """
        expected = f"the {len(wanted)} tensors of {self.network}"
        for key, shape in wanted.items():
            if key not in found:
                held = f"{len(found)} tensors ({', '.join([*found][:2])} ...) without {key!r}"
                raise self.refused(held, expected)
            own = tuple(found[key].shape)
            if len(own) != len(shape) or any(
                length not in (None, other) for length, other in zip(shape, own, strict=True)
            ):
                raise self.refused(f"{key!r} of shape {own}", f"{tuple(shape)} as in {self.network}")
        for key in found:
            if key not in wanted:
                raise self.refused(f"{len(found)} tensors, {key!r} among them", expected)

    def _safetensors(self) -> Any:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.path)
        except (*DAMAGES, SafetensorError) as error:
            if _is_zip(self.path):
                raise self.refused("a zip archive, as torch.save writes it", "a name that ends with .pth") from error
            if _head(self.path).startswith(_POINTER):
                raise self.refused(_kind(self.path, error), _EXPECTED) from error
            raise self.refused(f"no .safetensors file, or a damaged one ({str(error).strip()})", _EXPECTED) from error

    def _torch_file(self) -> Any:
        import torch

        try:
            # DINO keeps its arguments in a Namespace beside the networks; torch warns of pickles that it then refuses.
            with torch.serialization.safe_globals([Namespace]), warnings.catch_warnings(action="ignore"):
                return torch.load(self.path, map_location="cpu", weights_only=True, mmap=_is_zip(self.path))
        except (*DAMAGES, pickle.UnpicklingError) as error:
            raise self.refused(_kind(self.path, error), f"{_EXPECTED}; no code is run from such a file") from error


def drawn(create: "Callable[[], Module]", seed: int) -> "Module":
    """A network with torch's own random initialisation by this seed; other random numbers stay what they would be."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return create()


def widened(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The tensors, those of floats in float32."""
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _is_zip(path: Path) -> bool:
    """Whether a file is a zip archive with its end."""
    try:
        return is_zipfile(path)
    except BadZipFile:  # of several parts, as damaged ones may look
        return False


def _kind(path: Path, error: Exception) -> str:
    """What a file is that torch does not read as tensors. Torch's own words advise to read it unsafely."""
    if (asked := _GLOBAL.search(str(error))) is not None:
        hint = " (a whole network, not its tensors?)" if "." in asked[1] and asked[2] == "was not" else ""
        return f"a pickle that asks for {asked[1]}, which may run code{hint}"
    if "TorchScript" in str(error):
        return "a network with its code, as torch.jit.save writes it"
    head = _head(path)
    if head.startswith(_POINTER):
        return "a pointer of Git LFS, not the file itself"
    if head[8:10] == b'{"':
        return "a file of safetensors under another name than .safetensors"
    if head.startswith(b"PK"):
        return "another zip archive" if _is_zip(path) else "a zip archive without its end: cut off or damaged"
    if head.startswith(b"\x80"):
        return "a pickle that is cut off, damaged or not of tensors"
    return f"a file that starts with {head!r}"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _unwrapped(found: Any) -> Any:
    """The network's tensors out of a whole checkpoint, by the names that the network itself uses."""
    if not isinstance(found, dict):
        return found
    name = next((name for name in _NETWORKS if isinstance(found.get(name), dict)), None)
    if name is None and not all(str(key).startswith(_PARALLEL) for key in found):
        return found
    named = {}
    for key, value in (found if name is None else found[name]).items():
        for wrapper in _WRAPPERS:
            key = str(key).removeprefix(wrapper)  # noqa: PLW2901 - one wrapper after the other
        if not (name in _SELF_SUPERVISED and key.startswith(_HEADS)):
            named[key] = value
    return named
