"""Changed files and answers of every kind that comes from outside: each has to mean something, or a named outcome.

    python -m benchmarks.fuzz                        all kinds, with the examples that each has by default
    python -m benchmarks.fuzz --examples 300         so many of each kind
    python -m benchmarks.fuzz --only images tar      these kinds

Hypothesis changes sound files, and some that were made to do harm: bytes and spans are replaced, put in, doubled, cut
out, and files cut off. It draws the same changes each time, and makes a failing one small. Each kind has a process of
its own. Printed are the outcomes by kind, the slowest case and the most memory of the process. Exit code 1 where
something came out that has no name, took too long or too much.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fuzzed.answers import client_kinds
from benchmarks.fuzzed.changes import Kind, Told, fuzz
from benchmarks.fuzzed.files import file_kinds
from benchmarks.measured import cpu


@contextmanager
def kinds(folder: Path) -> Iterator[Mapping[str, Callable[[], Kind]]]:
    """All kinds by name, each made when it is asked for, with a server that plays answers.

    Args:
        folder: for files, empty.
    """
    with client_kinds(folder) as of_clients:
        yield file_kinds(folder) | _tensor_kinds(folder) | of_clients


def _tensor_kinds(folder: Path) -> dict[str, Callable[[], Kind]]:
    def made(function: str) -> Kind:
        from benchmarks.fuzzed import tensors  # half a GB

        kind: Kind = getattr(tensors, function)(folder)
        return kind

    return {
        "safetensors, models": lambda: made("models"),
        "safetensors, weights": lambda: made("weights"),
        "torch, weights": lambda: made("torch_weights"),
        "hdf5": lambda: made("hdf5"),
    }


def _fuzzed(name: str, examples: int | None) -> Told:
    with tempfile.TemporaryDirectory() as folder, kinds(Path(folder)) as known:
        return fuzz(known[name](), examples)


def main() -> None:
    """Change files and answers of each kind and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, help="of each kind")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="kinds, by the start of their names")
    arguments = parser.parse_args()
    print(cpu(), flush=True)
    with tempfile.TemporaryDirectory() as folder, kinds(Path(folder)) as known:
        names = [name for name in known if arguments.only is None or name.startswith(tuple(arguments.only))]
    faulty = False
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as processes:
        for name in names:
            told = processes.submit(_fuzzed, name, arguments.examples).result()
            print(f"{name}, {told}", flush=True)
            faulty = faulty or bool(told.faults)
    sys.exit(faulty)


if __name__ == "__main__":
    main()
