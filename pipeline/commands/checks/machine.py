"""What this machine has: devices, versions of libraries, memory, cores, limits, proxies."""

import os
import re
import resource
import urllib.request
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from platform import python_version
from urllib.parse import urlsplit

from pipeline.commands.checks.finding import Finding, Verdict
from pipeline.engine.cluster.embedded import require_semaphores
from pipeline.files.scratch import importing_aside
from pipeline.machine.control_group import ControlGroup
from pipeline.machine.device import cores, first_line, resolve_device
from schemas.config import Config
from schemas.readable import size_text

_DISTRIBUTION = "biam-pipe"
_REQUIREMENT = re.compile(r"([\w.-]+?)\s*>=\s*([\d.]+)")
_TOLD = ("torch", "torchvision")
_DRIVER = Path("/dev/nvidia0")
_LITTLE_MEMORY_BYTES = 4e9  # VGG-19 in float32 takes 1.5 GB beside three processes of 0.3 GB
_FILES = 1024  # what systems usually grant; connections, shards and three processes stay below 500


def devices(config: Config) -> Iterator[Finding]:
    """What torch computes on, for each device that the settings name.

    Raises:
        UsageError: a device is not here.
    """
    try:
        with importing_aside():
            import torch
            import torchvision  # noqa: F401 - a build that does not fit torch's fails here
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        told = f"torch cannot be imported: {first_line(error)}"
        yield Finding("device", Verdict.FAULT, told, "Install builds of torch and torchvision that fit each other")
        return
    if _DRIVER.exists() and not torch.cuda.is_available():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        told = f"torch {torch.__version__} sees no GPU, though {_DRIVER} is here"
        told += "" if hidden is None else f" (CUDA_VISIBLE_DEVICES={hidden!r})"
        remedy = "Install a build of torch for CUDA and a driver that fits it, or go on without"
        yield Finding("device", Verdict.WARNING, told, remedy)
    named: dict[str, list[str]] = {}
    for section in ("extract", "train", "evaluate"):
        named.setdefault(getattr(config, section).device, []).append(section)
    for name, sections in named.items():
        device = resolve_device(name, f"{sections[0]}.device")
        what = f"{', '.join(sections)}: {name}{'' if name == str(device) else f', which is {device}'}"
        try:
            torch.ones(1, device=device).add(1).cpu()
        except RuntimeError as error:
            told = f"{what}, which computes nothing: {first_line(error)}"
            yield Finding("device", Verdict.FAULT, told, "See nvidia-smi, or set the device to cpu")
            continue
        if device.type == "cuda":
            free_bytes, all_bytes = torch.cuda.mem_get_info(device)
            what += f", {torch.cuda.get_device_name(device)}, {size_text(free_bytes)} of {size_text(all_bytes)} free"
        yield Finding("device", Verdict.OK, what)


def versions() -> Iterator[Finding]:
    """The libraries beside what they are required to be."""
    try:
        wanted = [text for text in requires(_DISTRIBUTION) or () if "extra ==" not in text]
    except PackageNotFoundError:
        told = f"not known: {_DISTRIBUTION} runs from a folder and is not installed"
        yield Finding("libraries", Verdict.WARNING, told, "Install it: pip install .")
        return
    wrong = []
    for text in wanted:
        if (match := _REQUIREMENT.match(text)) is None:
            continue
        name, lowest = match.groups()
        found = _version(name)
        if found is None or _numbers(found) < _numbers(lowest):
            wrong.append((f"{name} {found or 'is missing'}, expected {lowest} at least", f"'{name}>={lowest}'"))
    if wrong:
        told, named = ("; ".join(texts) for texts in zip(*wrong, strict=True))
        yield Finding("libraries", Verdict.FAULT, told, f"pip install {named.replace('; ', ' ')}")
        return
    shown = ", ".join(f"{name} {_version(name)}" for name in (_DISTRIBUTION, *_TOLD))
    yield Finding("libraries", Verdict.OK, f"Python {python_version()}, {shown}; all {len(wanted)} as required")


def memory_and_cores() -> Iterator[Finding]:
    """What is left of the memory, and how many cores there are."""
    import psutil

    seen, granted = psutil.virtual_memory(), ControlGroup()
    size_bytes = min(seen.total, granted.memory_bytes or seen.total)
    free_bytes = min(seen.available, size_bytes)
    told = f"{size_text(free_bytes)} of {size_text(size_bytes)} free"
    told += "" if size_bytes == seen.total else f", which a control group grants of {size_text(seen.total)}"
    if free_bytes < _LITTLE_MEMORY_BYTES:
        remedy = "End other programs, or set engine.compute_workers and extract.batch_images to small numbers"
        yield Finding("memory", Verdict.WARNING, told, remedy)
    else:
        yield Finding("memory", Verdict.OK, told)
    if granted.cores is not None and granted.cores < cores():
        told = f"{cores()}, of which a control group grants the time of {granted.cores:g}"
        yield Finding("cores", Verdict.WARNING, told, f"Set engine.threads to {max(1, int(granted.cores))}")
    else:
        yield Finding("cores", Verdict.OK, str(cores()))


def limits() -> Iterator[Finding]:
    """Open files, and what processes share.

    Raises:
        PipelineError: processes can have no semaphores.
    """
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < _FILES:
        more = "" if most == resource.RLIM_INFINITY or most >= _FILES else f" (at most {most} for this user)"
        yield Finding("open files", Verdict.WARNING, f"at most {files}{more}", f"Allow more: ulimit -n {_FILES}")
    else:
        yield Finding("open files", Verdict.OK, "unlimited" if files == resource.RLIM_INFINITY else f"at most {files}")
    require_semaphores()
    yield Finding("semaphores", Verdict.OK, "processes can have them")


def proxies() -> Iterator[Finding]:
    """The proxies of the environment, without names and passwords."""
    for scheme, address in sorted(urllib.request.getproxies().items()):
        split = urlsplit(address if "//" in address else f"//{address}")
        shown = address if scheme == "no" else f"{split.scheme or scheme}://{split.netloc.rpartition('@')[2]}"
        yield Finding("proxy", Verdict.OK, f"{scheme}: {shown}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of a version, without what a build adds behind +."""
    return tuple(map(int, re.findall(r"\d+", text.partition("+")[0])))
