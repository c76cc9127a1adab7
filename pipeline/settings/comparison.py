"""The rows of a comparison as configurations: all share data, features and split, each has a model of its own.

Of the user's sections `model` and `train` a row takes what steers the work from the TOML file, and from the environment
and --set all that its model reads: a file is of the model that `train` trains.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from pipeline.comparison.tables import CLOSED_FORMS, ReadyTable, ready_table
from pipeline.models import MODELS
from pipeline.models.contract import TASKS, has_label_features, in_vain, learns_by_steps
from pipeline.settings.layers import Layer, Layers, checked, merged, nested
from schemas.comparison import ComparisonSettings, RowSettings, shaping
from schemas.config import CompareConfig, Config, TrainConfig, Variant
from schemas.errors import UsageError, unknown_name
from schemas.section import is_recipe
from schemas.status import ImageSplit

_DEFAULT = "default"  # preset of closed forms
_CHOICE = {"name", "preset"}  # of a model: that of the command `train`
# What each row has of its own, and what says it; typed for all rows it would be lost, or make one run of all.
_OF_A_ROW = {"model.name": "--models NAME", "model.preset": "--models NAME:PRESET", "train.run": None}
_OF_A_SEED = {
    "training": ("train.seed",),
    "split": ("train.seed", "split.seed"),
    "labels": ("split.unseen_seed",),
}


def comparison(layers: Layers) -> ComparisonSettings:
    """The rows that the settings ask for.

    Raises:
        UsageError: no row, two of one name, a table of another task, or an unknown setting or name in one.
    """
    shared = _without_models(layers)
    wanted = checked(shared).compare
    tables = [ready_table(name) for name in wanted.tables]
    _require_one_task(wanted.tables, tables)
    between = merged(*(table.sets for table in tables), _task(wanted))
    layers, shared = layers.below_typed(between), shared.below_typed(between)
    config = checked(shared)
    _require_choice(config)
    _refuse_own(layers, config)
    for name, table in zip(config.compare.tables, tables, strict=True):
        _require(config, name, table.sets)
    variants = [_parsed(text) for text in config.compare.models]
    variants += [row for table in tables for row in table.rows]
    variants += config.compare.variants
    if not variants:
        raise UsageError(
            "compare: nothing to compare;",
            expected="models, tables or variants",
            hint="Example: biam-pipe compare --dataset demo --models biam,lesa",
        )
    if config.dataset.task == "zero-shot":
        asked_for = {(row.model, row.preset or _DEFAULT) for row in variants if not row.set}
        variants += [row for row in CLOSED_FORMS if (row.model, row.preset) not in asked_for]
    unique = list(dict.fromkeys(variant.title for variant in variants))
    by_title = {title: [variant for variant in variants if variant.title == title] for title in unique}
    for title, same in by_title.items():
        if any(variant != same[0] for variant in same):
            raise UsageError(f"compare: two rows are called {title!r}", expected="a name of its own for each variant")
    _require_pair(config, unique)
    rows = tuple(_row(layers, config, same[0]) for same in by_title.values())
    _refuse_unread(layers, rows)
    _require_figures(config, [row.variant.model for row in rows])
    return ComparisonSettings(config, rows)


def _task(config: CompareConfig) -> Layer:
    """The data set's task, where the tasks that are to be shown decide it.

    Raises:
        UsageError: they are of two.
    """
    asked = [task for task, parts in TASKS.items() if not set(parts).isdisjoint(config.tasks)]
    if len(asked) > 1:
        raise UsageError(
            "setting compare.tasks:",
            got=", ".join(config.tasks),
            expected="zsl and gzsl, or standard: they are trained on other labels",
        )
    return {"dataset": {"task": asked[0]}} if asked else {}


def _require_one_task(names: Sequence[str], tables: Sequence[ReadyTable]) -> None:
    """See that all tables are zero-shot ones, or all standard ones.

    Raises:
        UsageError: there are some of both.
    """
    if len({str(table.sets.get("dataset")) for table in tables}) > 1:
        raise UsageError(
            "setting compare.tables:",
            got=", ".join(names),
            expected="zero-shot tables (1, 2, 3, 4, 8), or standard ones (6, 7): they are trained on other labels",
        )


def _require_pair(config: Config, titles: Sequence[str]) -> None:
    """See that the rows which are to stand side by side are two of these.

    Raises:
        UsageError: they are not.
    """
    pair = config.compare.side_by_side
    for title in pair:
        if title not in titles:
            raise unknown_name("row", title, titles)
    if pair and len(set(pair)) != 2:
        raise UsageError("setting compare.side_by_side:", got=", ".join(pair), expected="two rows, or none")


def _require_figures(config: Config, models: Sequence[str]) -> None:
    """See that what draws the figures is here, before hours of training.

    Raises:
        UsageError: it is not.
    """
    placed = [model for model in models if has_label_features(MODELS.load(model))]
    if config.compare.figures and placed and find_spec("sklearn") is None:
        raise UsageError(
            f"setting compare.figures: vectors of {placed[0]} are placed by scikit-learn, which is not installed",
            hint="Install it: pip install 'biam-pipe[figures]'",
        )


def _require_choice(config: Config) -> None:
    """See that there is something to choose by."""
    if config.compare.choose is None:
        return
    if config.dataset.task != "zero-shot":
        raise UsageError(
            "setting compare.choose:", got=config.compare.choose, expected="null, as no label is unseen (dataset.task)"
        )
    if config.compare.choose_folds > config.split.held_out_folds:
        raise UsageError(
            "setting compare.choose_folds:",
            got=config.compare.choose_folds,
            expected=f"at most split.held_out_folds = {config.split.held_out_folds}",
        )


def _require(config: Config, name: str, sets: Layer) -> None:
    """See that a table's own settings hold: another table, or the user, may want others."""
    for section, values in sets.items():
        for key, value in values.items():
            if (found := getattr(getattr(config, section), key)) != value:
                raise UsageError(
                    f"compare: table {name} is of {section}.{key} = {value!r};", got=repr(found), expected=repr(value)
                )


