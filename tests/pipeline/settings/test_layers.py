"""From layers to one configuration: precedence, and what is said about mistakes."""

from pathlib import Path

import pytest

from dags import demo
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.settings.layers import as_toml, config_class, configuration
from schemas.config import Config, ExtractConfig
from schemas.errors import UsageError
from schemas.section import explanations


def load(
    tmp_path: Path, *sets: str, dataset: str | None = "demo", toml: str = "", env: dict[str, str] | None = None
) -> Config:
    file = tmp_path / "settings.toml"
    file.write_text(toml)
    return configuration(dataset, file, env or {}, sets, tmp_path / "work")


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    assert load(tmp_path).train.lr == 1e-3  # preset
    batch_images = demo.SETTINGS["extract"]["batch_images"]
    assert load(tmp_path).extract.batch_images == batch_images != ExtractConfig().batch_images  # dag over default
    toml = "[train]\nlr = 0.1\nepochs = 5"
    assert load(tmp_path, toml=toml).train.epochs == 5
    env = {"BIAM_PIPE_TRAIN__LR": "0.2", "BIAM_PIPE_CACHE": "/elsewhere", "HOME": "/root"}
    assert load(tmp_path, toml=toml, env=env).train.lr == 0.2
    assert load(tmp_path, "train.lr=0.3", toml=toml, env=env).train.lr == 0.3
    toml = '[dataset]\nname = "folder"\nlabels = "a.csv"'
    assert load(tmp_path, dataset=None, toml=toml).dataset == FolderDataset(labels="a.csv")


def test_a_preset_fills_what_is_not_set(tmp_path: Path) -> None:
    paper = load(tmp_path, "model.preset=paper", "train.weight_decay=0.25")
    assert (paper.model.top_k, paper.train.betas, paper.train.weight_decay) == (10, (0.5, 0.999), 0.25)
    assert paper.model.channels == 64  # the dag's


