"""Weights: their names and hashes, reading them, and what is refused."""

import hashlib
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.backbones import tiny, weights
from pipeline.backbones.weights import Published
from pipeline.files.packaged import PackagedFile
from schemas.config import BackboneConfig
from schemas.errors import IntegrityError, PipelineError, UsageError

RANDOM = BackboneConfig(name="tiny", weights="random:4")


def state() -> dict[str, Tensor]:
    return {key: value.clone() for key, value in tiny.build(RANDOM).state_dict().items()}


def at(path: Path) -> BackboneConfig:
    return BackboneConfig(name="tiny", weights=str(path))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_weights_in_every_form_of_file_give_the_same_network(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state(), path)
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=kind == "zip")

    found = tiny.build(at(path))

    assert not found.training
    assert all(torch.equal(value, state()[key]) for key, value in found.state_dict().items())
    assert weights.label(at(path), None) == path.name
    assert weights.sha256(at(path), None) == digest(path)
    assert weights.source(at(path)) == str(path)


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    torch.save({key: value.half() for key, value in state().items()}, tmp_path / "w.pth")

    assert all(value.dtype == torch.float32 for value in tiny.build(at(tmp_path / "w.pth")).state_dict().values())


def test_a_file_written_anew_has_another_hash(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(state(), path)
    before = weights.sha256(at(path), None)
    torch.save(state() | {"more": torch.zeros(50)}, path)

    assert weights.sha256(at(path), None) == digest(path) != before


def misfit(change: str) -> dict[str, Tensor]:
    found = state()
    if change == "missing":
        del found["steps.fc1.2.weight"]
    elif change == "unexpected":
        found["head.bias"] = torch.zeros(1)
    else:
        found["steps.conv2.0.bias"] = torch.zeros(9)
    return found


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("missing", r"5 tensors \(.*\) without 'steps.fc1.2.weight', expected the 6 tensors of backbone 'tiny'"),
        ("unexpected", r"7 tensors, 'head.bias' among them, expected the 6 tensors of backbone 'tiny'"),
        ("shape", r"'steps.conv2.0.bias' of shape \(9,\), expected \(8,\) as in backbone 'tiny'"),
    ],
)
def test_weights_of_another_network_are_refused_by_key(tmp_path: Path, change: str, text: str) -> None:
    torch.save(misfit(change), tmp_path / "w.pth")

    with pytest.raises(PipelineError, match=f"w.pth: got {text}. Run: biam-pipe extract --set backbone.w"):
        tiny.build(at(tmp_path / "w.pth"))


class Dangerous:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of the file was run')",)


class System:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


def unreadable(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("these are no weights")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind.startswith("pickle"):
        path.write_bytes(pickle.dumps(Dangerous(), protocol=int(kind[-1])))
    elif kind == "code":
        torch.save({"a": Dangerous()}, path)
    elif kind == "system":
        torch.save({"a": System()}, path)
    elif kind == "network":
        torch.save(nn.Linear(1, 1), path)
    elif kind == "script":  # as torch.jit.save lays it out, which itself is deprecated
        torch.save(state(), path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{path.stem}/constants.pkl", b"")
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12\n")
    elif kind == "safetensors":
        save_file(state(), path)
    elif kind.startswith("cut"):
        torch.save(state(), path, _use_new_zipfile_serialization=kind == "cut zip")
        path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("kind", "got"),
    [
        ("text", r"a file that starts with b'these are no wei'"),
        ("empty", "an empty file"),
        ("pickle 0", "a pickle that asks for exec, which may run code"),
        ("pickle 2", "a pickle that asks for exec, which may run code"),
        ("pickle 4", "a pickle that is cut off, damaged or not of tensors"),
        ("code", "a pickle that asks for exec, which may run code"),
        ("system", r"a pickle that asks for \w+.system, which may run code"),
        ("script", "a network with its code, as torch.jit.save writes it"),
        ("pointer", "a pointer of Git LFS, not the file itself"),
        ("safetensors", "a file of safetensors under another name than .safetensors"),
        (
            "network",
            r"a pickle that asks for torch.nn.*Linear, which may run code \(a whole network, not its tensors\?\)",
        ),
        ("cut zip", "a zip archive without its end: cut off or damaged"),
        ("cut pickle", "a pickle that is cut off, damaged or not of tensors"),
    ],
)
def test_what_cannot_be_read_is_named_without_torchs_advice_and_runs_no_code(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, kind: str, got: str
) -> None:
    path = tmp_path / "w.pth"
    unreadable(path, kind)

    text = (
        rf"^backbone.weights = {path}: got {got}, expected tensors by name, .*Run: biam-pipe extract --set backbone.w"
    )
    with pytest.raises(PipelineError, match=text) as refused:
        tiny.build(at(path))
    assert "weights_only" not in str(refused.value)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("kind", "got"),
    [
        ("text", r"no .safetensors file, or a damaged one \(.*header too large\), expected tensors by name"),
        ("empty", "an empty file, expected tensors by name"),
        ("pointer", "a pointer of Git LFS, not the file itself"),
        ("code", "a zip archive, as torch.save writes it, expected a name that ends with .pth"),
        ("pickle 2", r"no .safetensors file, or a damaged one \("),
    ],
)
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, kind: str, got: str) -> None:
    path = tmp_path / "w.safetensors"
    unreadable(path, kind)

    with pytest.raises(PipelineError, match=f"^backbone.weights = {path}: got {got}"):
        tiny.build(at(path))


