"""The command line: parse, call one function, print. No logic lives here."""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pipeline.commands import console, process
from pipeline.settings.options import JsonOption, Where, rearranged, with_common_options
from schemas.command import Command
from schemas.errors import PipelineError, problem_json, unknown_name
from schemas.readable import escaped, printable, wrapped

if TYPE_CHECKING:
    from pipeline.flow import Checked, Compared, Prediction, Promotion, Result, Verified
    from schemas.config import Config

app = typer.Typer(
    name="biam-pipe",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    help="Multi-label zero-shot learning, from image addresses to scores.\n\nExample: biam-pipe run --dataset demo",
)
show_app = typer.Typer(no_args_is_help=True, help="What there is to choose from.\n\nExample: biam-pipe show backbones")
app.add_typer(show_app, name="show")
runs_app = typer.Typer()
app.add_typer(runs_app, name="runs")


def _tell_version(asked: bool) -> None:
    if asked:
        from pipeline.commands.version import program

        typer.echo(program())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Version and commit, and no more.")
    ] = False,
) -> None:
    """Options that stand before a command; the help is that of `app`."""


SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler; an embedded cluster otherwise.")
]
BudgetOption = Annotated[
    str | None, typer.Option("--time-budget", metavar="TIME", help="Stop after that long (90s, 50m, 2h); exit code 75.")
]
FailedOption = Annotated[
    str | None, typer.Option("--failed", metavar="[=STATUS,...]", help="List the images that failed, some or all.")
]
OpenMetricsOption = Annotated[bool, typer.Option("--openmetrics", help="As OpenMetrics text, for Prometheus.")]
RetryOption = Annotated[
    str | None, typer.Option("--retry-failed", metavar="[=STATUS,...]", help="Fetch failed images again, some or all.")
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="A run of other settings or data in the folder that train.run names may go.")
]
OnlyOption = Annotated[bool, typer.Option("--only", help="This stage alone; an error where its input is missing.")]
ReextractOption = Annotated[int, typer.Option("--reextract", metavar="K", min=0, help="Make K images' features anew.")]
ImagesOption = Annotated[
    int | None, typer.Option("--images", metavar="N", min=20, help="Run N images through all stages, too.")
]
UnitsArgument = Annotated[str, typer.Argument(metavar="KIND", help="systemd, cron, slurm or kubernetes.")]
VerbOption = Annotated[str, typer.Option("--stage", help="Stage to end with; report, which is all, otherwise.")]
ShardsOption = Annotated[
    str | None, typer.Option("--shards", metavar="A:B", help="Shards A to B-1 alone, beside runs for others.")
]
SliceOption = Annotated[str, typer.Option("--time-budget", metavar="TIME", help="Of each slice (90s, 50m, 2h).")]
UserOption = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Who runs it, never root.")]
UnitsOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the files there.")]
SeedOption = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Seed by which --reextract draws its images.")
]
ConvertArgument = Annotated[str, typer.Argument(metavar="TO", help="A store, or a form for other programs.")]
FormOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for the files of a form.")]
FromOption = Annotated[list[str] | None, typer.Option("--from", metavar="FILE", help="A file to take in; repeatable.")]
ImagesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="IMAGE...", help="Image files, folders, patterns, addresses; - for a list."),
]
SearchOption = Annotated[str | None, typer.Option("--search", metavar="TEXT", help="List names with TEXT in them.")]
LabelsOption = Annotated[str | None, typer.Option("--labels", metavar="WORDS,...", help="Labels, joined by commas.")]
TopOption = Annotated[int, typer.Option("--top", metavar="N", help="Labels told of each image, best first.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of page, table and pictures.")]
MapsOption = Annotated[bool, typer.Option("--maps", help="Draw where the model sees each label.")]
TableFormOption = Annotated[str, typer.Option("--table", metavar="FORM", help="Of the table: csv or parquet.")]

RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="With the settings of this run; `latest` is the promoted one."),
]
FirstArgument = Annotated[str, typer.Argument(metavar="A", help="Name of a run, or `latest`.")]
SecondArgument = Annotated[str, typer.Argument(metavar="B", help="Name of another one.")]
PromotedArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run that is to be `latest`.")]
FigureOption = Annotated[
    str | None, typer.Option("--figure", metavar="SECTION/FIGURE", help="Such as zsl/map or gzsl/f1@3.")
]
KeepOption = Annotated[
    int | None, typer.Option("--keep", metavar="N", min=0, help="Keep the N newest runs; all otherwise.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Remove what is listed.")]

PortOption = Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="To listen on; 0 for any.")]

ModelsOption = Annotated[str | None, typer.Option("--models", metavar="NAME[:PRESET],...", help="Models to compare.")]
TableOption = Annotated[str | None, typer.Option("--table", metavar="N,...", help="Rows of the paper's tables.")]
TasksOption = Annotated[str | None, typer.Option("--tasks", metavar="TASK,...", help="zsl, gzsl or standard.")]
SeedsOption = Annotated[str | None, typer.Option("--seeds", metavar="N,...", help="Each row is trained with each.")]
VaryOption = Annotated[
    str | None, typer.Option("--vary", metavar="WHAT", help="What the seeds are of: training, split or labels.")
]
ChooseOption = Annotated[
    str | None, typer.Option("--choose", metavar="BY", help="Name the row to take: held_out_labels.")
]
FiguresOption = Annotated[bool, typer.Option("--figures", help="Show what models say of test images, too: minutes.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Tell what each run waits for, and run nothing.")]

# Of `compare`, by the setting that each says, and outranks.
_OPTIONS = {f"compare.{name}": f"--{name}" for name in ("models", "tasks", "seeds", "vary", "choose")}
_OPTIONS |= {"compare.tables": "--table"}

STAGES = {
    "index": "List the images, their annotations and the label space.",
    "download": "Fetch and check the images.",
    "extract": "Run the backbone over the images and store its feature maps.",
    "split": "Deal images into train, validation and test, labels into seen and unseen.",
    "embed": "Build the l2-normalised label matrix from word vectors.",
    "train": "Train the model on seen labels.",
    "evaluate": "Score the test images: ZSL and GZSL mAP, F1, precision, recall, chance.",
    "report": "Write the report as one HTML page.",
}


_RUN_STAGES = ("train", "evaluate", "report")  # those that write in a run's folder

_SHARD_STAGES = ("download", "extract")  # those of which some shards can be made beside others


@app.command("run")
@with_common_options
def run_command(
    where: Where,
    as_json: bool,
    scheduler: SchedulerOption = None,
    time_budget: BudgetOption = None,
    retry_failed: RetryOption = None,
    replace_run: ReplaceOption = False,
) -> None:
    """Run all stages, from the index to the report.

    Example: biam-pipe run --dataset demo
    """
    _run(where, as_json, "report", scheduler, time_budget, False, retry_failed, replace_run)


def _add_stage(name: str, summary: str) -> None:
    def command(
        where: Where,
        as_json: bool,
        scheduler: SchedulerOption = None,
        time_budget: BudgetOption = None,
        only: OnlyOption = False,
        retry_failed: RetryOption = None,
        replace_run: ReplaceOption = False,
        shards: ShardsOption = None,
        of_run: RunOption = None,
    ) -> None:
        _run(where, as_json, name, scheduler, time_budget, only, retry_failed, replace_run, shards, of_run)

    text = f"{summary}\n\nBrings what it needs up to date first.\n\nExample: biam-pipe {name} --dataset demo"
    if name in _SHARD_STAGES:
        text += f"\n\nExample: biam-pipe {name} --dataset demo --shards 0:4"
    without = [*(() if name in _RUN_STAGES else ("replace_run",)), *(() if name in _SHARD_STAGES else ("shards",))]
    without += [] if name == "report" else ["of_run"]
    app.command(name, help=text)(with_common_options(command, without))