def test_values_are_toml_and_bare_words_are_strings(tmp_path: Path) -> None:
    config = load(
        tmp_path, "dataset.folders=['a', 'b']", "store.name=hdf5", 'embed.overrides={"a b" = "c"}', dataset="folder"
    )
    assert isinstance(config.dataset, FolderDataset)
    assert config.dataset.folders == ("a", "b")
    assert (config.store.name, config.embed.overrides) == ("hdf5", {"a b": "c"})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.learning_rate=1", r"unknown setting 'train.learning_rate'.* Known: train.run"),
        ("train.epoch=1", r"unknown setting 'train.epoch'. Did you mean 'train.epochs'\?"),
        ("trian.lr=1", r"unknown section 'trian'. Did you mean 'train'\? Known: "),
        ("dataset.num_image=1", r"unknown setting 'dataset.num_image'. Did you mean 'dataset.num_images'\?"),
        (
            "train.epochs=many",
            r"setting train.epochs: got 'many', expected a whole number.* Use: --set train.epochs=40",
        ),
        ("train.epochs=0", r"setting train.epochs: got 0, expected a whole number, at least 1 and at most"),
        (
            "model.preset=relased",
            r"setting model.preset: got 'relased', expected one of: paper, released, tuned. Use: --set",
        ),
        ("train.betas=[2, 3]", r"train.betas: got 2, expected .* less than 1. Use: --set 'train.betas=\[0.9, 0.999\]'"),
        ("train.betas=[0.5]", r"train.betas: got .*expected a"),
        ("train.patience=no", r"setting train.patience: got 'no', expected a whole number, .*, or null. Use: .*=null"),
        ("train.device=foo", r"setting train.device: got 'foo', expected one of: auto, cpu, mps, cuda, cuda:N. Use: "),
        ("model.blocks=3", r"setting model.blocks: got 3, expected a list, each a text. Use: --set 'model.blocks="),
        ("embed.overrides.a=3", r"setting embed.overrides.a: got 3, expected a text$"),
        (
            "download.allowed_networks=foo",
            r"setting download.allowed_networks: 'foo' is no network, expected some such",
        ),
        ("evaluate.ks=[]", r"setting evaluate.ks: got no K, expected at least one. Use: null"),
        ("evaluate.ks=[5, 3, 5]", r"setting evaluate.ks: got 5 more than once, expected each K once"),
        ("evaluate.ks=[0]", r"setting evaluate.ks: got 0, expected a whole number, at least 1"),
        (
            "model.heads=3",
            r"settings model.channels and model.heads: 64 .* among 3 heads, .* Use: --set model.heads=2$",
        ),
        (
            "train.processes=64",
            r"settings train.processes and train.batch_images: .*32.* Use: --set train.processes=32$",
        ),
        (
            "extract.decoder=torchvision",
            r"settings extract.decoder and extract.device: .*'auto', expected cpu, .* Use: --set extract.device=cuda",
        ),
        ("dataset.num_images=true", r"setting dataset.num_images: got True, expected a whole number"),
        ("train.lr=true", r"setting train.lr: got True, expected a finite number"),
        ("model.name=[]", r"setting model.name: got \[\], expected a text$"),
        ("model.preset={}", r"setting model.preset: got {}, expected "),
        ("train.lr", r"--set wants section.key=value, got 'train.lr'. Example: --set train.lr=0.0002"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_right_name(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(tmp_path, setting)


@pytest.mark.parametrize("section", Config.model_fields)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e40", "-1e40", "-2"])
def test_every_number_has_bounds(tmp_path: Path, section: str, value: str) -> None:
    shape = config_class("demo", "biam")
    schema = shape.model_json_schema()["$defs"]
    name = "DemoDataset" if section == "dataset" else shape.model_fields[section].annotation.__name__
    for key, kind in schema[name]["properties"].items():
        if {one.get("type") for one in (kind, *kind.get("anyOf", ()))} & {"number", "integer"}:
            with pytest.raises(
                UsageError, match=rf"setting {section}.{key}: got .*, expected a (finite|whole) number, "
            ):
                load(tmp_path, f"{section}.{key}={value}")


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("dataset.setting='standard'", "It is now dataset.task"),
        ("report.examples=2", "It is now evaluate.examples"),
        ("report.seed=2", "It is now evaluate.examples_seed"),
        ("download.concurrency=2", "It is now download.requests"),
        ("download.host_concurrency=2", "It is now download.host_requests"),
        ("engine.network_workers=2", "It is now engine.io_workers"),
        ("train.resident='never'", "It is now train.feature_cache"),
        ("train.loader='fork'", "It is gone: threads read ahead, see train.loader_workers"),
    ],
)
def test_a_setting_of_before_is_an_error_that_says_what_became_of_it(tmp_path: Path, old: str, said: str) -> None:
    (section, key), value = old.partition("=")[0].split("."), old.partition("=")[2]
    wrong = rf"^unknown setting '{section}.{key}'. {said}$"
    with pytest.raises(UsageError, match=wrong):
        load(tmp_path, old)
    with pytest.raises(UsageError, match=wrong):
        load(tmp_path, toml=f"[{section}]\n{key} = {value}")
    with pytest.raises(UsageError, match=wrong):
        load(tmp_path, env={f"BIAM_PIPE_{section}__{key}".upper(): value})
    section, key = said.rpartition(" ")[2].split(".")
    assert key in Config.model_fields[section].annotation.model_fields


def test_a_made_up_key_of_a_table_is_named_with_the_keys_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'dataset.images.tset'. Did you mean 'dataset.images.test'\? Known: dataset.im"
    ):
        load(tmp_path, "dataset.images.tset=a.csv", dataset="openimages")
    with pytest.raises(
        UsageError, match=r"setting dataset.images.test: got 3, expected a text. Use: --set .*=https://"
    ):
        load(tmp_path, "dataset.images.test=3", dataset="openimages")


def test_ks_in_any_order_are_the_same_question(tmp_path: Path) -> None:
    assert load(tmp_path, "evaluate.ks=[5, 3]").evaluate == load(tmp_path, "evaluate.ks=[3, 5]").evaluate


