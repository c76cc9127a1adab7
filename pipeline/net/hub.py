"""Files of the Hugging Face hub: where huggingface_hub keeps those that it has fetched. Nothing there is changed."""

import os
import re
from pathlib import Path

from pipeline.machine.environment import home

_ADDRESS = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/([\w.-]+)")


def hub_address(repository: str, name: str, revision: str = "main") -> str:
    """Web address of a file of a repository."""
    return f"https://huggingface.co/{repository}/resolve/{revision}/{name}"


def hub_name(address: str) -> str | None:
    """Name of a file of the hub in a folder of many such files; None of another address."""
    found = _ADDRESS.fullmatch(address)
    return None if found is None else f"{found[1].replace('/', '--')}--{found[3]}"


def hub_copy(address: str) -> Path | None:
    """The file at an address of the hub as huggingface_hub keeps it; None where it keeps none, or of another address.

    Source: huggingface_hub, "Understand caching": `models--<owner>--<name>/snapshots/<commit>/<file>`, and the commit
    that a revision stands for in `refs/<revision>`.
    """
    found, folder = _ADDRESS.fullmatch(address), _cache()
    if found is None or folder is None:
        return None
    kept = folder / f"models--{found[1].replace('/', '--')}"
    try:
        commit = (kept / "refs" / found[2]).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    path = kept / "snapshots" / commit / found[3]
    return path if path.is_file() else None


def _cache() -> Path | None:
    """Folder of the cache; None where this user has no home and names none."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    if chosen := os.environ.get("HF_HOME"):
        return Path(chosen).expanduser() / "hub"
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen).expanduser() / "huggingface" / "hub"
    own = home()
    return None if own is None else own / ".cache" / "huggingface" / "hub"