for _name, _summary in STAGES.items():
    _add_stage(_name, _summary)


@app.command("plan")
@with_common_options
def plan_command(
    where: Where,
    as_json: bool,
    scheduler: SchedulerOption = None,
    retry_failed: RetryOption = None,
    replace_run: ReplaceOption = False,
) -> None:
    """Tell what `run` would do, and why, or what it would fail for. Changes nothing.

    Example: biam-pipe plan --dataset demo --set train.lr=0.0002
    """
    from pipeline import flow

    retry = flow.failed_statuses(retry_failed)
    request = flow.Request("report", scheduler=scheduler, retry=retry, replace=replace_run)
    lines = flow.plan(where.load(), where.work, request)
    disks = flow.disks(lines)
    told = {"stages": [asdict(line) for line in lines], "disks": [asdict(disk) for disk in disks]}
    _print_json(told) if as_json else _print(console.plan_lines(lines, disks))


@app.command("compare")
@with_common_options
def compare_command(
    where: Where,
    as_json: bool,
    models: ModelsOption = None,
    table: TableOption = None,
    tasks: TasksOption = None,
    seeds: SeedsOption = None,
    vary: VaryOption = None,
    choose: ChooseOption = None,
    figures: FiguresOption = False,
    plan: PlanOption = False,
    scheduler: SchedulerOption = None,
    time_budget: BudgetOption = None,
) -> None:
    """Train and evaluate models side by side, and tell which differences are more than luck.

    Every run is an ordinary one below runs/; all share features, split and vectors, and those that are up to date stay.
    Closed forms of ridge regression, which take seconds, are rows of every zero-shot table. A run that fails is a row
    that says so, and exit code 1. The table is printed, and written to compare/ as Markdown, LaTeX, CSV, JSON and a
    page.

    --vary split deals the images anew for each seed, too; --vary labels draws other unseen labels for each. --choose
    held_out_labels names the row that one would take by labels hidden from training. --figures adds to the page what
    models say of test images, such as two rows' best labels side by side. All of it can stand in the section `compare`
    of a TOML file, with rows of one's own as `variants`. There, `model` and `train` are of the command `train` alone;
    what --set says of them holds for all rows whose model reads it.

    Example: biam-pipe compare --dataset demo --models fast0tag,labelem,conse --seeds 0,1

    Example: biam-pipe compare --dataset nuswide --table 1 --seeds 0,1,2
    """
    from pipeline import flow

    lists = {"models": models, "tables": table, "tasks": tasks, "seeds": seeds}
    given = [f"compare.{name}={_as_list(text, name)}" for name, text in lists.items() if text is not None]
    given += [f"compare.{name}={text}" for name, text in {"vary": vary, "choose": choose}.items() if text is not None]
    given += ["compare.figures=true"] if figures else []
    settings = replace(where, sets=[*where.sets, *given]).comparison()
    deadline = flow.deadline(time_budget)
    request = flow.Request("evaluate", scheduler=scheduler, deadline=deadline, quiet=where.quiet, verbose=where.verbose)
    if plan:
        cells = flow.cells(settings, where.work, request)
        _print_json({"runs": [asdict(cell) for cell in cells]}) if as_json else _print(console.cell_lines(cells))
        return
    found = flow.compare(settings, where.work, request)
    _tell(found, console.comparison_lines(found), as_json)


