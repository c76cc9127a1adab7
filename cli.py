"""The command line: parse, call one function, print. No logic lives here."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.console import (
    conversion_lines,
    plan_lines,
    prediction_lines,
    result_lines,
    status_lines,
    verification_lines,
    with_options_given,
)

if TYPE_CHECKING:
    from schemas.config import Config
    from schemas.errors import PipelineError

app = typer.Typer(
    name="biam-pipe",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Multi-label zero-shot learning, from image addresses to scores.\n\nExample: biam-pipe run --dataset demo",
)
show_app = typer.Typer(no_args_is_help=True, help="What there is to choose from.\n\nExample: biam-pipe show backbones")
app.add_typer(show_app, name="show")

DatasetOption = Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Data set; see `show datasets`.")]
WorkOption = Annotated[Path, typer.Option("--work", metavar="DIR", help="Work folder.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file; biam-pipe.toml if it is there.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, as section.key=value; repeatable.")
]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler; an embedded cluster otherwise.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
BudgetOption = Annotated[
    str | None, typer.Option("--time-budget", metavar="TIME", help="Stop after that long (90s, 50m, 2h); exit code 75.")
]
RetryOption = Annotated[
    str | None,
    typer.Option(
        "--retry-failed",
        metavar="[=STATUS,...]",
        help="Fetch failed images again: those with these statuses, else all that are not gone for good.",
    ),
]
OnlyOption = Annotated[bool, typer.Option("--only", help="This stage alone; an error where its input is missing.")]
ReextractOption = Annotated[int, typer.Option("--reextract", metavar="K", min=0, help="Make K images' features anew.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the draw of those images.")]
ConvertArgument = Annotated[str, typer.Argument(metavar="TO", help="A store, `released` or `huggingface`.")]
FormOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for the files of a form.")]
FromOption = Annotated[list[str] | None, typer.Option("--from", metavar="FILE", help="A file to take in; repeatable.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Tracebacks with errors.")]

ImagesArgument = Annotated[list[str] | None, typer.Argument(metavar="IMAGE...", help="Image files.")]
LabelsOption = Annotated[str | None, typer.Option("--labels", metavar="WORDS,...", help="Labels, joined by commas.")]
TopOption = Annotated[int, typer.Option("--top", metavar="N", help="Labels told of each image, best first.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the heat map pictures.")]

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


@dataclass(frozen=True)
class Where:
    """The options that say which settings and which folder."""

    dataset: str | None
    work: Path
    config: Path | None
    sets: list[str]

    def load(self) -> "Config":
        """The configuration they lead to."""
        from dags.settings import configuration

        return configuration(self.dataset, self.config, os.environ, self.sets, self.work)


_WHERE_OPTIONS = [
    Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, default, annotation in (
        ("dataset", None, DatasetOption),
        ("work", Path("work"), WorkOption),
        ("config", None, ConfigOption),
        ("sets", None, SetOption),
        ("as_json", False, JsonOption),
        ("debug", False, DebugOption),
    )
]


def _with_common_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have; it gets them as `where` and `as_json`."""
    own = [
        parameter
        for parameter in signature(command, eval_str=True).parameters.values()
        if parameter.default is not Parameter.empty
    ]

    @wraps(command)
    def wrapper(
        dataset: str | None,
        work: Path,
        config: Path | None,
        sets: list[str] | None,
        as_json: bool,
        debug: bool,
        **rest: object,
    ) -> None:
        del debug  # read by main, which decides how errors are shown
        command(Where(dataset, work, config, sets or []), as_json, **rest)

    parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own] + _WHERE_OPTIONS
    wrapper.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


@app.command("run")
@_with_common_options
def run_command(
    where: Where,
    as_json: bool,
    scheduler: SchedulerOption = None,
    time_budget: BudgetOption = None,
    retry_failed: RetryOption = None,
) -> None:
    """Run all stages, from the index to the report.

    Example: biam-pipe run --dataset demo
    """
    _run(where, as_json, "report", scheduler, time_budget, False, retry_failed)