def test_an_unknown_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'dmo'. Did you mean 'demo'\? Known: demo, folder"):
        load(tmp_path, dataset="dmo")
    with pytest.raises(UsageError, match=r"setting dataset.name: got \['demo'\], expected a text"):
        load(tmp_path, dataset=None, toml="[dataset]\nname = ['demo']")


def test_without_a_name_the_only_data_set_in_the_work_folder_is_taken(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"no data set chosen: .*work holds none. Use --dataset NAME with one of: demo"
    ):
        load(tmp_path, dataset=None)
    (tmp_path / "work/demo").mkdir(parents=True)
    assert load(tmp_path, dataset=None).dataset.name == "demo"
    (tmp_path / "work/folder").mkdir()
    with pytest.raises(UsageError, match="holds demo, folder"):
        load(tmp_path, dataset=None)


def test_a_bad_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"settings.toml is not TOML: Expected"):
        load(tmp_path, toml="[train")
    with pytest.raises(UsageError, match=r"'lr' stands outside a section"):
        load(tmp_path, toml="lr = 1")
    with pytest.raises(UsageError, match=r"cannot read the configuration .*nowhere.toml: No such file"):
        configuration("demo", tmp_path / "nowhere.toml", {}, [], tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    assert load(tmp_path, toml="\ufeff[train]\nepochs = 5").train.epochs == 5


@pytest.mark.parametrize(
    "value", ["[" * 100_000, "{a=" * 100_000, "[" * 100_000 + "]" * 100_000, "9" * 5_000, "-" + "9" * 5_000]
)
def test_a_value_without_end_is_named_whichever_way_it_comes(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match=r"settings.toml(: its values are nested too deeply| is not TOML: Exceeds)"):
        load(tmp_path, toml=f"[train]\nepochs = {value}")
    with pytest.raises(UsageError, match=r"of --set or the environment cannot be read, got .{60}\.\.\.$"):
        load(tmp_path, f"train.epochs={value}")
    with pytest.raises(UsageError, match=r"of --set or the environment cannot be read, got .{60}\.\.\.$"):
        load(tmp_path, env={"BIAM_PIPE_TRAIN__EPOCHS": value})


@pytest.mark.parametrize("part", ["a", '"a b"', "'a'"])
def test_a_key_without_end_is_named_whichever_way_it_comes(tmp_path: Path, part: str) -> None:
    key = f"{part} . " * 50_000 + part
    for toml in (f"[train]\n{key} = 1", f"[train.{key}]", f"[train]\nepochs = {{{key} = 1}}"):
        with pytest.raises(UsageError, match=r"settings.toml: a key is nested too deeply"):
            load(tmp_path, toml=toml)
    key = "a." * 50_000 + "a"
    with pytest.raises(UsageError, match=r"--set: a key is nested too deeply, got 'train.a.a.*\.\.\.'$"):
        load(tmp_path, f"train.{key}=1")


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("BIAM_PIPE_TRAIN_LR", "BIAM_PIPE_TRAIN__LR"),
        ("BIAM_PIPE_TRAIN_BATCH_IMAGES", "BIAM_PIPE_TRAIN__BATCH_IMAGES"),
        ("BIAM_PIPE_DATASET_NUM_IMAGE", "BIAM_PIPE_DATASET__NUM_IMAGES"),
        ("BIAM_PIPE_MODEL_TOP_K", "BIAM_PIPE_MODEL__TOP_K"),
    ],
)
def test_a_variable_with_one_underscore_is_refused_with_the_right_name(
    tmp_path: Path, variable: str, right: str
) -> None:
    with pytest.raises(UsageError, match=rf"environment variable {variable}: two underscores .*\. Use {right}$"):
        load(tmp_path, env={variable: "1"})
    others = {"BIAM_PIPE_CACHE": "x", "BIAM_PIPE_MODEL_SERVICE_HOST": "10.0.0.1", "TRAIN_LR": "1"}
    assert load(tmp_path, env=others) == load(tmp_path)


