"""DINO's ResNet-50 against a plain forward pass of torchvision's network, and the forms of its file."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from pipeline.backbones import dino_resnet50
from schemas.config import BackboneConfig
from schemas.errors import PipelineError

RANDOM = BackboneConfig(name="dino_resnet50", weights="random:3")
LAYERS = ("layer2", "layer3", "layer4", "pooled")


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = resnet50(weights=None).eval()
    network.fc = nn.Identity()
    return network


def images() -> Tensor:
    return torch.randn(2, 3, 96, 80, generator=torch.Generator().manual_seed(0))


def at(path: Path, layers: tuple[str, ...] = LAYERS) -> BackboneConfig:
    return BackboneConfig(name="dino_resnet50", weights=str(path), layers=layers)


def test_maps_equal_a_plain_forward_pass_of_torchvision(plain: nn.Module, tmp_path: Path) -> None:
    torch.save(plain.state_dict(), tmp_path / "w.pth")

    with torch.inference_mode():
        found = dino_resnet50.build(at(tmp_path / "w.pth"))(images())
        steps = plain.maxpool(plain.relu(plain.bn1(plain.conv1(images()))))
        for name in ("layer1", *LAYERS[:-1]):
            steps = getattr(plain, name)(steps)
            if name in found:
                assert torch.equal(found[name], steps.permute(0, 2, 3, 1))
        assert torch.equal(found["pooled"], plain(images()))
        assert torch.allclose(found["pooled"], found["layer4"].mean(dim=(1, 2)), atol=1e-6)


def test_the_published_file_has_the_318_tensors_of_a_resnet_50_without_classes() -> None:
    with torch.device("meta"):
        assert len(dino_resnet50.build(RANDOM.model_copy(update={"layers": LAYERS})).state_dict()) == 318


def test_a_whole_checkpoint_gives_its_teacher_and_runs_no_code(plain: nn.Module, tmp_path: Path) -> None:
    def wrapped(values: dict[str, Tensor], head: str) -> dict[str, Tensor]:
        named = {f"module.backbone.{key}": value for key, value in values.items()}
        return named | {f"module.{head}": torch.zeros(3, 2048), f"module.{head[:-7]}_g": torch.zeros(3)}

    teacher = plain.state_dict()
    student = {key: torch.zeros_like(value) for key, value in teacher.items()}
    whole = {
        "student": wrapped(student, "head.last_layer.weight"),
        "teacher": wrapped(teacher, "head.last_layer.weight"),
        "epoch": 800,
        "args": Namespace(arch="resnet50", lr=0.03),
        "dino_loss": {"center": torch.zeros(1, 3)},
    }
    torch.save(whole, tmp_path / "full.pth")
    torch.save({**whole, "teacher": None}, tmp_path / "student.pth")

    with torch.inference_mode():
        found = dino_resnet50.build(at(tmp_path / "full.pth", ("pooled",)))(images())
        other = dino_resnet50.build(at(tmp_path / "student.pth", ("pooled",)))(images())
        assert torch.equal(found["pooled"], plain(images()))
        assert not torch.equal(other["pooled"], found["pooled"])


def test_a_resnet_with_classes_is_refused_by_the_first_tensor_that_is_too_much(tmp_path: Path) -> None:
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "supervised.pth")

    with pytest.raises(
        PipelineError, match=r"'fc.weight' among them, expected the 318 tensors of backbone 'dino_resnet50'"
    ):
        dino_resnet50.build(at(tmp_path / "supervised.pth"))