def _add_stage(name: str, summary: str) -> None:
    @_with_common_options
    def command(
        where: Where,
        as_json: bool,
        scheduler: SchedulerOption = None,
        time_budget: BudgetOption = None,
        only: OnlyOption = False,
        retry_failed: RetryOption = None,
    ) -> None:
        _run(where, as_json, name, scheduler, time_budget, only, retry_failed)

    text = f"{summary}\n\nBrings what it needs up to date first.\n\nExample: biam-pipe {name} --dataset demo"
    app.command(name, help=text)(command)


for _name, _summary in STAGES.items():
    _add_stage(_name, _summary)


@app.command("plan")
@_with_common_options
def plan_command(
    where: Where, as_json: bool, scheduler: SchedulerOption = None, retry_failed: RetryOption = None
) -> None:
    """Tell what `run` would do, and why, or what it would fail for. Changes nothing.

    Example: biam-pipe plan --dataset demo --set train.lr=0.0002
    """
    from pipeline import flow

    request = flow.Request("report", scheduler=scheduler, retry=flow.failed_statuses(retry_failed))
    lines = flow.plan(where.load(), where.work, request)
    _print_json({"stages": [asdict(line) for line in lines]}) if as_json else _print(plan_lines(lines))


@app.command("status")
@_with_common_options
def status_command(where: Where, as_json: bool) -> None:
    """Tell what is in the work folder: shards, rows, statuses; and whether a run is going on, or died.

    Example: biam-pipe status --dataset demo
    """
    from pipeline import flow

    found = flow.status(where.load(), where.work)
    _print_json(asdict(found)) if as_json else _print(status_lines(found))


@app.command("verify")
@_with_common_options
def verify_command(where: Where, as_json: bool, reextract: ReextractOption = 0, seed: SeedOption = 0) -> None:
    """Compare every file of the data set that has a receipt with the hash in it. Exit code 4 if one differs.

    Whatever settings made it: both stores, other features, other runs. A receipt that is gone or damaged is told, too.
    With --reextract also make the features of random images anew, from their stored bytes and with the same settings:
    equal bits are expected on the same machine, differences up to a stated tolerance elsewhere.

    Example: biam-pipe verify --dataset demo

    Example: biam-pipe verify --dataset demo --reextract 20
    """
    from pipeline import flow
    from schemas.errors import IntegrityError

    config = where.load()
    found = flow.verify(config, where.work)
    again = flow.reextract(config, where.work, reextract, seed) if reextract else None
    if as_json:
        _print_json(asdict(found) | {"reextracted": asdict(again) if again else None})
    else:
        _print(verification_lines(found, again))
    if found.problems:
        text = f"files gone or not as their receipts say: {len(found.problems)}. Remove what is left of them, then run"
        _end(IntegrityError(f"{text} with their settings: biam-pipe run --dataset {config.dataset.name}"), as_json)
    if again and again.problems:
        text = f"{len(again.problems)} of {again.images} images give other features than those that are stored"
        _end(IntegrityError(f"{text}. Other libraries or another device? See: biam-pipe plan"), as_json)


@app.command("predict")
@_with_common_options
def predict_command(
    where: Where,
    as_json: bool,
    images: ImagesArgument = None,
    labels: LabelsOption = None,
    top: TopOption = 5,
    out: OutOption = Path("predictions"),
) -> None:
    """Score labels in images with the trained model, and draw where it sees the best of them.

    Labels may be any words that have vectors; without --labels, all labels of the data set. Exit code 1 where no image
    could be used.

    Example: biam-pipe predict photo.jpg --labels "zebra,street protest,night"
    """
    from pipeline import flow

    asked = None if labels is None else labels.split(",")
    found = flow.predict(where.load(), where.work, flow.PredictRequest(images or [], asked, top, out))
    _print_json(found.as_json()) if as_json else _print(prediction_lines(found))
    if found.problem is not None:
        _end(found.problem, as_json)