def test_settings_written_as_toml_read_back_and_leave_the_preset_free_to_change(tmp_path: Path) -> None:
    before = load(tmp_path, "train.epochs=7", "model.top_k=9")
    text = as_toml(before)
    assert load(tmp_path, toml=text) == before
    assert "# lr = 0.001" in text
    assert (
        "embed.sha256, split.unseen_seed, split.num_unseen, split.held_out_fold, model.grid_side, train.run"
        in " ".join(text.split("\n# "))
    )
    other = load(tmp_path, "model.preset=paper", toml=text)
    assert (other.train.loss, other.train.weight_decay, other.train.final_lr) == ("paper", 0.0, None)
    assert (other.model.top_k, other.train.epochs) == (9, 7)


@pytest.mark.parametrize(
    ("dataset", "preset", "channels", "top_k", "epochs", "full_epochs", "lr", "final_lr", "max_positives"),
    [
        ("nuswide", "released", 256, 6, 40, 5, 1e-3, 5e-4, None),
        ("nuswide", "paper", 512, 10, 40, 0, 1e-3, None, None),
        ("openimages", "released", 512, 6, 10, 0, 1e-4, None, 40),
        ("openimages", "paper", 512, 10, 2, 0, 1e-3, None, None),
    ],
)
def test_a_preset_is_what_was_published_on_that_data_set(
    tmp_path: Path, dataset: str, preset: str, channels: int, top_k: int, epochs: int, full_epochs: int,
    lr: float, final_lr: float | None, max_positives: int | None,
) -> None:  # fmt: skip
    config = load(tmp_path, f"model.preset={preset}", dataset=dataset)
    model, train = config.model, config.train
    assert (model.channels, model.heads, model.top_k, train.batch_images) == (channels, 8, top_k, 32)
    assert (train.epochs, train.full_epochs, train.lr, train.final_lr) == (epochs, full_epochs, lr, final_lr)
    assert (train.max_positives, train.loss) == (max_positives, preset)
    assert load(tmp_path, dataset=dataset, toml=as_toml(config)) == config
    assert load(tmp_path, f"model.preset={preset}", "train.epochs=7", dataset=dataset).train.epochs == 7


@pytest.mark.parametrize(
    ("model", "preset", "key", "value"),
    [
        ("lesa", "released", "train.epochs", 2),  # 343,850 steps of 32 among 5,501,586 images
        ("ml2p", "released", "model.unknown", "ignore"),
        ("sdl", "released", "model.unknown", "ignore"),
        ("cnn_rnn", "ours", "model.steps", 22),  # K = 10 and 20
        ("cnn_rnn", "demo", "model.steps", 22),
    ],
)
def test_models_have_other_settings_on_open_images(
    tmp_path: Path, model: str, preset: str, key: str, value: object
) -> None:
    section, _, name = key.partition(".")
    configs = [
        load(tmp_path, f"model.name={model}", f"model.preset={preset}", "dataset.task=standard", dataset=dataset)
        for dataset in ("openimages", "nuswide")
    ]
    own, other = (getattr(getattr(config, section), name) for config in configs)
    assert own == value != other


PAPER = {
    "model.preset": "paper", "model.channels": 512, "model.top_k": 10,
    "train.betas": [0.5, 0.999], "train.weight_decay": 0.0, "train.loss": "paper",
}  # fmt: skip
DEMO = {
    "download.allowed_networks": ["127.0.0.0/8"], "backbone.weights": "random:0", "extract.batch_images": 20,
    "embed.vectors": "demo:vectors.txt", "model.channels": 64, "train.epochs": 10,
}  # fmt: skip
OPENIMAGES = {
    "extract.orientation": "dataset", "embed.missing": "drop", "evaluate.protocol": "openimages"
}  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "preset", "changed"),
    [
        ("demo", "paper", PAPER | DEMO),
        ("demo", "released", DEMO | {"train.final_lr": 5e-4}),
        ("folder", "paper", PAPER),
        ("folder", "released", {"train.final_lr": 5e-4}),
        ("nuswide", "paper", PAPER | {"extract.max_failed_fraction": 0.2}),
        (
            "nuswide",
            "released",
            {"extract.max_failed_fraction": 0.2, "train.final_lr": 5e-4, "train.full_epochs": 5},
        ),
        ("openimages", "paper", PAPER | OPENIMAGES | {"train.epochs": 2, "train.warmup_epochs": 2}),
        (
            "openimages",
            "released",
            OPENIMAGES
            | {"model.channels": 512, "train.epochs": 10, "train.lr": 1e-4, "train.warmup_epochs": 0}
            | {"train.max_positives": 40},
        ),
    ],
)
def test_a_data_set_with_a_preset_changes_these_defaults_and_no_other(
    tmp_path: Path, dataset: str, preset: str, changed: dict[str, object]
) -> None:
    settings = load(tmp_path, f"model.preset={preset}", dataset=dataset).model_dump(mode="json", exclude={"dataset"})
    for section, values in settings.items():
        defaults = config_class(dataset, "biam").model_fields[section].default.model_dump(mode="json")
        for key, value in values.items():
            assert value == changed.get(f"{section}.{key}", defaults[key]), f"{section}.{key}"