def test_a_checkpoint_gives_the_tensors_under_state_dict(tmp_path: Path) -> None:
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state().items()}}, tmp_path / "w.pth"
    )

    found = tiny.build(at(tmp_path / "w.pth")).state_dict()

    assert all(torch.equal(value, state()[key]) for key, value in found.items())


def test_tensors_under_another_key_are_refused_with_what_was_found(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "weights": state()}, tmp_path / "w.pth")

    with pytest.raises(PipelineError, match="got epoch, weights, expected tensors by name, at the top level or under"):
        tiny.build(at(tmp_path / "w.pth"))


@pytest.mark.parametrize("found", [{}, {"state_dict": {}}])
def test_a_file_without_tensors_is_refused(tmp_path: Path, found: dict[str, dict[str, Tensor]]) -> None:
    torch.save(found, tmp_path / "w.pth")

    with pytest.raises(PipelineError, match="got a file without tensors, expected those of backbone 'tiny'"):
        tiny.build(at(tmp_path / "w.pth"))


def test_a_path_without_a_file_is_refused(tmp_path: Path) -> None:
    for path, got in ((tmp_path / "gone.pth", "no file"), (tmp_path, "a folder")):
        with pytest.raises(PipelineError, match=f"{path}: got {got}, expected a file of weights, 'default' or 'random"):
            tiny.build(at(path))


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", "²", str(2**63)])
def test_a_seed_must_be_a_number(seed: str) -> None:
    with pytest.raises(UsageError, match="expected a number after 'random:', for example random:0"):
        weights.label(BackboneConfig(name="tiny", weights=f"random:{seed}"), None)


def test_random_weights_are_named_by_their_seed_and_hashed_apart() -> None:
    others = [RANDOM, BackboneConfig(name="tiny", weights="random:5"), BackboneConfig(name="vgg19", weights="random:4")]

    assert weights.label(RANDOM, None) == "random:4"
    assert weights.source(RANDOM) is None
    assert len({weights.sha256(one, None) for one in others}) == 3


def test_a_backbone_without_published_weights_says_so() -> None:
    with pytest.raises(UsageError, match=r"backbone 'tiny' has no published weights.*--set backbone.weights=random:0"):
        tiny.build(BackboneConfig(name="tiny"))


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Weights that were fetched before."""
    monkeypatch.setenv("BIAM_PIPE_CACHE", str(tmp_path))
    path = tmp_path / "linear-v1.pth"
    torch.save({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, path)
    return path


def published(sha256: str) -> Published:
    return Published("linear V1", "http://127.0.0.1:9/models/linear-v1.pth", sha256, "free")


def test_published_weights_are_found_in_the_cache_and_checked_against_a_prefix(cached: Path) -> None:
    config, known = BackboneConfig(name="linear"), published(digest(cached)[:8])

    found = weights.assemble(lambda: nn.Linear(2, 1), config, known)

    assert torch.equal(found.weight, torch.ones(1, 2))
    assert weights.label(config, known) == "linear V1"
    assert weights.sha256(config, known) == digest(cached)
    assert weights.source(config) is None
    assert weights.licence(config, known) == "free"


def test_published_weights_with_another_hash_are_refused(cached: Path) -> None:
    with pytest.raises(IntegrityError, match="expected 00000000"):
        weights.assemble(lambda: nn.Linear(2, 1), BackboneConfig(name="linear"), published("0" * 8))


def test_weights_of_a_package_are_read_where_it_is_installed(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "linear-1.0.dist-info").mkdir()
    (tmp_path / "linear-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: linear\n")
    packaged = PackagedFile("linear", "real", cached.name, digest(cached), cached.stat().st_size)
    known = Published("linear V1", "http://127.0.0.1:9/", packaged.sha256, "free", packaged=packaged)
    config = BackboneConfig(name="linear")
    with pytest.raises(
        UsageError, match="'default' of backbone 'linear' is a file of the package linear, which is not"
    ):
        weights.require_installed(config, known)
    monkeypatch.syspath_prepend(tmp_path)

    weights.require_installed(config, known)
    found = weights.assemble(lambda: nn.Linear(2, 1), config, known)

    assert torch.equal(found.weight, torch.ones(1, 2))
    assert weights.sha256(config, known) == digest(cached)
    told = weights.outside_file(config, known)
    assert told is not None
    assert (told.here, told.sha256) == (cached, digest(cached))


def test_the_file_of_weights_is_told_before_it_is_read(cached: Path) -> None:
    config, known = BackboneConfig(name="linear"), published("0" * 8)
    assert weights.outside_file(RANDOM, known) is None
    found = weights.outside_file(config, known)
    assert found is not None
    assert (found.address, found.here, found.sha256) == (known.address, cached, "0" * 8)
    assert cached.read_bytes().startswith(found.begins)
    own = weights.outside_file(at(cached), None)
    assert own is not None
    assert (own.here, own.kept, own.sha256) == (cached, None, None)
    with pytest.raises(UsageError, match="has no published weights"):
        weights.outside_file(config, None)