@app.command("convert")
@_with_common_options
def convert_command(
    where: Where, as_json: bool, to: ConvertArgument = "", out: FormOption = None, found: FromOption = None
) -> None:
    """Put the features into another store, or into a form that other programs read; or take in those of others.

    TO is a store (see `show stores`), whose shards go into the work folder, up to date for a run with that store.name;
    `released`, the per-image HDF5 files that the authors' code reads; or `huggingface`, Parquet that `datasets` opens
    with shapes. Both forms need the stage `split`, too: `released` puts training and validation images in one file and
    test images in another, seen labels first; `huggingface` has the split as a column.

    --from takes in HDF5 files of NUS-WIDE as the authors shared them, with their labels, and sets dataset.features.

    What stands already is kept where its bytes, and those it was made from, are as they were written: after an
    interruption the same command goes on.

    Example: biam-pipe convert hdf5 --dataset demo

    Example: biam-pipe convert released --out released --dataset demo

    Example: biam-pipe convert huggingface --out for-datasets --dataset demo

    Example: biam-pipe convert --from nus_wide_train.h5 --from nus_wide_test.h5 --dataset nuswide
    """
    from pipeline import flow

    if found:
        setting = f"dataset.features={json.dumps(found)}"
        sets = [*where.sets, setting, *([f"store.name={to}"] if to else [])]
        _run(replace(where, sets=sets), as_json, "extract", None, None, False, None)
        if not as_json:
            own = " ".join(f"--set {shlex.quote(one)}" for one in sets[len(where.sets) :])
            _print([with_options_given(f"next: biam-pipe train --dataset nuswide {own}", sys.argv[1:])])
        return
    config = where.load()
    made = flow.convert(config, where.work, flow.Conversion(to, config.store, out, quiet=as_json))
    if as_json:
        _print_json(asdict(made))
        return
    _print(with_options_given(line, sys.argv[1:]) for line in conversion_lines(made))


def _add_list(name: str) -> None:
    def command(as_json: JsonOption = False) -> None:
        from pipeline import flow

        names = flow.names(name)
        _print_json({name: names}) if as_json else _print(names)

    show_app.command(name, help=f"Known {name}.\n\nExample: biam-pipe show {name}")(command)


for _room in ("datasets", "backbones", "models", "stores"):
    _add_list(_room)


@show_app.command("config")
@_with_common_options
def show_config_command(where: Where, as_json: bool) -> None:
    """Print all settings as a TOML file; those that the preset gives are comments in it.

    Example: biam-pipe show config --dataset demo > biam-pipe.toml
    """
    from dags.settings import as_toml

    settings = where.load()
    _print_json(settings.model_dump(mode="json")) if as_json else _print([as_toml(settings)])


def main() -> None:
    """Entry point: the exit codes of the contract, and errors as text."""
    from schemas.errors import PipelineError

    debug, as_json = "--debug" in sys.argv, "--json" in sys.argv
    try:
        # The option's value is optional, which click cannot say of one that typer declares.
        app(["--retry-failed=all" if one == "--retry-failed" else one for one in sys.argv[1:]], prog_name="biam-pipe")
    except PipelineError as error:
        if debug:
            raise
        _fail(error, error.exit_code, as_json)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # `biam-pipe status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {error}. Run again with --debug for a traceback", 1, as_json)


def _run(
    where: Where,
    as_json: bool,
    stage: str,
    scheduler: str | None,
    time_budget: str | None,
    only: bool,
    retry_failed: str | None,
) -> None:
    from pipeline import flow

    deadline, retry = flow.deadline(time_budget), flow.failed_statuses(retry_failed)
    request = flow.Request(stage, only=only, scheduler=scheduler, deadline=deadline, quiet=as_json, retry=retry)
    result = flow.run(where.load(), where.work, request)
    if as_json:
        _print_json(result.as_json())
    else:
        _print(result_lines(result))
    if result.problem is not None:
        _end(result.problem, as_json)


def _end(problem: "PipelineError", as_json: bool) -> None:
    """End with the exit code of a problem that the output tells already where it is JSON."""
    if as_json:
        raise SystemExit(problem.exit_code)
    raise problem


def _fail(error: object, code: int, as_json: bool) -> None:
    text = with_options_given(str(error), sys.argv[1:])
    if as_json:
        _print_json({"error": text, "exit_code": code})
    print(f"biam-pipe: {text}", file=sys.stderr)  # noqa: T201
    raise SystemExit(code)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
