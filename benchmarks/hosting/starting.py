"""How much longer does the embedded cluster take to start with keys than over plain tcp?

    python -m benchmarks.hosting.starting [--pairs 7]

Each start is a process of its own that opens the cluster, lets each worker do nothing once, and closes it. The plain
one is the same cluster without keys, which the product itself does not offer. Exit code 1 above 0.7 s.
"""

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any

from pipeline.engine.cluster import embedded
from schemas.config import EngineConfig

_MOST_S = 0.7


def open_once(plain: bool) -> None:
    """Open a cluster with workers of both kinds and print how long that took."""
    began = time.perf_counter()
    if plain:
        layout = embedded._layout

        def without_keys(*given: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
            scheduler, workers = layout(*given)
            for one in (scheduler, *workers.values()):
                one["options"]["protocol"] = "tcp://"
            return scheduler, workers

        embedded.run_keys, embedded._layout = lambda: None, without_keys  # type: ignore[assignment,return-value]
    with embedded.embedded(EngineConfig(io_workers=2, compute_workers=2), ("io", "compute")) as client:
        client.run(int)
        print(time.perf_counter() - began)


def main() -> int:
    """Start in alternating pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--once", choices=("keys", "plain"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        open_once(given.once == "plain")
        return 0
    taken: dict[str, list[float]] = {"keys": [], "plain": []}
    for _ in range(given.pairs):
        for kind, seconds in taken.items():
            command = [sys.executable, "-m", "benchmarks.hosting.starting", "--once", kind]
            seconds.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    more = statistics.median(keys - plain for keys, plain in zip(taken["keys"], taken["plain"], strict=True))
    for kind, seconds in taken.items():
        print(f"{kind}: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
    print(f"with keys {more:+.2f} s, median of {given.pairs} pairs (at most {_MOST_S} s)")
    return int(more > _MOST_S)


if __name__ == "__main__":
    sys.exit(main())
