"""What the control group of this process grants it (containers, Slurm, systemd): less than the machine has, often."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ControlGroup:
    """The groups of a process, its own and those above it: the lowest limit counts.

    Attributes:
        root: where the system shows groups.
        own: file that names those of the process.
    """

    root: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")

    @property
    def memory_bytes(self) -> int | None:
        """Memory that it may take; None where nothing limits it."""
        texts = (*self._texts("", "memory.max"), *self._texts("memory", "memory.limit_in_bytes"))
        return min((int(text) for text in texts if text.isdecimal()), default=None)

    @property
    def cores(self) -> float | None:
        """Cores' worth of time that it gets; None where nothing limits it."""
        pairs = (text.split() for text in self._texts("", "cpu.max"))
        return min((int(quota) / int(period) for quota, period in pairs if quota.isdecimal()), default=None)

    def _texts(self, controller: str, name: str) -> Iterator[str]:
        """What a file says in each of the groups.

        Args:
            controller: of version 1; empty for version 2, which has one hierarchy for all.
        """
        with suppress(OSError):  # no Linux, or one without control groups
            for line in self.own.read_text().splitlines():
                _, controllers, path = line.split(":", 2)
                if controller not in controllers.split(","):
                    continue
                top = self.root / controller
                group = top / path.lstrip("/")
                for folder in (group, *group.parents[: len(group.parts) - len(top.parts)]):
                    with suppress(OSError):  # a container sees its own group as the top, under the path of its host
                        yield (folder / name).read_text().strip()
