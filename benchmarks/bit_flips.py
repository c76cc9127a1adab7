"""Damage every kind of file of a finished work folder, and see whether what reads it goes on as if nothing was.

    python -m benchmarks.bit_flips                              all kinds, 30 random bits each and the aimed ones
    python -m benchmarks.bit_flips --kinds index,metrics --flips 5

For each damage a copy of the folder for every command that reads the file (as the file system tells: its access times
are looked at once), with what that command makes removed before, so that it has to read. What comes out of it:

    refused       exit code 4 (of a file from outside also 1), and the text names the file; where no hash covers it
                  (a bit in the mark of the hash), it is enough that `verify` names it as one that none can check
    anew          what was damaged is made anew, now or by the command that the text or `plan` names, equal to before
    equal         it makes no difference to files and text
    SILENT        exit code 0, and something is another than without the damage
    UNEXPECTED    anything else: an error nobody thought of, another exit code, no end
    STALE         once the damage is mended, running the command again does not lead to what it leads to undisturbed

Times, train.log, TensorBoard's events and the text of the lock are not compared; of files that a receipt covers,
`verify` has to find every damage. A file from outside (word vectors) may change what is made, but not for longer than
it is changed itself. Commands are those of `benchmarks.flips.warm`; `--plain` runs each as a user does, which takes
ten times as long. Exit code 1 if something is silent, unexpected or stale.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from benchmarks.flips.actions import ACTIONS, Action
from benchmarks.flips.attempt import OUTCOMES, Trial, Verdict, attempt
from benchmarks.flips.bench import Bench, Undisturbed
from benchmarks.flips.damage import Damage, aimed, random_flips
from benchmarks.flips.kinds import KINDS, Kind
from benchmarks.flips.warm import Plain, Runner, warm_runners
from benchmarks.measured import cpu

_HANGS_S = 120.0


HEAD = f"{'':<18}{'damages':>8}{'commands':>9}" + "".join(f"{name:>11}" for name in OUTCOMES)


def row(kind: str, verdicts: Sequence[Verdict]) -> str:
    """A line of the table: how many damages, how many commands, what came of them."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    figures = "".join(f"{counts[name] or '':>11}" for name in OUTCOMES)
    return f"{kind:<18}{len({verdict.damage for verdict in verdicts}):>8}{counts.total():>9}{figures}"


@dataclass(frozen=True)
class Options:
    """How much is damaged.

    Attributes:
        flips: random bits of each kind.
        aimed: damages of each sort that is aimed, at most.
    """

    flips: int = 30
    aimed: int = 3
    seed: int = 0


def damages(bench: Bench, kind: Kind, options: Options) -> list[Damage]:
    """All that happens to a kind of file: the aimed ones first."""
    files, rng = bench.files(kind), np.random.default_rng([options.seed, *kind.name.encode()])
    return [*aimed(files, options.aimed, rng), *random_flips(files, options.flips, rng)] if files else []


def trials(bench: Bench, kinds: Iterable[Kind], usual: Mapping[Action, Undisturbed], options: Options) -> list[Trial]:
    """Every damage of these kinds with every action that reads one of its files."""
    return [
        (kind, damage, action)
        for kind in kinds
        for damage in damages(bench, kind, options)
        for action, before in usual.items()
        if kind.base in ("finished", action.base) and (action.always or before.reads & damage.files.keys())
    ]


def play(
    bench: Bench,
    chosen: Iterable[Trial],
    usual: Mapping[Action, Undisturbed],
    runners: Sequence[Runner],
    keep: bool = False,
) -> Iterator[Verdict]:
    """Try them all, as many at once as there are runners."""
    free: SimpleQueue[Runner] = SimpleQueue()
    for runner in runners:
        free.put(runner)

    def verdict(trial: Trial) -> Verdict | None:
        runner = free.get()
        try:
            return attempt(bench, trial, usual[trial[-1]], runner, keep)
        finally:
            free.put(runner)

    with ThreadPoolExecutor(len(runners)) as threads:
        yield from (result for result in threads.map(verdict, chosen) if result is not None)


def main() -> None:
    """Make the folders, damage them, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=30, help="random bits of each kind")
    parser.add_argument("--aimed", type=int, default=3, help="damages of each sort that is aimed")
    parser.add_argument("--kinds", metavar="NAME,...", help=f"some of: {', '.join(kind.name for kind in KINDS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trials at once")
    parser.add_argument("--plain", action="store_true", help="each command as a process with a cluster of its own")
    parser.add_argument("--work", metavar="DIR", type=Path, help="where the folders lie; made where they are not there")
    parser.add_argument("--keep", action="store_true", help="leave the folders of trials that went wrong, in --work")
    arguments = parser.parse_args()
    print(f"{cpu()}; {arguments.flips} random bits a kind, seed {arguments.seed}", flush=True)
    with ExitStack() as stack:
        scratch = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bit-flips-")))
        scratch.mkdir(parents=True, exist_ok=True)
        bench = Bench(scratch)
        if arguments.plain:
            runners: list[Runner] = [Plain(_HANGS_S)] * arguments.jobs
        else:
            runners = stack.enter_context(warm_runners(arguments.jobs, _HANGS_S))
        if not (scratch / "died").exists():
            bench.make(runners[0])
        usual = {action: bench.undisturbed(action, runners[0]) for action in ACTIONS}
        options = Options(arguments.flips, arguments.aimed, arguments.seed)
        kinds = [kind for kind in bench.present() if not arguments.kinds or kind.name in arguments.kinds.split(",")]
        started, wrong = time.perf_counter(), 0
        print(HEAD, flush=True)
        for kind in kinds:
            chosen = runners[:1] if kind.outside else runners  # its one file is the same for all trials
            verdicts = list(play(bench, trials(bench, [kind], usual, options), usual, chosen, arguments.keep))
            print(row(kind.name, verdicts), *filter(lambda verdict: verdict.wrong, verdicts), sep="\n", flush=True)
            wrong += sum(verdict.wrong for verdict in verdicts)
    print(f"{time.perf_counter() - started:.0f} s")
    raise SystemExit(f"{wrong} commands were silent, failed or left something wrong" if wrong else 0)


if __name__ == "__main__":
    main()