def _parsed(text: str) -> Variant:
    model, colon, preset = text.partition(":")
    return Variant(model=model, preset=preset if colon else None)


def _row(layers: Layers, config: Config, variant: Variant) -> RowSettings:
    model = MODELS.load(variant.model)
    suits = not set(TASKS[config.dataset.task]).isdisjoint(model.TASKS)
    drawn = learns_by_steps(model) or config.compare.vary != "training"
    seeds = config.compare.seeds if drawn else config.compare.seeds[:1]
    changes = {seed: _of_seed(config, seed, trained=learns_by_steps(model)) for seed in seeds if suits}
    cells = {seed: _cell(layers, variant, change) for seed, change in changes.items()}
    folds = range(config.compare.choose_folds if config.compare.choose else 0)
    hidden = {
        seed: tuple(_cell(layers, variant, merged(change, _without_fold(fold))) for fold in folds)
        for seed, change in changes.items()
    }
    changed = next((_changed(layers, variant, changes[seed], config) for seed, config in cells.items()), ())
    return RowSettings(variant, suits, cells, hidden if folds else {}, changed)


def _changed(layers: Layers, variant: Variant, change: Layer, config: Config) -> tuple[str, ...]:
    """Settings of model and training that --set or the environment gave other values than a row has by itself."""
    typed = _only(layers.typed, {"model": set(), "train": set()})
    if typed == layers.typed:
        return ()
    itself = shaping(_cell(replace(layers, typed=typed), variant, change))
    return tuple(key for key, value in shaping(config).items() if value != itself.get(key))