@pytest.mark.parametrize("dataset", ["demo", "folder", "nuswide", "openimages"])
@pytest.mark.parametrize(("before", "after"), [("paper", "released"), ("released", "paper")])
def test_settings_written_with_one_preset_become_those_of_another(
    tmp_path: Path, dataset: str, before: str, after: str
) -> None:
    text = as_toml(load(tmp_path, f"model.preset={before}", dataset=dataset))
    chosen = f"model.preset={after}"
    assert load(tmp_path, chosen, dataset=dataset, toml=text) == load(tmp_path, chosen, dataset=dataset)


def test_a_value_of_the_preset_that_outranks_the_data_set_s_is_written_as_the_user_s(tmp_path: Path) -> None:
    config = load(tmp_path, "model.channels=256")
    assert load(tmp_path, toml=as_toml(config)) == config != load(tmp_path)


def test_settings_are_written_below_what_they_mean(tmp_path: Path) -> None:
    lines = as_toml(load(tmp_path)).splitlines()
    assert max(len(line) for line in lines if line.startswith("# ")) <= 100
    for name, section in load(tmp_path):
        start = lines.index(f"[{name}]")
        for key, meaning in explanations(type(section)).items():
            starts = (f"{key} = ", f"# {key} = ", f"[{name}.{key}]")
            at = next(at for at in range(start, len(lines)) if lines[at].startswith(starts))
            above = at - lines[at::-1].index("")
            assert " ".join(line.removeprefix("# ") for line in lines[above + 1 : at]) == meaning


def test_null_takes_a_value_of_the_preset_back(tmp_path: Path) -> None:
    assert load(tmp_path).train.final_lr == 5e-4
    assert load(tmp_path, "train.final_lr=null").train.final_lr is None


def test_an_ablation_that_would_change_nothing_is_refused(tmp_path: Path) -> None:
    assert load(tmp_path, "model.blocks=[]").model.blocks == ()
    assert load(tmp_path, 'model.blocks=["scb", "rcb"]').model == load(tmp_path).model
    for sets, said in (
        (["model.blocks=rbc"], "'rbc' is no block, expected some of: rcb, scb"),
        (["model.blocks=scb", "model.region_norm=layer"], "region_norm: got 'layer', which is of RCB.* Use: .*=none"),
        (
            ["model.region_attention=non-local", "model.region_weighting=sigmoid"],
            "which is of RCB, and this model does",
        ),
        (
            ["model.blocks=scb", "model.region_attention=criss-cross"],
            "region_attention: got 'criss-cross', which is of",
        ),
        (["model.blocks=rcb", "model.scene_weighting=softmax"], r"which is of SCB, .*\(model.blocks = \['rcb'\]"),
    ):
        with pytest.raises(UsageError, match=said):
            load(tmp_path, *sets)


@pytest.mark.parametrize(
    "setting",
    ["train.run=../x", "train.run=a{b}", "split.name=a/b", "train.betas=[2, 3]", "train.device=foo"],
)
def test_a_value_that_cannot_work_is_refused_before_anything_runs(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UsageError, match="setting "):
        load(tmp_path, setting)


