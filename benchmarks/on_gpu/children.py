"""What needs a process of its own, since it changes what its process has or was never undone."""

import resource
import sys
from pathlib import Path
from types import ModuleType

import torch

from pipeline.backbones.network import Network
from schemas.config import BackboneConfig, ExtractConfig

_FREE_BYTES = {"cuda": 1 << 30, "cpu": 32 << 20}  # what the process may still take


def halving(device: str, name: str, batch: str) -> None:
    """Print the batch to which a network goes down where memory does not hold the one that it was told."""
    config = BackboneConfig(name=name, weights="random:0")
    found = Network(config, ExtractConfig(device=device, batch_images=int(batch)))
    pixels = [torch.zeros((*found.fit.size_px, 3), dtype=torch.uint8).numpy()] * int(batch)
    found.run(pixels[:1])
    if found.device.type == "cuda":
        all_bytes = torch.cuda.mem_get_info()[1]
        held_bytes = torch.cuda.memory_reserved()
        torch.cuda.set_per_process_memory_fraction((held_bytes + _FREE_BYTES["cuda"]) / all_bytes)
    else:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + _FREE_BYTES["cpu"], resource.RLIM_INFINITY))
    found.run(pixels)
    print(found.batch_images)


def main() -> None:
    """Run the function that the command line names."""
    name, *arguments = sys.argv[1:]
    here: ModuleType = sys.modules[__name__]
    getattr(here, name)(*arguments)


if __name__ == "__main__":
    main()
