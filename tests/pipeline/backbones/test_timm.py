"""Models of timm: their maps are timm's own, their weights come from every form of file, and what does not fit is told.

Published weights are never fetched here: random ones, and files made of them, stand in.
"""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.backbones import build, describe, search, settled, weights
from pipeline.backbones.network import network
from pipeline.commands.console import backbone_lines
from pipeline.datasets.demo.settings import DemoDataset
from pipeline.engine.sources import Sources
from pipeline.files.storage import Storage
from pipeline.images.resize import resize
from pipeline.net.fetch import CACHE_VARIABLE
from pipeline.stages import extract
from schemas.config import BackboneConfig, Config, ExtractConfig
from schemas.errors import PipelineError, UsageError

with warnings.catch_warnings(action="ignore"):
    timm = pytest.importorskip("timm")

RESNET, CONVNEXT, VIT, SWIN = "resnet10t", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"
FAMILIES = [(RESNET, 64), (CONVNEXT, 64), (VIT, 64), (SWIN, 64)]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What timm says is asked once for all tests here, and nothing of another run's is found."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        patch.setenv("HF_HOME", str(folder / "huggingface"))
        yield folder


def config(model: str, input_px: int | None = 64, weights: object = "random:0", **more: Any) -> BackboneConfig:
    return settled(BackboneConfig(name=f"timm:{model}", weights=str(weights), input_px=input_px, **more))


def every_map(model: str, input_px: int = 64) -> tuple[str, ...]:
    from pipeline.backbones.timm import catalogue

    return tuple(one.column for one in catalogue.entry(model, input_px).maps)


def images(input_px: int = 64) -> Tensor:
    return torch.randn(2, 3, input_px, input_px, generator=torch.Generator().manual_seed(0))


def theirs(model: str, seed: int = 0, **more: Any) -> nn.Module:
    """Timm's own network with the numbers of random:SEED."""
    size = {} if model in (RESNET, CONVNEXT) else {"img_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(model, **({"num_classes": 0} | size | more)).eval()


@pytest.mark.parametrize(("model", "input_px"), FAMILIES)
def test_every_map_equals_what_timm_computes(model: str, input_px: int) -> None:
    plain = theirs(model)
    columns = every_map(model)
    chosen = config(model, layers=columns)

    with torch.inference_mode():
        found = build(chosen)(images())
        features, stages = plain.forward_intermediates(images())
        expected = [stage.permute(0, 2, 3, 1) for stage in stages]
        if "final" in columns:
            whole = plain.forward_features(images())
            expected.append(whole if whole.ndim == 4 else whole[:, plain.num_prefix_tokens :].reshape(2, 4, 4, -1))
        expected.append(plain.forward_head(features, pre_logits=True))

    assert tuple(found) == columns or set(found) == {*columns}
    for column, values in zip(columns, expected, strict=True):
        torch.testing.assert_close(found[column], values, rtol=0, atol=1e-5)
    promised = {one.column: one.shape for one in describe(chosen).maps}
    assert {column: tuple(values.shape[1:]) for column, values in found.items()} == promised


@pytest.mark.parametrize(("model", "input_px"), FAMILIES)
def test_the_network_on_a_cpu_gives_them_whatever_comes_along(model: str, input_px: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, input_px, input_px, 3), np.uint8)
    chosen = config(model)

    together = network(chosen, ExtractConfig(device="cpu", batch_images=8)).run(pixels)
    alone = network(chosen, ExtractConfig(device="cpu", batch_images=8)).run(pixels[:1])

    seen = describe(chosen).normalisation
    normal = (torch.from_numpy(pixels).float() / 255 - torch.tensor(seen.mean)) / torch.tensor(seen.std)
    with torch.inference_mode():
        pooled = theirs(model)(normal.permute(0, 3, 1, 2)).numpy()
    assert np.abs(together["pooled"] - pooled).max() <= 2e-3 * np.abs(pooled).max()  # of float16
    assert all(np.array_equal(together[column][:1], alone[column]) for column in alone)


def test_fewer_maps_are_computed_with_the_same_numbers() -> None:
    everything = config(VIT, layers=every_map(VIT))
    with torch.inference_mode():
        whole = build(everything)(images())
        for layers in (("block3",), ("final",), ("pooled", "block11"), ("pooled",)):
            found = build(config(VIT, layers=layers))(images())
            assert set(found) == {*layers}
            assert all(torch.equal(found[column], whole[column]) for column in layers)


def test_the_usual_maps_are_the_last_of_a_sixteenth_then_the_last_then_the_global_one() -> None:
    usual = {model: [one.column for one in describe(config(model, None)).maps] for model, _ in FAMILIES}

    assert usual == {
        RESNET: ["stage3", "stage4", "pooled"],
        CONVNEXT: ["stage2", "stage3", "pooled"],
        VIT: ["final", "pooled"],
        SWIN: ["stage2", "final", "pooled"],
    }
    assert describe(config(VIT, None)).maps[0].shape == (14, 14, 192)
    assert [config(model, None).input_px for model in (RESNET, SWIN)] == [176, 224]


