"""How the C library keeps memory that was freed."""

import ctypes
import os
from collections.abc import Mapping

# From malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # bytes; both take an int

_TUNABLES = "GLIBC_TUNABLES"
# Blocks of torch are aligned, and what is cut off to align one is kept apart for its thread, so that the gap which a
# freed block leaves is too small for the next of its size. A training step in float32 held 110 MB in such gaps.
_NOTHING_KEPT_APART = "glibc.malloc.tcache_count=0"


def compact() -> Mapping[str, str]:
    """Environment of a process whose freed blocks are to be used again; glibc reads it when the process starts.

    A training step in float32 peaks at 280 to 325 MB and not at 330 to 370, and takes as long. What the user set stays.
    """
    return {} if _TUNABLES in os.environ else {_TUNABLES: _NOTHING_KEPT_APART}


def keep_freed_memory() -> None:
    """Let this process keep memory that it freed, up to what it once held, and use it again; glibc only.

    The C library returns large blocks to the system, and each new one costs a page fault every 4 kB and a round of
    zeroing. In VGG-19 on 2 cores that was a third of the time in bfloat16 (28.6 images/s, and 44.4 without) and a
    seventh in float32. Blocks above 64 MB are kept for threads of the main arena only: see MALLOC_ARENA_MAX in
    `engine.cluster.embedded`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            mallopt(parameter, _LARGEST)
