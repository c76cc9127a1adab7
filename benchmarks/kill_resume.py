"""Disturb runs of the demo in every stage, run the same command again, and compare with a run that nothing disturbed.

    python -m benchmarks.kill_resume            the demo as it is: VGG-19, 400 pictures
    python -m benchmarks.kill_resume --small    80 pictures, a tiny backbone: what the tests use, in minutes

With `--drop-images` all runs have images.keep = false, and two more scenarios are played.

One reference run comes first. Each scenario starts from a copy of its work folder without what the stage in question
and all stages after it wrote; `--keep-features` leaves the features there for the stages before extract: they count as
long as the same images come again, and most of the time goes into them.

What is looked at after each: no process of the run is left, every file that a receipt names has the hash the receipt
says (right after the blow, too), the second run ends with exit code 0, the work folder holds the same files and,
timings apart, the same bytes, and `verify` is content. Exit code 1 if a scenario fails.
"""

import argparse
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from benchmarks.disturbed import Demo, Ended, Fault, differences, torn

SMALL = (
    "dataset.num_images=80",
    "backbone.name=tiny",
    "backbone.weights=random:0",
    "backbone.input_px=64",
    "model.channels=16",
    "model.heads=2",
    "model.joint_size=16",
    "train.epochs=3",
    "train.batch_images=16",
    "evaluate.draws=2",
    "evaluate.examples=2",
    "engine.threads=1",
)
# A checkpoint after every step. Not part of any recipe: the second run may have another interval.
EVERY_STEP = "train.checkpoint_every_s=0.001"

_KILLED, _INTERRUPTED, _USED_UP = -9, 130, 75
_STOP_S = 10.0  # that an interruption may take
# What each stage writes, in the order of the stages.
_WRITTEN = {
    "index": ("index", "annotations", "labels.parquet"),
    "download": ("downloads", "images"),
    "extract": ("features",),
    "embed": ("embeddings",),
    "split": ("splits",),
    "train": ("runs",),
    "evaluate": ("runs/*/evaluate.stage.*", "runs/*/metrics.json", "runs/*/per_label.*", "runs/*/examples.*"),
    "report": ("runs/*/report.*",),
}


@dataclass(frozen=True)
class Scenario:
    """One way to disturb a run.

    Attributes:
        stage: the run starts with what this stage and all after it wrote removed.
        fault: what happens to it.
        settings: of the disturbed run alone.
        older: settings with which the stage runs to its end first, so that the disturbed run writes over its work.
    """

    name: str
    stage: str
    fault: Fault
    settings: tuple[str, ...] = ()
    older: tuple[str, ...] = ()


_MID_EPOCH = r"/checkpoint$"  # the folder is synced after each checkpoint: opened while none is written
KILLS = (
    Scenario("inside index", "index", Fault(r"/index/shard-00001\.parquet$")),
    Scenario(
        "inside index, over older shards", "index", Fault(r"/index/shard-00001\.parquet$"), older=("dataset.seed=1",)
    ),
    Scenario("inside download", "download", Fault(r"/downloads/shard-00001\.parquet$")),
    Scenario("inside extract", "extract", Fault(r"/features/.*/shard-00001\.parquet$")),
    Scenario("between a shard and its receipt", "extract", Fault(r"/features/.*/shard-00001\.json$")),
    Scenario("inside embed", "embed", Fault(r"/embeddings/[^/]*\.parquet$")),
    Scenario("inside split", "split", Fault(r"/splits/.*/images-shard-00001\.parquet$")),
    Scenario(
        "before a receipt, over older shards", "split", Fault(r"/splits/.*/shard-00001\.json$"), older=("split.seed=1",)
    ),
    Scenario("before a stage record", "split", Fault(r"/splits/.*/stage\.parquet$")),
    Scenario("inside train, in an epoch", "train", Fault(_MID_EPOCH, "open", 7), (EVERY_STEP,)),
    Scenario("while a checkpoint is written", "train", Fault(r"/checkpoint/last\.safetensors$", count=2)),
    Scenario("between the model and its history", "train", Fault(r"/history\.json$")),
    Scenario("inside evaluate", "evaluate", Fault(r"/per_label\.parquet$")),
    Scenario("inside report", "report", Fault(r"/report\.html$")),
)
_DROPPING = 3  # of the times that the record of download is withdrawn: before each of its two shards, then as they go
DROPS = (
    Scenario("between features and a drop", "extract", Fault(r"/downloads/stage\.parquet$", "os.remove", _DROPPING)),
    Scenario("before an image shard goes", "extract", Fault(r"/images/shard-00001\.parquet$", "os.remove")),
)
INTERRUPTS = (
    Scenario("SIGTERM to all inside download", "download", Fault(r"/downloads/shard-00000\.json$", signal="SIGTERM")),
    Scenario("Ctrl-C inside extract", "extract", Fault(r"/features/.*/shard-00000\.json$", signal="SIGINT")),
    Scenario("Ctrl-C inside train", "train", Fault(_MID_EPOCH, "open", 7, "SIGINT"), (EVERY_STEP,)),
)