def test_vgg19_equals_ours_on_the_same_weights_of_torchvision(tmp_path: Path) -> None:
    from torchvision.models import vgg19

    save_file(vgg19(weights=None).state_dict(), path := tmp_path / "vgg19.safetensors")
    ours = build(BackboneConfig(name="vgg19", weights=str(path), layers=("conv4", "conv5", "fc7")))

    timms = build(config("vgg19", 64, path, layers=("stage3", "stage4", "pooled")))
    image = images()[:1]
    with torch.inference_mode():
        expected, found = ours(image), timms(image)

    for column, other in (("conv4", "stage3"), ("conv5", "stage4"), ("fc7", "pooled")):
        torch.testing.assert_close(found[other], expected[column], rtol=0, atol=1e-5)


def test_preprocessing_is_timms_own() -> None:
    from timm.data import create_transform, resolve_data_config

    chosen = config(SWIN, None, fit="crop")
    plain = timm.create_model(SWIN, num_classes=0)
    transform = create_transform(**resolve_data_config({}, model=plain), is_training=False)
    photo = Image.effect_noise((300, 260), 60).convert("RGB")

    described = describe(chosen)
    fit, seen = described.fit(chosen), described.normalisation
    found = (resize(photo, fit) / 255 - np.array(seen.mean)) / np.array(seen.std)

    assert (fit.interpolation, fit.size_px, fit.cover_px) == ("bicubic", (224, 224), (248, 248))
    assert np.abs(found.transpose(2, 0, 1) - transform(photo).numpy()).max() < 1.01 / 255 / min(seen.std)


def state(model: str = RESNET, **more: Any) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in theirs(model, 3, **more).state_dict().items()}


FORMS = {
    "safetensors": lambda path, found: save_file(found, path),
    "pth": torch.save,
    "state_dict": lambda found, path: torch.save({"epoch": 1, "state_dict": found}, path),
    "model_ema": lambda found, path: torch.save({"model": {}, "model_ema": found}, path),
    "module": lambda found, path: torch.save({f"module.{key}": value for key, value in found.items()}, path),
}


@pytest.mark.parametrize("model", [RESNET, CONVNEXT])
@pytest.mark.parametrize("form", ["safetensors", "pth", "state_dict", "model_ema", "module"])
@pytest.mark.parametrize("classes", [0, 7])
def test_weights_are_read_in_every_form_with_or_without_classes(
    tmp_path: Path, form: str, model: str, classes: int
) -> None:
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    found = state(model, num_classes=classes)
    save_file(found, path) if form == "safetensors" else FORMS[form](found, path)

    with torch.inference_mode():
        pooled = build(config(model, weights=path))(images())["pooled"]
        expected = theirs(model, 3, num_classes=classes)
        features = expected.forward_features(images())
        assert torch.equal(pooled, expected.forward_head(features, pre_logits=True))
    assert weights.label(config(model, weights=path), None) == path.name


def wrong(kind: str, path: Path) -> None:
    if kind == "other":
        torch.save(state(CONVNEXT), path)
    elif kind == "shape":
        torch.save(state() | {"conv1.0.weight": torch.zeros(1, 3, 3, 3)}, path)
    elif kind == "more":
        torch.save(state() | {"tail.weight": torch.zeros(1)}, path)
    elif kind == "classes alone":
        torch.save({key: value for key, value in state(num_classes=7).items() if key.startswith("fc.")}, path)
    elif kind == "text":
        path.write_text("no weights")
    else:
        torch.save(nn.Linear(1, 1), path)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "other",
            r"\d+ tensors \(stem.*\) without 'conv1.0.weight', expected the \d+ tensors of backbone 'timm:resnet10t'",
        ),
        (
            "shape",
            r"'conv1.0.weight' of shape \(1, 3, 3, 3\), expected \(24, 3, 3, 3\) as in backbone 'timm:resnet10t'",
        ),
        ("more", r"\d+ tensors, 'tail.weight' among them"),
        ("classes alone", "tensors of classes alone, expected those of backbone 'timm:resnet10t'"),
        ("text", r"a file that starts with b'no weights'"),
        ("network", r"a pickle that asks for torch.nn.*Linear, which may run code"),
    ],
)
def test_a_wrong_file_says_what_it_is(tmp_path: Path, kind: str, told: str) -> None:
    wrong(kind, tmp_path / "w.pth")

    with pytest.raises(PipelineError, match=f"w.pth: got {told}"):
        build(config(RESNET, weights=tmp_path / "w.pth"))


def test_a_weight_that_is_no_number_is_no_missing_one(tmp_path: Path) -> None:
    torch.save(state() | {"conv1.0.weight": torch.full_like(state()["conv1.0.weight"], torch.nan)}, tmp_path / "w.pth")

    with torch.inference_mode():
        assert build(config(RESNET, weights=tmp_path / "w.pth"))(images())["pooled"].isnan().all()


