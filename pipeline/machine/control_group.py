"""What the control group of this process grants it (containers, Slurm, systemd): less than the machine has, often."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def memory_limit_bytes() -> int | None:
    """Bytes of memory; None where nothing limits them."""
    texts = (*_texts("", "memory.max"), *_texts("memory", "memory.limit_in_bytes"))
    return min((int(text) for text in texts if text.isdecimal()), default=None)


def core_limit() -> float | None:
    """Cores' worth of time; None where nothing limits it."""
    pairs = (text.split() for text in _texts("", "cpu.max"))
    return min((int(quota) / int(period) for quota, period in pairs if quota.isdecimal()), default=None)


def _texts(controller: str, name: str) -> Iterator[str]:
    """What a file says in the process's group and in those above it.

    Args:
        controller: of version 1; empty for version 2, which has one hierarchy for all.
    """
    with suppress(OSError):  # no Linux, or one without control groups
        for line in _OWN.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller not in controllers.split(","):
                continue
            top = _ROOT / controller
            group = top / path.lstrip("/")
            for folder in (group, *group.parents[: len(group.parts) - len(top.parts)]):
                with suppress(OSError):  # a container sees its own group as the top, under the path of its host
                    yield (folder / name).read_text().strip()
