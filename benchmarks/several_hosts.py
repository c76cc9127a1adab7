"""Run over three hosts: are figures and features those of the embedded cluster, whatever becomes of hosts and links?

    python -m benchmarks.several_hosts                        all
    python -m benchmarks.several_hosts --only unfit           one group: same, unfit, disturbed, late, many
    python -m benchmarks.several_hosts --faketime LIB.so      libfaketime, for a worker whose clock is off

The hosts are network namespaces of this machine, with links of their own and TLS on all of them; they share its disk.
Where the system makes no namespaces, that is said and nothing is run. Pictures are the demo's, as files of data set
`folder`; a small backbone with random weights computes. Exit code 1 if something is wrong.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.disturbing.bench import Tree, tree
from benchmarks.flips.trees import differing
from benchmarks.flips.warm import ROOT
from benchmarks.hosting.cluster import Cluster, cluster, unfit
from benchmarks.hosting.network import Host, hosts, impossible
from pipeline.datasets.demo.drawing import jpeg
from pipeline.datasets.demo.scene import scene

GROUPS = ("same", "unfit", "disturbed", "late", "many")
_ENDS_S = 60.0
_HANGS_S = 400.0
_SMALL = (
    "dataset.shard_images=8",
    "backbone.name=dino_resnet50",
    "backbone.weights=random:0",
    "backbone.input_px=160",
    "dataset.task=standard",
    "model.name=logistic",
    "train.epochs=2",
    "evaluate.draws=2",
    "engine.threads=1",
)


@dataclass
class Ended:
    """How a command ended, and when its last word about workers came."""

    code: int
    told: str
    seconds: float


@dataclass
class Bench:
    """Work folders, runs and what is wrong.

    Attributes:
        images: that there are.
        wrong: what was found, told as it is found.
    """

    scratch: Path
    hosts: list[Host]
    images: int
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.photos, self.work = self.scratch / "photos", self.scratch / "work"
        self.photos.mkdir()
        names = ["circle", "square", "cross"]
        (self.scratch / "words.txt").write_text("".join(f"{name} {at} 1 2 3\n" for at, name in enumerate(names)))
        rows = ["image,labels"]
        for number in range(self.images):
            (self.photos / f"{number:04d}.jpg").write_bytes(jpeg(scene(7, number)))
            rows.append(f"{number:04d}.jpg,{names[number % 3]}")
        (self.scratch / "labels.csv").write_text("\n".join(rows) + "\n")

    def command(self, verb: str, *options: str) -> list[str]:
        """A command on the first host."""
        sets = [*_SMALL, f'dataset.folders=["{self.photos}"]', f"dataset.labels={self.scratch}/labels.csv"]
        sets.append(f"embed.vectors={self.scratch}/words.txt")
        words = [verb, *options, "--dataset", "folder", "--work", str(self.work), *(f"--set={text}" for text in sets)]
        return self.hosts[0].inside(sys.executable, "-c", "import cli; cli.main()", *words)

    @contextmanager
    def started(self, made: Cluster | None, verb: str = "extract") -> Iterator[subprocess.Popen[str]]:
        """A command under way, ended after the block at the latest."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)} if made is None else made.environment
        options = () if made is None else ("--scheduler", made.address)
        process = subprocess.Popen(
            self.command(verb, *options),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def run(self, made: Cluster | None, verb: str = "extract") -> Ended:
        """A command to its end."""
        began = time.monotonic()
        with self.started(made, verb) as process:
            return self.ended(process, began)

    def ended(self, process: subprocess.Popen[str], began: float) -> Ended:
        """Wait for the end of a command."""
        try:
            _, told = process.communicate(timeout=_HANGS_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            told = f"hangs: {process.communicate()[1]}"
        return Ended(process.returncode, told, time.monotonic() - began)

    def tree(self) -> Tree:
        """What is committed in the work folder."""
        found = tree(self.work)
        return {path: digest for path, digest in found.items() if not path.endswith(("sources.json", ".tmp"))}

    def empty(self) -> None:
        """Begin anew."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()

    def until_under_way(self) -> None:
        """Wait until some features are there."""
        until = time.monotonic() + _HANGS_S
        while len(list(self.work.rglob("features/*/*/shard-*.json"))) < 3 and time.monotonic() < until:
            time.sleep(0.05)

    def check(self, name: str, holds: bool, note: str) -> None:
        """Tell of a finding."""
        print(f"{'ok   ' if holds else 'WRONG'} {name}: {note}", flush=True)
        if not holds:
            self.wrong.append(name)

    def compare(self, name: str, expected: Tree, ended: Ended) -> None:
        """Tell whether a run ended well, with the files that are expected."""
        wrong = f"rc {ended.code}: {ended.told[-600:]}" if ended.code else differing(expected, self.tree(), ())
        self.check(name, wrong is None, wrong or f"rc 0, the same bytes, {ended.seconds:.1f} s")


def same(bench: Bench, expected: Tree) -> None:
    """A run over three hosts, to the report."""
    bench.empty()
    bench.run(None, "run")
    figures, embedded = _figures(bench.work), bench.tree()
    bench.empty()
    with cluster(bench.scratch / "dask", bench.hosts) as made:
        ended = bench.run(made, "run")
    bench.compare("a whole run", embedded, ended)
    bench.check("its figures", bool(figures) and _figures(bench.work) == figures, "those of the embedded cluster")


def _figures(work: Path) -> list[object]:
    return [json.loads(path.read_text())["standard"] for path in work.rglob("metrics.json")]


def unfit_workers(bench: Bench, expected: Tree, faketime: str | None) -> None:
    """Workers that are not fit, with and without others beside them."""
    with cluster(bench.scratch / "dask", bench.hosts, workers=False) as made:
        bench.empty()
        told = unfit(made, bench.hosts[2], bench.work, bench.photos, faketime)
        refused = bench.run(made)
        bench.check("none is fit: refused", refused.code == 1 and refused.seconds < 20, f"in {refused.seconds:.1f} s")
        planned = bench.run(made, "plan")
        bench.check("none is fit: plan", planned.code == 1 and "is fit" in planned.told, f"in {planned.seconds:.1f} s")
        for name, words in told.items():
            line = next((line for line in refused.told.splitlines() if f"worker {name} " in line), "")
            bench.check(f"{name} is named", words in line, re.sub(r"^.*?\): ", "", line)[:150])
        for host in bench.hosts[:2]:
            made.worker(host, host.name)
        ended = bench.run(made)
        bench.compare("two fit workers beside them", expected, ended)
        left_out = sum(f"left out: worker {name} " in ended.told for name in told)
        bench.check("the others are left out by name", left_out == len(told), f"{left_out} of {len(told)}")
    with cluster(bench.scratch / "dask", bench.hosts[:2], workers=False) as made:
        made.worker(bench.hosts[1], "far")
        time.sleep(3)
        demo = bench.hosts[0].inside(sys.executable, "-c", "import cli; cli.main()", "extract", "--dataset", "demo")
        demo += ["--work", str(bench.scratch / "demo"), "--scheduler", made.address]
        ended_demo = subprocess.run(demo, env=made.environment, capture_output=True, text=True)
        bench.check(
            "the demo's pictures, which only the first host can reach",
            ended_demo.returncode == 1 and "it cannot reach http://127.0.0.1" in ended_demo.stderr,
            f"rc {ended_demo.returncode}",
        )


def disturbed(bench: Bench, expected: Tree) -> None:
    """Disturbances of a run under way; the next run has to give the same."""
    far = bench.hosts[2]

    def worker_killed(made: Cluster, process: subprocess.Popen[str]) -> None:
        inside = subprocess.run(["ip", "netns", "pids", far.name], capture_output=True, text=True).stdout.split()
        os.kill(int(inside[-1]), signal.SIGKILL)

    def link_down_for_a_while(made: Cluster, process: subprocess.Popen[str]) -> None:
        far.link("down")
        time.sleep(30)
        far.link("up")

    def interrupted(made: Cluster, process: subprocess.Popen[str]) -> None:
        for number in subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split():
            os.kill(int(number), signal.SIGINT)
        os.kill(process.pid, signal.SIGINT)

    cases: dict[str, tuple[Callable[[Cluster, subprocess.Popen[str]], None], tuple[int, ...]]] = {
        "a worker killed": (worker_killed, (0,)),
        "a link down for 30 s": (link_down_for_a_while, (0,)),
        "a link down for good": (lambda made, process: far.link("down"), (0,)),
        "the scheduler killed": (lambda made, process: made.end(made._started[0]), (1,)),
        "Ctrl-C": (interrupted, (130,)),
        "the main process killed": (lambda made, process: os.kill(process.pid, signal.SIGKILL), (-9,)),
    }
    for name, (disturb, codes) in cases.items():
        bench.empty()
        with cluster(bench.scratch / "dask", bench.hosts) as made:
            with bench.started(made) as process:
                bench.until_under_way()
                disturb(made, process)
                began = time.monotonic()
                ended = bench.ended(process, began)
            at_the_end = bench.tree()
            note = f"rc {ended.code} after {ended.seconds:.1f} s"
            bench.check(name, ended.code in codes and ended.seconds < _ENDS_S, note + _last(ended))
            if ended.code > 0:
                time.sleep(10)
                later = differing(at_the_end, bench.tree(), ())
                bench.check(f"{name}: nothing is committed after the end", later is None, later or "10 s later")
            far.link("up")
        bench.compare(f"{name}: the next run", expected, bench.run(None))


def _last(ended: Ended) -> str:
    return f" ({ended.told.strip().splitlines()[-1][:200]})" if ended.code and ended.told.strip() else ""


def late(bench: Bench) -> None:
    """Workers that come while a run is under way: 30 pieces of 1 s, one worker, four more after 4 s; and `adapt`."""
    for arguments, limit_s in (("late", 13.0), ("adapt", 25.0)):
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.hosting.pieces", arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        found = re.search(r"([\d.]+) s", told.stdout)
        holds = told.returncode == 0 and found is not None and float(found[1]) < limit_s
        bench.check(f"30 pieces of 1 s, {arguments}", holds, told.stdout.strip() or told.stderr[-300:])


def many(bench: Bench) -> None:
    """What 10,000 pieces cost the main process."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.hosting.pieces", "many"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    bench.check("10,000 pieces", told.returncode == 0, told.stdout.strip() or told.stderr[-300:])


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=GROUPS, action="append")
    parser.add_argument("--images", type=int, default=160, help="20 shards by default, as many as a disturbance needs")
    parser.add_argument("--faketime", help="libfaketime.so.1")
    asked = parser.parse_args()
    groups = asked.only or GROUPS
    if (problem := impossible()) is not None:
        print(f"skipped: {problem}")
        return
    if asked.faketime is None:
        print("no --faketime: no worker whose clock is off")
    with tempfile.TemporaryDirectory(prefix="biam-hosts-") as folder, hosts(3) as made:
        bench = Bench(Path(folder), made, asked.images)
        bench.empty()
        first = bench.run(None)
        if first.code:
            raise SystemExit(f"the embedded run: {first.told}")
        expected = bench.tree()
        print(f"embedded: {first.seconds:.1f} s, {len(expected)} files and folders", flush=True)
        if "same" in groups:
            same(bench, expected)
        if "unfit" in groups:
            unfit_workers(bench, expected, asked.faketime)
        if "disturbed" in groups:
            disturbed(bench, expected)
        if "late" in groups:
            late(bench)
        if "many" in groups:
            many(bench)
    if bench.wrong:
        raise SystemExit(f"{len(bench.wrong)} wrong: {', '.join(bench.wrong)}")


if __name__ == "__main__":
    main()