def prepare(reference: Path, work: Path, stage: str, kept: Collection[str] = ()) -> None:
    """A copy of a work folder as it was before a stage, but for what later stages wrote that are `kept`."""
    shutil.copytree(reference / "demo", work / "demo")
    names = list(_WRITTEN)
    removed = [stage, *(name for name in names[names.index(stage) + 1 :] if name not in kept)]
    for pattern in (one for name in removed for one in _WRITTEN[name]):
        for path in (work / "demo").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def after_fault(ended: Ended, work: Path, signal: str) -> list[str]:
    """What is wrong right after a run was disturbed."""
    problems = [] if ended.after_fault_s is not None else ["the moment to disturb it never came"]
    return problems + _after_stop(ended, work, _KILLED if signal == "SIGKILL" else _INTERRUPTED)


def after_time_budget(ended: Ended, work: Path) -> list[str]:
    """What is wrong right after a run that had not enough time."""
    return _after_stop(ended, work, _USED_UP)


def _after_stop(ended: Ended, work: Path, expected: int) -> list[str]:
    problems = [] if ended.code == expected else [f"exit code {ended.code} instead of {expected}: {ended.text}"]
    return problems + [f"{process} survived" for process in ended.left] + torn(work)


def after_resume(demo: Demo, ended: Ended, reference: Path, work: Path) -> list[str]:
    """What is wrong after the same command has run again."""
    if ended.code:
        return [f"exit code {ended.code} of the second run: {ended.text}"]
    verified = demo.run(work, verb="verify")
    problems = [] if verified.code == 0 else [f"verify: {verified.text}"]
    return problems + [f"{process} survived" for process in ended.left] + torn(work) + differences(reference, work)


def play(demo: Demo, scenario: Scenario, kept: Collection[str], reference: Path, work: Path) -> tuple[list[str], str]:
    """Disturb a run, run it again; gives what is wrong, and the figures."""
    prepare(reference, work, scenario.stage, kept)
    if scenario.older:
        demo.run(work, verb=scenario.stage, extra=scenario.older)
    ended = demo.run(work, fault=scenario.fault, extra=scenario.settings)
    problems = after_fault(ended, work, scenario.fault.signal)
    if ended.after_fault_s is not None and ended.after_fault_s > _STOP_S:
        problems.append(f"took {ended.after_fault_s:.1f} s to stop, expected at most {_STOP_S:.0f} s")
    again = demo.run(work)
    figures = f"{ended.seconds:.0f} s + {again.seconds:.0f} s"
    if scenario.fault.signal != "SIGKILL":
        figures += f", stopped in {ended.after_fault_s or 0:.1f} s"
    return problems + after_resume(demo, again, reference, work), figures


def play_budgets(demo: Demo, reference: Path, work: Path) -> tuple[list[str], str]:
    """Run from an empty folder until all is done, without any time first, then with ever more."""
    budget_s, problems, runs = 0, [], 1
    while (ended := demo.run(work, "--time-budget", f"{budget_s}s")).code == _USED_UP:
        problems += after_time_budget(ended, work)
        budget_s, runs = max(1, 2 * budget_s), runs + 1
    if budget_s == 0:
        problems.append("a time budget of 0 s was enough")
    return problems + after_resume(demo, ended, reference, work), f"{runs} runs"


def main() -> None:
    """Play every scenario; a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="80 pictures, a tiny backbone")
    parser.add_argument(
        "--keep-features", action="store_true", help="what disturbs a stage before extract leaves the features there"
    )
    parser.add_argument("--drop-images", action="store_true", help="with images.keep = false")
    parser.add_argument("--only", metavar="TEXT", default="", help="scenarios with this in their name")
    parser.add_argument("--reference", metavar="DIR", type=Path, help="an undisturbed work folder, made if not there")
    arguments = parser.parse_args()
    demo = Demo((SMALL if arguments.small else ()) + (("images.keep=false",) if arguments.drop_images else ()))
    with tempfile.TemporaryDirectory(prefix="kill-resume-") as scratch:
        reference = (arguments.reference or Path(scratch, "reference")).resolve()
        undisturbed = demo.run(reference)
        if undisturbed.code:
            raise SystemExit(f"the undisturbed run ended with {undisturbed.code}: {undisturbed.text}")
        print(f"{'undisturbed':<36}{undisturbed.seconds:.0f} s", flush=True)
        kept = {"extract"} if arguments.keep_features else set()
        scenarios = (*KILLS, *(DROPS if arguments.drop_images else ()), *INTERRUPTS)
        plays = {one.name: (play, (demo, one, kept, reference)) for one in scenarios}
        plays["time budgets"] = (play_budgets, (demo, reference))
        failed = 0
        for name, (function, values) in plays.items():
            if arguments.only in name:
                with tempfile.TemporaryDirectory(dir=scratch) as work:
                    problems, figures = function(*values, Path(work))
                failed += bool(problems)
                print(f"{name:<36}{figures:<32}{'; '.join(problems) or 'equal'}", flush=True)
    raise SystemExit(f"{failed} scenarios failed" if failed else 0)


if __name__ == "__main__":
    main()