def _as_list(text: str, name: str) -> str:
    """A list of names, or of numbers, that commas join as a TOML value."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return f"[{', '.join(parts)}]" if name == "seeds" else json.dumps(parts)


@app.command("status")
@with_common_options
def status_command(
    where: Where,
    as_json: bool,
    failed: FailedOption = None,
    openmetrics: OpenMetricsOption = False,
    of_run: RunOption = None,
) -> None:
    """Tell what is in the work folder: shards, rows, statuses; and whether a run is going on, or died.

    With --failed tell which images failed instead: id, status, where they were sought, and why; all of them, or those
    with the statuses that it names. With --openmetrics tell the counts as a text that Prometheus reads. With --run look
    at what a run was made from, whatever the settings are now.

    Example: biam-pipe status --dataset demo

    Example: biam-pipe status --dataset demo --failed=timeout,decode_error

    Example: biam-pipe status --dataset demo --openmetrics
    """
    from pipeline import flow

    config = _settings(where, of_run)
    if failed is not None:
        rows = flow.failed(config, where.work, flow.failed_statuses(failed, flow.FAILURES))
        _print_json({"failed": [asdict(row) for row in rows]}) if as_json else _print(console.failed_lines(rows))
        return
    found = flow.status(config, where.work)
    if openmetrics:
        text = flow.openmetrics(config.dataset.name, found)
        _print_json({"openmetrics": text}) if as_json else typer.echo(text, nl=False)
        return
    _print_json(asdict(found)) if as_json else _print(console.status_lines(found))


@runs_app.callback(invoke_without_command=True)
@with_common_options
def runs_command(where: Where, as_json: bool, context: typer.Context) -> None:
    """List all runs of a data set, newest first: settings that differ, data, figures beside chance, state, size.

    Example: biam-pipe runs --dataset demo

    Example: biam-pipe runs diff A B --dataset demo
    """
    if context.invoked_subcommand is not None:
        return
    from pipeline import flow
    from pipeline.commands.runs.told import runs_lines

    found = flow.runs(where.load(), where.work)
    _print_json(found.as_json()) if as_json else _print(runs_lines(found))


@runs_app.command("diff")
@with_common_options
def runs_diff_command(
    where: Where, as_json: bool, first: FirstArgument = "", second: SecondArgument = "latest"
) -> None:
    """Tell in what two runs differ: settings, and figures with the interval of the difference over the same images.

    Where they were tested on other images, too, those that both have are counted.

    Example: biam-pipe runs diff biam-released-77fa804c ridge-default-0d8b7e11 --dataset demo
    """
    from pipeline import flow
    from pipeline.commands.runs.told import difference_lines

    found = flow.runs_difference(where.load(), where.work, first, second)
    _print_json(asdict(found)) if as_json else _print(difference_lines(found))


@runs_app.command("promote")
@with_common_options
def runs_promote_command(where: Where, as_json: bool, name: PromotedArgument = "", figure: FigureOption = None) -> None:
    """Make a run `latest` where a figure of it is better than that of the latest one by more than its interval.

    They are compared over the test images that both have, at least 90 % of those of each. The first run is promoted as
    it is. Exit code 1 where the pointer stays with another run. Without --figure the headline of the first section
    decides.

    Example: biam-pipe runs promote biam-released-77fa804c --figure zsl/map --dataset demo
    """
    from pipeline import flow
    from pipeline.commands.runs.told import promotion_lines

    found = flow.promote(where.load(), where.work, name, figure)
    _tell(found, promotion_lines(found), as_json)


@app.command("clean")
@with_common_options
def clean_command(where: Where, as_json: bool, keep: KeepOption = None, yes: YesOption = False) -> None:
    """List what no kept run needs, with its size: older runs, features of other settings, images dropped after use.

    Runs stay that are among the N newest, `latest`, the one of the present settings, and those of comparisons; so does
    what any of them reads. Nothing is removed without --yes.

    Example: biam-pipe clean --dataset demo --keep 3
    """
    from pipeline import flow
    from pipeline.commands.runs.told import cleaning_lines

    found = flow.clean(where.load(), where.work, keep, remove=yes)
    _print_json(found.as_json()) if as_json else _print(cleaning_lines(found))


@app.command("verify")
@with_common_options
def verify_command(where: Where, as_json: bool, reextract: ReextractOption = 0, seed: SeedOption = 0) -> None:
    """Compare every file of the data set that has a receipt with the hash in it. Exit code 4 if one differs.

    Whatever settings made it: both stores, other features, other runs. A receipt that is gone or damaged is told, too.
    So are files from outside, such as a CSV, that changed since they were read; without a trace, that is exit code 4.
    With --reextract also make the features of random images anew, from their stored bytes and with the same settings:
    equal bits are expected on the same machine, differences up to a stated tolerance elsewhere.

    Example: biam-pipe verify --dataset demo

    Example: biam-pipe verify --dataset demo --reextract 20
    """
    from pipeline import flow

    found = flow.verify(where.load(), where.work, reextract, seed)
    _tell(found, console.verification_lines(found), as_json)


@app.command("check")
@with_common_options
def check_command(where: Where, as_json: bool, images: ImagesOption = None) -> None:
    """Tell in a minute whether all that a run needs can be had. Changes nothing; exit code 1 where a run would fail.

    It asks every address of lists, weights and word vectors for its first bytes, seeks ten images at each of their
    sources, and looks at devices, libraries, memory, limits, disks and the clock. Each line is ok or says what to do.

    With --images also run so many images through all stages with the same settings and few epochs, in a folder below
    TMPDIR that is gone afterwards; lists, weights and word vectors are fetched whole for that, and kept for later runs.
    Where there is an index, tell what all images would take.

    Example: biam-pipe check --dataset openimages

    Example: biam-pipe check --dataset demo --images 80
    """
    from pipeline import flow

    found = flow.check(where.load(), where.work, images, quiet=where.quiet)
    _tell(found, console.check_lines(found), as_json)


@app.command("predict")
@with_common_options
def predict_command(
    where: Where,
    as_json: bool,
    images: ImagesArgument = None,
    labels: LabelsOption = None,
    top: TopOption = 5,
    out: OutOption = Path("predictions"),
    maps: MapsOption = False,
    form: TableFormOption = "csv",
    of_run: RunOption = None,
) -> None:
    """Score labels in images with the trained model, as one page and one table in --out.

    Images are files, folders, patterns such as 'photos/**/*.jpg', http(s) addresses, or with - a list of these on
    stdin, one a line. Labels may be any words that have vectors; without --labels, all labels of the data set. Words
    that nobody knows are told and left out. Probabilities are fitted on seen labels of validation images; what they are
    worth is told with them. Exit code 1 where no image could be used.

    With --maps also draw, beside each photo, where the model sees its best labels.

    Example: biam-pipe predict photo.jpg --labels "zebra,street protest,night"

    Example: biam-pipe predict photos --maps --out seen
    """
    from pipeline import flow
    from pipeline.commands.prediction.told import prediction_lines

    asked = None if labels is None else labels.split(",")
    request = flow.PredictRequest(images or [], asked, top, out, maps, cast("Any", form), quiet=where.quiet)
    found = flow.predict(_settings(where, of_run), where.work, request)
    _tell(found, prediction_lines(found), as_json)


@app.command("view")
@with_common_options
def view_command(where: Where, as_json: bool, port: PortOption = 8766) -> None:
    """Show the work folder on pages of a local server, until Ctrl-C: state, images, failures, labels, runs.

    It listens on 127.0.0.1 alone, takes no lock, and writes nothing. Needs the extra `view`.

    Example: biam-pipe view --dataset demo
    """
    from pipeline import flow

    def began(address: str) -> None:
        _print_json({"address": address}) if as_json else _print([address])
        sys.stdout.flush()

    flow.view(where.load(), where.work, replace(_given(), verb="", words=()), port, began)


@app.command("convert")
@with_common_options
def convert_command(
    where: Where, as_json: bool, to: ConvertArgument = "", out: FormOption = None, found: FromOption = None
) -> None:
    """Put the features into another store, or into a form that other programs read; or take in those of others.

    TO is a store (see `show stores`), whose shards go into the work folder, up to date for a run with that store.name;
    or a form for other programs, which goes to --out and needs the stage `split`, too: `released`, the per-image HDF5
    files that the authors' code reads; `huggingface`, Parquet that `datasets` opens with splits, labels and shapes;
    `webdataset`, tar files; `fiftyone`, images with labels and vectors. The work folder may be read-only for a form.

    --from takes in HDF5 files of NUS-WIDE as the authors shared them, with their labels, and sets dataset.features.

    What stands already is kept where its bytes, and those it was made from, are as they were written: after an
    interruption the same command goes on.

    Example: biam-pipe convert hdf5 --dataset demo

    Example: biam-pipe convert released --out released --dataset demo

    Example: biam-pipe convert --from nus_wide_train.h5 --from nus_wide_test.h5 --dataset nuswide
    """
    from pipeline import flow

    config = where.load()
    if found:
        sets = flow.import_settings(config, found, to, out)
        _run(replace(where, sets=[*where.sets, *sets]), as_json, "extract")
        if not as_json:
            _print([console.training_line(config.dataset.name, sets, _given())])
        return
    made = flow.convert(config, where.work, flow.Conversion(to, config, out, quiet=where.quiet))
    if isinstance(made.next_step, Command):
        made = replace(made, next_step=str(made.next_step.with_options(_given())))
    _print_json(asdict(made)) if as_json else _print(console.conversion_lines(made))


def _list(name: str, as_json: bool) -> None:
    from pipeline import flow

    names = flow.names(name)
    _print_json({name: names}) if as_json else _print(names)


def _add_list(name: str) -> None:
    def command(as_json: JsonOption = False) -> None:
        _list(name, as_json)

    show_app.command(name, help=f"Known {name}.\n\nExample: biam-pipe show {name}")(command)


for _room in ("datasets", "models", "stores", "protocols"):
    _add_list(_room)


@show_app.command("backbones")
def show_backbones_command(search: SearchOption = None, as_json: JsonOption = False) -> None:
    """Known backbones; with --search those whose name has a text in it, with size, maps and licence.

    A name with `:` stands for all models of a library, which --search looks through.

    Example: biam-pipe show backbones

    Example: biam-pipe show backbones --search dino
    """
    if search is None:
        _list("backbones", as_json)
        return
    from pipeline import flow

    found = flow.search_backbones(search)
    _print_json(found.as_json()) if as_json else _print(console.backbone_lines(found))


@show_app.command("config")
@with_common_options
def show_config_command(where: Where, as_json: bool) -> None:
    """Print all settings as a TOML file; those that the preset gives are comments in it.

    Example: biam-pipe show config --dataset demo > biam-pipe.toml
    """
    from pipeline.settings.layers import as_toml

    settings = where.load()
    _print_json(settings.model_dump(mode="json")) if as_json else typer.echo(escaped(as_toml(settings)))


@show_app.command("units")
@with_common_options
def show_units_command(
    where: Where,
    as_json: bool,
    kind: UnitsArgument = "",
    stage: VerbOption = "report",
    scheduler: SchedulerOption = None,
    time_budget: SliceOption = "50m",
    retry_failed: RetryOption = None,
    replace_run: ReplaceOption = False,
    user: UserOption = None,
    out: UnitsOption = None,
) -> None:
    """Print the files with which a scheduler brings this work folder up to date: systemd, cron, slurm or kubernetes.

    They hold all options that are given here, settings of the environment, and whole paths. Each says where it goes.
    Slices of bounded time follow each other; docs/schedule.md tells more.

    Example: biam-pipe show units kubernetes --dataset demo

    Example: biam-pipe show units systemd --dataset openimages --user biam --time-budget 2h --out units
    """
    from pipeline import flow

    if stage not in STAGES:
        raise unknown_name("stage", stage, STAGES)
    verb = "run" if stage == "report" else stage
    said = (scheduler, retry_failed, replace_run, user, os.environ)
    call = flow.Call(verb, where.work, where.file(), where.sets, time_budget, *said)
    made = flow.units(kind, where.load(), call)
    if out is not None:
        paths = flow.write_units(made, out)
        _print_json({"files": paths}) if as_json else _print(paths)
        return
    _print_json({"files": [asdict(unit) for unit in made]}) if as_json else _print(
        line for unit in made for line in unit.text.removesuffix("\n").split("\n")
    )


def main() -> None:
    """Entry point: the exit codes of the contract, and errors as text."""
    debug, as_json = "--debug" in sys.argv, "--json" in sys.argv
    process.prepare()
    try:
        # The value of both options is optional, which click cannot say of one that typer declares.
        arguments = [f"{one}=all" if one in ("--retry-failed", "--failed") else one for one in _arguments()]
        try:
            app(arguments, prog_name="biam-pipe")
        finally:
            sys.stdout.flush()  # here, where a full disk can be told: at the exit it costs the exit code
    except PipelineError as error:
        if debug:
            raise
        _fail(error, as_json)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # `biam-pipe status | head`
        process.drop_unwritten()
        raise SystemExit(1) from None
    except Exception as error:
        if debug:
            raise
        _fail(process.explained(error), as_json)


def _run(
    where: Where,
    as_json: bool,
    stage: str,
    scheduler: str | None = None,
    time_budget: str | None = None,
    only: bool = False,
    retry_failed: str | None = None,
    replace_run: bool = False,
    shards: str | None = None,
    of_run: str | None = None,
) -> None:
    from pipeline import flow

    request = flow.Request(
        stage,
        only,
        scheduler,
        flow.deadline(time_budget),
        quiet=where.quiet,
        verbose=where.verbose,
        retry=flow.failed_statuses(retry_failed),
        replace=replace_run,
        shards=flow.shard_range(shards),
    )
    result = flow.run(_settings(where, of_run), where.work, request)
    _tell(result, console.result_lines(result), as_json)


def _settings(where: Where, run: str | None) -> "Config":
    """The settings that the options lead to, or those of a run."""
    if run is None:
        return where.load()
    from pipeline import flow

    return flow.with_run(where.load(), where.work, run)


def _tell(
    found: "Checked | Compared | Promotion | Result | Prediction | Verified", lines: Iterable[str], as_json: bool
) -> None:
    """Print what a command came to. A problem is raised to be told, too; in JSON it is told already."""
    problem = found.problem
    _print_json(found.as_json() | _problem_json(problem)) if as_json else _print(lines)
    if problem is not None:
        raise SystemExit(problem.exit_code) if as_json else problem


def _fail(error: PipelineError, as_json: bool) -> None:
    told = _problem_json(error)
    if as_json:
        with suppress(OSError):  # such as of a full disk, which is then what is told on stderr
            _print_json(told)
    with suppress(OSError):  # whoever cannot be told still gets the exit code
        print(printable(f"biam-pipe: {told['error']}", "\n"), file=sys.stderr)  # noqa: T201
    process.drop_unwritten()
    raise SystemExit(error.exit_code)


def _problem_json(problem: PipelineError | None) -> dict[str, str | int | None]:
    """What JSON says of a problem, its next command with the options that the user gave; else it meant others."""
    if problem is not None and problem.run is not None:
        problem.run = problem.run.with_options(_given().without(_OPTIONS.get(key, "") for key in problem.run.sets))
    return problem_json(problem)


def _arguments() -> list[str]:
    """What was typed, with the options that all commands have behind the verb."""
    return rearranged(sys.argv[1:], ("show", "runs"))


def _given() -> Command:
    """The command that the user gave."""
    return Command.parse(_arguments())


def _print(lines: Iterable[str]) -> None:
    """Print lines; names in them are other people's, and a terminal obeys what some hold.

    On a terminal what is longer than it is wide is broken at blanks: it would break in the middle of words.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines:
        text = printable(line, "\t")
        for part in [text] if width is None else wrapped(text, width):
            typer.echo(part)


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(escaped(json.dumps(value, indent=2, ensure_ascii=False)))


if __name__ == "__main__":
    main()
