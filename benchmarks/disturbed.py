"""Disturb runs of a small demo, run the same command again, and compare with a run that nothing disturbed.

    python -m benchmarks.disturbed                      all three parts
    python -m benchmarks.disturbed kills --number 60    SIGKILL at random moments, of whichever process
    python -m benchmarks.disturbed disks                disks that are full, fail or are read-only, at every stage
    python -m benchmarks.disturbed moments              kills and interrupts at chosen moments, runs out of time
    python -m benchmarks.disturbed --few                some of each; kills and moments follow each other in one folder

What is looked at after each: no process of the run is left, every file that a receipt names has the hash that the
receipt says, `verify` finds no damage, and nothing was said that nobody thought of. Where a disk fails the error names
the cause, the path and the next command, and nothing is left among temporary files. Then the same command runs again,
and has to end with exit code 0 and the files of the undisturbed run: the same names and, times apart, the same bytes;
and to leave nothing in TMPDIR and in the home folder.

Runs are those of `benchmarks.flips.warm`; `--plain` starts each as a user does, which takes six times as long. Disks
are small ones in memory, mounted where nobody else sees them, and those of a library that is compiled with `cc` and
preloaded. Exit code 1 if something is wrong.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.disturbing import disks, faulty_disk, kills, moments
from benchmarks.disturbing.bench import Bench, Case, Trial
from benchmarks.flips.warm import Plain, warm_runners
from benchmarks.measured import cpu

PARTS = ("kills", "disks", "moments")
_HANGS_S = 600.0
_OWN_MOUNTS = "BIAM_PIPE_BENCHMARK_MOUNTS"  # set where disks may be mounted


def with_own_mounts() -> None:
    """Start this program anew where it may mount disks that nobody else sees; come back where the system forbids it."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *as_root, "--mount"]
    mounted = ["sh", "-c", 'mount -t tmpfs none "$0"']
    if shutil.which(command[0]) is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        allowed = subprocess.run([*command, *mounted, folder], capture_output=True, check=False).returncode == 0
    if allowed:
        os.environ[_OWN_MOUNTS] = "1"
        os.execvp(command[0], [*command, sys.executable, "-m", "benchmarks.disturbed", *sys.argv[1:]])


class Player:
    """Plays disturbances and tells of each.

    Args:
        keep: where folders with something wrong are copied to.
    """

    def __init__(self, bench: Bench, keep: Path | None) -> None:
        self._bench = bench
        self._keep = keep
        self._counts: dict[tuple[str, str], Counter[bool]] = {}

    def singly(self, part: str, cases: Sequence[Case]) -> None:
        """Each in a folder of its own, which is run to the end afterwards."""
        for case in cases:
            with self._bench.trial(case.before, case.on_small_disk) as trial:
                started = time.monotonic()
                problems, note = case.disturb(self._bench, trial)
                problems += self._bench.finished(trial, case.before, case.settings)
                self._tell(part, case, f"{time.monotonic() - started:.0f} s, {note}", problems, trial)

    def together(self, part: str, cases: Sequence[Case]) -> None:
        """One after the other in one folder, so that what one leaves is what the next meets; one run to the end."""
        with self._bench.trial() as trial:
            for number, case in enumerate(cases, start=1):
                problems, note = case.disturb(self._bench, trial)
                if number == len(cases):
                    problems += self._bench.finished(trial)
                self._tell(part, case, note, problems, trial)

    def _tell(self, part: str, case: Case, note: str, problems: list[str], trial: Trial) -> None:
        print(f"{part}: {case.name}: {'; '.join(problems) or 'equal'} ({note})", flush=True)
        self._counts.setdefault((part, case.group), Counter())[bool(problems)] += 1
        if problems and self._keep is not None:
            shutil.copytree(trial.root, self._keep / f"{part} {case.name}".replace("/", "-"), dirs_exist_ok=True)

    def failed(self) -> int:
        """How many had something wrong, after a table of all."""
        print(f"\n{'':<44}{'disturbed':>10}{'equal':>8}{'WRONG':>8}")
        for (part, group), counts in self._counts.items():
            print(f"{f'{part}: {group}':<44}{counts.total():>10}{counts[False]:>8}{counts[True] or '':>8}")
        return sum(counts[True] for counts in self._counts.values())


def main() -> None:
    """Play, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--number", type=int, default=60, help="of random kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="TEXT", default="", help="disturbances with this in their name")
    parser.add_argument("--few", action="store_true", help="some of each")
    parser.add_argument("--plain", action="store_true", help="start commands as a user does")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="copy folders in which something is wrong there")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if _OWN_MOUNTS not in os.environ:
        with_own_mounts()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="disturbed-")))
        library = faulty_disk.compiled(scratch)
        preloaded = None if library is None else library.file
        run = Plain(_HANGS_S) if arguments.plain else stack.enter_context(warm_runners(1, _HANGS_S, preloaded))[0]
        bench = Bench(scratch, run, library, _OWN_MOUNTS in os.environ)
        with kills.measuring(bench.phases) as watching:
            bench.make(watching)
        print(f"{cpu()}; seed {arguments.seed}; undisturbed {bench.seconds:.1f} s", flush=True)
        for problem in bench.impossible():
            print(f"skipped: {problem}")
        number = kills.FEW if arguments.few else arguments.number
        cases: dict[str, Sequence[Case]] = {
            "kills": kills.drawn(bench, number, arguments.seed),
            "disks": disks.drawn(bench, arguments.seed, arguments.few),
            "moments": moments.FEW if arguments.few else moments.ALL,
        }
        player = Player(bench, arguments.keep)
        for part in arguments.parts or PARTS:
            chosen = [case for case in cases[part] if arguments.only in case.name]
            play = player.together if arguments.few and part != "disks" else player.singly
            play(part, chosen)
        failed = player.failed()
    raise SystemExit(f"{failed} disturbances ended wrong" if failed else 0)


if __name__ == "__main__":
    main()