def _without_fold(fold: int) -> Layer:
    """A run that never sees the labels of a fold, and is scored by them on validation images alone."""
    scored = {"images": ImageSplit.VALIDATION.value, "examples": 0, "replicates": 0}
    return {"split": {"held_out_fold": fold}, "evaluate": scored}


def _cell(layers: Layers, variant: Variant, change: Layer) -> Config:
    """The configuration of one run, with what it alone changes.

    Raises:
        UsageError: the row has an unknown setting, name or value; the text names the row.
    """
    kind = MODELS.load(variant.model)
    own = {"model": {"name": variant.model} | ({} if variant.preset is None else {"preset": variant.preset})}
    row = merged(own, nested(variant.set), change)
    fields = {"model": set(kind.SETTINGS.model_fields) - _CHOICE, "train": set(TrainConfig.model_fields)}
    written, typed = _without_models(layers).written, _only(layers.typed, fields)
    try:
        unread = in_vain(kind, checked(replace(layers, written=written, typed=typed), row, lenient=True))
        read = {section: {key for key in keys if f"{section}.{key}" not in unread} for section, keys in fields.items()}
        return checked(replace(layers, written=_only(written, read), typed=_only(typed, read)), row)
    except UsageError as error:
        error.what = f"row {variant.title!r}: {error.what}"
        if error.run is not None:  # which would set it for all rows
            error.hint = error.run = None
        raise


def _of_seed(config: Config, seed: int, *, trained: bool) -> dict[str, dict[str, Any]]:
    """What a seed changes. Other splits of images have folders of their own, so that none is dealt anew."""
    vary = config.compare.vary
    changed: dict[str, dict[str, Any]] = {"train": {"seed": seed}} if trained and vary != "labels" else {}
    if vary == "split":
        changed["split"] = {"seed": seed, "name": f"{config.split.name}-{seed}"}
    if vary == "labels":
        changed["split"] = {"unseen_seed": seed}
    return changed


def _without_models(layers: Layers) -> Layers:
    """What is said of all rows: nothing that shapes a model or its training, nor the name of one run."""
    shared = {key for key in TrainConfig.model_fields if not is_recipe(TrainConfig(), key)} - {"run"}
    return replace(
        layers,
        written=_only(layers.written, {"model": set(), "train": shared}),
        typed=_only(layers.typed, {"model": set(), "train": shared}),
    )


def _only(layer: Layer, keys: Mapping[str, Collection[str]]) -> Layer:
    """A layer with no more than these keys in the sections that are named."""
    return {
        section: {key: value for key, value in values.items() if section not in keys or key in keys[section]}
        for section, values in layer.items()
    }


def _refuse_own(layers: Layers, config: Config) -> None:
    """Refuse a setting of --set or the environment that is no setting of all rows.

    Raises:
        UsageError: there is one.
    """
    own = _OF_A_ROW | dict.fromkeys(_OF_A_SEED[config.compare.vary], "--seeds N,...")
    for key, option in own.items():
        section, _, name = key.partition(".")
        if name in layers.typed.get(section, {}):
            hint = f"Remove it from --set and the environment{f', and use {option}' if option else ''}"
            raise UsageError(f"compare: {key} holds for one run alone, and each row has its own", hint=hint)


def _refuse_unread(layers: Layers, rows: Sequence[RowSettings]) -> None:
    """Refuse a setting of --set or the environment that no row reads.

    Raises:
        UsageError: there is one.
    """
    configs = [config for row in rows for config in row.cells.values()]
    for section in ("model", "train") if configs else ():
        known = {key for config in configs for key in type(getattr(config, section)).model_fields} - _CHOICE
        for key in layers.typed.get(section, {}).keys() - _CHOICE:
            if key not in known:
                raise unknown_name("setting", f"{section}.{key}", [f"{section}.{name}" for name in known])
            if all(f"{section}.{key}" in in_vain(MODELS.load(config.model.name), config) for config in configs):
                raise UsageError(f"compare: no row reads the setting {section}.{key}", hint="Remove it")
