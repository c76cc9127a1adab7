"""EfficientNet-Lite0, against a network written out from its paper and on photographs with known classes."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pipeline.backbones.efficientnet_lite0 import OFFER, PUBLISHED, build
from pipeline.backbones.efficientnet_lite0.network import EfficientNetLite0
from pipeline.backbones.network import network
from schemas.config import BackboneConfig, ExtractConfig
from schemas.errors import UsageError

SIDE_PX = 45  # then 23, 12, 6 and 3: layers of both kernels meet odd and even sides, which need other zeros
# repeats, kernel, stride, expansion, channels: the rows of table 1 of EfficientNet
TABLE = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
LAST_ROW = (1, 3, 1, 6, 320)


def padded(images: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's SAME."""
    sides = []
    for side in (images.shape[3], images.shape[2]):
        zeros = kernel - stride if side % stride == 0 else kernel - side % stride
        sides += [zeros // 2, zeros - zeros // 2]
    return functional.pad(images, sides)


def written_out(state: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    """Every map, one operation after the other."""

    def normed(name: str, maps: Tensor) -> Tensor:
        weight, bias, mean, variance = (
            state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return functional.batch_norm(maps, mean, variance, weight, bias, eps=1e-3)

    def convolved(name: str, maps: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return functional.conv2d(padded(maps, weight.shape[-1], stride), weight, stride=stride, groups=groups)

    given = functional.relu6(normed("_bn0", convolved("_conv_stem", images, 2)))
    maps, number = {}, 0
    for row, (repeats, _, stride, expansion, channels) in enumerate((*TABLE, LAST_ROW), start=2):
        for repeat in range(repeats):
            name, inside = f"_blocks.{number}", given
            if expansion > 1:
                inside = functional.relu6(normed(f"{name}._bn0", convolved(f"{name}._expand_conv", inside)))
            step = 1 if repeat else stride
            inside = convolved(f"{name}._depthwise_conv", inside, step, inside.shape[1])
            inside = normed(
                f"{name}._bn2", convolved(f"{name}._project_conv", functional.relu6(normed(f"{name}._bn1", inside)))
            )
            given = given + inside if step == 1 and given.shape[1] == channels else inside
            number += 1
        maps[f"stage{row}"] = given.permute(0, 2, 3, 1)
    head = functional.relu6(normed("_bn1", convolved("_conv_head", given)))
    return maps | {"head": head.permute(0, 2, 3, 1), "pooled": head.mean((2, 3))}


def test_every_map_is_that_of_the_network_written_out(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = EfficientNetLite0().state_dict()
    for name, values in state.items():
        if "_bn" in name and values.is_floating_point():
            middle = 0.0 if name.endswith(("bias", "running_mean")) else 1.0
            values.copy_(middle + 0.2 * torch.rand(values.shape, generator=generator))
    torch.save(state, tmp_path / "w.pth")
    images = torch.randn(1, 3, SIDE_PX, SIDE_PX, generator=generator).double()
    config = BackboneConfig(
        name="efficientnet_lite0", weights=str(tmp_path / "w.pth"), input_px=SIDE_PX, layers=tuple(OFFER.layers)
    )

    with torch.inference_mode():
        found = build(config).double()(images)  # float32 itself loses half of what is allowed
        expected = written_out({name: values.double() for name, values in state.items()}, images)

    for column, values in expected.items():
        assert (found[column] - values).abs().max() <= 1e-5 * values.abs().max(), column


@pytest.mark.parametrize(
    ("photograph", "named", "probability"),
    [("chelsea", 285, 0.79), ("coffee", 967, 0.90), ("camera", 872, 0.94)],  # Egyptian cat, espresso, tripod
)
def test_photographs_have_their_classes(photograph: str, named: int, probability: float) -> None:
    try:
        weights = PUBLISHED.packaged.checked("backbone.weights")
        path = Path(str(distribution("scikit-image").locate_file(f"skimage/data/{photograph}.png")))
    except (UsageError, PackageNotFoundError) as error:
        pytest.skip(str(error))
    loaded = network(BackboneConfig(name="efficientnet_lite0"), ExtractConfig(device="cpu"))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize(loaded.fit.size_px, Image.Resampling.BILINEAR))

    pooled = loaded.run([pixels])["pooled"]

    classifier = torch.load(weights, weights_only=True)
    scores = functional.linear(torch.from_numpy(pooled).float(), classifier["_fc.weight"], classifier["_fc.bias"])
    found = scores.softmax(1)[0]
    assert int(found.argmax()) == named
    assert float(found[named]) == pytest.approx(probability, abs=0.01)