@pytest.mark.parametrize(
    ("sets", "key", "told"),
    [
        (
            ["model.preset=paper", "model.attention_dropout=0.9"],
            "model.attention_dropout",
            "which is of preset 'released'",
        ),
        (["model.preset=paper", "model.joint_size=64"], "model.joint_size", "which is of preset 'released'"),
        (["model.classification=pooled", "model.top_k=3"], "model.top_k", "which is of single regions"),
        (["model.region_attention=criss-cross", "model.heads=4"], "model.heads", "which is of RCB"),
        (
            ["model.region_attention=non-local", "model.attention_dropout=0.9"],
            "model.attention_dropout",
            "which is of RCB",
        ),
        (['model.blocks=["rcb"]', "model.global_dropout=0.9"], "model.global_dropout", "which is of SCB"),
        (["train.full_lr=0.1"], "train.full_lr", r"which is of the epochs on all images, .*train.full_epochs = 0"),
        (["model.name=ridge", "train.lr=0.1"], "train.lr", "model ridge has no epochs"),
        (["model.name=ridge", "train.epochs=3"], "train.epochs", "model ridge has no epochs"),
        (["model.name=ridge", "model.form=devise", "model.mixed_labels=3"], "model.mixed_labels", "of form 'conse'"),
    ],
)
def test_what_a_model_does_not_read_is_refused(tmp_path: Path, sets: list[str], key: str, told: str) -> None:
    with pytest.raises(UsageError, match=rf"setting {key}: got .*{told}.*; expected .* Use: --set {key}="):
        load(tmp_path, *sets)


@pytest.mark.parametrize("name", ["biam", "ridge"])
def test_settings_that_are_written_are_read_again_whatever_the_model_reads_of_them(tmp_path: Path, name: str) -> None:
    before = load(tmp_path, f"model.name={name}", *(["model.classification=pooled"] if name == "biam" else []))
    assert load(tmp_path, toml=as_toml(before)) == before


def test_the_settings_of_another_model_are_unknown(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"unknown setting 'model.channels'. .*Known: model.name, model.preset, model.form"
    ):
        load(tmp_path, "model.name=ridge", "model.channels=16")
    with pytest.raises(UsageError, match=r"unknown model 'rigde'. Did you mean 'ridge'"):
        load(tmp_path, "model.name=rigde")


def test_paths_in_a_toml_count_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf/photos").mkdir(parents=True)
    (tmp_path / "conf/labels.csv").write_text("image,labels\n")
    (tmp_path / "elsewhere").mkdir()
    toml = tmp_path / "conf/my.toml"
    toml.write_text(
        '[dataset]\nname = "folder"\nfolders = ["mine=photos"]\nlabels = "labels.csv"\n'
        '[backbone]\nweights = "random:0"\n[embed]\nvectors = "https://example.org/labels.csv"\n'
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = configuration(None, Path("../conf/my.toml"), {}, (), tmp_path / "work")
    assert config.dataset.folders == ("mine=../conf/photos",)
    assert config.dataset.labels == "../conf/labels.csv"
    assert (config.backbone.weights, config.embed.vectors) == ("random:0", "https://example.org/labels.csv")
    set_here = configuration(None, toml, {}, ["dataset.labels=labels.csv"], tmp_path / "work")
    assert set_here.dataset.labels == "labels.csv"  # what is typed counts from where it is typed
    monkeypatch.chdir(tmp_path / "conf")
    assert configuration(None, Path("my.toml"), {}, (), tmp_path / "work").dataset.labels == "labels.csv"


def test_a_path_that_exists_only_where_the_command_runs_is_an_error_that_shows_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "labels.csv").write_text("image,labels\n")
    (tmp_path / "conf/my.toml").write_text('[dataset]\nname = "folder"\nlabels = "labels.csv"\n')
    monkeypatch.chdir(tmp_path)
    told = r"dataset.labels in conf/my.toml: there is no conf/labels.csv, but a .*/labels.csv; .* Write '../labels.csv'"
    with pytest.raises(UsageError, match=told):
        configuration(None, Path("conf/my.toml"), {}, (), tmp_path / "work")
