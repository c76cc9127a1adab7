"""Reads a file of weights without running code from it, and says of one that cannot be used what it is instead."""

import pickle
import re
import warnings
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, is_zipfile

from pipeline.files.damages import DAMAGES
from schemas.command import Command
from schemas.errors import PipelineError

if TYPE_CHECKING:
    from torch import Tensor

SETTING = "backbone.weights"

_EXPECTED = "tensors by name, as torch.save(network.state_dict(), PATH) or safetensors writes them"
_HEAD_BYTES = 16
_GLOBAL = re.compile(r"GLOBAL (\S+) was not")  # what torch says of a pickle that asks for something else than tensors

# What a checkpoint of self-supervised training keeps its networks under, the best first, and what those wrap theirs in.
_NETWORKS = ("teacher", "student", "state_dict")
_WRAPPERS = ("module.", "backbone.")
_HEADS = ("head.",)  # of the training alone


def refused(path: str | Path, got: str, expected: str) -> PipelineError:
    """The error for a file that gives a backbone no weights."""
    return PipelineError(
        f"{SETTING} = {path}:", got=got, expected=expected, run=Command("extract", sets={SETTING: "PATH"})
    )


def read(path: Path) -> "dict[str, Tensor]":
    """The tensors of a network, by the names that the network itself uses.

    Raises:
        PipelineError: the file cannot be read, or holds something else.
    """
    import torch

    if not path.stat().st_size:
        raise refused(path, "an empty file", _EXPECTED)
    found = _unwrapped(_safetensors(path) if path.suffix == ".safetensors" else _torch_file(path))
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        held = ", ".join(map(str, [*found][:3])) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise refused(path, held, f"tensors by name, at the top level or under {' or '.join(_NETWORKS)}")
    return found


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (*DAMAGES, SafetensorError) as error:
        if _is_zip(path):
            raise refused(path, "a zip archive, as torch.save writes it", "a name that ends with .pth") from error
        raise refused(path, f"no .safetensors file, or a damaged one ({str(error).strip()})", _EXPECTED) from error


def _torch_file(path: Path) -> Any:
    import torch

    try:
        # DINO keeps its arguments in a Namespace beside the networks; torch warns of pickles that it then refuses.
        with torch.serialization.safe_globals([Namespace]), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except (*DAMAGES, pickle.UnpicklingError) as error:
        raise refused(path, _kind(path, error), f"{_EXPECTED}; no code is run from such a file") from error


def _is_zip(path: Path) -> bool:
    """Whether a file is a zip archive with its end."""
    try:
        return is_zipfile(path)
    except BadZipFile:  # of several parts, as damaged ones may look
        return False


def _kind(path: Path, error: Exception) -> str:
    """What a file is that torch does not read as tensors. Torch's own words advise to read it unsafely."""
    if (asked := _GLOBAL.search(str(error))) is not None:
        hint = " (a whole network, not its tensors?)" if "." in asked[1] else ""
        return f"a pickle that asks for {asked[1]}, which may run code{hint}"
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"PK"):
        return "another zip archive" if _is_zip(path) else "a zip archive without its end: cut off or damaged"
    if head.startswith(b"\x80"):
        return "a pickle that is cut off, damaged or not of tensors"
    return f"a file that starts with {head!r}"


def _unwrapped(found: Any) -> Any:
    """The network's tensors out of a whole checkpoint, by the names that the network itself uses."""
    name = next((name for name in _NETWORKS if isinstance(found, dict) and isinstance(found.get(name), dict)), None)
    if name is None:
        return found
    named = {}
    for key, value in found[name].items():
        for wrapper in _WRAPPERS:
            key = key.removeprefix(wrapper)  # noqa: PLW2901 - one wrapper after the other
        if not key.startswith(_HEADS):
            named[key] = value
    return named
