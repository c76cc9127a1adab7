"""How rankings are computed: over how many threads, and what sorts long rows."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

Item = TypeVar("Item")
Result = TypeVar("Result")


def sorted_rows(rows: Float32[np.ndarray, "row cell"]) -> Float32[np.ndarray, "row cell"]:
    """Each row ascending, by NumPy."""
    return np.sort(rows, axis=1)


@dataclass(frozen=True)
class Computing:
    """What does the work. None of it changes a figure.

    Attributes:
        threads: items at a time, all cores where None; NumPy sorts and gathers without Python's lock.
        sort: gives each row ascending; a device may do it.
    """

    threads: int | None = None
    sort: Callable[[Float32[np.ndarray, "row cell"]], Float32[np.ndarray, "row cell"]] = sorted_rows

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Results of a function in the order of the items."""
        with ThreadPoolExecutor(self.threads or os.cpu_count() or 1) as threads:
            return list(threads.map(function, items))