def test_weights_of_a_model_that_timm_loads_loosely_are_complete_or_refused(tmp_path: Path) -> None:
    whole = timm.create_model("dla46_c", num_classes=0).state_dict()
    del whole["level3.tree1.tree1.conv1.weight"]
    torch.save(whole, tmp_path / "w.pth")

    with pytest.raises(PipelineError, match=r"without 'level3.tree1.tree1.conv1.weight'"):
        build(config("dla46_c", weights=tmp_path / "w.pth"))


def test_published_weights_are_taken_from_the_hubs_cache(cache: Path, tmp_path: Path) -> None:
    chosen = config(RESNET, weights="default")
    published = describe(chosen).published
    assert published.address == "https://huggingface.co/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"
    kept = cache / "huggingface/hub/models--timm--resnet10t.c3_in1k"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs/main").write_text("0123abcd")
    (kept / "snapshots/0123abcd").mkdir(parents=True)
    save_file(state(), kept / "snapshots/0123abcd/model.safetensors")
    before = sorted(kept.rglob("*"))

    assert weights.label(chosen, published) == "timm/resnet10t.c3_in1k"
    assert weights.outside_file(chosen, published).here == kept / "snapshots/0123abcd/model.safetensors"
    with torch.inference_mode():
        assert torch.equal(build(chosen)(images())["pooled"], theirs(RESNET, 3)(images()))
    assert sorted(kept.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet5", r"has no model 'resnet5'. Did you mean 'resnet50'.*: biam-pipe show backbones --search resnet50$"),
        ("resnet50.a7_in1k", r"Did you mean 'resnet50\.\w+', 'resnet50"),
        ("../resnet50", "has no model '../resnet50'"),
        ("hf-hub:someone/model", "has no model 'hf-hub:someone/model'"),
    ],
)
def test_a_model_that_timm_does_not_know_is_told_with_the_nearest(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        describe(BackboneConfig(name=f"timm:{name}"))


def test_an_input_that_the_model_does_not_take_and_an_unknown_layer_are_refused() -> None:
    with pytest.raises(UsageError, match=r"backbone.input_px = 100: timm's 'vit_tiny_patch16_224' does not take it"):
        describe(config(VIT, 100))
    with pytest.raises(UsageError, match=r"unknown layer of timm:resnet10t in backbone.layers 'stage9'. Did you mean"):
        describe(config(RESNET, layers=("stage9",)))


def test_without_timm_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(UsageError, match=r"not installed. Install it: pip install 'biam-pipe\[timm\]'"):
        describe(BackboneConfig(name=f"timm:{RESNET}"))


def test_what_timm_said_is_kept_and_made_anew_where_it_is_damaged(cache: Path) -> None:
    from pipeline.backbones.timm import catalogue

    described = describe(config(RESNET))
    (kept,) = (cache / "timm").glob(f"*/{RESNET}-64-*.json")
    kept.write_text(kept.read_text().replace("0.485", "0.585"))
    catalogue._entry.cache_clear()

    assert describe(config(RESNET)) == described
    assert json.loads(kept.read_text())["mean"][0] == 0.485


def test_licences_that_restrict_are_told() -> None:
    chosen = BackboneConfig(name="timm:convnextv2_atto.fcmae_ft_in1k")
    published = describe(chosen).published

    assert weights.terms(chosen, published) == (
        "weights timm/convnextv2_atto.fcmae_ft_in1k: licence cc-by-nc-4.0 forbids commercial use"
    )
    assert "cc-by-nc-4.0" in weights.licence(chosen, published)
    assert weights.terms(chosen.model_copy(update={"weights": "random:0"}), published) is None
    assert weights.terms(chosen, replace(published, terms=None)) is None


def test_a_plan_tells_the_licence_and_the_recipe_names_timms_version_and_filter() -> None:
    chosen = BackboneConfig(name="timm:convnextv2_atto.fcmae_ft_in1k")
    stage = extract.stage(Config(dataset=DemoDataset(), backbone=chosen), Sources(Storage("nowhere")))

    assert stage.notes == (weights.terms(chosen, describe(chosen).published),)
    assert stage.folder.startswith("features/timm-convnextv2_atto.fcmae_ft_in1k-")
    assert stage.recipe["backbone.libraries"] == {"timm": timm.__version__}
    assert stage.recipe["images.resize"] == ["bicubic", "antialias"]
    assert stage.recipe["backbone.weights"] == "timm/convnextv2_atto.fcmae_ft_in1k"


def test_a_search_lists_models_with_maps_size_and_licence_and_says_how_many_more() -> None:
    found = search("resnet10t")
    (row,) = found.rows
    assert (row.name, row.resize, row.licence) == ("timm:resnet10t.c3_in1k", (176, 176), "apache-2.0")
    assert [one.column for one in row.maps] == ["stage3", "stage4", "pooled"]
    assert search("timm:resnet10t.", most=0).left_out == search("resnet10t", most=0).left_out == 1
    assert search("no such model").rows == ()
    head, *lines = backbone_lines(found)
    assert head.split()[0] == "backbone"
    told = " ".join(" ".join(lines).split())
    assert all(text in told for text in ("timm:resnet10t.c3_in1k", "176 px", "stage3 (11,", "pooled (512)"))
