"""How good scores are. NumPy only, so that nothing here imports torch.

The room's contract: a protocol is a module with `measure(scores, codes, ks) -> Measurement`, which decides which cells,
images and labels count and what a label without positives is worth. `protocols` calls it by name, with the baselines.

Everywhere `scores` is [image, label], float, larger means more likely; `codes` is [image, label], int8, +1 present, -1
absent, 0 unknown. Both are read in blocks and may be memory maps. All sums run in float64.
"""

from pipeline.core.registry import Registry

PROTOCOLS = Registry("protocol", {"nuswide": "pipeline.metrics.nuswide"})
